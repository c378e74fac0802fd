"""What a loop of network calls needs: evaluation mode, a progress bar, how fast it goes."""

import io
import logging
import sys
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import Any, TypeVar

from torch import nn
from tqdm.auto import tqdm

logger = logging.getLogger(__name__)
Item = TypeVar("Item")

_SECONDS_BETWEEN_LINES = 30.0  # of long work that is not watched on a terminal


@contextmanager
def evaluating(model: object) -> Iterator[None]:
    """The model without dropout, and afterwards as it was; what is no module is left alone."""
    modules = model.modules() if isinstance(model, nn.Module) else ()
    training = [module for module in modules if module.training]  # frozen parts may not be
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


def pace(done: int, total: int, seconds: float, unit: str = "steps") -> str:
    """How fast long work goes, and how long it will take yet, for a line of the log.

    Args:
        done: what has been done in these seconds, at least 1.
        total: what is to be done, with that.
        seconds: since it was begun.
        unit: what is done, several of it.

    Returns:
        "2.5 steps/s, 01:20 left"; of what takes seconds each, "0.2 steps/s, ...".
    """
    left = tqdm.format_interval((total - done) * seconds / done)
    return f"{done / max(seconds, 1e-9):.3g} {unit}/s, {left} left"


class _LogFile(io.TextIOBase):
    """What a bar writes to where there is no terminal: its lines go to the log."""

    def write(self, text: str) -> int:
        if line := text.strip():
            logger.info(line)
        return len(text)


def progress_bar(
    items: Iterable[Item] | None = None,
    *,
    what: str,
    total: int | None = None,
    initial: int = 0,
    unit: str = "step",
    shown: bool | None = None,
    leave: bool = False,
) -> "tqdm[Item]":
    """The project's progress bar: on a terminal, unless told otherwise; elsewhere lines of the log.

    Args:
        items: what a loop goes through; None = call `update` inside a `with` block.
        what: what the work is.
        total: of the updates; None = the number of items.
        initial: how far the work is already.
        unit: of the total.
        shown: whether to show it; None = on a terminal, and where there is none by a line of the
            log each half minute.
        leave: whether the bar stays when it is done.

    Returns:
        A tqdm bar: an iterable over the items, and a context manager with `update`.
    """
    how: dict[str, Any] = {"disable": shown is False}
    if shown is None and not sys.stderr.isatty():
        ends = total is not None or isinstance(items, Sized)
        line = "{desc}: {n_fmt}{unit}s, {rate_fmt}"
        if ends:
            line = "{desc}: {n_fmt}/{total_fmt}{unit}s, {rate_fmt}, {remaining} left"
        how |= {
            "file": _LogFile(),
            "bar_format": line,
            "miniters": 1,
            "mininterval": _SECONDS_BETWEEN_LINES,
            "maxinterval": _SECONDS_BETWEEN_LINES,
            "delay": _SECONDS_BETWEEN_LINES,
        }
        leave = False
    return tqdm(
        items,
        desc=what,
        total=total,
        initial=initial,
        unit=f" {unit}",
        leave=leave,
        **how,
    )
