"""Stopwatch: how much of a loop's time is spent inside given calls.

Beside it: the speed of the machine's matrix product, and the memory that is held.

Two loops timed one after the other differ by what the machine does meanwhile. The ratio total /
inside, taken over the same seconds of the same run, does not.
"""

import functools
import gc
import itertools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch

Name = TypeVar("Name")


class Stopwatch:
    """Records when wrapped methods run. The steps of a loop are told apart by one of them."""

    def __init__(self) -> None:
        self.intervals: dict[str, list[tuple[float, float]]] = {}

    def over(self, owner: object, method: str) -> None:
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

    def over_all(self, *methods: tuple[object, str]) -> None:
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
        edges = ends[: num_chunks * size + 1 : size]
        chunks = list(itertools.pairwise(edges))
        ratios = [(end - begin) / self._seconds_inside(begin, end) for begin, end in chunks]
        return ratios, [(end - begin) / size for begin, end in chunks]

    def _seconds_inside(self, begin: float, end: float) -> float:
        spans = itertools.chain.from_iterable(self.intervals.values())
        return sum(b - a for a, b in spans if a >= begin and b <= end)

    def medians(self, step: str, num_chunks: int = 5, warm_up: int = 5) -> tuple[float, float]:
        """Medians of what [`Stopwatch.ratios`] gives."""
        ratios, seconds = self.ratios(step, num_chunks, warm_up)
        return statistics.median(ratios), statistics.median(seconds)


def medians_in_turn(
    calls: Mapping[Name, Callable[[], Sequence[float]]], repeats: int
) -> dict[Name, tuple[float, ...]]:
    """Medians of what calls return, made in turn, so that the machine's drift meets all alike.

    Args:
        calls: by name; each returns its figures.
        repeats: how often each is made.

    Returns:
        By name, the median of each figure.
    """
    figures: dict[Name, list[Sequence[float]]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            figures[name].append(call())
    return {
        name: tuple(statistics.median(each) for each in zip(*runs, strict=True))
        for name, runs in figures.items()
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
    """Bytes of all tensors that Python can reach, on any device; shared storage counts once."""
    kinds = (torch.Tensor, torch.nn.Parameter)
    storages = [each.untyped_storage() for each in gc.get_objects() if type(each) in kinds]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
