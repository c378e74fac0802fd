"""What long work needs on one process or many: rows shared out, measured, gathered.

Process r of P takes the rows r, r + P, ... What is random of a row is keyed by its number, so that
every process ends with the same figures, and one process with the same as many.
"""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .integers import check_integer
from .progress import pace, progress_bar

if TYPE_CHECKING:
    from accelerate import Accelerator

logger = logging.getLogger(__name__)


# --------------------------------------------------------------------------------- rows of all
def share_of(num_rows: int, process_index: int, num_processes: int) -> Tensor:
    """The rows that one process takes, int64: r, r + P, ..., for process r of P; perhaps none."""
    return torch.arange(num_rows)[process_index::num_processes]


def own_share(num_rows: int) -> Tensor:
    """The rows that this process takes, int64, as [`share_of`] deals them out; perhaps none."""
    from accelerate import PartialState

    state = PartialState()
    return share_of(num_rows, state.process_index, state.num_processes)


def gather_rows(rows: Tensor) -> Tensor:
    """The rows of all processes, in the processes' order; to be called on all of them.

    Args:
        rows: (B, ...); B may differ between processes.

    Returns:
        (sum of B, ...), on the CPU, the same on every process; without processes, the rows.
    """
    from accelerate import PartialState
    from accelerate.utils import gather_object

    rows = rows.cpu()
    # asking would start the processes' group where nobody launched any
    if PartialState._shared_state and PartialState().num_processes > 1:
        rows = torch.cat(gather_object([rows]))
    return rows


def measure_rows(
    num_rows: int,
    measure: Callable[[Tensor], Tensor],
    *,
    device: torch.device,
    shape: tuple[int, ...] = (),
    batch_size: int = 1,
    unit: str = "row",
    shown: bool = False,
) -> Tensor:
    """Measures numbered rows, each process its share; to be called on all processes.

    Args:
        num_rows: N.
        measure: numbers of rows, int64 (B,) on the CPU -> float64 (B, *shape), each row's alone.
        device: where processes exchange numbers.
        shape: of what is measured of one row; () = a number.
        batch_size: rows measured at once.
        unit: what a row is.
        shown: whether the main process tells how far it is: by a bar on a terminal, elsewhere by a
            line of the log at each quarter.

    Returns:
        float64 (N, *shape), the same on every process, on the CPU.

    Raises:
        ValueError: if `batch_size` is below 1.
    """
    from accelerate import PartialState
    from accelerate.utils import reduce

    check_integer("batch_size", batch_size, 1)  # on all processes: one without rows would wait
    share = own_share(num_rows)
    measured = torch.zeros(num_rows, *shape, dtype=torch.float64)
    told = shown and PartialState().is_main_process
    with _telling(len(share), unit, told) as advance:
        for rows in share.split(batch_size):
            if len(rows):  # else there are more processes than rows
                measured[rows] = measure(rows).cpu()
                advance(len(rows))
    # what another process measures is 0 here
    return reduce(measured.to(device), reduction="sum").cpu()


@contextmanager
def _telling(total: int, unit: str, told: bool) -> Iterator[Callable[[int], None]]:
    """What to call with the number of rows that were measured."""
    shown = told and sys.stderr.isatty()
    began = time.perf_counter()
    with progress_bar(total=total, what="scoring", unit=unit, shown=shown) as bar:
        done = 0

        def advance(number: int) -> None:
            nonlocal done
            quarter = 4 * done // total
            done += number
            bar.update(number)
            if told and bar.disable and quarter < 4 * done // total < 4:
                how_fast = pace(done, total, time.perf_counter() - began, f"{unit}s")
                logger.info("scored %d of this process's %d %ss, %s", done, total, unit, how_fast)

        yield advance


def agreed(accelerator: "Accelerator", flag: bool) -> bool:
    """Whether any process raised the flag: all must stop, or skip, at the same step."""
    if accelerator.num_processes == 1:
        return flag
    raised = torch.tensor(float(flag), device=accelerator.device)
    return bool(accelerator.reduce(raised, reduction="sum") > 0)
