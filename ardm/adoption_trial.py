"""Adoption trial: what a model does with three tokens decides how it is asked, or that it is not.

    f(a, b, c)_1  depends on c           both sides are seen, or the model is refused
    f(a, b, c)_2 = head of one state     the head runs on the wanted positions alone
    f(a, b, c) = f(pad, a, b, c)         rows may have padding, or none is taken

A class, least of all with code of its own, does not say so itself.
"""

import warnings
from typing import Any

import torch
from torch import Tensor

from .networks import evaluating, execution_device
from .vocabulary import impossible_ids, text_ids

# A later token counts as seen if it changes the logits by more than this part of what an earlier
# one does: classes with code of their own do not say in which direction they attend.
_SEEN = 1e-4
_ROUNDING, _COARSE_ROUNDING = 1e-3, 0.1  # of the largest logit: in float32, in fewer bits


@torch.no_grad()
def try_out(model: Any) -> None:
    """Runs three tokens, and notes on the model what they tell.

    Args:
        model: an adopted one; its `head_is_pointwise` and `takes_padding` are set.

    Raises:
        ValueError: if a later token changes nothing at an earlier position.
    """
    device = execution_device(model)
    never = impossible_ids(model.config) | text_ids(model.config)
    ordinary = [token for token in range(min(model.config.vocab_size, 64)) if token not in never]
    if device.type == "meta" or len(ordinary) < 2:
        return
    one, other = ordinary[-2:]
    ids = torch.tensor([[one, one, one]], device=device)
    changed_last, changed_first = ids.clone(), ids.clone()
    changed_last[0, 2] = other
    changed_first[0, 0] = other
    with evaluating(model):
        states, after_last, after_first = (
            _finite_logits(model, row) for row in (ids, changed_last, changed_first)
        )
        seen = (after_last - states)[0, 0].abs().max()
        reached = (after_first - states)[0, 2].abs().max()
        if reached > 0 and seen <= _SEEN * reached:  # 0 of 0: some begin with a head of zeros
            raise ValueError(
                f"the attention of {type(model).__name__} is causal whatever its configuration"
                " says; expected one in which a token sees those to its right, too."
            )
        middle = torch.tensor([[False, True, False]], device=device)
        picked = _finite_logits(model, ids, middle)
        model.head_is_pointwise = torch.allclose(picked, states[:, 1], rtol=1e-2, atol=1e-3)
        largest = states.abs().max()
        tolerance = (_ROUNDING if model.dtype == torch.float32 else _COARSE_ROUNDING) * largest
        apart = (_beside_padding(model, ids) - states).abs().max()
    if model.takes_padding and not apart <= tolerance:  # NaN, too
        model.takes_padding = False
        warnings.warn(
            f"{type(model).__name__} gives a row other logits beside padding (by {apart:.2g} of"
            f" {largest:.2g}): expected rows of one length, one call a length; others are refused.",
            stacklevel=5,
        )


def _finite_logits(model: Any, ids: Tensor, positions: Tensor | None = None) -> Tensor:
    return model(ids, logits_positions=positions).logits.float().nan_to_num(neginf=0)


def _beside_padding(model: Any, ids: Tensor) -> Tensor:
    """Logits (2, L, V) of a row with padding on its left, and on its right."""
    if not model.takes_padding:
        return _finite_logits(model, ids)
    length = ids.shape[1]
    filler: Any = getattr(model.config, "pad_token_id", None)
    filler = int(ids[0, 0]) if filler is None else filler
    rows = torch.full((2, length + 2), filler, device=ids.device)
    real = torch.zeros_like(rows)
    rows[0, 2:], real[0, 2:] = ids[0], 1
    rows[1, :length], real[1, :length] = ids[0], 1
    output = model(rows, real).logits.float().nan_to_num(neginf=0)
    return torch.stack([output[0, 2:], output[1, :length]])
