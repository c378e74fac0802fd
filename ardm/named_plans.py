"""Named plans: how a number of steps is split over the positions, by name.

    uniform       sizes differ by at most one, larger ones spread towards the end     (plans.py)
    larger_first  the same sizes, all larger ones first                (as LLaDA, arXiv 2502.09992)
    cosine        few early, many late                               (as MaskGIT, arXiv 2202.04200)
    linear_time   with m masks left, int(m (1 - s/t)) as time goes from t to s         (as Dream)
    binomial      every position at a step of its own choice, uniformly     (ancestral sampling, as
                  MDLM, arXiv 2406.07524)
    optimal       the cheapest by measured losses                                     (plans.py)

The steps of the last but one two are ticks of a clock that runs from 1 to 0: there may be more of
them than positions, and a tick that fills nothing is no step, as the network has no time input.
"""

import heapq
from collections.abc import Callable

import torch
from torch import Tensor

from .checks import check_integer
from .plans import cosine_plan, uniform_plan

_MOST_TICKS = 10**6


def larger_first_plan(length: int, steps: int) -> list[int]:
    """An even split whose larger groups all come first.

    Args:
        length: number of positions, at least 0.
        steps: number of groups, 1..length (0 for length 0).

    Returns:
        `steps` group sizes that sum to `length`.

    Raises:
        ValueError: if `steps` is outside 1..length.
    """
    return sorted(uniform_plan(length, steps), reverse=True)


def linear_time_plan(length: int, steps: int, eps: float = 1e-3) -> list[int]:
    """What a share 1 - s/t of the masks left is, rounded down, as time falls from 1 to `eps`.

    The last tick takes all that is left. In float32 like the released sampler, since rounding down
    hangs on the last bit: with as many ticks as positions the first one fills nothing, as
    length * (1 - eps) / steps is just below 1.

    Args:
        length: number of positions, at least 0.
        steps: number of ticks, at least 1.
        eps: the time at which the last tick ends.

    Returns:
        Group sizes, at most `steps` of them, that sum to `length`.

    Raises:
        ValueError: if `steps` is out of range.
    """
    check_integer("length", length, 0)
    check_integer("steps", steps, 1, _MOST_TICKS)
    times = torch.linspace(1, eps, steps + 1)
    shares = 1 - times[1:] / times[:-1]
    sizes = []
    left = torch.tensor(float(length))
    for share in shares[:-1]:
        sizes.append(int(left * share))
        left = left - sizes[-1]
    return [size for size in (*sizes, int(left)) if size]


def binomial_plan(uniforms: Tensor, steps: int) -> list[int]:
    """How many positions choose each step, where every one takes one of `steps` uniformly.

    Each tick then fills a binomial number of the positions that are left, each with probability
    1 / (ticks left): the law of masked diffusion's ancestral sampling in a linear schedule.

    Args:
        uniforms: float64 (L,) in [0, 1), one number for each position.
        steps: number of ticks, at least 1.

    Returns:
        Group sizes, at most `steps` of them, that sum to L.
    """
    ticks = (uniforms * steps).floor()
    return ticks.unique(return_counts=True)[1].tolist()


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


# at most as many steps as positions
SPLITS: dict[str, Callable[[int, int], list[int]]] = {
    "uniform": uniform_plan,
    "larger_first": larger_first_plan,
    "cosine": cosine_plan,
}
CLOCKS = ("linear_time", "binomial")
PLAN_NAMES = (*SPLITS, *CLOCKS, "optimal")
