"""Plans: how many positions each step generates.

A plan is a list of group sizes, each at least 1, that sum to the number of positions. One token a step is the model
itself; larger groups are drawn independently given what is known (arXiv 2110.02037, section 4).
"""

import torch
from torch import Tensor


def uniform_plan(length: int, steps: int) -> list[int]:
    """Splits `length` positions evenly over `steps` groups; sizes differ by at most one, larger groups come last.

    Later groups are the cheap ones: the more is known, the less a joint draw of several tokens costs.

    Args:
        length: number of positions, at least 0.
        steps: number of groups, 1..length (0 for length 0).

    Returns:
        `steps` group sizes that sum to `length`.

    Raises:
        ValueError: if `steps` is outside 1..length.
    """
    if length == 0 and steps == 0:
        return []
    if not 1 <= steps <= length:
        raise ValueError(f"steps is {steps}; expected 1..{length} for {length} positions.")
    return [length * (i + 1) // steps - length * i // steps for i in range(steps)]


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
    if tokens_per_step < 1:
        raise ValueError(f"tokens_per_step is {tokens_per_step}; expected at least 1.")
    full, rest = divmod(length, tokens_per_step)
    return [tokens_per_step] * full + [rest] * (rest > 0)


def check_plan(plan: list[int], length: int) -> list[int]:
    """Returns an explicit plan as a list of ints.

    Args:
        plan: group sizes.
        length: number of positions that they must sum to.

    Returns:
        The plan.

    Raises:
        ValueError: if a group is empty or the sum is another.
    """
    sizes = [int(size) for size in plan]
    if any(size < 1 for size in sizes):
        raise ValueError(f"plan is {sizes}; expected every group to hold at least 1 position.")
    if sum(sizes) != length:
        raise ValueError(f"plan sums to {sum(sizes)}; expected {length}, the number of masks of every row.")
    return sizes


def group_bounds(plans: list[list[int]]) -> Tensor:
    """Where each row's groups begin and end in its queue.

    Args:
        plans: one plan a row; they may differ in length.

    Returns:
        int64 (B, S + 1) for the longest plan of S groups: group s of row b is queue[b, bounds[b, s]:bounds[b, s + 1]].
        Rows that finish early have empty groups at the end.
    """
    steps = max(map(len, plans), default=0)
    padded = [[0, *plan, *[0] * (steps - len(plan))] for plan in plans]
    return torch.tensor(padded, dtype=torch.long).reshape(len(plans), steps + 1).cumsum(1)
