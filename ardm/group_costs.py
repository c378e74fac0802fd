"""Group costs: what reveals drawn at once cost where stages are interleaved.

With s of N = S*L reveals made, k of the M = N - s that are left come next, all sets of k equally
likely. A position with r of its own left then makes j of them with probability

    P(j) = C(r, j) * k (k-1)..(k-j+1) * (M-k)..(M-k-(r-j)+1) / M (M-1)..(M-r+1)

and pays, from the logits at s, the losses of its first, second, ... j-th next reveal. So

    cost(s, k) = sum over r, d <= r  of  P(at least d) * C_s(r, d)

with C_s(r, d) the expected sum, over the positions with r reveals left, of the d-th one's loss. A
plan costs the sum over its groups; the cheapest one is found by dynamic programming over all starts
and ends. With S = 1 it is k times the mean loss, as in plans.py.

Shapes: N reveals, P = S (S+1) / 2 pairs (r, d), E ends of groups that are looked at.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .checks import check_integer
from .plans import monotone_fit, uniform_plan

_FEW = 1e-3  # positions, of which no mean is taken
_MOST_ENDS = 512  # more are thinned out: the table of all groups has E^2 / 2 entries


def pairs_of(num_stages: int) -> list[tuple[int, int]]:
    """The P pairs (r, d): reveals left of a position, and which of them; d <= r <= S."""
    return [(left, turn) for left in range(1, num_stages + 1) for turn in range(1, left + 1)]


def num_stages_of(num_pairs: int) -> int:
    """S, of which there are P pairs.

    Args:
        num_pairs: P.

    Returns:
        S.

    Raises:
        ValueError: if no S has so many.
    """
    num_stages = (math.isqrt(8 * num_pairs + 1) - 1) // 2
    if num_pairs < 1 or num_stages * (num_stages + 1) // 2 != num_pairs:
        raise ValueError(
            f"the losses of interleaved stages have {num_pairs} columns; expected S (S + 1) / 2, 1,"
            " 3, 6, ..."
        )
    return num_stages


def reach_probability(num_left: Tensor, size: Tensor, left: int, turn: int) -> Tensor:
    """Probability that a group holds at least `turn` of the `left` reveals of a position.

    Args:
        num_left: float64 M, reveals that are left of all positions, at least `left`.
        size: float64 k <= M, of the group; broadcasts with M.
        left: r.
        turn: d, at most r.

    Returns:
        float64, of the broadcast shape.
    """
    total = torch.zeros(torch.broadcast_shapes(num_left.shape, size.shape), dtype=torch.float64)
    for inside in range(turn, left + 1):
        ways = math.comb(left, inside)
        outside = _falling(num_left - size, left - inside)
        total = total + ways * _falling(size, inside) * outside
    return total / _falling(num_left, left).clamp(min=1)


def _falling(value: Tensor, count: int) -> Tensor:
    """value (value - 1) ... of `count` factors: 0 of a smaller whole number."""
    product = torch.ones_like(value)
    for number in range(count):
        product = product * (value - number)
    return product


def group_cost(table: Tensor, begin: Tensor, size: Tensor) -> Tensor:
    """What groups cost.

    Args:
        table: float64 (..., N, P), C_s(r, d) in nats, by s and pair.
        begin: int64 (G,), s of each group.
        size: int64 (G,), k of each group.

    Returns:
        float64 (..., G), nats.
    """
    num_reveals = table.shape[-2]
    num_left_G = (num_reveals - begin).double()
    costs = table.new_zeros(*table.shape[:-2], len(begin))
    for column, (left, turn) in enumerate(pairs_of(num_stages_of(table.shape[-1]))):
        share_G = reach_probability(num_left_G, size.double(), left, turn)
        costs = costs + share_G * table[..., begin, column]
    return costs


def plan_group_cost(table: Tensor, sizes: Sequence[int]) -> Tensor:
    """What a plan costs.

    Args:
        table: float64 (..., N, P).
        sizes: of its groups, which sum to N.

    Returns:
        float64 (...), nats.
    """
    size_G = torch.tensor(list(sizes), dtype=torch.long)
    return group_cost(table, size_G.cumsum(0) - size_G, size_G).sum(-1)


def mean_losses(table: Tensor) -> Tensor:
    """What one position pays on average, without the noise: it does not rise with what is known.

    Args:
        table: float64 (N, P), C_s(r, d), means over sequences.

    Returns:
        float64 (N, P), nats; where no position can have r reveals left, that of the nearest s.
    """
    num_reveals, num_pairs = table.shape
    num_stages = num_stages_of(num_pairs)
    made_N = torch.arange(num_reveals, dtype=torch.float64)
    means = torch.zeros_like(table)
    for column, (left, _) in enumerate(pairs_of(num_stages)):
        number_N = expected_positions(num_reveals, num_stages, made_N, left)
        here_H = (number_N > _FEW).nonzero()[:, 0]
        number_H = number_N[here_H]
        fitted_H = torch.tensor(monotone_fit(table[here_H, column] / number_H, number_H))
        nearest_N = torch.searchsorted(here_H, made_N.long()).clamp(max=len(here_H) - 1)
        means[:, column] = fitted_H.double()[nearest_N]
    return means


def expected_positions(num_reveals: int, num_stages: int, made: Tensor, left: int) -> Tensor:
    """How many of the N/S positions have `left` reveals left, on average, when so many are made.

    Args:
        num_reveals: N.
        num_stages: S.
        made: float64, s.
        left: r.

    Returns:
        float64, of the shape of `made`.
    """
    num_positions = num_reveals / num_stages  # a rest of a sequence need not be whole positions
    total = torch.full_like(made, float(num_reveals))
    ways = math.comb(num_stages, left) * _falling(made, num_stages - left)
    chance = ways * _falling(total - made, left) / _falling(total, num_stages)
    return chance * num_positions


def optimal_group_plan(means: Tensor, steps: int) -> list[int]:
    """The plan of `steps` groups with the least cost.

    Args:
        means: float64 (N, P), nats, of [`mean_losses`]; or their last rows, for a sequence of which
            fewer reveals are left.
        steps: number of groups, 1..N.

    Returns:
        `steps` group sizes that sum to N. Of more than 512 reveals only so many ends of groups are
        looked at; of more steps than that the plan is even.

    Raises:
        ValueError: if `steps` is out of range, or the losses are no finite numbers of nats.
    """
    num_reveals, num_pairs = means.shape
    num_stages = num_stages_of(num_pairs)
    if not means.isfinite().all() or means.min() < 0:
        raise ValueError("the losses hold numbers that are no nats; expected them finite and >= 0.")
    steps = check_integer("steps", steps, 1, num_reveals, f" for {num_reveals} reveals")
    if steps > _MOST_ENDS:
        return uniform_plan(num_reveals, steps)
    made_N = torch.arange(num_reveals, dtype=torch.float64)
    lefts = [left for left, _ in pairs_of(num_stages)]
    numbers = [expected_positions(num_reveals, num_stages, made_N, left) for left in lefts]
    ends_E = torch.tensor(uniform_plan(num_reveals, min(num_reveals, _MOST_ENDS))).cumsum(0)
    costs_EE = _all_groups(means * torch.stack(numbers, 1), ends_E)
    best_E = costs_EE[0]
    origins = []
    for _ in range(steps - 1):
        # [i, j]: the groups so far end at i, one more ends at j
        best_E, origin_E = (best_E[:-1, None] + costs_EE[1:]).min(0)
        origins.append(origin_E)
    cuts = [len(ends_E) - 1]
    for origin_E in reversed(origins):
        cuts.append(int(origin_E[cuts[-1]]))
    ends = ends_E[torch.tensor(cuts[::-1])]
    return ends.diff(prepend=torch.zeros(1, dtype=torch.long)).tolist()


def _all_groups(table: Tensor, ends_E: Tensor) -> Tensor:
    """float64 (E, E): what the group from start i (0, or end i - 1) to end j costs, or inf."""
    begin_E = torch.cat((ends_E.new_zeros(1), ends_E[:-1]))
    i, j = torch.triu_indices(len(ends_E), len(ends_E))
    costs = table.new_full((len(ends_E), len(ends_E)), torch.inf)
    costs[i, j] = group_cost(table, begin_E[i], ends_E[j] - begin_E[i])
    return costs
