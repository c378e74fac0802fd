"""What a loop of network calls needs: evaluation mode, a progress bar."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from torch import nn
from tqdm.auto import tqdm

Item = TypeVar("Item")


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
    return tqdm(
        items,
        desc=what,
        total=total,
        initial=initial,
        unit=f" {unit}",
        leave=leave,
        disable=not (sys.stderr.isatty() if shown is None else shown),
    )
