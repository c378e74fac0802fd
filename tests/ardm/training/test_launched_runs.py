"""Real launchers: one run of N processes, sharded or not, that ends with its launcher."""

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import psutil
import pytest
import torch

from ardm.training.checkpoints import CheckpointFolder

from .test_training_job import JOB, command, complete, wait_for

BIN = Path(sys.executable).parent
ROOT = Path(__file__).parents[3]
SHARDED = [
    "--use_fsdp",
    *("--fsdp_version", "2"),
    *("--fsdp_auto_wrap_policy", "NO_WRAP"),
    *("--num_machines", "1"),
    *("--mixed_precision", "no"),
    *("--dynamo_backend", "no"),
]
LAUNCHERS = {
    "accelerate": [str(BIN / "accelerate"), "launch", "-q", "--cpu", "--num_processes", "1"],
    "accelerate of 2": [str(BIN / "accelerate"), "launch", "-q", "--cpu", "--num_processes", "2"],
    "torchrun": [str(BIN / "torchrun"), "--nproc_per_node", "2"],
    "sharded": [str(BIN / "accelerate"), "launch", *SHARDED, "--num_processes", "2"],
}

pytestmark = pytest.mark.slow


def launched(name, folder, *flags, **settings):
    """The call of a job under a launcher, and its result file."""
    call, result = command(folder, *flags, **settings)
    place = call["args"].index(str(JOB))
    call["args"] = [*LAUNCHERS[name], *call["args"][place:]]
    return call, result


def complete_under(name, *args, **settings):
    call, result = launched(name, *args, **settings)
    done = subprocess.run(**call, timeout=200)
    assert done.returncode == 0, done.stdout
    return result


@pytest.mark.parametrize(
    ("optimizer", "launchers"), [("adamw", ["sharded"]), ("muon", ["torchrun", "sharded"])]
)
def test_two_processes_are_the_run_of_one(tmp_path, optimizer, launchers):
    flags = ["--optimizer", optimizer]
    one = complete(tmp_path / "one", *flags, eval_steps=4)
    half = {"per_device_train_batch_size": 2, "eval_steps": 4}
    for name in launchers:
        two = json.loads(complete_under(name, tmp_path / name, *flags, **half).read_text())
        assert two["num_processes"] == 2
        for left, right in zip(one["history"], two["history"], strict=True):
            assert left == pytest.approx(right, abs=1e-4)
        for weight, values in one["weights"].items():
            found = torch.tensor(two["weights"][weight])
            assert torch.allclose(torch.tensor(values), found, atol=1e-4), (name, weight)


@pytest.mark.parametrize("name", LAUNCHERS)
def test_a_run_ends_with_its_launcher_and_goes_on(tmp_path, name):
    call, result = launched(name, tmp_path / "run", "--step_seconds", "0.5", checkpointing_steps=0)
    began = result.with_suffix(".began")
    folder = CheckpointFolder(tmp_path / "run")
    for number in (signal.SIGTERM, signal.SIGKILL):  # the second run goes on from the first
        before = folder.newest()
        process = subprocess.Popen(**call)
        wait_for(began.exists, process)
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        process.communicate(timeout=100)  # until all have closed their output
        _, left = psutil.wait_procs(family, timeout=60)
        assert not left and not result.exists()
        assert folder.newest() not in (None, before)
        began.unlink()
    report = json.loads(complete_under(name, tmp_path / "run").read_text())
    assert 1 < report["resumed_from"] < 12


def test_every_configuration_starts(tmp_path):
    """With what this machine has: on CPUs, two processes where a configuration asks for several."""
    for file in sorted((ROOT / "recipes" / "accelerate").glob("*.yaml")):
        number = "1" if file.stem == "one_gpu" else "2"
        options = ["--config_file", str(file), "--mixed_precision", "no", "--num_processes", number]
        call, result = command(tmp_path / file.stem, max_train_steps=2)
        call["env"] |= {"FSDP_AUTO_WRAP_POLICY": "NO_WRAP"}
        place = call["args"].index(str(JOB))
        launcher = [str(BIN / "accelerate"), "launch", "-q", *options]
        done = subprocess.run(**(call | {"args": launcher + call["args"][place:]}), timeout=200)
        assert done.returncode == 0, done.stdout
        assert f'"num_processes": {number}' in result.read_text()


TINY = "--hidden_size 8 --num_attention_heads 2 --num_hidden_layers 1 --intermediate_size 8"
RECIPE = [str(ROOT / "recipes" / "train_ardm.py"), *TINY.split(), "--max_train_steps", "9999"]


def interrupted(launcher, folder, line):
    """Output and exit code of a training that gets a Ctrl-C once it has said something."""
    call, _ = command(folder)
    call["args"] = [*launcher, *RECIPE, "--output_dir", str(folder), "--logging_steps", "20"]
    # a shell that runs tests in its background has them ignore Ctrl-C, and their children as well
    heeded = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(**call, start_new_session=True, preexec_fn=heeded)
    output = process.stdout.readline()
    while line not in output:
        assert process.poll() is None, output
        output += process.stdout.readline()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it
    output += process.communicate(timeout=100)[0]
    return output, process.returncode


def test_ctrl_c_before_a_training_begins_is_one_line_and_leaves_nothing(tmp_path):
    output, code = interrupted([sys.executable], tmp_path / "runs" / "run", "train: read")
    assert code == 1 and output.splitlines()[-1].startswith("stopped: ")
    assert "Traceback" not in output and not (tmp_path / "runs").exists()


def test_under_a_launcher_one_process_tells_of_ctrl_c(tmp_path):
    output, _ = interrupted(LAUNCHERS["torchrun"], tmp_path / "run", "step 20/")
    ours = output.replace("torch.distributed.elastic", "")
    assert ours.count("stopped: at step ") == 1
    assert "KeyboardInterrupt" not in ours  # the launcher's own traceback is of its SignalException
    assert CheckpointFolder(tmp_path / "run").newest() is not None
