"""Inputs: from what a call of `generate` is given to the canvas that it fills.

    ids, real = the checked rows, max_new_tokens masks after each row's last real token
    canvas    = num_return_sequences copies of each row, with a random stream and an order each

Shapes: B batch, L length.
"""

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from .canvas import Canvas, append_masks, row_streams
from .generation_config_ardm import ARDMGenerationConfig
from .id_checks import check_ids, check_rows, check_zero_one
from .networks import MaskedLanguageModel, VocabularyConfig, execution_device, text_ids
from .orders import QUEUE_ORDERS


class GenerativeConfig(VocabularyConfig, Protocol):
    """A model's configuration; its `max_position_embeddings`, if any, limits the length."""


class GenerativeModel(MaskedLanguageModel, Protocol):
    """A masked language model on one device, or one whose parts know where they run."""

    @property
    def config(self) -> GenerativeConfig: ...

    @property
    def device(self) -> torch.device: ...


def make_canvas(
    model: GenerativeModel,
    input_ids: Tensor | None,
    attention_mask: Tensor | None,
    config: ARDMGenerationConfig,
    generator: torch.Generator | None,
) -> Canvas:
    """Checks the input, appends `max_new_tokens` masks, repeats rows `num_return_sequences` times.

    Args:
        model: whose vocabulary, length and device the ids must fit.
        input_ids: int64 (B, L); None: a sequence of no tokens.
        attention_mask: (B, L), 0 on padding; None: all but the pad id is real.
        config: the call's settings.
        generator: source of the seed where that is None.

    Returns:
        The rows, before the first step.

    Raises:
        ValueError: if the ids, the mask, a special id, an order or a seed does not fit.
    """
    ids, real_BL = _checked(model, input_ids, attention_mask, config)
    mask_token_id = _mask_token_id(model, config)
    _check_masks(ids, real_BL, mask_token_id, model, config)
    copies = config.num_return_sequences or 1
    new_tokens = _num_new_tokens(model, input_ids, config)
    if new_tokens:
        ids, real_BL = append_masks(ids, real_BL, new_tokens, mask_token_id)
    if attention_mask is not None or (ids[real_BL] == mask_token_id).any():
        check_rows(real_BL)  # a row of padding alone is fine where the network is not asked
    streams = row_streams(config.seed, generator, copies, len(ids))
    order = _queue_order(config.order)
    if isinstance(order, Tensor) and order.ndim == 2:
        order = order.repeat_interleave(copies, 0)
    ids = ids.repeat_interleave(copies, 0)
    real_BL = real_BL.repeat_interleave(copies, 0)
    return Canvas(ids, real_BL, mask_token_id, streams, order, config.block_length)


def _num_new_tokens(
    model: GenerativeModel, input_ids: Tensor | None, config: ARDMGenerationConfig
) -> int:
    """How many masks are appended, checked against the model's positions if it has a limit."""
    new_tokens = config.max_new_tokens
    longest = _max_length(model)
    if input_ids is None and new_tokens is None:
        if longest is None:
            raise ValueError(
                "got neither input_ids nor max_new_tokens, and the model's configuration has no"
                " max_position_embeddings; expected one of them."
            )
        return longest
    new_tokens = new_tokens or 0
    length = 0 if input_ids is None else input_ids.shape[1]
    if longest is not None and length + new_tokens > longest:
        raise ValueError(
            f"{length} positions and max_new_tokens={new_tokens} make"
            f" {length + new_tokens}; expected at most max_position_embeddings={longest}."
        )
    return new_tokens


def _max_length(model: GenerativeModel) -> int | None:
    """The longest sequence; None without a limit.

    RoBERTa and its relatives begin to count behind their padding's position, and name the rows.
    """
    longest = getattr(model.config, "max_position_embeddings", None)
    for name, module in model.named_modules() if isinstance(model, nn.Module) else ():
        counted = name.endswith("position_embeddings") and isinstance(module, nn.Embedding)
        if counted and module.padding_idx is not None:
            return module.num_embeddings - module.padding_idx - 1
    return longest


def special_ids(name: str, model: MaskedLanguageModel, config: ARDMGenerationConfig) -> list[int]:
    """The ids of a special token by the settings, or else by the model.

    Args:
        name: "mask_token_id", "pad_token_id" or "eos_token_id".
        model: whose configuration may hold it.
        config: the call's settings.

    Returns:
        Its ids: none, one, or of the EOS several.

    Raises:
        ValueError: if an id is outside the vocabulary.
    """
    value: Any = getattr(config, name)
    if value is None:
        value = getattr(model.config, name, None)
    if value is None:
        return []
    ids = list(value) if isinstance(value, (list, tuple)) else [value]
    vocab_size = model.config.vocab_size
    if not all(0 <= token < vocab_size for token in ids):
        raise ValueError(f"{name} is {value}; expected ids in 0..{vocab_size - 1}.")
    return [int(token) for token in ids]


def _mask_token_id(model: MaskedLanguageModel, config: ARDMGenerationConfig) -> int:
    ids = special_ids("mask_token_id", model, config)
    if not ids:
        raise ValueError(
            "mask_token_id is None; expected the mask token's id in the generation or model config."
        )
    return ids[0]


def _check_masks(
    ids: Tensor,
    real_BL: Tensor,
    mask_token_id: int,
    model: MaskedLanguageModel,
    config: ARDMGenerationConfig,
) -> None:
    """Raises ValueError if the call's mask id leaves masks of the model, or ends texts."""
    own_id = getattr(model.config, "mask_token_id", None)
    if own_id not in (None, mask_token_id) and (real_BL & (ids == own_id)).any():
        raise ValueError(
            f"mask_token_id is {mask_token_id}, and input_ids hold {own_id}, by which the model"
            f" hides tokens; expected input_ids without it, or mask_token_id={own_id}."
        )
    if mask_token_id in special_ids("eos_token_id", model, config):
        raise ValueError(f"eos_token_id is {mask_token_id}; expected another id than the mask's.")


def _checked(
    model: GenerativeModel,
    input_ids: Tensor | None,
    attention_mask: Tensor | None,
    config: ARDMGenerationConfig,
) -> tuple[Tensor, Tensor]:
    """int64 ids and bool mask of real tokens, (B, L) each."""
    device = execution_device(model)
    if input_ids is None:
        input_ids = torch.empty(1, 0, dtype=torch.long, device=device)
    if isinstance(input_ids, Tensor) and input_ids.device != device:
        raise ValueError(
            f"input_ids is on {input_ids.device}; expected the model's device {device}."
        )
    check_ids(input_ids, model.config.vocab_size)
    if attention_mask is None:
        attention_mask = _all_but_padding(model, input_ids, config)
    fits = isinstance(attention_mask, Tensor) and attention_mask.shape == input_ids.shape
    if not fits:
        got: Any = type(attention_mask).__name__
        if isinstance(attention_mask, Tensor):
            got = tuple(attention_mask.shape)
        raise ValueError(
            f"attention_mask is {got}; expected a tensor {tuple(input_ids.shape)} like input_ids."
        )
    check_zero_one("attention_mask", attention_mask)
    return input_ids.long(), attention_mask.bool().to(input_ids.device)


def _all_but_padding(
    model: MaskedLanguageModel, input_ids: Tensor, config: ARDMGenerationConfig
) -> Tensor:
    """bool (B, L): False at a pad id that is nothing else; one that texts hold is text here."""
    pad_ids = special_ids("pad_token_id", model, config)
    if pad_ids == [_mask_token_id(model, config)]:
        raise ValueError(f"pad_token_id is {pad_ids[0]}; expected another id than mask_token_id.")
    of_texts = text_ids(model.config) | set(special_ids("eos_token_id", model, config))
    if not pad_ids or pad_ids[0] in of_texts:
        return torch.ones_like(input_ids, dtype=torch.bool)
    return input_ids != pad_ids[0]


def _queue_order(order: Any) -> str | Tensor:
    """The order in which hidden positions queue up before the logits are known."""
    if isinstance(order, Tensor):
        return order
    return order if isinstance(order, str) and order in QUEUE_ORDERS else "left_to_right"
