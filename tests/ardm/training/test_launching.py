"""What `accelerate launch` was asked for is what runs: processes, threads, errors in one line."""

import sys

import pytest
import torch

from ardm.training import launching

LAUNCH = ["python", "/bin/accelerate", "launch"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--num_processes", "2", "--cpu", "train.py", "--num_processes", "9"], 2),
        (["--cpu", "--num_processes=3", "train.py"], 3),
        (["--config_file", "/no/such/file.yaml", "train.py"], 1),
    ],
)
def test_the_number_of_processes_is_read_from_the_launchers_command(words, expected):
    assert launching._asked_processes(LAUNCH + words) == expected


def test_without_a_launcher_there_is_one_process():
    assert launching._asked_processes(["python", "train.py", "--num_processes", "2"]) == 1


def test_the_number_of_processes_is_read_from_a_configuration_file(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(
        "compute_environment: LOCAL_MACHINE\ndistributed_type: MULTI_CPU\n"
        "num_processes: 4\nuse_cpu: true\n"
    )
    assert launching._asked_processes([*LAUNCH, "--config_file", str(file), "train.py"]) == 4


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
    monkeypatch.delenv("RANK", raising=False)
    return replaced


def test_one_process_that_was_to_be_two_is_replaced_by_two(launched):
    launching.start_processes()
    ((words, environment),) = launched
    assert words[words.index("--nproc_per_node") + 1 :] == ["2", "x.py", "--seed", "1"]
    assert environment["ACCELERATE_USE_CPU"] == "true" and "MASTER_PORT" not in environment


@pytest.mark.parametrize(
    ("flag", "cpu"), [("true", True), ("1", True), ("false", False), (None, False)]
)
def test_the_launchers_cpu_flag_reaches_accelerate(monkeypatch, flag, cpu):
    asked = []
    monkeypatch.setattr("accelerate.PartialState", lambda cpu: asked.append(cpu) or "the state")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    if flag:
        monkeypatch.setenv("ACCELERATE_USE_CPU", flag)
    assert launching.process_state() == "the state" and asked == [cpu]
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert launching.process_state() == "the state" and asked == [cpu, True]


def test_an_unknown_number_of_processes_is_told(launched, monkeypatch):
    monkeypatch.setattr(launching, "_parent", lambda: ([], {}))
    with pytest.warns(UserWarning, match=r"started one.*torchrun --nproc_per_node N x\.py"):
        launching.start_processes()
    assert not launched


def test_a_process_that_has_a_rank_stays(launched, monkeypatch):
    monkeypatch.setenv("RANK", "0")
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


def test_a_users_mistake_is_one_line(monkeypatch):
    monkeypatch.delenv("MASTER_ADDR", raising=False)

    def main():
        raise ValueError("steps is 0; expected at least 1.")

    with pytest.raises(SystemExit, match="error: steps is 0"):
        launching.run_recipe(main)


def test_an_interrupt_is_one_line(monkeypatch):
    monkeypatch.delenv("MASTER_ADDR", raising=False)

    def main():
        raise KeyboardInterrupt("at step 3")

    with pytest.raises(SystemExit, match="stopped: at step 3"):
        launching.run_recipe(main)
