"""A progress bar for long loops: on a terminal, unless told otherwise."""

import sys
from collections.abc import Iterable, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def with_progress(items: Sequence[Item], what: str, shown: bool | None = None) -> Iterable[Item]:
    """The items, with a bar while they are gone through.

    Args:
        items: what the loop is over.
        what: what the loop does.
        shown: whether to show the bar; None = on a terminal.

    Returns:
        The items.
    """
    if not (sys.stderr.isatty() if shown is None else shown):
        return items
    from tqdm.auto import tqdm

    return tqdm(items, unit="step", desc=what, leave=False)
