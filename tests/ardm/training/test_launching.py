"""What `accelerate launch` was asked for is what runs: processes, threads, errors in one line."""

import signal
import sys
from types import SimpleNamespace

import pytest
import torch

from ardm.training import check_writable, launching

LAUNCH = ["python", "/bin/accelerate", "launch"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--num_processes", "2", "--cpu", "train.py", "--num_processes", "9"], (2, 1)),
        (["--cpu", "--num_processes=3", "train.py"], (3, 1)),
        (["--cpu", "--num_machines", "2", "--num_processes=4", "train.py"], (4, 2)),
        (["--config_file", "/no/such/file.yaml", "train.py"], (1, 1)),
    ],
)
def test_the_number_of_processes_is_read_from_the_launchers_command(words, expected):
    assert launching._asked_processes(LAUNCH + words) == expected


def test_without_a_launcher_there_is_one_process():
    assert launching._asked_processes(["python", "train.py", "--num_processes", "2"]) == (1, 1)


def test_the_number_of_processes_is_read_from_a_configuration_file(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(
        "compute_environment: LOCAL_MACHINE\ndistributed_type: MULTI_CPU\n"
        "num_processes: 4\nnum_machines: 2\nuse_cpu: true\n"
    )
    assert launching._asked_processes([*LAUNCH, "--config_file", str(file), "train.py"]) == (4, 2)


@pytest.fixture
def launched(monkeypatch):
    """The environment of a single process that was to be two, and what it would be replaced by."""
    replaced = []
    parent = [*LAUNCH, "--num_processes", "2", "--cpu", "x.py"]
    monkeypatch.setattr(launching.os, "execve", lambda path, *call: replaced.append(call))
    monkeypatch.setattr(launching, "_parent", lambda: (parent, {}))
    monkeypatch.setattr(sys, "argv", ["x.py", "--seed", "1"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "29500")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    return replaced


def test_one_process_that_was_to_be_two_is_replaced_by_two(launched):
    launching.start_processes()
    ((words, environment),) = launched
    assert words[words.index("--nproc_per_node") + 1 :] == ["2", "x.py", "--seed", "1"]
    assert environment["ACCELERATE_USE_CPU"] == "true" and "MASTER_PORT" not in environment


@pytest.mark.parametrize("mps", [False, True])
@pytest.mark.parametrize("accelerator", [False, True])
@pytest.mark.parametrize("flag", ["true", "1", "false", None])
def test_accelerate_is_told_to_use_the_cpu_where_it_must(monkeypatch, flag, accelerator, mps):
    asked = []
    monkeypatch.setattr("accelerate.PartialState", lambda cpu: asked.append(cpu) or "the state")
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: accelerator or mps)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    if flag:
        monkeypatch.setenv("ACCELERATE_USE_CPU", flag)
    assert launching.process_state() == "the state"
    assert asked == [flag in ("true", "1") or mps or not accelerator]


@pytest.mark.parametrize(
    ("variables", "refused"),
    [
        ({}, None),
        ({"ACCELERATE_USE_FSDP": "false", "ACCELERATE_USE_DEEPSPEED": "false"}, None),
        ({"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}, None),
        ({"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "1"}, "FSDP 1; expected --fsdp_version 2"),
        ({"ACCELERATE_USE_FSDP": "true"}, "FSDP 1"),
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, "DeepSpeed; expected FSDP 2, or none"),
        ({"ACCELERATE_USE_MEGATRON_LM": "true"}, "Megatron_LM; expected FSDP 2, or none"),
    ],
    ids=["none", "false", "fsdp 2", "fsdp 1", "fsdp of old", "deepspeed", "megatron"],
)
def test_only_what_is_tested_shards(monkeypatch, variables, refused):
    monkeypatch.setattr(launching, "process_state", lambda: SimpleNamespace(distributed_type="NO"))
    monkeypatch.setenv("FSDP_CPU_RAM_EFFICIENT_LOADING", "true")
    for name in ("USE_FSDP", "USE_DEEPSPEED", "USE_MEGATRON_LM"):
        monkeypatch.delenv(f"ACCELERATE_{name}", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    if refused is None:
        launching.shard_as_launched()
    else:
        with pytest.raises(ValueError, match=refused):
            launching.shard_as_launched()


def test_an_unknown_number_of_processes_is_refused(launched, monkeypatch):
    monkeypatch.setattr(launching, "_parent", lambda: ([], {}))
    with pytest.raises(ValueError, match=r"started one.*torchrun --nproc_per_node N x\.py"):
        launching.start_processes()
    assert not launched


def test_a_process_that_has_a_rank_stays(launched, monkeypatch):
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    launching.start_processes()
    assert not launched


def test_several_machines_of_cpus_are_not_several_runs(launched, monkeypatch):
    command = [*LAUNCH, "--num_machines", "2", "--num_processes", "4", "--cpu", "x.py"]
    monkeypatch.setattr(launching, "_parent", lambda: (command, {}))
    with pytest.raises(ValueError, match=r"2 machines.*torchrun --nnodes 2 "):
        launching.start_processes()
    assert not launched


@pytest.mark.parametrize(
    ("environment", "command", "raised"),
    [
        ({}, LAUNCH, True),
        ({"OMP_NUM_THREADS": "1"}, LAUNCH, False),
        ({}, [*LAUNCH, "--num_cpu_threads_per_process=1"], False),
    ],
)
def test_threads_are_raised_only_where_nobody_chose_them(monkeypatch, environment, command, raised):
    chosen = []
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(launching, "_parent", lambda: (command, environment))
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    launching.use_all_threads()
    assert bool(chosen) == raised


@pytest.mark.parametrize(
    "mistake",
    [
        ValueError("steps is 0; expected at least 1."),
        ImportError("a page needs gradio; install it with: pip install gradio"),
    ],
)
def test_a_users_mistake_is_one_line(monkeypatch, mistake):
    monkeypatch.delenv("MASTER_ADDR", raising=False)

    def main():
        raise mistake

    with pytest.raises(SystemExit, match=f"^error: {mistake}$"):
        launching.run_recipe(main)


def test_an_interrupt_is_one_line(monkeypatch):
    monkeypatch.delenv("MASTER_ADDR", raising=False)

    def main():
        raise KeyboardInterrupt("at step 3")

    with pytest.raises(SystemExit, match="stopped: at step 3"):
        launching.run_recipe(main)


@pytest.mark.parametrize(("rank", "code"), [("0", "stopped: by Ctrl-C."), ("1", 1)])
def test_of_several_processes_one_tells_of_an_interrupt(monkeypatch, rank, code):
    for name in ("start_processes", "end_with_launcher"):
        monkeypatch.setattr(launching, name, lambda: None)
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    before = signal.getsignal(signal.SIGINT)

    def main():
        raise KeyboardInterrupt

    try:
        with pytest.raises(SystemExit) as ended:
            launching.run_recipe(main)
        assert ended.value.code == code
        signal.raise_signal(signal.SIGINT)  # torchrun's, of the same Ctrl-C: nothing happens
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_refused_command_leaves_no_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("MASTER_ADDR", raising=False)

    def main():
        check_writable(tmp_path / "runs" / "mine")
        raise ValueError("max_train_steps is 0; expected at least 1.")

    with pytest.raises(SystemExit, match="max_train_steps is 0"):
        launching.run_recipe(main)
    assert list(tmp_path.iterdir()) == []
