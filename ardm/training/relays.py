"""Relays: long work that shows how far it is, as an iterator of what it shows.

    for picture in relay(work):  ...        work(show) -> the last picture

The work runs in a thread of its own, since `generate` and `sample` call back where an iterator
would have to yield. Whoever stops reading stops the work at its next call of `show`.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")
Show = Callable[[Callable[[], T]], None]


class _NoReader(Exception):
    """Ends work that nobody looks at any more."""


def relay(
    work: Callable[[Show[T]], T], *, delay: float = 0.0, interval: float = 0.1
) -> Iterator[T]:
    """Runs work in a thread, and yields what it shows, at last what it returns.

    Args:
        work: is given `show`, which it calls with a function that draws; that is called at once, in
            the work's thread, or not at all if the last drawing is more recent than `interval`.
        delay: seconds to wait at each call of `show`, for eyes to follow.
        interval: seconds between two drawings, at least.

    Yields:
        Drawings, as they come, and the result.

    Raises:
        ValueError: if a number is negative or not finite.
        Exception: whatever the work raises.
    """
    for name, value in (("delay", delay), ("interval", interval)):
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} is {value}; expected seconds, at least 0.")
    items: SimpleQueue[tuple[str, Any]] = SimpleQueue()
    left = threading.Event()

    def run() -> None:
        try:
            items.put(("result", work(_show_into(items, left, delay, interval))))
        # it is raised again where it is read
        except BaseException as error:
            items.put(("error", error))

    threading.Thread(target=run, name="relay", daemon=True).start()
    try:
        while True:
            kind, value = items.get()
            if kind == "error":
                raise value
            yield value
            if kind == "result":
                return
    finally:
        left.set()


def _show_into(
    items: "SimpleQueue[tuple[str, Any]]", left: threading.Event, delay: float, interval: float
) -> Show[Any]:
    due = -math.inf

    def show(draw: Callable[[], Any]) -> None:
        nonlocal due
        if time.monotonic() >= due:
            items.put(("drawing", draw()))
            due = time.monotonic() + interval
        if left.wait(delay):
            raise _NoReader

    return show
