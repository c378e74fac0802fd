"""Plans: how many positions each step generates.

A plan is a list of group sizes k_1..k_S, each at least 1, that sum to the number of positions L.
One token a step is the model itself; the tokens of a larger group are drawn independently given
what is known (arXiv 2110.02037, section 3.1). With L_t the loss in nats per token when t positions
are known, and group i starting at s_i = k_1 + ... + k_(i-1),

    cost(plan) = sum_i k_i L_(s_i)  >=  sum_t L_t = NELBO        for a non-increasing L_t

Of several stages (stages.py), one after the other, each has losses and a plan of its own: no group
reaches over the end of a stage.
"""

import math
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor

from .checks import check_integer
from .plan_search import as_integers, cheapest_plan, shared_steps

# of one stage, or a list for each
Losses = Sequence[float] | Sequence[Sequence[float]] | Tensor
Plan = Sequence[int] | Sequence[Sequence[int]] | Tensor


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


def optimal_plan(losses: Losses, steps: int | Sequence[int]) -> list[Any]:
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
            least 0. Of S stages (S, L), or S lists. Not of interleaved ones, of which a group costs
            more than its first reveal times its size: see `StepLosses.optimal_plan`.
        steps: number of groups, 1..L. Of S stages the number of all groups, S..S*L, which are
            shared out so that the whole costs least; or a list with one number a stage.

    Returns:
        `steps` group sizes, each at least 1, that sum to L; of S stages a list of S such lists.

    Raises:
        ValueError: if `losses` is no curve of L >= 1 finite, non-negative values, or `steps` is out
            of range.
    """
    curves = stage_losses(losses)
    units = as_integers([monotone_fit(_nonnegative(curve)) for curve in curves])
    if isinstance(steps, (list, tuple)):
        if len(steps) != len(curves):
            raise ValueError(f"steps is {steps}; expected {len(curves)} numbers, one a stage.")
        shares = [
            _check_steps(share, len(curve)) for share, curve in zip(steps, units, strict=True)
        ]
    else:
        total = sum(map(len, units))
        steps = check_integer("steps", steps, len(units), total, f" for {total} positions")
        shares = [steps] if len(units) == 1 else shared_steps(units, steps)
    plans = [cheapest_plan(curve, share) for curve, share in zip(units, shares, strict=True)]
    return plans if _is_nested(losses) else plans[0]


def plan_cost(losses: Losses, plan: Plan) -> float:
    """What a plan costs: the sum of k L_s over its groups of size k that start at s.

    The losses are taken as they are, without a fit: a plan found on some data can be priced on
    other data.

    Args:
        losses: (L,), nats at each number of known positions 0..L-1; of S stages (S, L), or S lists.
            What groups of interleaved ones cost `StepLosses.cost` knows; here it comes out too low.
        plan: group sizes, each at least 1, that sum to L; of S stages as [`stage_plan`] takes them.

    Returns:
        Nats per sequence.

    Raises:
        ValueError: if `losses` is no curve of L >= 1 finite values, or the plan has an empty group
            or does not sum to L.
    """
    curves = [_finite(curve) for curve in stage_losses(losses)]
    sizes = stage_plan(plan, [len(curve) for curve in curves], "losses")
    values = [loss for curve in curves for loss in curve]
    ends = accumulate(sizes)
    return math.fsum(size * values[end - size] for size, end in zip(sizes, ends, strict=True))


def monotone_fit(
    losses: Sequence[float] | Tensor, weights: Sequence[float] | Tensor | None = None
) -> list[float]:
    """The closest non-increasing curve in least squares, by pooling adjacent violators.

    More known positions cannot cost more on average: a rise of measured losses is noise.

    Args:
        losses: (L,), nats at each number of known positions 0..L-1.
        weights: (L,), above 0, of the squares; None = all alike.

    Returns:
        L values in nats, with the mean of `losses`; a curve that never rises stays as it is.

    Raises:
        ValueError: if `losses` is no curve of L >= 1 finite values.
    """
    values = _finite(losses)
    levels: list[tuple[float, float, int]] = []  # (mean, weight, number of positions), falling
    for loss, weight in zip(values, [1] * len(values) if weights is None else weights, strict=True):
        mean, total, size = loss, float(weight), 1
        while levels and levels[-1][0] < mean:
            before, heavy, count = levels.pop()
            mean = (before * heavy + mean * total) / (heavy + total)
            total, size = heavy + total, count + size
        levels.append((mean, total, size))
    return [mean for mean, _, size in levels for _ in range(size)]


def stage_plan(
    plan: Plan, lengths: Sequence[int], counted: str, num_lists: int | None = None
) -> list[int]:
    """An explicit plan, checked: the group sizes of all stages, one stage after the other.

    Args:
        plan: group sizes of all stages, none of which reaches over the end of one; or of one stage,
            if all are alike; or a list for each stage.
        lengths: number of positions of each stage that they must sum to.
        counted: what these are the number of, for the message.
        num_lists: how many lists a plan of lists has; None: as many as there are lengths.

    Returns:
        Python's integers.

    Raises:
        ValueError: if a size is no integer of at least 1, or a sum is another.
    """
    given: list[Any] = plan.tolist() if isinstance(plan, Tensor) else [*plan]
    parts = [given]
    if _is_nested(given):
        num_lists = num_lists or len(lengths)
        if len(given) != num_lists:
            raise ValueError(
                f"plan has {len(given)} lists; expected {num_lists}, one a stage, or group sizes."
            )
        parts = given
    sizes = [check_integer("plan's group size", size, 1) for part in parts for size in part]
    sums = [*map(sum, parts)]
    if len(parts) == len(lengths) > 1 and sums != [*lengths]:
        raise ValueError(
            f"plan sums to {_sum_of(sums)}; expected {_sum_of(lengths)}, the number of {counted},"
            " stage by stage."
        )
    lengths = [length for length in lengths if length]  # of one that is known nothing is left
    if len(parts) == 1 and {*lengths} == {*sums}:
        return sizes * len(lengths)
    if not {*accumulate(lengths)} <= {*accumulate(sizes)} or sum(sizes) != sum(lengths):
        raise ValueError(
            f"plan sums to {_sum_of(sums)}; expected {_sum_of(lengths)}, the number of {counted}"
            f"{', stage by stage, no group over the end of one' if len(lengths) > 1 else ''}."
        )
    return sizes


def _sum_of(numbers: Sequence[int]) -> str:
    return " + ".join(map(str, numbers)) or "0"


def stage_losses(losses: Losses) -> list[Any]:
    """The curve of each stage; of one stage a list of one."""
    if isinstance(losses, Tensor):
        return [losses] if losses.ndim != 2 else [*losses]
    return [*losses] if _is_nested(losses) else [losses]


def _is_nested(values: Any) -> bool:
    """Whether there is a list for each stage."""
    if isinstance(values, Tensor):
        return values.ndim == 2
    return len(values) > 0 and all(isinstance(part, (list, tuple, Tensor)) for part in values)


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


def _nonnegative(losses: Sequence[float] | Tensor) -> list[float]:
    values = _finite(losses)
    if min(values) < 0:
        raise ValueError(
            f"losses[{values.index(min(values))}] is {min(values)}; expected nats, at least 0."
        )
    return values


def _finite(losses: Sequence[float] | Tensor) -> list[float]:
    numbers = losses.tolist() if isinstance(losses, Tensor) else list(losses)
    values = torch.tensor(numbers, dtype=torch.float64)
    if values.ndim != 1 or len(values) == 0:
        raise ValueError(f"losses has shape {tuple(values.shape)}; expected (L,), L at least 1.")
    if not (fits := values.abs() < 1e100).all():  # then sums of them are finite, too
        known = int(fits.logical_not().nonzero()[0])
        raise ValueError(f"losses[{known}] is {float(values[known])}; expected finite nats.")
    return values.tolist()
