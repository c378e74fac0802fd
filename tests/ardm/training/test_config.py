"""Settings are checked; learning rates rise, stay and fall."""

import argparse

import numpy as np
import pytest

from ardm.training import (
    TrainingConfig,
    add_training_arguments,
    training_config,
)
from ardm.training.config import learning_rate_factor


# ------------------------------------------------------------------------------- learning rates
@pytest.mark.parametrize("kind", ["linear", "cosine", "constant"])
@pytest.mark.parametrize("total", [1, 2, 7, 100])
@pytest.mark.parametrize(
    ("warmup", "decay"), [(0.0, 1.0), (0.1, 0.5), (0.5, 0.1), (1.0, 1.0), (0.0, 0.0)]
)
def test_learning_rates_are_positive_and_rise_then_fall(kind, total, warmup, decay):
    config = TrainingConfig(
        "out", total, lr_scheduler_type=kind, warmup_ratio=warmup, decay_ratio=decay
    )
    factors = [learning_rate_factor(step, config) for step in range(total)]
    assert all(0 < factor <= 1 for factor in factors)
    peak = factors.index(max(factors))
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)


def test_learning_rates_of_a_plateau_between_warm_up_and_decay():
    config = TrainingConfig("out", 100, warmup_ratio=0.1, decay_ratio=0.2)
    factors = [learning_rate_factor(step, config) for step in range(100)]
    assert factors[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert factors[9:81] == [1.0] * 72
    assert factors[80:] == pytest.approx([left / 20 for left in range(20, 0, -1)])


# ------------------------------------------------------------------------------------- settings
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_train_steps": 0}, "max_train_steps is 0; expected an integer of at least 1 and"),
        ({"max_train_steps": 2.0}, "max_train_steps is 2.0; expected an integer"),
        ({"max_train_steps": True}, "max_train_steps is True; expected an integer"),
        ({"per_device_train_batch_size": 0}, "per_device_train_batch_size is 0"),
        ({"gradient_accumulation_steps": -1}, "gradient_accumulation_steps is -1"),
        ({"logging_steps": 0}, "logging_steps is 0"),
        ({"checkpointing_steps": -1}, "checkpointing_steps is -1"),
        ({"dataloader_num_workers": -1}, "dataloader_num_workers is -1"),
        ({"lr_scheduler_type": "wavy"}, "lr_scheduler_type is 'wavy'; expected one of .*'cosine'"),
        ({"mixed_precision": "fp8"}, "mixed_precision is 'fp8'; expected"),
        ({"ema_decay": 1.0}, r"ema_decay is 1.0; expected a number in \[0, 1\)"),
        ({"ema_decay": -0.1}, "ema_decay is -0.1"),
        ({"eval_steps": -5}, "eval_steps is -5"),
        ({"seed": 2**63}, r"seed is \d+; expected an integer of at least 0 and below 2\*\*63\."),
        ({"seed": -1}, "seed is -1"),
        ({"report_to": "nobody"}, "report_to is 'nobody'"),
        ({"learning_rate": -1e-3}, "learning_rate is -0.001"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"warmup_ratio": 1.5}, "warmup_ratio is 1.5"),
        ({"decay_ratio": -0.5}, "decay_ratio is -0.5"),
        ({"max_grad_norm": -1.0}, "max_grad_norm is -1.0; expected a number of at least 0"),
        ({"learning_rate": "0.1"}, "learning_rate is '0.1'; expected a finite number of at least"),
        ({"learning_rate": float("inf")}, "learning_rate is inf; expected a finite number"),
        ({"learning_rate": 10**400}, "expected a finite number of at least 0"),
        ({"ema_decay": True}, "ema_decay is True"),
        ({"warmup_ratio": None}, "warmup_ratio is None"),
        ({"output_dir": ""}, "output_dir is ''; expected a folder"),
        ({"output_dir": " \t"}, r"output_dir is ' \\t'; expected a folder"),
        ({"output_dir": None}, "output_dir is None; expected a folder"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message) as refused:
        TrainingConfig(**({"output_dir": "out", "max_train_steps": 1} | settings))
    limits = str(refused.value).partition("expected")[2]
    assert "e+" not in limits and str(2**63 - 1) not in limits  # none of the machine's


def test_counts_of_other_types_become_pythons():
    config = TrainingConfig("out", np.int64(3), seed=np.uint8(7))
    assert type(config.max_train_steps) is int and type(config.seed) is int
    assert (config.max_train_steps, config.seed) == (3, 7)
    rates = TrainingConfig("out", 1, learning_rate=np.float64(0.5), max_grad_norm=1)
    assert type(rates.learning_rate) is float and type(rates.max_grad_norm) is float


def test_every_setting_is_a_flag_with_its_help_and_comes_back():
    parser = argparse.ArgumentParser()
    add_training_arguments(parser, output_dir="out", max_train_steps=5, seed=3)
    defaults = TrainingConfig("out", 5, seed=3)
    assert training_config(parser.parse_args([])) == defaults
    words = ["--no-compile", "--learning_rate", "0.5", "--logging_steps=2", "--report_to", "wandb"]
    changed = training_config(parser.parse_args(words))
    assert changed == TrainingConfig(
        "out", 5, seed=3, learning_rate=0.5, logging_steps=2, report_to=["wandb"]
    )
    text = " ".join(parser.format_help().split())
    assert "key of everything random. (default: 3)" in text
    assert "(default: None)" in text  # mixed_precision: what the hardware is good at
    for action in parser._actions[1:]:
        assert not action.help.startswith(" (default"), action.dest
