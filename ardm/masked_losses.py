"""Masked losses of many masked versions of a batch: what every likelihood is made of.

One version hides the last m of a row's n target tokens in a random order and gives the mean of
-log p(x_p | known) over them: an unbiased estimate of the loss per token with n - m known (arXiv
2110.02037, section 3). With S stages m of the S*n reveals are left, and it is the loss per reveal.
Versions are keyed by the row's number and their own (randomness.py), so that neither the batch
around a row nor the size of a call changes them.

Shapes: B batch, L length, N versions of all rows.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from .id_checks import IGNORED, check_row_integers
from .masking import order_uniforms
from .networks import check_no_nan
from .reveals import hide_last, mean_cross_entropy
from .target_rows import TargetRows


class Versions(NamedTuple):
    """Which masked versions of which rows: int64 (N,) each."""

    row: Tensor  # place in the batch
    key: Tensor  # names the version's order among all of the seed
    num_left: Tensor  # m, 1..S*n: reveals left


def row_numbers_of(row_numbers: Tensor | None, input_ids: Tensor) -> Tensor:
    """int64 (B,): what keys the rows' versions, checked; their places in the batch unless given."""
    if row_numbers is None:
        return torch.arange(len(input_ids), device=input_ids.device)
    check_row_integers("row_numbers", row_numbers, len(input_ids))
    # long: in int32 the limit itself would overflow
    row_numbers = row_numbers.to(input_ids.device).long()
    if (row_numbers < 0).any() or (row_numbers >= 2**31).any():
        raise ValueError(
            f"row_numbers holds {int(row_numbers.min())}..{int(row_numbers.max())};"
            " expected 0..2^31-1."
        )
    return row_numbers


@torch.no_grad()
def masked_losses(
    rows: TargetRows, versions: Versions, seed: int, batch_size: int | None
) -> Tensor:
    """The mean loss of the next reveal in each version.

    Args:
        rows: whose losses; the network is without dropout.
        versions: what is masked of them.
        seed: key of the orders.
        batch_size: versions per call; None = by memory.

    Returns:
        float64 (N,), nats per reveal.

    Raises:
        ValueError: if the network returns NaN.
    """
    parts = [torch.empty(0, dtype=torch.float64, device=rows.input_ids.device)]
    for canvas, labels, outputs in _hidden_versions(rows, versions, seed, batch_size):
        positions = labels != IGNORED
        parts.append(mean_cross_entropy(outputs, labels, positions, rows.stages, canvas))
        check_no_nan(parts[-1])  # at once, not after hours
    return torch.cat(parts)


@torch.no_grad()
def reveal_losses(
    rows: TargetRows, versions: Versions, seed: int, batch_size: int | None
) -> Tensor:
    """What each version's positions pay for their next reveal, the one after it, and so on.

    Args:
        rows: as for [`masked_losses`], with interleaved stages.
        versions: as for [`masked_losses`], at least one.
        seed: as for [`masked_losses`].
        batch_size: as for [`masked_losses`].

    Returns:
        float64 (N, S, S), nats: over the positions with r reveals left the sum of the d-th one's
        loss, from the logits of one call, at [r - 1, d - 1]; 0 where d > r.

    Raises:
        ValueError: if the network returns NaN.
    """
    parts = []
    for canvas, labels, outputs in _hidden_versions(rows, versions, seed, batch_size):
        parts.append(_by_reveals_left(canvas, labels, outputs, rows))
        check_no_nan(parts[-1])
    return torch.cat(parts)


def _by_reveals_left(canvas: Tensor, labels: Tensor, outputs: Tensor, rows: TargetRows) -> Tensor:
    """float64 (N, S, S), of some versions, as [`reveal_losses`] has it."""
    stages = rows.stages
    num_stages = stages.num_stages
    positions = labels != IGNORED
    version_K, _ = positions.nonzero(as_tuple=True)
    nodes_K = canvas[positions]
    ids_K = labels[positions]
    left_K = stages.num_left(nodes_K)
    sums = outputs.new_zeros(len(canvas), num_stages, num_stages)
    for turn in range(num_stages):
        logits_KW = stages.target_logits(outputs, nodes_K)
        nats_K = F.cross_entropy(logits_KW, stages.child_slots(nodes_K, ids_K), reduction="none")
        which = (version_K, left_K - 1, torch.full_like(left_K, turn))
        sums.index_put_(which, nats_K, accumulate=True)
        nodes_K = stages.coarsen(ids_K, (stages.level(nodes_K) + 1).clamp(max=num_stages))
    return sums


def _hidden_versions(
    rows: TargetRows, versions: Versions, seed: int, batch_size: int | None
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Canvases and labels (N, L) of some versions, and the float64 outputs at all labels (K, V)."""
    length = rows.input_ids.shape[1]
    chunk = rows.sequences_per_call(batch_size)
    # by place among the targets, so that padding does not change a row's orders
    place_BL = (rows.target_BL.long().cumsum(1) - 1).clamp(min=0)
    for begin in range(0, len(versions.row), chunk):
        part = slice(begin, begin + chunk)
        these = rows.at(versions.row[part])
        uniforms = order_uniforms(seed, versions.key[part], length, rows.stages)
        places = place_BL[versions.row[part]].view(-1, length, *[1] * (uniforms.ndim - 2))
        canvas, labels = hide_last(
            these.input_ids,
            rows.stages,
            these.target_BL,
            versions.num_left[part],
            uniforms.take_along_dim(places, 1),
        )
        outputs = rows.logits_at(canvas, these.attention_mask, labels != IGNORED)
        yield canvas, labels, outputs.double()
