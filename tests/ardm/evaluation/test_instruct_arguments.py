"""Flags of a fine-tuning: rates by what is trained, what goes with what, how long rows may be."""

import argparse
from types import SimpleNamespace

import pytest

from ardm.data.answers import Turn, Turns
from ardm.evaluation import instruct_arguments
from ardm.evaluation.instruct_arguments import LEARNING_RATES
from ardm.training import add_training_arguments


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    """peft is there, whether it is or not: nothing here uses it."""
    monkeypatch.setattr(instruct_arguments, "find_spec", lambda name: name)


def parsed(*words):
    parser = argparse.ArgumentParser()
    instruct_arguments.add_instruct_arguments(parser)
    add_training_arguments(parser, output_dir="runs/x", max_train_steps=1, learning_rate=None)
    return instruct_arguments.parse(parser, [*map(str, words)])


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "ardm"}')
    return tmp_path


@pytest.fixture
def adopted(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    return tmp_path


def test_learning_rates_are_of_what_is_trained(folder):
    new, full = parsed(), parsed("--model_name_or_path", folder)
    lora = parsed("--model_name_or_path", folder, "--lora_r", 4)
    assert [each.learning_rate for each in (new, full, lora)] == [*LEARNING_RATES.values()]
    assert new.muon_learning_rate == 0.02
    assert full.muon_learning_rate is lora.muon_learning_rate is None
    assert (new.weight_power, new.start_ratio) == (0.0, 1.0)
    given = parsed("--model_name_or_path", folder, "--learning_rate", 0.5)
    assert given.learning_rate == 0.5


def test_without_peft_adapters_are_refused_at_once(folder, monkeypatch):
    monkeypatch.setattr(instruct_arguments, "find_spec", lambda name: None)
    assert parsed("--model_name_or_path", folder).lora_r == 0
    with pytest.raises(ImportError, match="--lora_r needs peft: pip install peft"):
        parsed("--model_name_or_path", folder, "--lora_r", 4)


def test_adapters_of_an_adopted_model(adopted):
    args = parsed("--model_name_or_path", adopted, "--lora_r", 4, "--lora_target_modules", "q", "v")
    assert args.learning_rate == LEARNING_RATES["lora"]
    config = SimpleNamespace(is_causal=False, mask_token_id=7)
    expected = {
        "r": 4,
        "alpha": None,
        "target_modules": ["q", "v"],
        "dropout": 0.0,
        "trained_tokens": [7],  # of which a causal model knows nothing
    }
    assert instruct_arguments.adapters_of(args, SimpleNamespace(config=config)) == expected
    config = SimpleNamespace(mask_token_id=7)
    of_bert = instruct_arguments.adapters_of(args, SimpleNamespace(config=config))
    assert of_bert == expected | {"trained_tokens": []}


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--lora_alpha", 8], "got --lora_alpha without adapters"),
        (["--merge_adapter"], "got --merge_adapter without adapters"),
        (["--lora_r", 4], "expected adapters beside a saved one"),
        (["--lora_r", -1], "lora_r is -1"),
        (["--answer_length", 0], "answer_length is 0"),
        (["--num_prompts", 0], "num_prompts is 0"),
    ],
)
def test_what_has_no_effect_is_refused(words, named):
    with pytest.raises(ValueError, match=named):
        parsed(*words)


def test_muon_is_for_whole_matrices(folder):
    words = ["--model_name_or_path", folder, "--lora_r", 4, "--muon_learning_rate", 0.1]
    with pytest.raises(ValueError, match="got --muon_learning_rate with --lora_r"):
        parsed(*words)


def test_how_long_a_row_may_be():
    turns = {"train": Turns([Turn([], "", [0] * 10, [0] * 4, 0)], 1)}
    model = SimpleNamespace(config=SimpleNamespace(max_position_embeddings=64))
    longest = instruct_arguments.longest_row
    assert longest(parsed(), None, turns, 6) == 16
    assert longest(parsed(), model, turns, 6) == 64
    assert longest(parsed("--sequence_length", 32), model, turns, 6) == 32
    with pytest.raises(ValueError, match="sequence_length is 65; expected at most 64"):
        longest(parsed("--sequence_length", 65), model, turns, 6)
    with pytest.raises(ValueError, match="prompt and answer have 6 tokens, and the answer alone 6"):
        longest(parsed("--sequence_length", 6), model, turns, 6)
