"""The same bits after any interruption; a checkpoint that cannot be read or written is survived."""

import errno
import resource
import shutil
import signal
from collections import namedtuple

import pytest
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from ardm.training import files
from ardm.training.checkpoints import CheckpointFolder, find_fault
from ardm.training.snapshot import Snapshot

from . import training_job as job
from .short_runs import assert_same, fit, stop_at, weights

FILES = ("model", "optimizer", "average", "random_0")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that was never interrupted. Its folder is only to be read."""
    return fit(tmp_path_factory.mktemp("whole"), dropout=0.5)


@pytest.fixture
def finished(whole, tmp_path):
    """A copy of its folder."""
    return shutil.copytree(whole.folder.root.parent, tmp_path / "run")


def steps(folder):
    return sorted(int(path.name.removeprefix("step-")) for path in folder.glob("step-*"))


def never(model, batch):
    raise AssertionError("a step was taken")


# ------------------------------------------------------------------------------------- resuming
@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "adamw"},
        {"optimizer": "muon", "gradient_accumulation_steps": 2, "logging_steps": 5},
        {"optimizer": "muon", "data": job.Stream(job.make_examples())},
        {"ema_decay": 0.0, "dataloader_num_workers": 1, "logging_steps": 100},
    ],
    ids=["adamw", "muon, accumulation", "stream", "no average, a worker"],
)
def test_a_run_resumed_at_any_checkpoint_ends_with_the_same_bits(
    tmp_path, every_checkpoint, settings
):
    settings |= {"dropout": 0.5, "eval_fn": job.eval_fn, "eval_steps": 5}
    whole = fit(tmp_path / "whole", **settings)
    assert sorted(every_checkpoint) == [3, 6, 9, 12]
    for step, checkpoint in list(every_checkpoint.items()):
        folder = CheckpointFolder(tmp_path / f"from {step}")
        shutil.copytree(checkpoint, folder.path(step))
        resumed = fit(folder.root.parent, **settings)
        assert (resumed.result.resumed_from, resumed.result.num_steps) == (step, 12)
        assert_same(whole, resumed)
        for name in FILES:
            file = f"{name}.safetensors"
            one, other = (outcome.folder.path(12) / file for outcome in (whole, resumed))
            expected = "ema_decay" not in settings or name != "average"
            assert one.exists() == other.exists() == expected
            if expected:
                assert one.read_bytes() == other.read_bytes(), name


def test_resuming_a_finished_run_gives_its_result_again(whole, finished):
    again = fit(finished, dropout=0.5, loss_fn=never)
    assert_same(whole, again)
    result = again.result
    assert (result.resumed_from, result.num_steps, result.examples_per_second) == (12, 12, 0.0)
    assert result.seconds <= whole.result.seconds
    assert not again.model.training


def test_a_longer_run_continues_a_shorter_one(tmp_path):
    settings = {"lr_scheduler_type": "constant", "warmup_ratio": 0.0}
    fit(tmp_path, max_train_steps=4, **settings)
    longer = fit(tmp_path, max_train_steps=8, **settings)
    assert longer.result.resumed_from == 4
    assert_same(longer, fit(tmp_path / "whole", max_train_steps=8, **settings))


def test_a_damaged_checkpoint_is_reported_and_the_one_before_it_used(whole, finished):
    file = CheckpointFolder(finished).path(12) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.warns(UserWarning, match=r"step-00000012 is damaged .*truncated"):
        resumed = fit(finished, dropout=0.5)
    assert resumed.result.resumed_from == 9
    assert_same(whole, resumed)
    assert steps(resumed.folder.root / "replaced-1") == [12]
    assert steps(resumed.folder.root) == [9, 12]


def test_only_damaged_checkpoints_start_the_run_afresh(whole, finished):
    for step in (9, 12):
        (CheckpointFolder(finished).path(step) / "run.json").unlink()
    with pytest.warns(UserWarning, match="is damaged") as reported:
        again = fit(finished, dropout=0.5)
    assert len(reported) == 2 and again.result.resumed_from == 0
    assert_same(whole, again)


def test_a_chosen_checkpoint(whole, finished, tmp_path):
    chosen = CheckpointFolder(finished).path(9)
    resumed = fit(finished, dropout=0.5, resume_from_checkpoint=str(chosen))
    assert resumed.result.resumed_from == 9
    assert_same(whole, resumed)
    for bad in (tmp_path / "nowhere", tmp_path, __file__):
        with pytest.raises(ValueError, match=r"is no good checkpoint: it cannot be read"):
            fit(finished, resume_from_checkpoint=str(bad))
    (chosen / "optimizer.safetensors").unlink()
    with pytest.raises(ValueError, match=r"is no good checkpoint: optimizer.* is missing"):
        fit(finished, resume_from_checkpoint=str(chosen))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1}, "seed was 0 and is 1"),
        ({"per_device_train_batch_size": 2}, "global_batch_size was 4 and is 2"),
        ({"data": job.make_examples(21)}, "num_examples was 20 and is 21"),
        ({"data": job.Stream(job.make_examples())}, "num_examples was 20 and is None"),
        ({"ema_decay": 0.0}, "ema_decay was 0.99 and is 0.0"),
        ({"optimizer": "muon"}, "optimizer was AdamW and is MuonAdamW"),
        ({"model": nn.Linear(2, 2)}, "network was Net and is Linear. Give"),
        (
            {"seed": 1, "per_device_train_batch_size": 2},
            "seed was 0 and is 1, global_batch_size was 4 and is 2",
        ),
    ],
)
def test_checkpoints_of_another_run_are_refused_and_kept(whole, changes, message):
    folder = whole.folder.root.parent
    before = sorted(folder.rglob("*"))
    with pytest.raises(ValueError, match=f"step-00000012 belongs to another run: {message}"):
        fit(folder, loss_fn=never, **changes)
    assert sorted(folder.rglob("*")) == before


def test_a_finished_run_is_not_taken_for_a_shorter_one(whole):
    with pytest.raises(ValueError, match="beyond max_train_steps=2; give at least 12"):
        fit(whole.folder.root.parent, max_train_steps=2, loss_fn=never)


def test_the_same_global_batch_may_be_resumed_in_other_parts(tmp_path):
    """Accelerate counts micro-batches and saves the count: it must not carry over."""
    found = {}
    common = {"lr_scheduler_type": "constant", "warmup_ratio": 0.0}
    for name, splits in {
        "whole": [(8, 1, 6)],
        "parts": [(8, 1, 3), (4, 2, 6)],
        "other": [(2, 4, 3), (8, 1, 6)],
    }.items():
        for batch_size, accumulation, last_step in splits:
            outcome = fit(
                tmp_path / name,
                max_train_steps=last_step,
                per_device_train_batch_size=batch_size,
                gradient_accumulation_steps=accumulation,
                **common,
            )
        assert outcome.result.resumed_from == (0 if len(splits) == 1 else 3)
        found[name] = weights(outcome.model)
    torch.testing.assert_close(found["parts"], found["whole"], rtol=0, atol=1e-5)
    torch.testing.assert_close(found["other"], found["whole"], rtol=0, atol=1e-5)


def test_a_fresh_start_loses_no_checkpoint_and_is_not_taken_for_the_old_run(tmp_path, caplog):
    """Old ones of later steps are neither resumed from nor kept in place of the new ones."""
    fit(tmp_path, max_train_steps=30, checkpointing_steps=10, logging_steps=10)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, seed=1, resume_from_checkpoint="none", loss_fn=stop_at(7))
    folder = CheckpointFolder(tmp_path)
    assert "starting at step 0; checkpoints of later steps moved to" in caplog.text
    aside = folder.root / "replaced-1"
    assert steps(aside) == [20, 30]
    assert all(find_fault(path) is None for path in aside.iterdir())
    assert folder.newest() == folder.path(7)
    resumed = fit(tmp_path, seed=1)
    assert resumed.result.resumed_from == 7
    assert_same(resumed, fit(tmp_path / "whole", seed=1))
    old = fit(tmp_path, max_train_steps=30, resume_from_checkpoint=str(aside / "step-00000030"))
    assert old.result.resumed_from == 30


# ----------------------------------------------------------------------------------- full disks
def test_no_room_and_no_permission_are_told_before_any_step(finished, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot be written to"):
        fit(tmp_path / "file" / "run", loss_fn=never)
    usage = namedtuple("Usage", "total used free")(1, 1, 1024)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ValueError, match="MiB free; this run needs about"):
        fit(tmp_path / "new", loss_fn=never)
    assert fit(finished).result.resumed_from == 12  # it has its checkpoints' room already


NO_SPACE = OSError(errno.ENOSPC, "No space left on device")
NO_SPACE_OF_SAFETENSORS = SafetensorError("I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize(
    ("owner", "method", "error"),
    [
        (Snapshot, "write", NO_SPACE),
        (CheckpointFolder, "seal", NO_SPACE),
        (safetensors.torch, "save_file", NO_SPACE_OF_SAFETENSORS),
    ],
    ids=["write", "seal", "average"],
)
def test_a_full_disk_costs_one_checkpoint_and_not_the_run(
    whole, tmp_path, monkeypatch, caplog, owner, method, error
):
    working = getattr(owner, method)
    calls = []

    def fails_once(*args, **kwargs):
        if owner is not safetensors.torch or "average" in str(args[1]):
            calls.append(1)
            if len(calls) == 2:
                raise error
            if len(calls) == 3:  # the one before it is there, and nothing half-written
                assert not list((tmp_path / "checkpoints").glob("*006"))
                assert CheckpointFolder(tmp_path).newest() == CheckpointFolder(tmp_path).path(3)
        return working(*args, **kwargs)

    monkeypatch.setattr(owner, method, fails_once)
    outcome = fit(tmp_path, dropout=0.5)
    assert "checkpoint of step 6 could not be written: " in caplog.text
    assert "No space left" in caplog.text
    assert steps(outcome.folder.root) == [9, 12]
    assert len(list(outcome.folder.root.iterdir())) == 2
    assert_same(outcome, whole)


@pytest.mark.parametrize("moment", ["from the start", "later"])
def test_a_disk_that_stays_full_ends_the_run_in_one_line(tmp_path, monkeypatch, caplog, moment):
    write = Snapshot.write

    def fails(self, states, folder):
        if moment == "from the start" or not folder.name.endswith("03"):
            raise NO_SPACE
        write(self, states, folder)

    with monkeypatch.context() as patch:
        patch.setattr(Snapshot, "write", fails)
        with pytest.raises(RuntimeError, match="3 checkpoints in a row could not be") as stopped:
            fit(tmp_path / "full", max_train_steps=15)
    message = str(stopped.value)
    assert "No space left on device" in message and "\n" not in message
    ends = {"from the start": (9, "starts afresh."), "later": (12, "resumes at step 3.")}
    assert f"the last at step {ends[moment][0]}: " in message and message.endswith(ends[moment][1])
    assert caplog.text.count("could not be written") == 3
    assert not list((tmp_path / "full" / "checkpoints").glob(".writing*"))
    resumed = fit(tmp_path / "full", max_train_steps=15)
    assert resumed.result.resumed_from == (3 if moment == "later" else 0)
    assert_same(resumed, fit(tmp_path / "whole", max_train_steps=15))


def test_a_finished_run_is_not_lost_to_a_full_disk(whole, tmp_path, monkeypatch, caplog):
    def fails(self, states, folder):
        raise NO_SPACE

    monkeypatch.setattr(Snapshot, "write", fails)
    outcome = fit(tmp_path, dropout=0.5, checkpointing_steps=5)
    assert_same(outcome, whole)
    assert caplog.text.count("could not be written") == 3


def test_failures_apart_do_not_end_the_run(tmp_path, monkeypatch, caplog):
    write = Snapshot.write
    calls = []

    def fails_mostly(self, states, folder):
        calls.append(1)
        if len(calls) % 3:
            raise NO_SPACE
        write(self, states, folder)

    monkeypatch.setattr(Snapshot, "write", fails_mostly)
    outcome = fit(tmp_path, checkpointing_steps=1)
    assert outcome.result.num_steps == 12
    assert caplog.text.count("could not be written") == 8


def test_a_stopped_run_that_could_not_save_says_where_it_resumes(tmp_path, monkeypatch):
    def fails(self, states, folder):
        raise NO_SPACE

    for expected in (
        "at step 2; there is no checkpoint, so the same command starts afresh",
        "at step 5; the same command resumes at step 3",
    ):
        step = int(expected[len("at step ")])
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt, match=expected):
            patch.setattr(Snapshot, "write", fails)
            fit(tmp_path, loss_fn=stop_at(step if step == 2 else 2))
        if step == 2:
            fit(tmp_path, max_train_steps=3)


def test_a_write_that_the_system_cuts_short_costs_one_checkpoint(tmp_path, caplog):
    """The system's own refusal, as torch and safetensors report it: neither raises OSError."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = {5: 600, 8: 3500}  # bytes: less than the weights; less than the optimiser

    def loss_fn(model, batch):
        limit = limits.get(round(batch.progress * 12), before[0])
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        return job.loss_fn(model, batch)

    try:
        outcome = fit(tmp_path, loss_fn=loss_fn)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert "checkpoint of step 6 could not be written: " in caplog.text
    assert "checkpoint of step 9 could not be written: " in caplog.text
    assert steps(outcome.folder.root) == [3, 12]
    assert len(list(outcome.folder.root.iterdir())) == 2
