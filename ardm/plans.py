"""Plans: how many positions each step generates.

A plan is a list of group sizes k_1..k_S, each at least 1, that sum to the number of positions L.
One token a step is the model itself; the tokens of a larger group are drawn independently given
what is known (arXiv 2110.02037, section 3.1). With L_t the loss in nats per token when t positions
are known, and group i starting at s_i = k_1 + ... + k_(i-1),

    cost(plan) = sum_i k_i L_(s_i)  >=  sum_t L_t = NELBO        for a non-increasing L_t
"""

import heapq
import math
from array import array
from collections import deque
from collections.abc import Sequence
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from .checks import check_integer

_Line = tuple[int, int, int]  # slope, value at j = 0, start i of the group


def uniform_plan(length: int, steps: int) -> list[int]:
    """Splits `length` positions evenly over `steps` groups; sizes differ by at most one.

    Larger groups come late: the more is known, the less it costs to draw several tokens at once.

    Args:
        length: number of positions, at least 0.
        steps: number of groups, 1..length (0 for length 0).

    Returns:
        `steps` group sizes that sum to `length`.

    Raises:
        ValueError: if `steps` is outside 1..length.
    """
    steps = _check_steps(steps, length)
    return [length * (i + 1) // steps - length * i // steps for i in range(steps)]


def cosine_plan(length: int, steps: int) -> list[int]:
    """Few tokens early and many late: after step i of S cos(pi/2 i/S) of them is still masked.

    The schedule of MaskGIT (arXiv 2202.04200, section 3.3) and MD4 (arXiv 2406.04329), rounded as
    MaskGIT does: what is still masked down, and every step generates at least one position.

    Args:
        length: number of positions, at least 0.
        steps: number of groups, 1..length (0 for length 0).

    Returns:
        `steps` group sizes that sum to `length`.

    Raises:
        ValueError: if `steps` is outside 1..length.
    """
    steps = _check_steps(steps, length)
    masked = [length]
    for i in range(1, steps + 1):
        # at least steps - i remain for the later steps, since cos(pi/2 x) >= 1 - x
        masked.append(min(masked[-1] - 1, math.floor(length * math.cos(math.pi / 2 * (i / steps)))))
    return [before - after for before, after in pairwise(masked)]


def fixed_size_plan(length: int, tokens_per_step: int) -> list[int]:
    """Groups of `tokens_per_step`, the last one smaller where that does not divide `length`.

    Args:
        length: number of positions, at least 0.
        tokens_per_step: size of a group, at least 1.

    Returns:
        Group sizes that sum to `length`.

    Raises:
        ValueError: if `tokens_per_step` is below 1.
    """
    check_integer("length", length, 0)
    check_integer("tokens_per_step", tokens_per_step, 1)
    full, rest = divmod(length, tokens_per_step)
    return [tokens_per_step] * full + [rest] * bool(rest)


def optimal_plan(losses: Sequence[float] | Tensor, steps: int) -> list[int]:
    """The plan of `steps` groups with the least cost, by dynamic programming.

    (arXiv 2106.03802; 2110.02037, section 3.1.) The losses are made non-increasing by
    [`monotone_fit`] first: on a noisy curve the search would pick the starts whose loss is low by
    chance. Among plans of the same cost it returns the one whose last group is the largest, then
    the one before it, and so on: steps that gain nothing are spent at the start, where a joint draw
    costs most.

    Time and memory are O(steps (L - steps)): one or two seconds for 100 steps of L = 16,384 on one
    core.

    Args:
        losses: (L,), nats at each number of known positions 0..L-1, e.g. from `per_step_losses`; at
            least 0.
        steps: number of groups, 1..L.

    Returns:
        `steps` group sizes, each at least 1, that sum to L.

    Raises:
        ValueError: if `losses` is no curve of L >= 1 finite, non-negative values, or `steps` is
            outside 1..L.
    """
    values = _finite(losses)
    if min(values) < 0:
        raise ValueError(
            f"losses[{values.index(min(values))}] is {min(values)}; expected nats, at least 0."
        )
    steps = _check_steps(steps, len(values))
    units = _as_integers(monotone_fit(values))
    # k groups cover k + j positions, j in 0..L - steps: none is empty, then or later
    width = len(units) - steps + 1
    costs = [units[0] * (j + 1) for j in range(width)]
    origins = []
    for k in range(1, steps):
        costs, origin = _add_group(costs, units[k : k + width])
        origins.append(origin)
    sizes = []
    j = width - 1
    for origin in reversed(origins):
        sizes.append(j - origin[j] + 1)
        j = origin[j]
    return [j + 1, *reversed(sizes)]


def plan_cost(losses: Sequence[float] | Tensor, plan: list[int]) -> float:
    """What a plan costs: the sum of k L_s over its groups of size k that start at s.

    The losses are taken as they are, without a fit: a plan found on some data can be priced on
    other data.

    Args:
        losses: (L,), nats at each number of known positions 0..L-1.
        plan: group sizes, each at least 1, that sum to L.

    Returns:
        Nats per sequence.

    Raises:
        ValueError: if `losses` is no curve of L >= 1 finite values, or the plan has an empty group
            or does not sum to L.
    """
    values = _finite(losses)
    sizes = check_plan(plan, len(values), "losses")
    ends = accumulate(sizes)
    return math.fsum(size * values[end - size] for size, end in zip(sizes, ends, strict=True))


def monotone_fit(losses: Sequence[float] | Tensor) -> list[float]:
    """The closest non-increasing curve in least squares, by pooling adjacent violators.

    More known positions cannot cost more on average: a rise of measured losses is noise.

    Args:
        losses: (L,), nats at each number of known positions 0..L-1.

    Returns:
        L values in nats, with the mean of `losses`; a curve that never rises stays as it is.

    Raises:
        ValueError: if `losses` is no curve of L >= 1 finite values.
    """
    levels: list[tuple[float, int]] = []  # (mean, number of positions), falling
    for loss in _finite(losses):
        mean = loss
        size = 1
        while levels and levels[-1][0] < mean:
            before, count = levels.pop()
            mean = (before * count + mean * size) / (count + size)
            size = count + size
        levels.append((mean, size))
    return [mean for mean, size in levels for _ in range(size)]


def blockwise_steps(sizes: list[int], steps: int) -> list[int]:
    """How many of `steps` steps each block of positions gets: at least one, at most its size.

    Every step beyond goes to the block with the most positions a step, the later of equals (Adams).

    Args:
        sizes: number of positions of each block, at least 1.
        steps: number of steps, at least one a block; those beyond one a position are not allotted.

    Returns:
        One number a block; they sum to min(steps, sum(sizes)).

    Raises:
        ValueError: if a block is empty or there are fewer steps than blocks.
    """
    if any(size < 1 for size in sizes):
        raise ValueError(f"sizes is {sizes}; expected every block to hold at least 1 position.")
    if steps < len(sizes):
        raise ValueError(
            f"steps is {steps}; expected at least one for each of the {len(sizes)} blocks."
        )
    allotted = [1] * len(sizes)
    heap: list[tuple[float, int]] = [(-size, -block) for block, size in enumerate(sizes)]
    heapq.heapify(heap)
    for _ in range(min(steps, sum(sizes)) - len(sizes)):
        block = -heap[0][1]  # never a full one: its ratio is 1, and some block's is above
        allotted[block] += 1
        heapq.heapreplace(heap, (-sizes[block] / allotted[block], -block))
    return allotted


def check_plan(
    plan: Sequence[int] | Tensor, length: int, counted: str = "masks of every row"
) -> list[int]:
    """An explicit plan, checked.

    Args:
        plan: group sizes.
        length: number of positions that they must sum to.
        counted: what `length` is the number of, for the message.

    Returns:
        The same as Python's integers.

    Raises:
        ValueError: if a size is no integer of at least 1, or the sum is another.
    """
    given = plan.tolist() if isinstance(plan, Tensor) else plan
    sizes = [check_integer("plan's group size", size, 1) for size in given]
    if sum(sizes) != length:
        raise ValueError(f"plan sums to {sum(sizes)}; expected {length}, the number of {counted}.")
    return sizes


def group_bounds(plans: list[list[int]]) -> Tensor:
    """Where each row's groups begin and end in its queue.

    Args:
        plans: one plan a row; they may differ in length.

    Returns:
        int64 (B, S + 1), S groups: group s of row b is queue[b, bounds[b, s]:bounds[b, s + 1]].
        Rows that finish early have empty groups at the end.
    """
    steps = max(map(len, plans), default=0)
    padded = [[0, *plan, *[0] * (steps - len(plan))] for plan in plans]
    return torch.tensor(padded, dtype=torch.long).reshape(len(plans), steps + 1).cumsum(1)


def _check_steps(steps: int, length: int) -> int:
    check_integer("length", length, 0)
    return check_integer("steps", steps, min(length, 1), length, f" for {length} positions")


def _finite(losses: Sequence[float] | Tensor) -> list[float]:
    numbers = losses.tolist() if isinstance(losses, Tensor) else list(losses)
    values = torch.tensor(numbers, dtype=torch.float64)
    if values.ndim != 1 or len(values) == 0:
        raise ValueError(f"losses has shape {tuple(values.shape)}; expected (L,), L at least 1.")
    if not (fits := values.abs() < 1e100).all():  # then sums of them are finite, too
        known = int(fits.logical_not().nonzero()[0])
        raise ValueError(f"losses[{known}] is {float(values[known])}; expected finite nats.")
    return values.tolist()


def _as_integers(fitted: list[float]) -> list[int]:
    """Multiples of 2^-60 of the largest: exact sums at float64 precision, so that ties are ties."""
    exponent = math.frexp(fitted[0])[1]
    return [round(math.ldexp(loss, 60 - exponent)) for loss in fitted]


def _add_group(costs: list[int], losses: list[int]) -> tuple[list[int], Sequence[int]]:
    """One more group: new[j] = min over i <= j of costs[i] + (j - i + 1) losses[i].

    Every start i is a line in j, of slope losses[i], and slopes never rise: a lower envelope whose
    lines are added at one end and left at the other (the convex hull trick). Also the first i.
    """
    new = []
    origin = array("i")
    lines: deque[_Line] = deque()  # the best at the present j first
    for j, slope in enumerate(losses):
        if not lines or slope < lines[-1][0]:  # of one level the first start is the best
            line = (slope, costs[j] + (1 - j) * slope, j)
            while len(lines) > 1 and _hidden(lines[-2], lines[-1], line):
                lines.pop()
            lines.append(line)
        while len(lines) > 1 and lines[1][0] * j + lines[1][1] < lines[0][0] * j + lines[0][1]:
            lines.popleft()
        new.append(lines[0][0] * j + lines[0][1])
        origin.append(lines[0][2])
    return new, origin


def _hidden(left: _Line, middle: _Line, right: _Line) -> bool:
    """Whether of three lines of falling slopes the middle one is nowhere the lowest."""
    right_meets_left = (right[1] - left[1]) * (left[0] - middle[0])
    middle_meets_left = (middle[1] - left[1]) * (left[0] - right[0])
    return right_meets_left <= middle_meets_left  # right does first
