"""Path steps: the log-probabilities of reveals along paths through the canvas.

    known beforehand      all steps of all rows go through the network side by side
    chosen by the logits  each step waits for the one before it; only rows go side by side

What is revealed twice in a group takes both factors from the same logits. float64 nats throughout.

Shapes: B batch, L length, S stages, N (row, group) pairs, W positions looked at, K reveals of the
largest group of a call, V vocabulary, R = S*L reveals of a row.
"""

import torch
from torch import Tensor

from .arrangements import open_positions, shared_reveals
from .networks import check_no_nan, select_positions
from .orders import LogitOrder, all_positions, generation_queue, order_to_rank
from .plans import group_bounds
from .ranking import best, ranking
from .stages import Stages
from .target_rows import TargetRows


def side_by_side(rows: TargetRows, scores_BSL: Tensor, sizes: list[int], chunk: int) -> Tensor:
    """All steps of all rows, known beforehand: in as few calls as `chunk` sequences a call make.

    Args:
        rows: whose probability.
        scores_BSL: (B, S, L), lower = revealed earlier, rising with the stage.
        sizes: of the groups.
        chunk: sequences of a call.

    Returns:
        float64 (B, L), nats: each position's term, 0 where there is none.
    """
    num_rows, num_stages, length = scores_BSL.shape
    reveals_BR = rows.target_BL.repeat(1, num_stages)
    queue_BR = generation_queue(scores_BSL.flatten(1), reveals_BR)
    time_BSL = order_to_rank(queue_BR).view(scores_BSL.shape)  # among the targets' reveals
    row_N, begin_N, end_N = _groups(sizes, reveals_BR.sum(1))
    log_probs_BR = torch.zeros(queue_BR.shape, dtype=torch.float64, device=queue_BR.device)
    for first in range(0, len(row_N), chunk):
        part = slice(first, first + chunk)
        begin_N1 = begin_N[part, None]
        end_N1 = end_N[part, None]
        width = int((end_N1 - begin_N1).max())
        # smaller groups repeat their last reveal: the same term, written twice
        index_NK = begin_N1 + torch.arange(width, device=queue_BR.device)
        reveal_NK = queue_BR[row_N[part]].gather(1, torch.minimum(index_NK, end_N1 - 1))
        positions_NK = reveal_NK % length
        level_NL = (time_BSL[row_N[part]] < begin_N1[..., None]).sum(1)
        these = rows.at(row_N[part])
        outputs_NKV = _outputs(these, level_NL, positions_NK)
        terms_NK = _log_probs(these, outputs_NKV, positions_NK, reveal_NK // length)
        log_probs_BR[row_N[part, None], reveal_NK] = terms_NK
    return log_probs_BR.view(num_rows, num_stages, length).sum(1)


def one_after_another(rows: TargetRows, order: LogitOrder, sizes: list[int]) -> Tensor:
    """Steps whose positions depend on the logits; `best` chooses as it does in `generate`.

    Args:
        rows: whose probability.
        order: that chooses.
        sizes: of the groups.

    Returns:
        float64 (B, L), nats.
    """
    num_stages = rows.stages.num_stages
    log_probs_BL = torch.zeros_like(rows.input_ids, dtype=torch.float64)
    level_BL = torch.where(rows.target_BL, 0, num_stages)
    for size in sizes:
        row_N = (level_BL < num_stages).any(1).nonzero()[:, 0]  # shorter rows are done before
        if not len(row_N):
            break
        these = rows.at(row_N)
        level_NL = level_BL[row_N]
        open_NL = open_positions(level_NL, level_NL < num_stages, rows.stages)
        pool_NW = all_positions(open_NL) if order.whole_rows else _open_first(open_NL)
        outputs_NWV = _outputs(these, level_NL, pool_NW)
        open_NW = open_NL.gather(1, pool_NW)
        level_NW = level_NL.gather(1, pool_NW)
        logits_NWV = rows.stages.child_logits(outputs_NWV, _nodes(these, pool_NW, level_NW))
        check_no_nan(logits_NWV)  # an order by such numbers is none
        left_NW = (num_stages - level_NW) * open_NW
        chosen_NK, made_NK = _chosen(order, logits_NWV, left_NW, size, rows.stages)
        positions_NK = pool_NW.gather(1, chosen_NK)
        outputs_NKV = select_positions(outputs_NWV, chosen_NK)
        level_NK = level_NW.gather(1, chosen_NK)
        for turn in range(int(made_NK.max())):
            again_NK = made_NK > turn
            # what is whole has no next reveal, and its term is not taken
            upper_NK = level_NK.clamp(max=num_stages - 1)
            terms_NK = _log_probs(these, outputs_NKV, positions_NK, upper_NK)
            terms_NK = terms_NK.masked_fill(~again_NK, 0)
            log_probs_BL[row_N] = log_probs_BL[row_N].scatter_add(1, positions_NK, terms_NK)
            level_NK = level_NK + again_NK
        level_BL[row_N] = level_NL.scatter(1, positions_NK, level_NK)
    return log_probs_BL


def _outputs(rows: TargetRows, level_NL: Tensor, positions_NK: Tensor) -> Tensor:
    """What the network says of some positions when each has come to a level: one call of it."""
    coarse_NL = rows.stages.coarsen(rows.input_ids, level_NL)
    canvas_NL = torch.where(rows.target_BL, coarse_NL, rows.input_ids)
    return rows.logits_at(canvas_NL, rows.attention_mask, positions_NK)


def _nodes(rows: TargetRows, positions_NK: Tensor, level_NK: Tensor) -> Tensor:
    """int64 (N, K), what positions hold when they have come to a level."""
    return rows.stages.coarsen(rows.input_ids.gather(1, positions_NK), level_NK)


def _log_probs(
    rows: TargetRows, outputs_NKV: Tensor, positions_NK: Tensor, level_NK: Tensor
) -> Tensor:
    """log p of the next node on the way to each id, float64 (N, K), nats."""
    nodes_NK = _nodes(rows, positions_NK, level_NK)
    logits = rows.stages.target_logits(outputs_NKV.double(), nodes_NK)
    slots_NK = rows.stages.child_slots(nodes_NK, rows.input_ids.gather(1, positions_NK))
    log_probs_NK = logits.log_softmax(-1).gather(2, slots_NK[..., None])[..., 0]
    check_no_nan(log_probs_NK)
    return log_probs_NK


def _chosen(
    order: LogitOrder, logits_NWV: Tensor, left_NW: Tensor, size: int, stages: Stages
) -> tuple[Tensor, Tensor]:
    """int64 (N, K) indices into W of the positions of a group, and how many reveals each makes."""
    open_NW = left_NW > 0
    scores_NW, tie = order.scores_and_tie(logits_NWV, open_NW)
    if not stages.interleaved:
        chosen_NK = best(scores_NW, open_NW, tie, size)
        return chosen_NK, torch.ones_like(chosen_NK)
    first_NW = ranking(scores_NW, open_NW, tie)
    size_11 = left_NW.new_full((1, 1), size)
    made_NW = shared_reveals(left_NW.gather(1, first_NW), size_11, stages.num_stages)
    most = int((made_NW > 0).sum(1).max())
    return first_NW[:, :most], made_NW[:, :most]


def _open_first(open_NL: Tensor) -> Tensor:
    """int64 (N, W): each row's open positions from left to right, then others up to W."""
    width = int(open_NL.sum(1).max())
    return (~open_NL).to(torch.int8).argsort(dim=1, stable=True)[:, :width]


def _groups(sizes: list[int], num_reveals_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Row of each (row, group) pair, where its group begins and ends in the queue, int64 (N,)."""
    bounds_S = group_bounds([sizes])[0].to(num_reveals_B.device)
    bounds_BS = torch.minimum(bounds_S, num_reveals_B[:, None])  # a shorter row's last are empty
    # all rows' first groups, then all second ones: a plan's groups of one size share a call
    group_N, row_N = bounds_BS.diff(dim=1).t().nonzero(as_tuple=True)
    return row_N, bounds_BS[row_N, group_N], bounds_BS[row_N, group_N + 1]
