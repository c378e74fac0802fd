"""Launching: how a recipe becomes the processes, threads and log lines that were asked for.

Two facts of Accelerate (issues 2741 and 2492 of its tracker), each mended here with its own means:

- `accelerate launch --cpu --num_processes 2` starts one process unless MPI is installed.
  `start_processes` replaces it by torchrun, which Accelerate itself uses for several GPUs.
- `accelerate launch` without `--cpu` sets OMP_NUM_THREADS=1, so that a CPU run uses one core.
  `use_all_threads` undoes that where nobody asked for it.
"""

import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from accelerate import PartialState

# the last word before the launcher's own flags
_LAUNCHER = re.compile(r"^launch$|accelerate-launch$|commands[/.]launch(\.py)?$")


def run_recipe(main: Callable[[], None]) -> None:
    """Runs a recipe as a program: processes and threads as asked for, and errors in one line.

    Args:
        main: the recipe's main function.

    Raises:
        SystemExit: with a message instead of a traceback, for a user's mistake (`ValueError`), a
            run that had to end (`RuntimeError`) or a wish (Ctrl-C).
    """
    start_processes()
    use_all_threads()
    try:
        main()
    except (ValueError, RuntimeError) as error:
        raise SystemExit(f"error: {error}") from error
    except KeyboardInterrupt as stop:
        raise SystemExit(f"stopped: {stop}") from stop


def start_processes() -> None:
    """Replaces this process by the number of CPU processes that `accelerate launch` was asked for.

    Does nothing when they exist already, when one was asked for, or without `accelerate launch`.
    Call it first.
    """
    # it names a meeting point for several processes, and starts a single one that knows no rank
    asked_for_several = "MASTER_ADDR" in os.environ and "ACCELERATE_USE_CPU" in os.environ
    if not asked_for_several or "RANK" in os.environ or torch.cuda.is_available():
        return
    command, _ = _parent()
    num_processes = _asked_processes(command)
    if num_processes > 1:
        _become(num_processes)
    else:
        warnings.warn(
            "the launcher was asked for several CPU processes and started one,"
            f" and how many cannot be told from {command};"
            f" use: ACCELERATE_USE_CPU=true torchrun --nproc_per_node N {sys.argv[0]}",
            stacklevel=2,
        )


def _become(num_processes: int) -> None:
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nnodes", "1"]
    words = [sys.executable, *torchrun, "--nproc_per_node", str(num_processes), *sys.argv]
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
        torch.set_num_threads(_num_cores())


def _num_cores() -> int:
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
    from accelerate.utils import parse_flag_from_env

    # The launcher's --cpu is in the environment, where PartialState does not look: on its own it
    # would take each of several CPU processes for the only one.
    launched = parse_flag_from_env("ACCELERATE_USE_CPU")
    # random numbers are drawn in float64, which MPS does not have
    return PartialState(cpu=cpu or launched or torch.backends.mps.is_available())


def quieten(is_main_process: bool) -> None:
    """Sets logging up for a recipe: plain lines of the main process, no chatter of the libraries.

    Args:
        is_main_process: whether this process may speak.
    """
    from transformers.utils import logging as transformers_logging

    logging.basicConfig(
        format="%(message)s", level=logging.INFO if is_main_process else logging.ERROR, force=True
    )
    for name in ("accelerate", "datasets", "httpx", "httpcore", "filelock", "torch"):
        logging.getLogger(name).setLevel(logging.WARNING)
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


def _asked_processes(command: list[str]) -> int:
    """The number in an `accelerate launch` command or the configuration it reads; 1 if none."""
    place = next((i for i, word in enumerate(command) if _LAUNCHER.search(word)), None)
    if place is None:
        return 1
    from accelerate.commands.config import load_config_from_file
    from accelerate.commands.launch import launch_command_parser

    asked, _ = launch_command_parser().parse_known_args(command[place + 1 :])
    if asked.num_processes is not None:
        return asked.num_processes
    try:
        return load_config_from_file(asked.config_file).num_processes or 1
    except FileNotFoundError:
        return 1
