"""A step is the textbook's; figures, averages and evaluations do not change what is learnt."""

import math
import random

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from ardm.training import Batch, TrainingConfig
from ardm.training.config import learning_rate_factor

from . import training_job as job
from .short_runs import equal, fit, weights


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The run that others are compared with."""
    return fit(tmp_path_factory.mktemp("plain"), logging_steps=3)


def test_a_step_is_the_textbook_one(tmp_path):
    """Warm-up, clipping, AdamW, the average's recursion: written out beside the loop."""
    batches = []
    models = []

    def loss_fn(model, batch):
        batches.append(batch)
        models.append(weights(model))
        return job.loss_fn(model, batch)

    settings = {"max_grad_norm": 0.05, "warmup_ratio": 0.25, "lr_scheduler_type": "cosine"}
    outcome = fit(tmp_path, loss_fn=loss_fn, ema_decay=0.9, **settings)

    model = job.Net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, fused=True)
    average = weights(model)
    num_clipped = 0
    for step, batch in enumerate(batches):
        assert equal(weights(model), models[step])
        warm_up = min(1, (step + 1) / 3)
        decay = 0.5 - 0.5 * math.cos(math.pi * (12 - step) / 12)
        optimizer.param_groups[0]["lr"] = 1e-2 * warm_up * decay
        optimizer.zero_grad()
        job.loss_fn(model, batch)["loss"].backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 0.05)
        num_clipped += norm.item() > 0.05
        optimizer.step()
        share = min(0.9, (1 + step) / (10 + step))
        pairs = zip(average, weights(model), strict=True)
        average = [share * old + (1 - share) * new for old, new in pairs]
    assert num_clipped > 3
    torch.testing.assert_close(average, weights(outcome.model), rtol=0, atol=1e-6)
    assert not equal(weights(model), weights(outcome.model))  # the raw weights are others


def test_without_an_average_the_model_keeps_its_weights(tmp_path):
    seen = []
    outcome = fit(tmp_path, ema_decay=0.0, eval_fn=lambda model: seen.append(weights(model)) or {})
    assert equal(seen[-1], weights(outcome.model))
    saved = load_file(outcome.folder.path(12) / "model.safetensors")
    assert all(equal(value, outcome.model.state_dict()[name]) for name, value in saved.items())
    assert not (outcome.folder.path(12) / "average.safetensors").exists()


def test_evaluation_sees_the_average_and_training_goes_on_with_the_weights(tmp_path, plain):
    seen = []
    modes = []

    def evaluate(model):
        seen.append(weights(model))
        modes.append(model.training)
        return {"eval_nats": torch.tensor(1.5)}

    def loss_fn(model, batch):
        modes.append(model.training)
        return job.loss_fn(model, batch)

    outcome = fit(tmp_path, eval_fn=evaluate, eval_steps=4, loss_fn=loss_fn, logging_steps=3)
    assert modes == ([True] * 4 + [False]) * 3
    assert equal(weights(plain.model), weights(outcome.model))
    assert equal(seen[-1], weights(plain.model))  # the average that the model is left with
    history = outcome.result.history
    assert [entry["step"] for entry in history] == [3, 4, 6, 8, 9, 12]
    assert [entry["step"] for entry in history if "eval_nats" in entry] == [4, 8, 12]
    assert all(type(value) in (int, float) for entry in history for value in entry.values())


def test_an_evaluation_that_fails_leaves_the_weights(tmp_path):
    model = job.Net()

    def fail(model):
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        fit(tmp_path, model=model, eval_fn=fail, checkpointing_steps=0)
    unaveraged = fit(tmp_path / "b", ema_decay=0.0, checkpointing_steps=0)
    assert equal(weights(model), weights(unaveraged.model))


def test_accumulated_micro_batches_are_one_batch(tmp_path):
    common = {"max_train_steps": 6, "checkpointing_steps": 0}
    whole = fit(tmp_path / "a", per_device_train_batch_size=6, **common)
    split = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 3}
    parts = fit(tmp_path / "b", **split, **common)
    for left, right in zip(whole.result.history, parts.result.history, strict=True):
        assert left == pytest.approx(right, abs=1e-5)
    torch.testing.assert_close(weights(whole.model), weights(parts.model), rtol=0, atol=1e-5)


def test_history_holds_the_means_since_the_last_entry(tmp_path):
    values = []

    def loss_fn(model, batch):
        loss = job.loss_fn(model, batch)["loss"]
        values.append(loss.item())
        return {"loss": loss, "number": batch.example_numbers.double().mean()}

    outcome = fit(tmp_path, loss_fn=loss_fn, logging_steps=5, gradient_accumulation_steps=2)
    history = outcome.result.history
    assert [entry["step"] for entry in history] == [5, 10, 12]
    for entry, (start, stop) in zip(history, [(0, 10), (10, 20), (20, 24)], strict=True):
        assert entry["loss"] == pytest.approx(sum(values[start:stop]) / (stop - start), abs=1e-6)
        assert entry["number"] == pytest.approx((start * 4 + stop * 4 - 1) / 2)
    config = TrainingConfig("out", 12)
    rates = [1e-2 * learning_rate_factor(entry["step"] - 1, config) for entry in history]
    assert [entry["learning_rate"] for entry in history] == pytest.approx(rates)


def test_logging_and_checkpoints_do_not_change_the_run(tmp_path, plain):
    changes = [
        {"logging_steps": 1, "checkpointing_steps": 0},
        {"logging_steps": 4, "dataloader_num_workers": 1},
    ]
    runs = [fit(tmp_path / str(i), **settings) for i, settings in enumerate(changes)]
    assert len({job.weights_hash(run.model) for run in [*runs, plain]}) == 1
    every, fourth = (run.result.history for run in runs)
    for i, entry in enumerate(fourth):
        part = every[4 * i : 4 * i + 4]
        assert entry["loss"] == pytest.approx(sum(e["loss"] for e in part) / 4, abs=1e-6)


def test_a_batch_knows_its_place_in_the_run(tmp_path):
    batches = []

    def loss_fn(model, batch):
        assert isinstance(batch, Batch) and isinstance(batch, dict)
        batches.append(batch)
        return model(batch["ids"]).square().mean()  # a plain tensor is a loss too

    outcome = fit(tmp_path, loss_fn=loss_fn, gradient_accumulation_steps=2, checkpointing_steps=0)
    numbers = torch.cat([batch.example_numbers for batch in batches])
    assert torch.equal(numbers, torch.arange(12 * 8))
    assert all(batch.global_batch_size == 8 for batch in batches)
    progress = [step / 12 for step in range(12) for _ in range(2)]
    assert [batch.progress for batch in batches] == progress
    assert outcome.result.history[0].keys() == {"step", "loss", "learning_rate"}
    indices = [int(index) for batch in batches for index in batch["index"]]
    assert all(sorted(indices[start : start + 20]) == list(range(20)) for start in range(0, 80, 20))


def test_a_module_takes_the_batch_as_keywords(tmp_path):
    class Keywords(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = job.Net()

        def forward(self, ids, target, index):
            return nn.functional.cross_entropy(self.net(ids), target)

    def loss_fn(model, batch):
        return model(**batch)

    outcome = fit(
        tmp_path, model=Keywords(), loss_fn=loss_fn, max_train_steps=2, checkpointing_steps=0
    )
    assert outcome.result.num_steps == 2


def test_training_learns(tmp_path):
    outcome = fit(
        tmp_path,
        max_train_steps=150,
        per_device_train_batch_size=20,
        checkpointing_steps=0,
        logging_steps=50,
    )
    losses = [entry["nats"] for entry in outcome.result.history]
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("seed", [0, 2**40])
def test_random_numbers_of_every_library_are_the_seeds(tmp_path, seed):
    """A data set may draw by any of them: runs of one seed are equal, whatever came before."""
    drawn = []

    def loss_fn(model, batch):
        drawn.append((random.random(), np.random.rand(), float(torch.rand(()))))
        return job.loss_fn(model, batch)

    for number in range(3):
        run = seed + (number == 2)
        fit(tmp_path / str(number), loss_fn=loss_fn, seed=run, max_train_steps=2)
    first, again, other = drawn[:2], drawn[2:4], drawn[4:]
    assert first == again
    assert all(
        a != b for one, two in zip(first, other, strict=True) for a, b in zip(one, two, strict=True)
    )
