"""Reveals: what a canvas is when m of its reveals are left, and what the next ones cost.

    stagewise     the stages that are whole, and of one stage the positions that come first in the
                  order: m = n * (stages after it) + positions of it that are left
    interleaved   S numbers a position; the m largest of them all are left

for n tokens and S stages (stages.py). With one stage both are: the last m positions of the order
are masked (arXiv 2110.02037, algorithm 2).

Shapes: B batch, L length, V vocabulary, S stages, N selected positions.
"""

import warnings

import torch
from torch import Tensor
from torch.nn import functional as F

from .id_checks import IGNORED, is_looked_at
from .stages import Stages

_MANY = 64  # hidden positions, all of which hardly are masks by chance


# ------------------------------------------------------------------------------------------- counts
def stratified_num_left(
    num_tokens_B: Tensor, uniforms_B: Tensor, stages: Stages, max_ratio: float = 1.0
) -> Tensor:
    """Counts m = 1 + floor(u * N) of 1..N, N = S*n, uniform if u is.

    Args:
        num_tokens_B: int64 (B,), n >= 0 tokens of each row.
        uniforms_B: float64 (B,) in [0, 1); one in each stratum [i/B, (i+1)/B) makes the counts
            stratified.
        stages: of the model.
        max_ratio: of a stage (interleaved: of all) at most this share is left.

    Returns:
        int64 (B,) in 1..N (0 where n = 0).
    """
    blocks = 1 if stages.interleaved else stages.num_stages  # within which counts are drawn
    size_B = num_tokens_B * (stages.num_stages // blocks)
    later_B = (uniforms_B * blocks).floor().clamp(max=blocks - 1)
    counts_B = 1 + ((uniforms_B * blocks - later_B) * max_ratio * size_B).floor().long()
    return torch.minimum(counts_B, size_B) + later_B.long() * size_B


# ----------------------------------------------------------------------------------------- canvases
def hide_last(
    input_ids: Tensor,
    stages: Stages,
    maskable_BL: Tensor,
    num_left_B: Tensor,
    uniforms: Tensor,
) -> tuple[Tensor, Tensor]:
    """The canvas of each row whose last reveals are still left, in the uniforms' order.

    Args:
        input_ids: int64 (B, L).
        stages: of the model.
        maskable_BL: bool (B, L).
        num_left_B: int64 (B,), reveals left.
        uniforms: (B, L), whose ranks are the order; interleaved (B, L, S).

    Returns:
        canvas: int64 (B, L), of nodes.
        labels: int64 (B, L), the original id at positions that may be revealed next, -100
            elsewhere.
    """
    input_ids = input_ids.long()  # cross-entropy takes no int32 labels
    if not input_ids.shape[1]:
        return input_ids, input_ids
    if stages.interleaved:
        cells_BLS = maskable_BL[..., None].expand_as(uniforms)
        left_BLS = _last(uniforms.flatten(1), cells_BLS.flatten(1), num_left_B).view_as(uniforms)
        left_BL = left_BLS.sum(2)
        next_BL = left_BL > 0
    else:
        num_tokens_B = maskable_BL.sum(1).clamp(min=1)
        later_B = (num_left_B - 1).clamp(min=0) // num_tokens_B  # stages of which nothing has come
        next_BL = _last(uniforms, maskable_BL, num_left_B - later_B * num_tokens_B)
        left_BL = later_B[:, None] + next_BL.long()
    coarse_BL = stages.coarsen(input_ids, stages.num_stages - left_BL)
    return coarse_BL.where(maskable_BL, input_ids), input_ids.masked_fill(~next_BL, IGNORED)


def _last(uniforms_BN: Tensor, maskable_BN: Tensor, num_left_B: Tensor) -> Tensor:
    """bool (B, N): the `num_left` maskable entries of each row with the highest uniforms."""
    # one sort and a threshold, not two argsorts for the ranks
    uniforms_BN = torch.where(maskable_BN, uniforms_BN, -1.0)
    last_first_BN = uniforms_BN.sort(1, descending=True).values
    threshold_B1 = last_first_BN.gather(1, (num_left_B[:, None] - 1).clamp(min=0))
    return (uniforms_BN >= threshold_B1) & maskable_BN & (num_left_B[:, None] > 0)


# ------------------------------------------------------------------------------------------- losses
def mean_cross_entropy(
    outputs: Tensor,
    labels: Tensor,
    positions_BL: Tensor | None = None,
    stages: Stages | None = None,
    canvas_BL: Tensor | None = None,
) -> Tensor:
    """Mean cross-entropy of each row's next reveal: times N, unbiased for its bound.

    The mean is over the positions at which the next reveal may be, interleaved weighted by how many
    of theirs are left.

    Args:
        outputs: the network's, (N, V) at the true entries of `positions_BL` in row-major order, or
            (B, L, V) if that is None.
        labels: int64 (B, L), the ids, -100 outside the loss.
        positions_BL: bool (B, L), where outputs were computed; labels elsewhere are ignored.
        stages: of the model; None: one.
        canvas_BL: int64 (B, L), what the network was given; needed where there are several stages.

    Returns:
        float32 (or wider) (B,), nats; 0 for a row without labels.
    """
    in_loss_BL = labels != IGNORED
    outputs = _at_least_float32(outputs)
    targets = labels
    if positions_BL is not None:
        in_loss_BL = in_loss_BL & positions_BL
        where = positions_BL.nonzero(as_tuple=True)  # once: a GPU waits for it
        targets = labels[where]
    weights_BL = None  # all alike
    if stages is not None and stages.tree is not None:
        assert canvas_BL is not None
        nodes = canvas_BL if positions_BL is None else canvas_BL[where]
        outputs = stages.target_logits(outputs, nodes)
        slots = stages.child_slots(nodes, targets.clamp(min=0))
        targets = slots.where(targets != IGNORED, IGNORED)
        if stages.interleaved:
            weights_BL = stages.num_left(canvas_BL) * in_loss_BL
    ce = F.cross_entropy(outputs.flatten(0, -2), targets.flatten(), reduction="none")
    if positions_BL is None:
        ce_BL = ce.view_as(labels)
    else:
        ce_BL = ce.new_zeros(labels.shape).masked_scatter(positions_BL, ce)
    if weights_BL is None:
        return ce_BL.sum(1) / in_loss_BL.sum(1).clamp(min=1)
    return (ce_BL * weights_BL).sum(1) / weights_BL.sum(1).clamp(min=1)


def check_below(
    labels: Tensor, input_ids: Tensor | None, positions: Tensor | None, stages: Stages
) -> None:
    """Makes sure that labels are what their positions may become.

    It warns where many are hidden and no coarse value is among them all: so are canvases that are
    made without the stages, whose loss is another one.

    Args:
        labels: int64 (B, L), -100 outside the loss.
        input_ids: int64 (B, L), the canvas.
        positions: bool (B, L), where labels count; None: everywhere.
        stages: of the model, several.

    Raises:
        ValueError: without ids, or (on a CPU) if one is not.
    """
    if input_ids is None:
        raise ValueError("got labels and no input_ids; expected the ids, which tell the stages.")
    if not is_looked_at(labels) or (positions is not None and positions.dtype != torch.bool):
        return
    counted = labels != IGNORED if positions is None else positions & (labels != IGNORED)
    nodes, ids = input_ids[counted].long(), labels[counted]
    wrong = ids[stages.coarsen(ids, stages.level(nodes)) != nodes]
    if len(wrong):
        raise ValueError(
            f"labels hold {int(wrong[0])} at a position whose coarse value it does not stand below;"
            " expected canvases and labels of `random_ratio_mask(..., stages=model.stages)`."
        )
    known = (input_ids < stages.vocab_size) & (input_ids != stages.mask_token_id)
    if len(nodes) >= _MANY and known.any() and (input_ids < stages.vocab_size).all():
        warnings.warn(
            "no position of the batch holds a coarse value; expected canvases of"
            " `random_ratio_mask` or `RandomRatioCollator` with stages=model.stages, or the loss is"
            " not that of the bound.",
            stacklevel=4,
        )


def mean_over_tokens(
    nats_B: Tensor,
    labels: Tensor,
    weights_B: Tensor | None,
    num_items_in_batch: Tensor | int | None,
) -> Tensor:
    """The weighted mean of rows, or of a part of them its share of the whole's.

        sum_b w_b nats_b / sum_b w_b  *  labels of these rows / labels of all

    Args:
        nats_B: (B,), mean over each row's masked tokens.
        labels: int64 (B, L), -100 where there is none.
        weights_B: (B,), w; None = each row's number of labels.
        num_items_in_batch: number of labels of all parts; None = these rows are the whole.

    Returns:
        A scalar.
    """
    labels_B = (labels != IGNORED).sum(1)
    if weights_B is None:
        weights_B = labels_B
    loss = (nats_B * weights_B).sum()
    if num_items_in_batch is None:
        return loss / weights_B.sum().clamp(min=1)
    # no label in any part: 0, as without the argument
    num_items = torch.as_tensor(num_items_in_batch, device=loss.device).clamp(min=1)
    return loss * (labels_B.sum() / weights_B.sum().clamp(min=1)) / num_items


def num_real(input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
    """Number of real tokens of each row, int64 (B,): without a 2-D attention mask, all of them."""
    if attention_mask is not None and attention_mask.ndim == 2:
        return attention_mask.long().sum(1)
    return torch.full(input_ids.shape[:1], input_ids.shape[1], device=input_ids.device)


def _at_least_float32(logits: Tensor) -> Tensor:
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
