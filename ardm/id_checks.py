"""Ids and the masks beside them, checked: types, shapes, ranges.

What is in a tensor is looked at on a CPU alone where a training step asks: a GPU would have to wait
for the answer.

Shapes: B batch, L length, K positions of a row.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

IGNORED = -100  # the label of a position outside the loss, as everywhere in transformers
LAST_ID = 2**31 - 1  # no vocabulary is larger
_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def is_looked_at(values: Tensor) -> bool:
    """Whether the content of a tensor is checked: not on a GPU, nor while it is compiled."""
    return values.device.type == "cpu" and not torch.compiler.is_compiling()


def check_ids(
    input_ids: object,
    vocab_size: int | None = None,
    name: str = "input_ids",
    last: str = "vocab_size - 1",
) -> None:
    """Raises ValueError unless these are integers (B, L) in range(vocab_size)."""
    if not isinstance(input_ids, Tensor):
        several = isinstance(input_ids, Mapping)  # all that a tokenizer returns
        hint = " (pass inputs.input_ids, inputs.attention_mask)" if several else ""
        raise ValueError(
            f"{name} is a {type(input_ids).__name__}; expected a LongTensor of shape (B, L){hint}."
        )
    if input_ids.ndim != 2 or input_ids.dtype not in (torch.int64, torch.int32):
        raise ValueError(
            f"{name} has shape {tuple(input_ids.shape)} and dtype {input_ids.dtype};"
            " expected a LongTensor (B, L)."
        )
    if vocab_size is not None and input_ids.numel():
        low, high = (int(bound) for bound in input_ids.aminmax())
        if low < 0 or high >= vocab_size:
            raise ValueError(
                f"{name} holds ids in {low}..{high}; expected 0..{vocab_size - 1} ({last})."
            )


def check_like_ids(name: str, mask: object, input_ids: Tensor) -> None:
    """Raises ValueError unless a mask is a tensor of the ids' shape on their device."""
    if not isinstance(mask, Tensor):
        raise ValueError(
            f"{name} is a {type(mask).__name__}; expected a tensor {tuple(input_ids.shape)}."
        )
    if mask.shape != input_ids.shape or mask.device != input_ids.device:
        raise ValueError(
            f"{name} has shape {tuple(mask.shape)} on {mask.device}; expected input_ids'"
            f" {tuple(input_ids.shape)} on {input_ids.device}."
        )


def check_zero_one(name: str, mask: Tensor) -> None:
    """Raises ValueError if a mask holds more than 0 and 1: neither weights nor numbers of parts."""
    if mask.dtype != torch.bool and ((mask != 0) & (mask != 1)).any():
        low, high = (value.item() for value in mask.aminmax())
        raise ValueError(
            f"{name} holds other numbers than 0 and 1, in {low}..{high}; expected 0 and 1 alone."
        )


def check_rows(attention_mask: Tensor) -> None:
    """Raises ValueError if a row of a 2-D mask has no real token: nothing can be said of it."""
    empty_B = ~attention_mask.bool().any(1)
    if attention_mask.shape[1] and empty_B.any():
        raise ValueError(
            f"attention_mask is 0 all over row {int(empty_B.nonzero()[0])};"
            " expected a 1 at each real token, at least one a row."
        )


def check_token_types(token_type_ids: object) -> None:
    """Raises ValueError unless these are None or zeros, as tokenizers return them for one text."""
    if token_type_ids is None:
        return
    if not isinstance(token_type_ids, Tensor):
        got = f"a {type(token_type_ids).__name__}"
    elif is_looked_at(token_type_ids) and token_type_ids.any():
        got = f"up to {token_type_ids.max().item()}"
    else:
        return
    raise ValueError(
        f"token_type_ids are {got}; expected zeros, of one text: the parts of a pair cannot be told"
        " apart here. Tokenize one text, or leave them out."
    )


def check_row_integers(name: str, numbers: object, num_rows: int) -> None:
    """Raises ValueError unless these are integers, one for each row."""
    if not isinstance(numbers, Tensor):
        got = f"the {type(numbers).__name__} {numbers!r}"
    elif numbers.dtype in _INTEGERS and numbers.shape == (num_rows,):
        return
    else:
        got = f"{numbers.dtype} {tuple(numbers.shape)}"
    raise ValueError(f"{name} is {got}; expected integers ({num_rows},), one for each row.")


def check_attention_mask(mask: object, like_BL: Tensor) -> None:
    """Raises ValueError on a mask that hides all of a row, or a 2-D one of more than 0 and 1.

    One of more dimensions is what the attention takes: bool, or added to its scores.
    """
    if mask is None:
        return
    if not isinstance(mask, Tensor) or mask.ndim == 2:
        check_like_ids("attention_mask", mask, like_BL)
    assert isinstance(mask, Tensor)
    if not is_looked_at(mask):
        return
    if mask.ndim == 2:
        check_zero_one("attention_mask", mask)
        check_rows(mask)
    else:
        _check_attention(mask)


def _check_attention(mask_B1LL: Tensor) -> None:
    visible = mask_B1LL
    if mask_B1LL.is_floating_point():
        visible = mask_B1LL > torch.finfo(mask_B1LL.dtype).min
    empty_B = ~visible.bool().flatten(1).any(1)
    if visible.shape[1:].numel() and empty_B.any():
        raise ValueError(
            f"attention_mask {tuple(mask_B1LL.shape)} hides all of row"
            f" {int(empty_B.nonzero()[0])}; expected at least one position that is seen."
        )


def check_labels(
    labels: Tensor, vocab_size: int, impossible: set[int], like: Tensor | None = None
) -> None:
    """Raises ValueError on labels of another shape, or (on a CPU) whose probability is 0."""
    if not isinstance(labels, Tensor) or not is_looked_at(labels):
        check_ids(labels, name="labels")
    else:
        check_ids(labels.where(labels != IGNORED, 0), vocab_size, "labels")
    if like is not None and labels.shape != like.shape:
        raise ValueError(
            f"labels have shape {tuple(labels.shape)}; expected that of the ids,"
            f" {tuple(like.shape)}."
        )
    if not is_looked_at(labels):
        return
    found = labels[torch.isin(labels, torch.tensor([*impossible], dtype=labels.dtype))]
    if len(found):
        raise ValueError(
            f"labels hold {int(found[0])}, the mask, pad or a class id, whose probability is 0;"
            " expected -100 there, or for a pad id that texts hold a configuration that names it as"
            " the eos_token_id (bos_token_id, unk_token_id), too."
        )


def check_positions(positions: Tensor, like: Tensor | None, bool_only: bool) -> None:
    """Raises ValueError unless bool (B, L) of the ids' shape, or, if that may be, int64 (B, K)."""
    if positions.dtype == torch.bool:
        fits = like is None or positions.shape == like.shape
    else:
        fits = positions.dtype == torch.int64 and not bool_only
    if not fits or positions.ndim != 2:
        shape = "(B, L)" if like is None else tuple(like.shape)
        raise ValueError(
            f"logits_positions is {positions.dtype} {tuple(positions.shape)}; expected bool {shape}"
            + ("." if bool_only else ", or int64 (B, K).")
        )
