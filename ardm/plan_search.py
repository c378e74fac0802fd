"""Plan search: the cheapest groups for a number of steps, by dynamic programming.

    cost(k groups of n positions) = min over i  cost(k - 1 groups of i) + (n - i) L_i

(arXiv 2106.03802; 2110.02037, section 3.1.) With losses L_i that never rise the costs are Monge:
every start i is a line in n whose slope is L_i, and the lowest of all lines is found by adding
lines at one end and leaving them at the other (the convex hull trick). And what one more group
saves never rises with their number, so that steps may be shared out among several curves one by
one, each to the curve that it saves most.

Losses are integers here: exact sums, so that ties are ties.
"""

import heapq
import math
from array import array
from collections import deque
from collections.abc import Sequence

_Line = tuple[int, int, int]  # slope, value at j = 0, start i of the group


def as_integers(curves: list[list[float]]) -> list[list[int]]:
    """Multiples of 2^-60 of the largest of all curves, none of which rises."""
    exponent = math.frexp(max((curve[0] for curve in curves if curve), default=0.0))[1]
    return [[round(math.ldexp(loss, 60 - exponent)) for loss in curve] for curve in curves]


def cheapest_plan(units: list[int], steps: int) -> list[int]:
    """The plan of `steps` groups with the least cost; of equals that with the largest last group.

    Args:
        units: losses, none larger than the one before.
        steps: number of groups, 1..len(units).

    Returns:
        Group sizes.
    """
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


def shared_steps(curves: list[list[int]], steps: int) -> list[int]:
    """How many of `steps` groups each curve gets so that all together cost least.

    Args:
        curves: losses of each, none larger than the one before, at least one.
        steps: at least one a curve, at most one a position.

    Returns:
        One number a curve; they sum to `steps`.
    """
    most = steps - len(curves) + 1
    costs = [_costs_by_steps(units, min(most, len(units))) for units in curves]
    allotted = [1] * len(curves)

    def saved(curve: int) -> tuple[int, int] | None:
        """What one more group saves, least first as heaps have it; None: there can be no more."""
        done = allotted[curve]
        of_curve = costs[curve]
        return (of_curve[done] - of_curve[done - 1], curve) if done < len(of_curve) else None

    heap = [entry for curve in range(len(curves)) if (entry := saved(curve))]
    heapq.heapify(heap)
    for _ in range(steps - len(curves)):
        curve = heapq.heappop(heap)[1]
        allotted[curve] += 1
        if entry := saved(curve):
            heapq.heappush(heap, entry)
    return allotted


def _costs_by_steps(units: list[int], most: int) -> list[int]:
    """The least cost of 1, 2, ..., `most` groups."""
    costs = [units[0] * (j + 1) for j in range(len(units))]
    totals = [costs[-1]]
    for k in range(1, most):
        costs, _ = _add_group(costs[: len(units) - k], units[k:])
        totals.append(costs[-1])
    return totals


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
