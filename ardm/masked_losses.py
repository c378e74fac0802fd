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

from .checks import check_integer
from .id_checks import (
    IGNORED,
    check_ids,
    check_row_integers,
    check_rows,
    check_zero_one,
)
from .masking import maskable_tokens, order_uniforms
from .networks import (
    MaskedLanguageModel,
    check_no_nan,
    evaluating,
    position_logits,
)
from .reveals import hide_last, mean_cross_entropy
from .vocabulary import VocabularyConfig, impossible_ids, stages_of

# Tokens a call of the network unless `batch_size` says otherwise. On a CPU larger calls only leave
# the cache (measured: a quarter slower at 16,384); a GPU wants work. Logits take 20 bytes each on
# the way to float64 nats.
_TOKENS_A_CALL = {"cpu": 2_048}
_TOKENS_A_CALL_ELSEWHERE = 16_384
_LOGITS_A_CALL = 2**27


class Versions(NamedTuple):
    """Which masked versions of which rows: int64 (N,) each."""

    row: Tensor  # place in the batch
    key: Tensor  # names the version's order among all of the seed
    num_left: Tensor  # m, 1..S*n: reveals left


def target_tokens(
    config: VocabularyConfig,
    input_ids: Tensor,
    attention_mask: Tensor | None,
    prompt_mask: Tensor | None,
) -> Tensor:
    """bool (B, L): the tokens whose probability is asked for: real ones that are not given.

    Args:
        config: of the model.
        input_ids: int64 (B, L), without masks.
        attention_mask: (B, L), 0 on padding.
        prompt_mask: (B, L), 1 on given tokens.

    Returns:
        bool (B, L).

    Raises:
        ValueError: on ids of the wrong shape, type or range, or whose probability can only be 0, on
            masks that do not fit them, a row without real tokens, or a configuration without mask
            id.
    """
    check_ids(input_ids, config.vocab_size)
    if getattr(config, "mask_token_id", None) is None:
        raise ValueError(
            "the model's configuration has no mask_token_id; expected the id that hides a token:"
            " model.config.mask_token_id = tokenizer.mask_token_id."
        )
    target_BL = maskable_tokens(input_ids, config.mask_token_id, attention_mask, prompt_mask)
    # a second time: on a GPU nobody has looked yet
    for name, mask in (("attention_mask", attention_mask), ("prompt_mask", prompt_mask)):
        if mask is not None:
            check_zero_one(name, mask)
    if attention_mask is not None:
        check_rows(attention_mask)
    impossible = torch.tensor([*impossible_ids(config)], device=input_ids.device)
    found = input_ids[torch.isin(input_ids, impossible) & target_BL]
    if len(found):
        token = int(found[0])
        names = {config.mask_token_id: "mask", getattr(config, "pad_token_id", None): "pad"}
        if token not in names:
            raise ValueError(
                f"input_ids holds {token}, an id that is only ever given (as classes and marks are:"
                " it stands behind num_values); expected a prompt_mask that is 1 there."
            )
        raise ValueError(
            f"input_ids holds the {names[token]} id {token} among its real tokens, whose"
            " probability is 0; expected text without it, an attention_mask that is 0 there, or a"
            " configuration that names it as the eos_token_id, too."
        )
    return target_BL


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


def sequences_per_call(batch_size: int | None, input_ids: Tensor, num_outputs: int) -> int:
    """The caller's number, checked to be at least 1, or as many as memory and speed allow."""
    if batch_size is not None:
        return check_integer("batch_size", batch_size, 1)
    tokens = _TOKENS_A_CALL.get(input_ids.device.type, _TOKENS_A_CALL_ELSEWHERE)
    tokens = min(tokens, _LOGITS_A_CALL // num_outputs)
    return max(1, tokens // max(input_ids.shape[1], 1))


@torch.no_grad()
def masked_losses(
    model: MaskedLanguageModel,
    input_ids: Tensor,
    attention_mask: Tensor | None,
    target_BL: Tensor,
    versions: Versions,
    seed: int,
    batch_size: int | None,
) -> Tensor:
    """The mean loss of the next reveal in each version.

    Args:
        model: called without dropout.
        input_ids: int64 (B, L).
        attention_mask: (B, L), 0 on padding; None = no padding.
        target_BL: bool (B, L), of [`target_tokens`].
        versions: what is masked.
        seed: key of the orders.
        batch_size: versions per call; None = by memory.

    Returns:
        float64 (N,), nats per reveal.

    Raises:
        ValueError: if the network returns NaN.
    """
    stages = stages_of(model.config)
    parts = []
    for canvas, labels, outputs in _hidden_versions(
        model, input_ids, attention_mask, target_BL, versions, seed, batch_size
    ):
        positions = labels != IGNORED
        parts.append(mean_cross_entropy(outputs, labels, positions, stages, canvas))
        check_no_nan(parts[-1])  # at once, not after hours
    return torch.cat(parts) if parts else torch.empty(0, dtype=torch.float64)


@torch.no_grad()
def reveal_losses(
    model: MaskedLanguageModel,
    input_ids: Tensor,
    attention_mask: Tensor | None,
    target_BL: Tensor,
    versions: Versions,
    seed: int,
    batch_size: int | None,
) -> Tensor:
    """What each version's positions pay for their next reveal, the one after it, and so on.

    Args:
        model: as for [`masked_losses`], with interleaved stages.
        input_ids: int64 (B, L).
        attention_mask: (B, L), 0 on padding; None = no padding.
        target_BL: bool (B, L), of [`target_tokens`].
        versions: what is masked.
        seed: key of the orders.
        batch_size: versions per call; None = by memory.

    Returns:
        float64 (N, S, S), nats: over the positions with r reveals left the sum of the d-th one's
        loss, from the logits of one call, at [r - 1, d - 1]; 0 where d > r.

    Raises:
        ValueError: if the network returns NaN.
    """
    stages = stages_of(model.config)
    num_stages = stages.num_stages
    parts = []
    for canvas, labels, outputs in _hidden_versions(
        model, input_ids, attention_mask, target_BL, versions, seed, batch_size
    ):
        version_K, _ = (labels != IGNORED).nonzero(as_tuple=True)
        nodes_K = canvas[labels != IGNORED]
        ids_K = labels[labels != IGNORED]
        left_K = stages.num_left(nodes_K)
        sums = outputs.new_zeros(len(canvas), num_stages, num_stages)
        for turn in range(num_stages):
            logits_KW = stages.scored_logits(outputs, nodes_K)
            slots_K = stages.child_slots(nodes_K, ids_K)
            nats_K = F.cross_entropy(logits_KW, slots_K, reduction="none")
            turns_K = torch.full_like(left_K, turn)
            sums.index_put_((version_K, left_K - 1, turns_K), nats_K, accumulate=True)
            nodes_K = stages.coarsen(ids_K, (stages.level(nodes_K) + 1).clamp(max=num_stages))
        check_no_nan(sums)
        parts.append(sums)
    return torch.cat(parts)


def _hidden_versions(
    model: MaskedLanguageModel,
    input_ids: Tensor,
    attention_mask: Tensor | None,
    target_BL: Tensor,
    versions: Versions,
    seed: int,
    batch_size: int | None,
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Canvases and labels (N, L) of some versions, and the float64 outputs at all labels (K, V)."""
    length = input_ids.shape[1]
    stages = stages_of(model.config)
    chunk = sequences_per_call(batch_size, input_ids, stages.num_outputs)
    if not len(versions.row):
        return
    logits_at = position_logits(model)
    # by place among the targets, so that padding does not change a row's orders
    place_BL = (target_BL.long().cumsum(1) - 1).clamp(min=0)
    with evaluating(model):
        for begin in range(0, len(versions.row), chunk):
            part = slice(begin, begin + chunk)
            rows = versions.row[part]
            uniforms = order_uniforms(seed, versions.key[part], length, stages)
            places = place_BL[rows].view(-1, length, *[1] * (uniforms.ndim - 2))
            canvas, labels = hide_last(
                input_ids[rows],
                stages,
                target_BL[rows],
                versions.num_left[part],
                uniforms.take_along_dim(places, 1),
            )
            mask_of_rows = None if attention_mask is None else attention_mask[rows]
            outputs = logits_at(canvas, mask_of_rows, labels != IGNORED)
            yield canvas, labels, outputs.double()
