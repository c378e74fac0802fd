"""The training loop: the same bits after any interruption, the same losses on any number of processes."""

import errno
import gc
import importlib.util
import json
import logging
import math
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from torch import nn

from ardm import checkpoints, training
from ardm.training.checkpoints import CheckpointFolder
from ardm.training.config import learning_rate_factor
from ardm.training.loop import Batch, TrainingConfig, make_accelerator, train
from ardm.training.optim import muon_adamw

JOB = Path(__file__).with_name("training_job.py")
spec = importlib.util.spec_from_file_location("training_job", JOB)
job = importlib.util.module_from_spec(spec)
spec.loader.exec_module(job)

Outcome = namedtuple("Outcome", "model optimizer result folder")
OPTIMIZERS = {
    "adamw": lambda model: torch.optim.AdamW(model.parameters(), lr=1e-2, fused=True),
    "muon": lambda model: muon_adamw(model, 1e-2, muon_learning_rate=2e-2),
}


@pytest.fixture(scope="module", autouse=True)
def _quick_garbage_collection():
    """Accelerate collects garbage after each run; the libraries' own objects are many and none of it."""
    gc.freeze()
    yield
    gc.unfreeze()


def fit(
    folder,
    *,
    dropout=0.0,
    optimizer="adamw",
    data=None,
    loss_fn=job.loss_fn,
    eval_fn=None,
    model=None,
    **settings,
):
    """A run of the tiny network: 12 steps with a checkpoint at each third, unless told otherwise."""
    defaults = {
        "max_train_steps": 12,
        "per_device_train_batch_size": 4,
        "checkpointing_steps": 3,
        "logging_steps": 2,
    }
    config = TrainingConfig(output_dir=str(folder), mixed_precision="no", **(defaults | settings))
    model = job.Net(dropout) if model is None else model
    optimizer = OPTIMIZERS[optimizer](model)
    data = job.make_examples() if data is None else data
    result = train(model, loss_fn, data, config=config, optimizer=optimizer, eval_fn=eval_fn)
    return Outcome(model, optimizer, result, CheckpointFolder(folder))


def equal(left, right):
    """Bit for bit, whatever is nested in what."""
    if isinstance(left, torch.Tensor):
        return torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(equal(left[key], right[key]) for key in left)
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(equal, left, right))
    return left == right


def assert_same(left: Outcome, right: Outcome):
    assert left.result.history == right.result.history
    assert equal(left.model.state_dict(), right.model.state_dict())
    assert equal(left.optimizer.state_dict(), right.optimizer.state_dict())


def weights(model):
    return [param.detach().clone() for param in model.parameters()]


def stop_at(step, micro_batches=1, number=signal.SIGTERM):
    """A loss function during whose given step the process gets a signal."""
    calls = []

    def loss_fn(model, batch):
        calls.append(1)
        if len(calls) == step * micro_batches:
            signal.raise_signal(number)
        return job.loss_fn(model, batch)

    return loss_fn


@pytest.fixture
def every_checkpoint(monkeypatch, tmp_path):
    """Copies of all checkpoints, which the run itself would prune."""
    seal, copies = CheckpointFolder.seal, {}

    def seal_and_copy(self, step):
        seal(self, step)
        copies[step] = shutil.copytree(
            self.path(step), tmp_path / "copies" / self.path(step).name, dirs_exist_ok=True
        )

    monkeypatch.setattr(CheckpointFolder, "seal", seal_and_copy)
    return copies


# ------------------------------------------------------------------------------------------------------------ resuming


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "adamw", "dropout": 0.5},
        {"optimizer": "muon", "dropout": 0.5, "gradient_accumulation_steps": 2, "logging_steps": 5},
        {"optimizer": "muon", "data": job.Stream(job.make_examples()), "dropout": 0.5},
        {
            "optimizer": "adamw",
            "ema_decay": 0.0,
            "dataloader_num_workers": 1,
            "dropout": 0.5,
            "logging_steps": 100,
        },
    ],
    ids=["adamw", "muon, accumulation", "stream", "no average, a worker"],
)
def test_a_run_resumed_at_any_checkpoint_ends_with_the_same_bits(
    tmp_path, every_checkpoint, settings
):
    settings |= {"eval_fn": job.eval_fn, "eval_steps": 5}
    whole = fit(tmp_path / "whole", **settings)
    assert sorted(every_checkpoint) == [3, 6, 9, 12]
    for step, checkpoint in list(every_checkpoint.items()):
        folder = tmp_path / f"from {step}"
        shutil.copytree(checkpoint, CheckpointFolder(folder).path(step))
        resumed = fit(folder, **settings)
        assert resumed.result.resumed_from == step and resumed.result.num_steps == 12
        assert_same(whole, resumed)
        for name in (
            "model.safetensors",
            "optimizer.bin",
            "average.safetensors",
            "random_states_0.pkl",
        ):
            one, other = (outcome.folder.path(12) / name for outcome in (whole, resumed))
            assert (
                one.exists()
                == other.exists()
                == (settings.get("ema_decay") != 0 or "average" not in name)
            )
            if name.endswith(".safetensors") and one.exists():
                assert one.read_bytes() == other.read_bytes(), name


def test_resuming_a_finished_run_gives_its_result_again(tmp_path):
    first = fit(tmp_path, eval_fn=job.eval_fn)
    again = fit(tmp_path, eval_fn=job.eval_fn, loss_fn=None)  # nothing is left to do
    assert_same(first, again)
    assert (again.result.resumed_from, again.result.num_steps, again.result.samples_per_second) == (
        12,
        12,
        0.0,
    )
    assert not again.model.training


def test_a_longer_run_continues_a_shorter_one(tmp_path):
    fit(tmp_path, lr_scheduler_type="constant", warmup_ratio=0.0)
    longer = fit(tmp_path, lr_scheduler_type="constant", warmup_ratio=0.0, max_train_steps=18)
    assert longer.result.resumed_from == 12
    assert_same(
        longer,
        fit(tmp_path / "whole", lr_scheduler_type="constant", warmup_ratio=0.0, max_train_steps=18),
    )


def test_a_changed_learning_rate_holds_after_a_resume(tmp_path):
    config = {
        "max_train_steps": 4,
        "checkpointing_steps": 2,
        "lr_scheduler_type": "constant",
        "warmup_ratio": 0.0,
    }
    make = dict(output_dir=str(tmp_path), mixed_precision="no", **config)
    train(
        job.Net(),
        job.loss_fn,
        job.make_examples(),
        config=TrainingConfig(learning_rate=1e-2, **make),
    )
    make |= {"max_train_steps": 6}
    result = train(
        job.Net(),
        job.loss_fn,
        job.make_examples(),
        config=TrainingConfig(learning_rate=1e-3, **make),
    )
    assert [entry["learning_rate"] for entry in result.history] == [1e-2, 1e-3]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_a_checkpoint_and_the_next_run_goes_on(tmp_path, number):
    whole = fit(tmp_path / "whole", dropout=0.5, logging_steps=5)
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="at step 4; the same command resumes there"):
        fit(tmp_path / "part", dropout=0.5, logging_steps=5, loss_fn=stop_at(4, number=number))
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers
    resumed = fit(tmp_path / "part", dropout=0.5, logging_steps=5)
    assert resumed.result.resumed_from == 4
    assert_same(whole, resumed)


def test_a_signal_in_the_last_step_ends_the_run_as_usual(tmp_path):
    assert fit(tmp_path, loss_fn=stop_at(12)).result.num_steps == 12


def test_a_second_interrupt_stops_at_once(tmp_path):
    def loss_fn(model, batch):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("went on")

    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, loss_fn=loss_fn)


def test_a_damaged_checkpoint_is_reported_and_the_one_before_it_used(tmp_path):
    whole = fit(tmp_path / "whole", dropout=0.5)
    fit(tmp_path / "part", dropout=0.5)
    file = CheckpointFolder(tmp_path / "part").path(12) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.warns(UserWarning, match=r"step-00000012 is damaged .*truncated"):
        resumed = fit(tmp_path / "part", dropout=0.5)
    assert resumed.result.resumed_from == 9
    assert_same(whole, resumed)
    aside = resumed.folder.root / "replaced-1"
    assert [path.name for path in aside.iterdir()] == ["step-00000012"]
    assert sorted(path.name for path in resumed.folder.root.glob("step-*")) == [
        "step-00000009",
        "step-00000012",
    ]


def test_only_damaged_checkpoints_start_the_run_afresh(tmp_path):
    whole = fit(tmp_path)
    for step in (9, 12):
        (whole.folder.path(step) / "run.json").unlink()
    with pytest.warns(UserWarning, match="is damaged") as reported:
        again = fit(tmp_path)
    assert len(reported) == 2 and again.result.resumed_from == 0
    assert_same(whole, again)


def test_a_chosen_checkpoint(tmp_path):
    whole = fit(tmp_path)
    resumed = fit(tmp_path, resume_from_checkpoint=str(whole.folder.path(9)))
    assert resumed.result.resumed_from == 9
    assert_same(whole, resumed)
    for bad in (tmp_path / "nowhere", tmp_path, JOB):
        with pytest.raises(ValueError, match=r"is no good checkpoint: it cannot be read"):
            fit(tmp_path, resume_from_checkpoint=str(bad))
    (whole.folder.path(9) / "optimizer.bin").unlink()
    with pytest.raises(ValueError, match=r"is no good checkpoint: optimizer.bin is missing"):
        fit(tmp_path, resume_from_checkpoint=str(whole.folder.path(9)))


def test_checkpoints_of_another_run_are_refused_and_kept(tmp_path):
    fit(tmp_path)
    before = sorted(path for path in tmp_path.rglob("*"))
    for changes, message in [
        ({"seed": 1}, "seed was 0 and is 1"),
        ({"per_device_train_batch_size": 2}, "global_batch_size was 4 and is 2"),
        ({"data": job.make_examples(21)}, "num_examples was 20 and is 21"),
        ({"data": job.Stream(job.make_examples())}, "num_examples was 20 and is None"),
        ({"ema_decay": 0.0}, "averages_weights was True and is False"),
        ({"optimizer": "muon"}, "optimizer was AdamW and is MuonAdamW"),
        (
            {"seed": 1, "per_device_train_batch_size": 2},
            "seed was 0 and is 1, global_batch_size was 4 and is 2",
        ),
    ]:
        with pytest.raises(ValueError, match=f"step-00000012 belongs to another run: {message}"):
            fit(tmp_path, **changes)
    with pytest.raises(ValueError, match=r"num_parameters was .* and is"):
        train(
            nn.Linear(2, 2), job.loss_fn, job.make_examples(),
            config=TrainingConfig(output_dir=str(tmp_path), max_train_steps=1, per_device_train_batch_size=4),
        )  # fmt: skip
    assert sorted(path for path in tmp_path.rglob("*")) == before


def test_the_same_global_batch_in_other_parts_may_resume(tmp_path):
    fit(tmp_path, max_train_steps=6, per_device_train_batch_size=4)
    resumed = fit(tmp_path, per_device_train_batch_size=2, gradient_accumulation_steps=2)
    assert resumed.result.resumed_from == 6


def test_a_fresh_start_loses_no_checkpoint_and_is_not_taken_for_the_old_run(tmp_path, caplog):
    """Old checkpoints of later steps must neither be resumed from later nor be kept in place of the new ones."""
    fit(tmp_path, max_train_steps=60, checkpointing_steps=20, logging_steps=20)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, seed=1, resume_from_checkpoint="none", loss_fn=stop_at(7))
    folder = CheckpointFolder(tmp_path)
    assert "starting at step 0; checkpoints of later steps moved to" in caplog.text
    aside = folder.root / "replaced-1"
    assert sorted(path.name for path in aside.iterdir()) == ["step-00000040", "step-00000060"]
    assert all(checkpoints.find_fault(path) is None for path in aside.iterdir())
    assert folder.newest() == folder.path(7)
    resumed = fit(tmp_path, seed=1)
    assert resumed.result.resumed_from == 7
    assert_same(resumed, fit(tmp_path / "whole", seed=1))
    old = fit(tmp_path, max_train_steps=60, resume_from_checkpoint=str(aside / "step-00000060"))
    assert old.result.resumed_from == 60


# ------------------------------------------------------------------------------------------------------- full disks


def test_no_room_and_no_permission_are_told_before_any_step(tmp_path, monkeypatch):
    def never(model, batch):
        raise AssertionError("a step was taken")

    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot be written to"):
        fit(tmp_path / "file" / "run", loss_fn=never)
    fit(tmp_path / "half", max_train_steps=6)
    usage = namedtuple("Usage", "total used free")(1, 1, 1024)
    monkeypatch.setattr(checkpoints.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ValueError, match="MiB free; this run needs about"):
        fit(tmp_path / "run", loss_fn=never)
    assert fit(tmp_path / "half").result.resumed_from == 6  # it has its checkpoints' room already


def no_space(*args, **kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("where", ["save_state", "seal", "average"])
def test_a_full_disk_costs_one_checkpoint_and_not_the_run(tmp_path, monkeypatch, caplog, where):
    from accelerate import Accelerator
    from safetensors import SafetensorError

    owner, name = (
        (Accelerator, "save_state") if where == "save_state" else (CheckpointFolder, "seal")
    )
    if where == "average":
        import safetensors.torch as owner

        name = "save_file"
    working, calls = getattr(owner, name), []

    def fails_once(*args, **kwargs):
        if where != "average" or "average" in str(args[1]):
            calls.append(1)
            if len(calls) == 2:
                if where == "average":
                    raise SafetensorError(
                        "Error while serializing: I/O error: No space left on device (os error 28)"
                    )
                no_space()
            if (
                len(calls) == 3
            ):  # after the failure: the one before it is there, and nothing half-written
                assert not list((tmp_path / "checkpoints").glob("*006"))
                assert CheckpointFolder(tmp_path).newest() == CheckpointFolder(tmp_path).path(3)
        return working(*args, **kwargs)

    monkeypatch.setattr(owner, name, fails_once)
    outcome = fit(tmp_path)
    assert (
        "checkpoint of step 6 could not be written: " in caplog.text
        and "No space left" in caplog.text
    )
    assert sorted(path.name for path in outcome.folder.root.iterdir()) == [
        "step-00000009",
        "step-00000012",
    ]
    monkeypatch.undo()
    assert_same(outcome, fit(tmp_path / "whole"))


def test_a_write_that_the_system_cuts_short_costs_one_checkpoint(tmp_path, caplog):
    """The system's own refusal, as torch and safetensors report it: neither raises OSError."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def loss_fn(model, batch):
        step = round(batch.progress * 12)
        limit = (
            600 if step == 5 else 3500 if step == 8 else before[0]
        )  # bytes: less than the weights, the optimiser
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        return job.loss_fn(model, batch)

    try:
        outcome = fit(tmp_path, loss_fn=loss_fn)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert "checkpoint of step 6 could not be written: " in caplog.text
    assert "checkpoint of step 9 could not be written: " in caplog.text
    assert sorted(path.name for path in outcome.folder.root.iterdir()) == [
        "step-00000003",
        "step-00000012",
    ]


# ----------------------------------------------------------------------------------------------- a step and its figures


def test_a_step_is_the_textbook_one(tmp_path):
    """Warm-up, clipping, AdamW, the average's recursion: written out by hand beside the loop."""
    settings = {
        "max_grad_norm": 0.05,
        "warmup_ratio": 0.25,
        "lr_scheduler_type": "cosine",
        "ema_decay": 0.9,
    }
    batches, models = [], []

    def loss_fn(model, batch):
        batches.append(batch)
        models.append(weights(model))
        return job.loss_fn(model, batch)

    outcome = fit(tmp_path, loss_fn=loss_fn, **settings)

    model = job.Net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, fused=True)
    average, clipped = weights(model), 0
    for step, batch in enumerate(batches):
        assert equal(weights(model), models[step])
        warm_up, left = min(1, (step + 1) / 3), (12 - step) / 12
        optimizer.param_groups[0]["lr"] = 1e-2 * warm_up * (0.5 - 0.5 * math.cos(math.pi * left))
        optimizer.zero_grad()
        job.loss_fn(model, batch)["loss"].backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.05)
        clipped += norm.item() > 0.05
        optimizer.step()
        decay = min(0.9, (1 + step) / (10 + step))
        average = [
            decay * a + (1 - decay) * param
            for a, param in zip(average, weights(model), strict=True)
        ]
    assert clipped > 3
    for left, right in zip(average, weights(outcome.model), strict=True):
        assert torch.allclose(left, right, atol=1e-6)
    assert not equal(weights(model), weights(outcome.model))  # the raw weights are others


def test_without_an_average_the_model_keeps_its_weights(tmp_path):
    seen = []
    outcome = fit(tmp_path, ema_decay=0.0, eval_fn=lambda model: seen.append(weights(model)) or {})
    assert equal(seen[-1], weights(outcome.model))
    from safetensors.torch import load_file

    saved = load_file(outcome.folder.path(12) / "model.safetensors")
    assert all(equal(value, outcome.model.state_dict()[name]) for name, value in saved.items())
    assert not (outcome.folder.path(12) / "average.safetensors").exists()


def test_evaluation_sees_the_average_and_training_goes_on_with_the_weights(tmp_path):
    seen, modes = [], []

    def evaluate(model):
        seen.append(weights(model))
        modes.append(model.training)
        return {"eval_nats": torch.tensor(1.5)}

    def loss_fn(model, batch):
        modes.append(model.training)
        return job.loss_fn(model, batch)

    with_evaluation = fit(
        tmp_path / "a", eval_fn=evaluate, eval_steps=4, loss_fn=loss_fn, logging_steps=3
    )
    assert modes == ([True] * 4 + [False]) * 3
    without = fit(tmp_path / "b", logging_steps=3)
    assert equal(weights(without.model), weights(with_evaluation.model))
    assert equal(
        seen[-1], weights(without.model)
    )  # the last one saw the average that the model is left with
    history = with_evaluation.result.history
    assert [entry["step"] for entry in history] == [3, 4, 6, 8, 9, 12]
    assert [entry["step"] for entry in history if "eval_nats" in entry] == [4, 8, 12]
    assert all(type(value) in (int, float) for entry in history for value in entry.values())


def test_an_evaluation_that_fails_leaves_the_weights(tmp_path):
    model = job.Net()

    def fail(model):
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        fit(tmp_path, model=model, eval_fn=fail, checkpointing_steps=0)
    assert equal(weights(model), weights(fit(tmp_path / "b", ema_decay=0.0).model))


def test_accumulated_micro_batches_are_one_batch(tmp_path):
    whole = fit(tmp_path / "a", per_device_train_batch_size=6)
    parts = fit(tmp_path / "b", per_device_train_batch_size=2, gradient_accumulation_steps=3)
    for left, right in zip(whole.result.history, parts.result.history, strict=True):
        assert left == pytest.approx(right, abs=1e-5)
    for left, right in zip(weights(whole.model), weights(parts.model), strict=True):
        assert torch.allclose(left, right, atol=1e-5)


def test_history_holds_the_means_since_the_last_entry(tmp_path):
    values = []

    def loss_fn(model, batch):
        loss = job.loss_fn(model, batch)["loss"]
        values.append(loss.item())
        return {"loss": loss, "number": batch.sample_numbers.double().mean()}

    outcome = fit(tmp_path, loss_fn=loss_fn, logging_steps=5, gradient_accumulation_steps=2)
    history = outcome.result.history
    assert [entry["step"] for entry in history] == [5, 10, 12]
    for entry, part in zip(history, (slice(0, 10), slice(10, 20), slice(20, 24)), strict=True):
        assert entry["loss"] == pytest.approx(sum(values[part]) / len(values[part]), abs=1e-6)
        assert entry["number"] == pytest.approx((part.start * 4 + part.stop * 4 - 1) / 2)
    factors = [learning_rate_factor(entry["step"] - 1, TrainingConfig("", 12)) for entry in history]
    assert [entry["learning_rate"] for entry in history] == pytest.approx(
        [1e-2 * factor for factor in factors]
    )


def test_logging_and_checkpoints_do_not_change_the_run(tmp_path):
    runs = [
        fit(tmp_path / str(index), dropout=0.5, **settings)
        for index, settings in enumerate(
            [
                {"logging_steps": 1},
                {"logging_steps": 4},
                {"checkpointing_steps": 0},
                {"dataloader_num_workers": 1},
            ]
        )
    ]
    assert len({job.weights_hash(run.model) for run in runs}) == 1
    every, fourth = (run.result.history for run in runs[:2])
    for i, entry in enumerate(fourth):
        part = every[4 * i : 4 * i + 4]
        assert entry["loss"] == pytest.approx(sum(e["loss"] for e in part) / 4, abs=1e-6)


def test_a_batch_knows_its_place_in_the_run(tmp_path):
    batches = []

    def loss_fn(model, batch):
        assert isinstance(batch, Batch) and isinstance(batch, dict)
        batches.append(batch)
        return model(**{"ids": batch["ids"]}).square().mean()  # a plain tensor is a loss too

    outcome = fit(tmp_path, loss_fn=loss_fn, gradient_accumulation_steps=2)
    numbers = torch.cat([batch.sample_numbers for batch in batches])
    assert torch.equal(numbers, torch.arange(12 * 8))
    assert all(batch.global_batch_size == 8 for batch in batches)
    assert [batch.progress for batch in batches] == [
        step / 12 for step in range(12) for _ in range(2)
    ]
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

    assert (
        fit(
            tmp_path, model=Keywords(), loss_fn=lambda model, batch: model(**batch)
        ).result.num_steps
        == 12
    )


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


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("max_grad_norm", [1.0, 0.0])
def test_a_step_with_a_bad_gradient_is_skipped(tmp_path, caplog, bad, max_grad_norm):
    seen = []

    def loss_fn(model, batch):
        seen.append(weights(model))
        values = job.loss_fn(model, batch)
        return {"loss": values["loss"] * (bad if len(seen) in (3, 4) else 1)}

    outcome = fit(tmp_path, loss_fn=loss_fn, max_grad_norm=max_grad_norm)
    assert equal(seen[2], seen[3]) and equal(seen[3], seen[4]) and not equal(seen[4], seen[5])
    assert caplog.text.count("the gradient is not finite; the step is skipped") == 2
    assert all(tensor.isfinite().all() for tensor in weights(outcome.model))
    assert outcome.result.num_steps == 12 and outcome.result.skipped_steps == 2
    assert [entry.get("skipped_steps") for entry in outcome.result.history] == [None, 2, 2, 2, 2, 2]
    again = fit(tmp_path, loss_fn=loss_fn, max_grad_norm=max_grad_norm)
    assert again.result.skipped_steps == 2  # kept in the checkpoint


def test_too_many_bad_gradients_in_a_row_end_the_run(tmp_path):
    calls = []

    def loss_fn(model, batch):
        calls.append(1)  # 20 bad ones, a good one, then bad ones only
        return job.loss_fn(model, batch)["loss"] * (1 if len(calls) in (1, 2, 3, 24) else math.nan)

    with pytest.raises(
        RuntimeError,
        match=r"not finite for 21 steps in a row, up to step 44.*last good checkpoint is in",
    ):
        fit(tmp_path, loss_fn=loss_fn, max_train_steps=100, checkpointing_steps=3)
    assert len(calls) == 45 and CheckpointFolder(tmp_path).newest() is not None


# ------------------------------------------------------------------------------------------------------- learning rates


@pytest.mark.parametrize("kind", ["linear", "cosine", "constant"])
@pytest.mark.parametrize("total", [1, 2, 7, 100])
@pytest.mark.parametrize(
    "warmup, decay", [(0.0, 1.0), (0.1, 0.5), (0.5, 0.1), (1.0, 1.0), (0.0, 0.0)]
)
def test_learning_rates_are_positive_and_rise_then_fall(kind, total, warmup, decay):
    config = TrainingConfig(
        "", total, lr_scheduler_type=kind, warmup_ratio=warmup, decay_ratio=decay
    )
    factors = [learning_rate_factor(step, config) for step in range(total)]
    assert all(0 < factor <= 1 for factor in factors)
    peak = factors.index(max(factors))
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)


def test_learning_rates_of_a_plateau_between_warm_up_and_decay():
    config = TrainingConfig("", 100, warmup_ratio=0.1, decay_ratio=0.2)
    factors = [learning_rate_factor(step, config) for step in range(100)]
    assert factors[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert factors[9:81] == [1.0] * 72
    assert factors[80:] == pytest.approx([left / 20 for left in range(20, 0, -1)])


# --------------------------------------------------------------------------------------------------- input and trackers


def test_bad_input(tmp_path):
    with pytest.raises(ValueError, match="train_dataset is empty; expected at least one example"):
        fit(tmp_path, data=[])
    with pytest.raises(ValueError, match="streamed data set is empty"):
        fit(tmp_path, data=job.Stream([]))
    with pytest.raises(ValueError, match="collate_fn returned a list; expected a dict"):
        fit(tmp_path / "lists", data=[[torch.zeros(1)]] * 3)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"max_train_steps": 0}, "max_train_steps is 0; expected an integer of at least 1"),
        ({"per_device_train_batch_size": 0}, "per_device_train_batch_size is 0"),
        ({"gradient_accumulation_steps": -1}, "gradient_accumulation_steps is -1"),
        ({"logging_steps": 0}, "logging_steps is 0"),
        ({"lr_scheduler_type": "wavy"}, "lr_scheduler_type is 'wavy'; expected one of .*'cosine'"),
        ({"mixed_precision": "fp8"}, "mixed_precision is 'fp8'; expected"),
        ({"ema_decay": 1.0}, r"ema_decay is 1.0; expected a number in \[0, 1\)"),
        ({"ema_decay": -0.1}, "ema_decay is -0.1"),
        ({"eval_steps": -5}, "eval_steps is -5"),
        ({"seed": 2**63}, "seed is"),
        ({"report_to": "nobody"}, "report_to is 'nobody'"),
        ({"seed": -1}, "seed is -1"),
        ({"learning_rate": -1e-3}, "learning_rate is -0.001"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"warmup_ratio": 1.5}, "warmup_ratio is 1.5"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        TrainingConfig("", **({"max_train_steps": 1} | settings))


def test_a_run_may_be_resumed_with_another_split_of_the_same_global_batch(tmp_path):
    """Accelerate counts micro-batches and saves the count: it must not carry over."""
    weights = {}
    for name, splits in {
        "whole": [(8, 1, 6)],
        "parts": [(8, 1, 3), (4, 2, 6)],
        "other": [(2, 4, 3), (8, 1, 6)],
    }.items():
        for batch_size, accumulation, steps in splits:
            model = job.Net()
            settings = {
                "lr_scheduler_type": "constant",
                "warmup_ratio": 0.0,
                "gradient_accumulation_steps": accumulation,
            }
            config = TrainingConfig(str(tmp_path / name), steps, batch_size, **settings)
            train(
                model,
                job.loss_fn,
                job.make_examples(),
                config=config,
                optimizer=OPTIMIZERS["adamw"](model),
            )
        weights[name] = torch.nn.utils.parameters_to_vector(model.parameters()).detach()
    torch.testing.assert_close(weights["parts"], weights["whole"], rtol=0, atol=1e-5)
    torch.testing.assert_close(weights["other"], weights["whole"], rtol=0, atol=1e-5)


def test_a_finished_run_is_not_taken_for_a_shorter_one(tmp_path):
    for steps in (4, 2):
        config = TrainingConfig(str(tmp_path), steps, per_device_train_batch_size=4)
        if steps == 4:
            train(job.Net(), job.loss_fn, job.make_examples(), config=config)
        else:
            with pytest.raises(ValueError, match="beyond max_train_steps=2"):
                train(job.Net(), job.loss_fn, job.make_examples(), config=config)


def test_two_runs_cannot_write_to_one_folder(tmp_path):
    other = CheckpointFolder(tmp_path)
    other.lock()
    config = TrainingConfig(str(tmp_path), 2, per_device_train_batch_size=4)
    with pytest.raises(ValueError, match="another run is writing"):
        train(job.Net(), job.loss_fn, job.make_examples(), config=config)
    other.unlock()
    train(job.Net(), job.loss_fn, job.make_examples(), config=config)


def test_two_runs_in_one_python_process(tmp_path):
    """Accelerate keeps state per process: none of it may leak from one run into the next."""
    alone = fit(tmp_path / "a", gradient_accumulation_steps=1)
    fit(tmp_path / "b", gradient_accumulation_steps=4)
    assert_same(alone, fit(tmp_path / "c", gradient_accumulation_steps=1))


def test_an_accelerator_of_ones_own(tmp_path):
    """Its accumulation follows the settings, and an earlier run's model is not in the next one's checkpoints."""
    config = TrainingConfig(
        str(tmp_path / "own"), 12, per_device_train_batch_size=4, checkpointing_steps=3
    )
    accelerator = make_accelerator(TrainingConfig(str(tmp_path), 1, gradient_accumulation_steps=7))
    for name in ("first", "second"):
        config.output_dir = str(tmp_path / name)
        model = job.Net()
        train(model, job.loss_fn, job.make_examples(), config=config, accelerator=accelerator,
              optimizer=OPTIMIZERS["adamw"](model))  # fmt: skip
        files = {path.name for path in CheckpointFolder(tmp_path / name).path(12).iterdir()}
        assert files == {"average.safetensors", "manifest.json", "model.safetensors", "optimizer.bin",
                         "random_states_0.pkl", "run.json"}  # fmt: skip
        assert equal(weights(model), weights(fit(tmp_path / f"{name} plain").model))


def test_tensorboard_gets_the_figures(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    outcome = fit(tmp_path, report_to="tensorboard", eval_fn=job.eval_fn)
    [event_file] = [
        path for path in tmp_path.rglob("events.out.tfevents.*") if "hparams" not in str(path)
    ][:1]
    events = EventAccumulator(str(event_file.parent)).Reload()
    logged = {(event.step, round(event.value, 5)) for event in events.Scalars("loss")}
    assert logged == {(entry["step"], round(entry["loss"], 5)) for entry in outcome.result.history}
    assert [event.step for event in events.Scalars("eval_nats")] == [12]


def test_log_lines_where_there_is_no_terminal(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    with caplog.at_level(logging.INFO, "ardm.training.loop"):
        fit(tmp_path, logging_steps=6)
    lines = [record.message for record in caplog.records if "/12" in record.message]
    assert len(lines) == 2 and lines[0].startswith("step 6/12  ") and "loss " in lines[0]


def test_a_thread_may_train(tmp_path):
    """Signals can be caught on the main thread only; elsewhere the run does without."""
    import concurrent.futures

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        assert pool.submit(fit, tmp_path).result().result.num_steps == 12


@pytest.mark.slow
def test_a_compiled_model(tmp_path):
    plain = fit(tmp_path / "plain", eval_fn=job.eval_fn)
    compiled = fit(tmp_path / "compiled", eval_fn=job.eval_fn, compile=True)
    assert compiled.model.state_dict().keys() == plain.model.state_dict().keys()
    for left, right in zip(plain.result.history, compiled.result.history, strict=True):
        assert left == pytest.approx(right, abs=1e-4)
    assert_same(compiled, fit(tmp_path / "compiled", eval_fn=job.eval_fn, compile=True))


# ---------------------------------------------------------------------------------------------- processes of their own


def command(folder, *flags, processes=0, **settings):
    """A job's command line and its result file; under `accelerate launch` if processes > 0."""
    defaults = {
        "output_dir": str(folder),
        "per_device_train_batch_size": 4,
        "checkpointing_steps": 3,
        "logging_steps": 2,
    }
    result = Path(f"{folder}.json")
    launcher = [sys.executable]
    if processes:
        launcher = [str(Path(sys.executable).with_name("accelerate")), "launch", "--cpu", "--num_machines", "1",
                    "--num_processes", str(processes), "--mixed_precision", "no", "--dynamo_backend", "no"]  # fmt: skip
    line = [
        *launcher,
        str(JOB),
        "--result",
        str(result),
        "--config",
        json.dumps(defaults | settings),
        *flags,
    ]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(training.__file__).parents[1]),
    }
    return {
        "args": line,
        "env": environment,
        "text": True,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.STDOUT,
    }, result


def complete(*args, **kwargs):
    call, result = command(*args, **kwargs)
    done = subprocess.run(**call, timeout=200)
    assert done.returncode == 0, done.stdout
    report = json.loads(result.read_text())
    assert report["num_processes"] == max(1, kwargs.get("processes", 0))
    return report, done.stdout


@pytest.mark.slow
def test_one_process_and_two_are_the_same_run(tmp_path):
    one, _ = complete(tmp_path / "one", processes=1, per_device_train_batch_size=4)
    two, _ = complete(tmp_path / "two", processes=2, per_device_train_batch_size=2)
    parts, _ = complete(
        tmp_path / "parts", per_device_train_batch_size=2, gradient_accumulation_steps=2
    )
    four, _ = complete(
        tmp_path / "four", processes=2, per_device_train_batch_size=1, gradient_accumulation_steps=2
    )
    for other in (two, parts, four):
        for left, right in zip(one["history"], other["history"], strict=True):
            assert left == pytest.approx(right, abs=1e-4)
        for name, values in one["weights"].items():
            assert torch.allclose(
                torch.tensor(values), torch.tensor(other["weights"][name]), atol=1e-4
            ), name


@pytest.mark.slow
def test_two_processes_stop_together_and_resume_with_the_same_bits(tmp_path):
    flags = ["--dropout", "0.5", "--optimizer", "muon"]
    whole, _ = complete(tmp_path / "whole", *flags, processes=2, logging_steps=5)
    call, result = command(
        tmp_path / "part", *flags, "--step_seconds", "0.3", processes=2, logging_steps=5
    )
    process = subprocess.Popen(**call, start_new_session=True)
    wait_for(lambda: CheckpointFolder(tmp_path / "part").newest(), process)
    os.killpg(process.pid, signal.SIGTERM)
    process.communicate(timeout=100)
    assert not result.exists()
    newest = CheckpointFolder(tmp_path / "part").newest()
    assert not list(newest.parent.glob(".writing-*"))
    resumed, _ = complete(tmp_path / "part", *flags, processes=2, logging_steps=5)
    assert resumed["resumed_from"] >= 3
    assert (resumed["hash"], resumed["history"]) == (whole["hash"], whole["history"])


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_run_killed_at_any_moment_ends_with_the_same_bits(tmp_path, optimizer):
    flags = ["--dropout", "0.5", "--optimizer", optimizer]
    whole, _ = complete(tmp_path / "whole", *flags, checkpointing_steps=2)
    slow = [*flags, "--step_seconds", "0.05", "--save_seconds", "0.2"]
    call, result = command(tmp_path / "killed", *slow, checkpointing_steps=2)
    root, rng, killed_while_writing = tmp_path / "killed" / "checkpoints", random.Random(0), 0
    for attempt in range(4):
        process = subprocess.Popen(**call)
        before = set(root.glob("step-*"))
        if attempt % 2 == 0:  # during a write
            wait_for(lambda: list(root.glob(".writing-*")), process)
            time.sleep(rng.uniform(0, 0.2))
        else:
            wait_for(lambda seen=before: set(root.glob("step-*")) - seen, process)
            time.sleep(rng.uniform(0, 0.3))
        process.kill()
        process.communicate()
        killed_while_writing += bool(list(root.glob(".writing-*")))
    assert killed_while_writing >= 1 and not result.exists()
    resumed, _ = complete(tmp_path / "killed", *flags, checkpointing_steps=2)
    assert resumed["resumed_from"] > 0
    assert (resumed["hash"], resumed["history"]) == (whole["hash"], whole["history"])
    assert not list(root.glob(".writing-*"))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_process_leaves_its_step(tmp_path, number):
    call, result = command(tmp_path / "run", "--step_seconds", "0.3", checkpointing_steps=0)
    process = subprocess.Popen(**call)
    wait_for(lambda: (tmp_path / "run").exists(), process)
    time.sleep(1.5)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode not in (0, -signal.SIGKILL) and not result.exists()
    assert "KeyboardInterrupt: at step " in output
    assert CheckpointFolder(tmp_path / "run").newest() is not None
    resumed, _ = complete(tmp_path / "run", checkpointing_steps=0)
    assert 0 < resumed["resumed_from"] < 12


def wait_for(condition, process, seconds=100):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.01)
