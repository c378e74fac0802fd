"""Launchers: what started this process tells it, and whether it is still there.

torchrun tells each of its processes a rank, in variables that torch and Accelerate read. MPI and
SLURM have variables of their own; they are translated, so that N processes are one run of N and
not N runs in one folder. A launcher that ends without a word to its processes, as Accelerate's
does of SIGTERM, is watched: they are to end, too, and not to go on as orphans.
"""

import os
import re
import signal
import threading
import time
import zlib
from collections.abc import Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import psutil


class _Variables(NamedTuple):
    """Where a launcher says a process's place: its rank, theirs on this machine, how many each."""

    rank: str
    size: str
    local_rank: str
    local_size: str
    job: str | None  # the same for the processes of one job, another for those of another


_TORCH = _Variables("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", None)
_OTHERS = (
    _Variables(  # Open MPI
        "OMPI_COMM_WORLD_RANK",
        "OMPI_COMM_WORLD_SIZE",
        "OMPI_COMM_WORLD_LOCAL_RANK",
        "OMPI_COMM_WORLD_LOCAL_SIZE",
        "PMIX_NAMESPACE",
    ),
    _Variables(  # MVAPICH
        "MV2_COMM_WORLD_RANK",
        "MV2_COMM_WORLD_SIZE",
        "MV2_COMM_WORLD_LOCAL_RANK",
        "MV2_COMM_WORLD_LOCAL_SIZE",
        None,
    ),
    # a job step of SLURM; its batch script itself is one process, whatever the number of tasks
    _Variables(
        "SLURM_PROCID",
        "SLURM_STEP_NUM_TASKS",
        "SLURM_LOCALID",
        "SLURM_STEP_TASKS_PER_NODE",
        "SLURM_JOB_ID",
    ),
    # MPICH and Intel MPI
    _Variables("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS", None),
)
_FIRST_PORT = 20000
_NUM_PORTS = 10000
_ADVICE = (
    "start it with torchrun, or set RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT in"
    " each process"
)
_LAUNCHER = re.compile(
    r"(^|/)(accelerate|accelerate-launch|torchrun|mpirun|mpiexec|prterun)(\.\w+)?$"
    r"|^(torch\.distributed|accelerate\.commands)\.\w+$"
    r"|/(torch/distributed|accelerate/commands)/\w+\.py$"
)
# what a launcher alone sets, and a word of its command
_TRACES = {"ACCELERATE_DYNAMO_BACKEND": "accelerate", "TORCHELASTIC_RUN_ID": "torch|accelerate"}
_NUM_WORDS = 4  # of a command, where a launcher's name may be: an interpreter may come before it
_SECONDS = 0.5


def join_processes(environment: MutableMapping[str, str] = os.environ) -> None:
    """Tells torch this process's place among those that a launcher started, as torchrun would.

    Changes nothing where torch has been told, or where this process is the only one.

    Args:
        environment: the variables of this process.

    Raises:
        ValueError: if it is one of several, but which one, of how many or where they meet cannot
            be told.
    """
    if _TORCH.rank in environment or _TORCH.size in environment:
        _check_told(environment)
        return
    for variables in _OTHERS:
        if int(environment.get(variables.size, "1")) > 1:
            environment.update(_told(variables, environment))
            return
    if "PMIX_RANK" in environment:
        raise ValueError(f"PMIX_RANK is set, but no variable tells of how many; {_ADVICE}.")


def _check_told(environment: Mapping[str, str]) -> None:
    needed = (_TORCH.rank, _TORCH.size, _TORCH.local_rank)
    missing = [name for name in needed if name not in environment]
    if missing and environment.get(_TORCH.size) != "1":
        present = [name for name in needed if name in environment]
        raise ValueError(
            f"{' and '.join(present)} set, but not {' and '.join(missing)}; unset the first, or"
            f" {_ADVICE}."
        )


def _told(variables: _Variables, environment: Mapping[str, str]) -> dict[str, str]:
    size = int(environment[variables.size])
    missing = [name for name in (variables.rank, variables.local_rank) if name not in environment]
    # one number for each machine as SLURM has it: "2(x3),1"
    first = re.match(r"\d+", environment.get(variables.local_size, ""))
    local_size = int(first[0]) if first else None
    if not missing and local_size != size and "MASTER_ADDR" not in environment:
        missing = ["MASTER_ADDR, the name of the first machine"]
    if missing:
        raise ValueError(
            f"{variables.size} is {size}, but not set: {', '.join(missing)}; {_ADVICE}."
        )
    job = environment.get(variables.job, "") if variables.job else ""
    port = _FIRST_PORT + zlib.crc32(job.encode()) % _NUM_PORTS
    return {
        _TORCH.rank: environment[variables.rank],
        _TORCH.size: str(size),
        _TORCH.local_rank: environment[variables.local_rank],
        _TORCH.local_size: str(local_size or 1),
        "MASTER_ADDR": environment.get("MASTER_ADDR", "127.0.0.1"),
        "MASTER_PORT": environment.get("MASTER_PORT", str(port)),
    }


# -------------------------------------------------------------------------- whether it is there
def end_with_launcher() -> None:
    """From now on this process gets SIGTERM when a launcher that it descends from is gone.

    Raises:
        SystemExit: if it is gone already.
    """
    import psutil  # comes with accelerate

    this = psutil.Process()
    launchers = [each for each in this.parents() if _is_launcher(_command(each))]
    oldest = launchers[-1] if launchers else this
    if oldest.ppid() == 1 and _misses_one([_command(each) for each in launchers]):
        raise SystemExit("stopped: the launcher of this process is gone.")
    if launchers:
        thread = threading.Thread(target=_watch, args=(launchers,), daemon=True, name="launcher")
        thread.start()


def _misses_one(commands: Sequence[Sequence[str]]) -> bool:
    """Whether the environment has traces of a launcher that is not among the commands."""
    words = [word for command in commands for word in command[:_NUM_WORDS]]
    return any(
        name in os.environ and not any(re.search(trace, word) for word in words)
        for name, trace in _TRACES.items()
    )


def _watch(launchers: "Sequence[psutil.Process]") -> None:
    while all(map(_is_there, launchers)):
        time.sleep(_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


def _command(process: "psutil.Process") -> list[str]:
    import psutil

    try:
        return process.cmdline()
    except psutil.Error:  # another user's, or gone
        return []


def _is_launcher(command: Sequence[str]) -> bool:
    """Whether a command is `accelerate launch ...`, `python -m torch.distributed.run ...`, ..."""
    return any(_LAUNCHER.search(word) for word in command[:_NUM_WORDS])


def _is_there(process: "psutil.Process") -> bool:
    import psutil

    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
