"""N processes that any launcher starts are told to be one run of N, and end with their launcher."""

import os
import signal
import subprocess
import threading
import time

import psutil
import pytest

from ardm.training import launchers
from ardm.training.launchers import end_with_launcher, join_processes

# what process 1 of 2 on one machine finds in its environment
STARTED_BY = {
    "Open MPI": {
        "OMPI_COMM_WORLD_RANK": "1",
        "OMPI_COMM_WORLD_SIZE": "2",
        "OMPI_COMM_WORLD_LOCAL_RANK": "1",
        "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
        "PMIX_NAMESPACE": "prterun-host-17@1",
        "PMIX_RANK": "1",
    },
    "MPICH": {
        "PMI_RANK": "1",
        "PMI_SIZE": "2",
        "MPI_LOCALRANKID": "1",
        "MPI_LOCALNRANKS": "2",
    },
    "MVAPICH": {
        "MV2_COMM_WORLD_RANK": "1",
        "MV2_COMM_WORLD_SIZE": "2",
        "MV2_COMM_WORLD_LOCAL_RANK": "1",
        "MV2_COMM_WORLD_LOCAL_SIZE": "2",
    },
    "srun": {
        "SLURM_PROCID": "1",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_LOCALID": "1",
        "SLURM_STEP_TASKS_PER_NODE": "2",
        "SLURM_JOB_ID": "17",
        "SLURM_NTASKS": "2",
    },
}
TORCH = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}


# ---------------------------------------------------------------------------------- who am I
@pytest.mark.parametrize("launcher", STARTED_BY)
def test_torch_is_told_what_the_launcher_says(launcher):
    environment = dict(STARTED_BY[launcher])
    join_processes(environment)
    assert environment.items() >= TORCH.items()
    assert environment["MASTER_ADDR"] == "127.0.0.1" and environment["MASTER_PORT"].isdigit()
    again = dict(environment)
    join_processes(again)
    assert again == environment


@pytest.mark.parametrize("launcher", STARTED_BY)
def test_both_processes_meet_in_one_place_and_keep_to_what_was_chosen(launcher):
    first = STARTED_BY[launcher] | {
        name: "0" for name in STARTED_BY[launcher] if name.endswith(("RANK", "RANKID", "ID"))
    }
    first["SLURM_JOB_ID"] = "17"
    second = dict(STARTED_BY[launcher])
    join_processes(first)
    join_processes(second)
    assert (first["RANK"], second["RANK"]) == ("0", "1")
    assert first["MASTER_PORT"] == second["MASTER_PORT"]
    chosen = STARTED_BY[launcher] | {"MASTER_ADDR": "node7", "MASTER_PORT": "1234"}
    join_processes(chosen)
    assert (chosen["MASTER_ADDR"], chosen["MASTER_PORT"]) == ("node7", "1234")


def test_two_jobs_of_slurm_on_one_machine_do_not_meet():
    ports = set()
    for job in ("17", "18"):
        environment = STARTED_BY["srun"] | {"SLURM_JOB_ID": job}
        join_processes(environment)
        ports.add(environment["MASTER_PORT"])
    assert len(ports) == 2


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_JOB_ID": "17"},  # the batch script
        {"PMI_RANK": "0", "PMI_SIZE": "1"},
        {"WORLD_SIZE": "1"},
        TORCH | STARTED_BY["srun"],  # torchrun within a job step
    ],
    ids=["alone", "batch script", "one rank", "world of one", "torchrun in srun"],
)
def test_what_needs_no_telling_is_left_alone(environment):
    before = dict(environment)
    join_processes(environment)
    assert environment == before


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"PMIX_RANK": "1"}, "PMIX_RANK is set, but no variable tells of how many"),
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE set, but not RANK and LOCAL_RANK"),
        ({"RANK": "0"}, "RANK set, but not WORLD_SIZE and LOCAL_RANK"),
        ({"PMI_SIZE": "2", "MPI_LOCALNRANKS": "2"}, "PMI_SIZE is 2, but not set: PMI_RANK, MPI"),
        (
            STARTED_BY["srun"]
            | {"SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_TASKS_PER_NODE": "2(x2)"},
            "SLURM_STEP_NUM_TASKS is 4, but not set: MASTER_ADDR, the name of the first machine",
        ),
    ],
    ids=["no size", "no rank", "rank alone", "no ranks of mpi", "two machines"],
)
def test_what_cannot_be_told_is_refused(environment, told):
    before = dict(environment)
    with pytest.raises(ValueError, match=told.replace("(", r"\(")) as error:
        join_processes(environment)
    assert "torchrun" in str(error.value) and "\n" not in str(error.value)
    assert environment == before


# ------------------------------------------------------------------------- is the launcher there
@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("/bin/accelerate launch -q x.py", True),
        ("python /bin/accelerate launch --cpu x.py", True),
        ("python -m accelerate.commands.launch x.py", True),
        ("python -u -m accelerate.commands.accelerate_cli launch x.py", True),
        ("python /lib/accelerate/commands/launch.py x.py", True),
        ("/bin/torchrun --nproc_per_node 2 x.py", True),
        ("python -m torch.distributed.run --standalone x.py", True),
        ("mpirun -n 2 python x.py", True),
        ("bash -l", False),
        ("python recipes/accelerate/x.py", False),
        ("python x.py --output_dir runs --report_to torchrun", False),
        ("nohup python x.py", False),
        ("", False),
    ],
)
def test_a_launcher_is_known_by_its_command(command, expected):
    assert launchers._is_launcher(command.split()) == expected


def test_a_process_is_there_until_it_is_dead():
    process = subprocess.Popen(["sleep", "60"])
    known = psutil.Process(process.pid)
    assert launchers._is_there(known)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not launchers._is_there(known)  # dead, but not yet waited for
    process.wait()
    assert not launchers._is_there(known)


def test_the_signal_comes_when_a_launcher_is_gone(monkeypatch):
    there = threading.Event()
    there.set()
    received = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    monkeypatch.setattr(launchers, "_SECONDS", 0.01)
    monkeypatch.setattr(launchers, "_is_there", lambda process: there.is_set())
    monkeypatch.setattr(launchers, "_is_launcher", lambda command: True)
    try:
        end_with_launcher()
        time.sleep(0.1)
        assert not received
        there.clear()
        deadline = time.monotonic() + 10
        while not received and time.monotonic() < deadline:
            time.sleep(0.01)
        assert received == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


class Orphan:
    """A process whose parent is the first of all."""

    def parents(self):
        return []

    def ppid(self):
        return 1


@pytest.mark.parametrize("trace", ["ACCELERATE_DYNAMO_BACKEND", "TORCHELASTIC_RUN_ID"])
def test_a_process_whose_launcher_is_gone_ends(monkeypatch, trace):
    monkeypatch.setattr(psutil, "Process", Orphan)
    for name in launchers._TRACES:
        monkeypatch.delenv(name, raising=False)
    end_with_launcher()  # as a service, or in a container
    monkeypatch.setenv(trace, "1")
    with pytest.raises(SystemExit, match="launcher of this process is gone"):
        end_with_launcher()
