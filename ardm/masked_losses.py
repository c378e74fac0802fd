"""Scoring: the losses of many masked versions of a batch, some sequences a call: what every
likelihood is made of.

One draw hides the last m of a row's n scored tokens in a random order and gives the mean of -log
p(x_p | known) over
them: an unbiased estimate of the loss per token with n - m known (arXiv 2110.02037, section 3).
    Draws are keyed by the
row's number and the draw's (randomness.py), so that neither the batch around a row nor the size of
a call changes them.

Shapes: B batch, L length, N draws of all rows.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .masking import (
    IGNORED,
    check_ids,
    mask_last,
    maskable_tokens,
    mean_cross_entropy,
    order_uniforms,
)

# Tokens a call of the network unless `batch_size` says otherwise. On a CPU larger calls only leave
# the cache (measured: a quarter slower at 16,384); a GPU wants work. Logits take 20 bytes each on
# the way to float64 nats.
_TOKENS_A_CALL = {"cpu": 2_048}
_TOKENS_A_CALL_ELSEWHERE = 16_384
_LOGITS_A_CALL = 2**27


class Draws(NamedTuple):
    """Which masked versions of which rows: int64 (N,) each."""

    row: Tensor  # place in the batch
    key: Tensor  # names the draw's order among all of the seed
    num_masked: Tensor  # m, 1..n


def scored_tokens(
    config: Any, input_ids: Tensor, attention_mask: Tensor | None, prompt_mask: Tensor | None
) -> Tensor:
    """bool (B, L): the tokens whose probability is asked for. Raises ValueError on ids for which it
    can only be 0.
    """
    check_ids(input_ids, config.vocab_size)
    scored_BL = maskable_tokens(input_ids, config.mask_token_id, attention_mask, prompt_mask)
    for name in ("mask_token_id", "pad_token_id"):
        impossible = getattr(config, name, None)
        if impossible is not None and ((input_ids == impossible) & scored_BL).any():
            raise ValueError(
                f"input_ids holds the {name[:-9]} id {impossible} among its real tokens, whose"
                " probability is 0; expected text without it, or an attention_mask that is 0"
                " there."
            )
    return scored_BL


def row_numbers_of(row_numbers: Tensor | None, input_ids: Tensor) -> Tensor:
    """int64 (B,): what keys the rows' draws, checked; their places in the batch unless given."""
    if row_numbers is None:
        return torch.arange(len(input_ids), device=input_ids.device)
    if row_numbers.shape != input_ids.shape[:1] or row_numbers.is_floating_point():
        got = f"{row_numbers.dtype} {tuple(row_numbers.shape)}"
        raise ValueError(
            f"row_numbers is {got}; expected integers ({len(input_ids)},), one for each row."
        )
    row_numbers = row_numbers.to(
        input_ids.device
    ).long()  # in int32 the limit itself would overflow
    if (row_numbers < 0).any() or (row_numbers >= 2**31).any():
        raise ValueError(
            f"row_numbers holds {int(row_numbers.min())}..{int(row_numbers.max())}; expected"
            " 0..2^31-1."
        )
    return row_numbers


def sequences_per_call(batch_size: int | None, input_ids: Tensor, vocab_size: int) -> int:
    """The caller's number, checked, or as many sequences as memory and speed allow. Raises
    ValueError if below 1.
    """
    if batch_size is not None:
        require_positive("batch_size", batch_size)
    tokens = min(
        _TOKENS_A_CALL.get(input_ids.device.type, _TOKENS_A_CALL_ELSEWHERE),
        _LOGITS_A_CALL // vocab_size,
    )
    return batch_size or max(1, tokens // max(input_ids.shape[1], 1))


def require_positive(name: str, number: Any, or_else: str = "") -> None:
    """Raises ValueError unless `number` is an integer of at least 1."""
    integer = isinstance(number, Integral) and not isinstance(number, bool)
    if not integer or number < 1:
        raise ValueError(f"{name} is {number!r}; expected an integer of at least 1{or_else}.")


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """The model without dropout, and afterwards as it was; anything else that can be called is left
    alone.
    """
    training = [m for m in model.modules() if m.training] if isinstance(model, nn.Module) else []
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


@torch.no_grad()
def masked_losses(
    model: Any,
    input_ids: Tensor,
    attention_mask: Tensor | None,
    scored_BL: Tensor,
    draws: Draws,
    seed: int,
    batch_size: int | None,
) -> Tensor:
    """The mean loss over the masked tokens of each draw.

    Args:
        model: called with `input_ids`, `attention_mask`, `logits_positions`.
        input_ids: int64 (B, L).
        attention_mask: (B, L), 0 on padding; None = no padding.
        scored_BL: bool (B, L), of [`scored_tokens`].
        draws: the masked versions.
        seed: key of the orders.
        batch_size: draws per call; None = by memory.

    Returns:
        float64 (N,), nats per token.
    """
    length = input_ids.shape[1]
    chunk = sequences_per_call(batch_size, input_ids, model.config.vocab_size)
    losses_N = torch.empty(len(draws.row), dtype=torch.float64, device=input_ids.device)
    place_BL = (scored_BL.long().cumsum(1) - 1).clamp(
        min=0
    )  # so that padding does not change a row's orders
    with evaluating(model):
        for begin in range(0, len(losses_N), chunk):
            part = slice(begin, begin + chunk)
            rows = draws.row[part]
            uniforms = order_uniforms(seed, draws.key[part], length).gather(1, place_BL[rows])
            masked_ids, labels = mask_last(
                input_ids[rows],
                model.config.mask_token_id,
                scored_BL[rows],
                draws.num_masked[part],
                uniforms,
            )
            positions = labels != IGNORED
            attention = None if attention_mask is None else attention_mask[rows]
            logits = model(
                input_ids=masked_ids, attention_mask=attention, logits_positions=positions
            ).logits
            losses_N[part] = mean_cross_entropy(logits.double(), labels, positions)
    return losses_N
