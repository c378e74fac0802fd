"""Processes of their own: the same run on one or two, and after a kill at any moment."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from ardm import training
from ardm.training.checkpoints import CheckpointFolder

JOB = Path(__file__).with_name("training_job.py")
LAUNCH = "launch --cpu --num_machines 1 --mixed_precision no --dynamo_backend no --num_processes"

pytestmark = pytest.mark.slow


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
        accelerate = Path(sys.executable).with_name("accelerate")
        launcher = [str(accelerate), *LAUNCH.split(), str(processes)]
    config = json.dumps(defaults | settings)
    environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(training.__file__).parents[2])}
    call = {
        "args": [*launcher, str(JOB), "--result", str(result), "--config", config, *flags],
        "env": os.environ | environment,
        "text": True,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.STDOUT,
    }
    return call, result


def complete(*args, **kwargs):
    call, result = command(*args, **kwargs)
    done = subprocess.run(**call, timeout=200)
    assert done.returncode == 0, done.stdout
    report = json.loads(result.read_text())
    assert report["num_processes"] == max(1, kwargs.get("processes", 0))
    return report


def wait_for(condition, process, seconds=100):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_one_process_and_two_are_the_same_run(tmp_path):
    one = complete(tmp_path / "one")
    two = complete(tmp_path / "two", processes=2, per_device_train_batch_size=2)
    in_turn = {"gradient_accumulation_steps": 2}
    parts = complete(tmp_path / "parts", per_device_train_batch_size=2, **in_turn)
    four = complete(tmp_path / "four", processes=2, per_device_train_batch_size=1, **in_turn)
    for other in (two, parts, four):
        for left, right in zip(one["history"], other["history"], strict=True):
            assert left == pytest.approx(right, abs=1e-4)
        for name, values in one["weights"].items():
            found = torch.tensor(other["weights"][name])
            assert torch.allclose(torch.tensor(values), found, atol=1e-4), name


def test_two_processes_stop_together_and_resume_with_the_same_bits(tmp_path):
    flags = ["--dropout", "0.5", "--optimizer", "muon"]
    settings = {"processes": 2, "logging_steps": 5}
    whole = complete(tmp_path / "whole", *flags, **settings)
    call, result = command(tmp_path / "part", *flags, "--step_seconds", "0.3", **settings)
    process = subprocess.Popen(**call, start_new_session=True)
    wait_for(lambda: CheckpointFolder(tmp_path / "part").newest(), process)
    os.killpg(process.pid, signal.SIGTERM)
    process.communicate(timeout=100)
    assert not result.exists()
    newest = CheckpointFolder(tmp_path / "part").newest()
    assert not list(newest.parent.glob(".writing-*"))
    resumed = complete(tmp_path / "part", *flags, **settings)
    assert resumed["resumed_from"] >= 3
    assert (resumed["hash"], resumed["history"]) == (whole["hash"], whole["history"])


@pytest.mark.parametrize(("optimizer", "kills"), [("adamw", 4), ("muon", 2)])
def test_a_run_killed_at_any_moment_ends_with_the_same_bits(tmp_path, optimizer, kills):
    flags = ["--dropout", "0.5", "--optimizer", optimizer]
    whole = complete(tmp_path / "whole", *flags, checkpointing_steps=2)
    slow = [*flags, "--step_seconds", "0.05", "--save_seconds", "0.2"]
    call, result = command(tmp_path / "killed", *slow, checkpointing_steps=2)
    root = tmp_path / "killed" / "checkpoints"
    rng = random.Random(0)
    num_killed_while_writing = 0
    for attempt in range(kills):
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
        num_killed_while_writing += bool(list(root.glob(".writing-*")))
    assert num_killed_while_writing >= 1 and not result.exists()
    resumed = complete(tmp_path / "killed", *flags, checkpointing_steps=2)
    assert resumed["resumed_from"] > 0
    assert (resumed["hash"], resumed["history"]) == (whole["hash"], whole["history"])
    assert not list(root.glob(".writing-*"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_process_leaves_its_step(tmp_path, number):
    call, result = command(tmp_path / "run", "--step_seconds", "0.3", checkpointing_steps=0)
    process = subprocess.Popen(**call)
    wait_for(result.with_suffix(".began").exists, process)
    time.sleep(0.5)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode not in (0, -signal.SIGKILL) and not result.exists()
    assert "KeyboardInterrupt: at step " in output
    assert CheckpointFolder(tmp_path / "run").newest() is not None
    resumed = complete(tmp_path / "run", checkpointing_steps=0)
    assert 0 < resumed["resumed_from"] < 12
