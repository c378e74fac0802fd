"""Stopwatch: how much of a loop's time is spent inside given calls; what the machine's matrix
product can do; and how much memory is held.

Two loops timed one after the other differ by what the machine does meanwhile. The ratio total /
inside, taken over the same seconds of the same run, does not.
"""

import functools
import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch


class Stopwatch:
    """Records when wrapped methods run. The steps of a loop are told apart by one of them."""

    def __init__(self) -> None:
        self.intervals: dict[str, list[tuple[float, float]]] = {}

    def over(self, owner: Any, method: str) -> None:
        """Times every call of a method of one object from now on.

        Args:
            owner: the object.
            method: the method's name, which is also the name of its intervals.
        """
        call = getattr(owner, method)
        intervals = self.intervals.setdefault(method, [])

        @functools.wraps(call)
        def timed(*args: Any, **kwargs: Any) -> Any:
            began = _now()
            result = call(*args, **kwargs)
            intervals.append((began, _now()))
            return result

        setattr(owner, method, timed)

    def over_all(self, *methods: tuple[Any, str]) -> None:
        """[`Stopwatch.over`] for several (owner, method)."""
        for owner, method in methods:
            self.over(owner, method)

    def clear(self) -> None:
        """Forgets what was recorded; what is timed stays."""
        for intervals in self.intervals.values():
            intervals.clear()

    def seconds(self, method: str) -> float:
        """Sum of the intervals of one method."""
        return sum(end - begin for begin, end in self.intervals[method])

    def ratios(
        self, step: str, num_chunks: int = 5, warm_up: int = 5
    ) -> tuple[list[float], list[float]]:
        """Total over inside, and seconds a step, for consecutive chunks of the loop.

        Args:
            step: the method that is called once at the end of each step.
            num_chunks: repeats to take a median over.
            warm_up: first steps to leave out.

        Returns:
            total / inside of each chunk, and its seconds a step.

        Raises:
            ValueError: if there are too few steps.
        """
        ends = [end for _, end in self.intervals[step]][warm_up:]
        size = (len(ends) - 1) // num_chunks
        if size < 1:
            raise ValueError(
                f"the loop ran {len(ends)} steps after warm-up; expected more than {num_chunks}."
            )
        ratios = []
        seconds = []
        for chunk in range(num_chunks):
            begin = ends[chunk * size]
            end = ends[(chunk + 1) * size]
            inside = sum(
                b - a
                for spans in self.intervals.values()
                for a, b in spans
                if a >= begin and b <= end
            )
            ratios.append((end - begin) / inside)
            seconds.append((end - begin) / size)
        return ratios, seconds

    def medians(self, step: str, num_chunks: int = 5, warm_up: int = 5) -> tuple[float, float]:
        """Medians of what [`Stopwatch.ratios`] gives."""
        ratios, seconds = self.ratios(step, num_chunks, warm_up)
        return statistics.median(ratios), statistics.median(seconds)


def medians_in_turn(
    calls: Mapping[Any, Callable[[], Sequence[float]]], repeats: int
) -> dict[Any, tuple[float, ...]]:
    """Medians of what several calls return. They are made in turn, so that the machine's drift
    meets all alike.

    Args:
        calls: by name; each returns its figures.
        repeats: how often each is made.

    Returns:
        By name, the median of each figure.
    """
    runs = [[call() for call in calls.values()] for _ in range(repeats)]
    figures = (zip(*runs_of_one, strict=True) for runs_of_one in zip(*runs, strict=True))
    return {
        name: tuple(map(statistics.median, each)) for name, each in zip(calls, figures, strict=True)
    }


def matmul_flops(size: int = 2048, repeats: int = 5, device: str | torch.device = "cpu") -> float:
    """What the machine's float32 matrix product reaches, FLOP/s: the best of a few, 2 n^3 each.

    Args:
        size: n, of square matrices.
        repeats: products timed.
        device: where.

    Returns:
        FLOP/s.
    """
    matrix = torch.randn(size, size, device=device)
    matrix @ matrix
    seconds = []
    for _ in range(repeats):
        began = _now()
        matrix @ matrix
        seconds.append(_now() - began)
    return 2 * size**3 / min(seconds)


def live_bytes() -> int:
    """Memory of all tensors that Python can reach, on all devices, bytes; storage that several
    share counts once.
    """
    storages = [
        o.untyped_storage()
        for o in gc.get_objects()
        if type(o) in (torch.Tensor, torch.nn.Parameter)
    ]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
