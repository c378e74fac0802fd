"""Arrangements: in which order the S*L reveals of L positions come, the coarsest of each first.

    time[s, p] = when position p goes from level s to level s + 1;  time[0, p] < time[1, p] < ...

It is to reveals what a rank is to positions (orders.py); with one stage it is the rank. As an order
it is written by positions alone, since the k-th time that one occurs is its k-th reveal.

Shapes: B batch, L length, S stages, K candidates of a step.
"""

import torch
from torch import Tensor

from .orders import check_order, order_scores, order_to_rank
from .stages import Stages


def reveal_scores(
    order: str | Tensor,
    place_BL: Tensor,
    uniforms_BSL: Tensor,
    level_BL: Tensor,
    stages: Stages,
) -> Tensor:
    """Scores of an order that needs no logits: lower = revealed earlier, rising with the level.

    Args:
        order: "random": stagewise in each stage another order, interleaved any arrangement;
            "left_to_right", "right_to_left": the same in every stage, one stage after the other; or
            positions, as [`reveal_times`] takes them.
        place_BL: int64 (B, L), each position's place among its row's real tokens.
        uniforms_BSL: float64 (B, S, L), the random numbers that "random" sorts by.
        level_BL: int64 (B, L), how far each position has come: reveals before have been made.
        stages: of the model.

    Returns:
        float64 (B, S, L).

    Raises:
        ValueError: on an unknown name, or a tensor that is no arrangement.
    """
    num_stages = stages.num_stages
    if isinstance(order, Tensor):
        times_BSL = reveal_times(order, place_BL.shape, num_stages)
        return times_BSL.to(place_BL.device).double()
    if order == "random" and stages.interleaved:
        made_BSL = torch.arange(num_stages, device=level_BL.device)[:, None] < level_BL[:, None]
        return uniforms_BSL.masked_fill(made_BSL, -1.0).sort(1).values
    scores_SBL = [
        order_scores(order, place_BL, uniforms_BL) for uniforms_BL in uniforms_BSL.unbind(1)
    ]
    apart = place_BL.shape[1] + 1  # no score of one stage reaches the next
    return torch.stack([scores_BL + s * apart for s, scores_BL in enumerate(scores_SBL)], 1)


def reveal_times(order: Tensor, shape_BL: tuple[int, ...], num_stages: int) -> Tensor:
    """Checks an explicit order of the reveals and broadcasts it over the batch.

    Args:
        order: int64 (L,), a permutation of the positions, the same in every stage; (S, L), one a
            stage; (S*L,), in which every position occurs S times, or of each row (B, S*L) or
            (B, S, L). With one stage (L,) or (B, L).
        shape_BL: (B, L), of the ids.
        num_stages: S.

    Returns:
        int64 (B, S, L), times 0..S*L-1.

    Raises:
        ValueError: if the shape or type is another, or positions are missing or repeated.
    """
    batch_size, length = shape_BL
    if num_stages == 1:
        return order_to_rank(check_order(order, batch_size, length))[:, None]
    if not isinstance(order, Tensor) or order.dtype not in (torch.int64, torch.int32):
        got = order.dtype if isinstance(order, Tensor) else type(order).__name__
        raise ValueError(f"order is {got}; expected a LongTensor of positions.")
    num_reveals = num_stages * length
    shape = tuple(order.shape)
    if shape == (length,):
        order = order.repeat(num_stages)
    by_stage = shape in ((length,), (num_stages, length), (batch_size, num_stages, length))
    if not by_stage and shape not in ((num_reveals,), (batch_size, num_reveals)):
        raise ValueError(
            f"order has shape {shape}; expected ({length},), the same in each of the {num_stages}"
            f" stages, ({num_stages}, {length}), one a stage, or ({num_reveals},), every position"
            f" {num_stages} times; or with {batch_size} rows in front."
        )
    if by_stage and length:
        for stage in order.reshape(-1, length):
            check_order(stage, 1, length)
    if num_reveals == 0:
        return torch.zeros(batch_size, num_stages, length, dtype=torch.long, device=order.device)
    arrangement_BN = order.long().reshape(-1, num_reveals).expand(batch_size, num_reveals)
    expected_N = torch.arange(length, device=order.device).repeat_interleave(num_stages)
    sorted_BN, times_BN = arrangement_BN.sort(dim=1, stable=True)
    if not torch.equal(sorted_BN, expected_N.expand_as(sorted_BN)):
        raise ValueError(
            f"order is no arrangement of the reveals: expected each of the positions"
            f" 0..{length - 1} {num_stages} times, its coarsest reveal first."
        )
    return times_BN.view(batch_size, length, num_stages).transpose(1, 2)


def check_stagewise(times_BSL: Tensor) -> None:
    """Raises ValueError unless every stage is whole before the next one begins."""
    length = times_BSL.shape[2]
    stages_S = torch.arange(times_BSL.shape[1], device=times_BSL.device)
    if not (times_BSL // max(length, 1) == stages_S[:, None]).all():
        raise ValueError(
            "order reveals some position further before all others have come as far; expected one"
            " stage after the other, as the model is trained (stage_order='stagewise')."
        )


def open_positions(level_BL: Tensor, hidden_BL: Tensor, stages: Stages) -> Tensor:
    """The hidden positions that may be revealed next, bool (B, L).

    Args:
        level_BL: int64 (B, L), how far each position has come.
        hidden_BL: bool (B, L), which of them are to be revealed.
        stages: of the model.

    Returns:
        All of them, or where one stage comes after the other those that are the least far.
    """
    if stages.tree is None or stages.interleaved:
        return hidden_BL
    least_B1 = level_BL.masked_fill(~hidden_BL, stages.num_stages).amin(1, keepdim=True)
    return hidden_BL & (level_BL == least_B1)


def shared_reveals(left_BK: Tensor, count_B1: Tensor, num_stages: int) -> Tensor:
    """How many reveals each candidate of a step makes: one each, then a second one, and so on.

    Args:
        left_BK: int64 (B, K), reveals left at each candidate, in the order in which they are
            chosen; 0 where there is none.
        count_B1: int64 (B, 1), reveals of the step.
        num_stages: S, the most that a position has left.

    Returns:
        int64 (B, K); they sum to the count, or to all that are left.
    """
    made_BK = torch.zeros_like(left_BK)
    for turn in range(num_stages):
        can_BK = left_BK > turn
        rest_B1 = count_B1 - made_BK.sum(1, keepdim=True)
        made_BK = made_BK + (can_BK & (can_BK.cumsum(1) <= rest_B1))
    return made_BK
