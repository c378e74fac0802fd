"""What long work needs on one process or many: rows shared out, evaluation mode, a progress bar.

Process r of P takes the rows r, r + P, ... What is random of a row is keyed by its number, so that
every process ends with the same figures, and one process with the same as many.
"""

import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

logger = logging.getLogger(__name__)
Item = TypeVar("Item")


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """The model without dropout, and afterwards as it was; what is no module is left alone."""
    training = [m for m in model.modules() if m.training] if isinstance(model, nn.Module) else []
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


# ---------------------------------------------------------------------------------- rows of all
def share_of(num_rows: int, process_index: int, num_processes: int) -> Tensor:
    """The rows that one process takes, int64: r, r + P, ..., for process r of P; perhaps none."""
    return torch.arange(num_rows)[process_index::num_processes]


def score_rows(
    num_rows: int,
    score: Callable[[Tensor], Tensor],
    *,
    device: torch.device,
    shape: tuple[int, ...] = (),
    batch_size: int = 1,
    unit: str = "row",
    shown: bool = False,
) -> Tensor:
    """Scores numbered rows, each process its share; to be called on all processes.

    Args:
        num_rows: N.
        score: numbers of rows, int64 (B,) on the CPU -> float64 (B, *shape), each row's alone.
        device: where processes exchange numbers.
        shape: of one row's score; () = a number.
        batch_size: rows scored at once.
        unit: what a row is.
        shown: whether the main process tells how far it is: by a bar on a terminal, elsewhere by a
            line of the log at each quarter.

    Returns:
        float64 (N, *shape), the same on every process, on the CPU.
    """
    from accelerate import PartialState
    from accelerate.utils import reduce

    state = PartialState()
    share = share_of(num_rows, state.process_index, state.num_processes)
    scores = torch.zeros(num_rows, *shape, dtype=torch.float64)
    shown = shown and state.is_main_process
    done = 0
    with progress(total=len(share), what="scoring", unit=unit, shown=shown and None) as bar:
        for rows in share.split(batch_size):
            if len(rows):  # else there are more processes than rows
                scores[rows] = score(rows).cpu()
            quarter = 4 * done // max(len(share), 1)
            done += len(rows)
            bar.update(len(rows))
            if shown and bar.disable and quarter < 4 * done // max(len(share), 1) < 4:
                logger.info("scored %d of this process's %d %ss", done, len(share), unit)
    # what another process scores is 0 here
    return reduce(scores.to(device), reduction="sum").cpu()


# ------------------------------------------------------------------------------------- progress
def progress(
    items: Iterable[Item] | None = None,
    *,
    what: str,
    total: int | None = None,
    initial: int = 0,
    unit: str = "step",
    shown: bool | None = None,
    leave: bool = False,
) -> "tqdm[Item]":
    """The project's progress bar: on a terminal, unless told otherwise.

    Args:
        items: what a loop goes through; None = call `update` inside a `with` block.
        what: what the work is.
        total: of the updates; None = the number of items.
        initial: how far the work is already.
        unit: of the total.
        shown: whether to show it; None = on a terminal.
        leave: whether the bar stays when it is done.

    Returns:
        A tqdm bar: an iterable over the items, and a context manager with `update`.
    """
    shown = sys.stderr.isatty() if shown is None else shown
    bar = {"desc": what, "total": total, "initial": initial, "unit": f" {unit}", "leave": leave}
    return tqdm(items, **bar, disable=not shown)  # type: ignore[arg-type]
