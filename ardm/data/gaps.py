"""Gaps: a text with holes, as people write it, as the ids that a model fills.

    [[12]]    a gap of 12 tokens
    ____      one token for each underscore, from three on
    [MASK]    one token: the tokenizer's own mask token, whatever it is called

Everything else is text, and stays as it is; new tokens may follow it.
"""

import re
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ..training import check_integer

_GAP = re.compile(r"\[\[\s*(\d+)\s*\]\]|_{3,}")


def encode_gaps(
    text: str,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_tokens: int | None = None,
    around: tuple[Sequence[int], Sequence[int]] = ((), ()),
    max_new_tokens: int | None = None,
) -> Tensor:
    """The ids of a text with gaps, or with room for new tokens behind it.

    Args:
        text: with any of the three spellings.
        tokenizer: of the model, with a mask token.
        max_tokens: that the model takes, gaps included; None = any number.
        around: ids before the text and behind it, which are given, such as [CLS] and [SEP], as
            [`ardm.data.framing.frame_of`] tells; nothing for a model that was trained on bare text.
        max_new_tokens: masks behind the text, within what is around it; None = none.

    Returns:
        int64 (1, L), mask ids in the gaps and for new tokens.

    Raises:
        ValueError: if the tokenizer has no mask token, a gap has no token, there are more tokens
            than the model takes, the number of new ones is none, or there is nothing to generate.
    """
    mask = tokenizer.mask_token
    if mask is None:
        raise ValueError(
            f"{type(tokenizer).__name__} has no mask token; expected one to tell where gaps are."
        )
    new = check_integer("max_new_tokens", max_new_tokens or 0, 0)
    # before a text of that length is made
    sizes = [_size(gap) for gap in _GAP.finditer(text)]
    _check_length(sum(sizes) + new, max_tokens, "gaps of")
    marked = _GAP.sub(lambda gap: mask * _size(gap), text) + mask * new
    before, after = around
    inside = tokenizer(marked, add_special_tokens=False).input_ids
    ids = torch.tensor([[*before, *inside, *after]], dtype=torch.long)
    _check_length(ids.shape[1], max_tokens, "gaps included,")
    if tokenizer.mask_token_id not in inside:
        raise ValueError(
            f"the text {text[:60]!r} has no gap to fill; expected one, such as [[12]] for 12"
            f" tokens, ___ or {mask}, or max_new_tokens for text behind it."
        )
    return ids


def given_texts(text: str, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """What is text of a text with gaps.

    Args:
        text: as for [`encode_gaps`].
        tokenizer: the same.

    Returns:
        The parts between the gaps, empty ones left out.
    """
    mask = str(tokenizer.mask_token)
    one_mask_each = _GAP.sub(lambda gap: mask, text)
    return [part for part in one_mask_each.split(mask) if part]


def _size(gap: re.Match[str]) -> int:
    """Tokens of a gap.

    Raises:
        ValueError: if it has none.
    """
    size = len(gap[0]) if gap[1] is None else int(gap[1])
    if size == 0:
        raise ValueError(f"the gap {gap[0]} has no token; expected at least [[1]].")
    return size


def _check_length(number: int, max_tokens: int | None, what: str) -> None:
    """Raises ValueError if there are more tokens than the model takes."""
    if max_tokens is not None and number > max_tokens:
        raise ValueError(f"the text has {what} {number} tokens; expected at most {max_tokens}.")
