"""Launching: how a recipe becomes the processes, threads and log lines that were asked for.

Facts of Accelerate (issues 2741 and 2492 of its tracker, and its `state.py`), each mended here with
its own means:

- `accelerate launch --cpu --num_processes 2` starts one process unless MPI is installed.
  `start_processes` replaces it by torchrun, which Accelerate itself uses for several GPUs.
- `accelerate launch` without `--cpu` sets OMP_NUM_THREADS=1, so that a CPU run uses one core.
  `use_all_threads` undoes that where nobody asked for it.
- without an accelerator it takes each of several processes for the only one, and shards nothing.
  `on_cpu` and `shard_as_launched` tell it.

What other launchers say is in `launchers.py`.
"""

import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch

from .commands import program
from .files import remove_unused
from .launchers import end_with_launcher, join_processes

if TYPE_CHECKING:
    from accelerate import PartialState

# the last word before the launcher's own flags
_LAUNCHER = re.compile(r"^launch$|accelerate-launch$|commands[/.]launch(\.py)?$")


def run_recipe(main: Callable[[], None]) -> None:
    """Runs a recipe as a program: processes and threads as asked for, and errors in one line.

    Args:
        main: the recipe's main function.

    An output folder that was made and is empty at the end goes, too.

    Raises:
        SystemExit: with a message instead of a traceback, for a user's mistake (`ValueError`), a
            package that is missing (`ImportError`), a disk that failed (`OSError`), a run that had
            to end (`RuntimeError`) or a wish (Ctrl-C), of which one of several processes tells.
    """
    try:
        start_processes()
        end_with_launcher()
        use_all_threads()
        main()
    except (ValueError, RuntimeError, OSError, ImportError) as error:
        raise SystemExit(f"error: {error}") from error
    except KeyboardInterrupt as stop:
        if "TORCHELASTIC_RUN_ID" in os.environ:  # torchrun passes on what the terminal sent already
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        alone = os.environ.get("RANK", "0") == "0"
        raise SystemExit(f"stopped: {str(stop) or 'by Ctrl-C.'}" if alone else 1) from stop
    finally:
        remove_unused()


def start_processes() -> None:
    """Replaces this process by the number of CPU processes that `accelerate launch` was asked for.

    Does nothing when they exist already, when one was asked for, or without `accelerate launch`.
    Call it first.

    Raises:
        ValueError: if it cannot be told how many were asked for, or this process's place among
            those that exist.
    """
    # it names a meeting point for several processes, and starts a single one that knows no rank
    asked_for_several = "MASTER_ADDR" in os.environ and "ACCELERATE_USE_CPU" in os.environ
    join_processes()
    if not asked_for_several or "RANK" in os.environ or torch.cuda.is_available():
        return
    command, _ = _parent()
    num_processes, num_machines = _asked_processes(command)
    if num_machines > 1:
        raise ValueError(
            f"the launcher was asked for CPU processes on {num_machines} machines, which it cannot"
            f" start; use: torchrun --nnodes {num_machines} --nproc_per_node N --rdzv_backend c10d"
            f" --rdzv_endpoint FIRST_MACHINE {' '.join(program())}"
        )
    if num_processes < 2:
        raise ValueError(
            "the launcher was asked for several CPU processes and started one, and how many cannot"
            f" be told from {command}; use: torchrun --nproc_per_node N {' '.join(program())}"
        )
    _become(num_processes)


def _become(num_processes: int) -> None:
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nnodes", "1"]
    again = [*program(), *sys.argv[1:]]
    words = [sys.executable, *torchrun, "--nproc_per_node", str(num_processes), *again]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MASTER_")}
    threads = os.environ.get("OMP_NUM_THREADS", "1")
    added = {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": threads}
    sys.stdout.flush()
    os.execve(sys.executable, words, kept | added)


def use_all_threads() -> None:
    """Lets a single CPU process use every core if only the launcher's default forbids it."""
    alone = int(os.environ.get("WORLD_SIZE", "1")) == 1
    if not alone or torch.cuda.is_available() or "ACCELERATE_MIXED_PRECISION" not in os.environ:
        return
    command, environment = _parent()
    asked = any("num_cpu_threads_per_process" in word for word in command)
    if "OMP_NUM_THREADS" not in environment and not asked:
        torch.set_num_threads(num_cores())


def num_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def process_state(cpu: bool = False) -> "PartialState":
    """This process among those that were launched, and its device.

    For a recipe that makes no `Accelerator`.

    Args:
        cpu: compute on the CPU whatever else is there.

    Returns:
        An `accelerate.PartialState`.
    """
    from accelerate import PartialState

    join_processes()
    return PartialState(cpu=cpu or on_cpu())


def on_cpu() -> bool:
    """Whether to compute on the CPU: as the launcher was told, or for want of an accelerator.

    Accelerate must be told so. On its own it takes each of several processes that torchrun
    started on a machine without an accelerator for the only one, and its `PartialState` does not
    look where `accelerate launch --cpu` leaves its flag.
    """
    from accelerate.utils import parse_flag_from_env

    # random numbers are drawn in float64, which MPS does not have
    without = not torch.accelerator.is_available() or torch.backends.mps.is_available()
    return without or parse_flag_from_env("ACCELERATE_USE_CPU")


def shard_as_launched() -> None:
    """Makes ready for an `Accelerator` that shards, where the launcher was asked for FSDP.

    Call it before the `Accelerator` is made.

    Raises:
        ValueError: if it was asked for another way of sharding.
    """
    from accelerate import PartialState
    from accelerate.utils import DistributedType, parse_flag_from_env

    for name in ("DeepSpeed", "Megatron_LM"):
        if parse_flag_from_env(f"ACCELERATE_USE_{name.upper()}"):
            raise ValueError(f"the launcher was asked for {name}; expected FSDP 2, or none.")
    if not parse_flag_from_env("ACCELERATE_USE_FSDP"):
        return
    if os.environ.get("FSDP_VERSION", "1") != "2":
        raise ValueError("the launcher was asked for FSDP 1; expected --fsdp_version 2.")
    # it would untie tied weights, which then train each on its own
    os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"
    if process_state().distributed_type == DistributedType.MULTI_CPU:
        # Accelerate shards on accelerators alone and on CPUs would forget that it was asked to,
        # though nothing that it calls needs one
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU


def quieten(is_main_process: bool) -> None:
    """Sets logging up for a recipe: plain lines of the main process, no chatter of the libraries.

    Args:
        is_main_process: whether this process may speak.
    """
    from transformers.utils import logging as transformers_logging

    logging.basicConfig(
        format="%(message)s", level=logging.INFO if is_main_process else logging.ERROR, force=True
    )
    for name in ("accelerate", "datasets", "httpx", "httpx2", "httpcore", "filelock", "torch"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # a silent Hub is told by us
    transformers_logging.disable_progress_bar()
    if not sys.stderr.isatty():
        from datasets import disable_progress_bars

        disable_progress_bars()


def _parent() -> tuple[list[str], Mapping[str, str]]:
    """Command line and environment of what started this process; empty where they are hidden."""
    import psutil  # comes with accelerate

    try:
        parent = psutil.Process(os.getppid())
        return parent.cmdline(), parent.environ()
    except psutil.Error:
        return [], {}


def _asked_processes(command: list[str]) -> tuple[int, int]:
    """Processes and machines in an `accelerate launch` command or the configuration it reads."""
    place = next((i for i, word in enumerate(command) if _LAUNCHER.search(word)), None)
    if place is None:
        return 1, 1
    from accelerate.commands.config import load_config_from_file
    from accelerate.commands.launch import launch_command_parser

    asked, _ = launch_command_parser().parse_known_args(command[place + 1 :])
    try:
        config = load_config_from_file(asked.config_file)
    except FileNotFoundError:
        config = asked
    num_processes = asked.num_processes or config.num_processes or 1
    return num_processes, asked.num_machines or config.num_machines or 1
