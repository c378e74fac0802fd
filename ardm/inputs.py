"""Inputs: from what a call of `generate` is given to the canvas that it fills.

    ids, real = the checked rows, max_new_tokens masks after each row's last real token
    canvas    = num_return_sequences copies of each row, with a random stream and an order each

Shapes: B batch, L length.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from .arrangements import check_stagewise, reveal_times
from .canvas import Canvas
from .generation_config_ardm import ARDMGenerationConfig
from .id_checks import check_ids, check_rows, check_zero_one
from .networks import MaskedLanguageModel, execution_device, longest_sequence
from .orders import QUEUE_ORDERS
from .randomness import seed_from
from .stages import Stages
from .vocabulary import VocabularyConfig, stages_of, text_ids


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
    mask_token_id = _mask_token_id(model, config)
    stages = stages_of(model.config, mask_token_id)
    ids, real_BL = _checked(model, stages, input_ids, attention_mask, config)
    _check_masks(ids, real_BL, mask_token_id, model, config)
    copies = config.num_return_sequences or 1
    new_tokens = _num_new_tokens(model, input_ids, config)
    if new_tokens:
        ids, real_BL = append_masks(ids, real_BL, new_tokens, mask_token_id)
    if attention_mask is not None or (ids[real_BL] == mask_token_id).any():
        check_rows(real_BL)  # a row of padding alone is fine where the network is not asked
    streams = row_streams(config.seed, generator, copies, len(ids))
    order = _queue_order(config.order, ids, stages, copies)
    ids = ids.repeat_interleave(copies, 0)
    real_BL = real_BL.repeat_interleave(copies, 0)
    return Canvas(ids, real_BL, stages, streams, order, config.block_length)


def _num_new_tokens(
    model: GenerativeModel, input_ids: Tensor | None, config: ARDMGenerationConfig
) -> int:
    """How many masks are appended, checked against the model's positions if it has a limit."""
    new_tokens = config.max_new_tokens
    longest = longest_sequence(model)
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
        named = getattr(model.config, "max_position_embeddings", None) == longest
        most = f"max_position_embeddings={longest}"
        most = most if named else f"{longest}, as the model takes {longest} positions"
        raise ValueError(
            f"{length} positions and max_new_tokens={new_tokens} make"
            f" {length + new_tokens}; expected at most {most}."
        )
    return new_tokens


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
    stages: Stages,
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
    last = "vocab_size - 1" if stages.tree is None else "the last coarse value"
    check_ids(input_ids, stages.num_nodes, last=last)
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


def _queue_order(order: Any, ids: Tensor, stages: Stages, copies: int) -> str | Tensor:
    """The order in which hidden positions queue up before the logits are known."""
    if not isinstance(order, Tensor):
        return order if isinstance(order, str) and order in QUEUE_ORDERS else "left_to_right"
    if stages.num_stages == 1:
        return order.repeat_interleave(copies, 0) if order.ndim == 2 else order
    times_BSL = reveal_times(order, ids.shape, stages.num_stages)
    if not stages.interleaved:
        check_stagewise(times_BSL)
    # as an arrangement, (B, S*L): position by position, by the time of their reveals
    arrangement_BR = times_BSL.flatten(1).argsort(1) % ids.shape[1]
    return arrangement_BR.repeat_interleave(copies, 0)


def append_masks(
    ids: Tensor, real_BL: Tensor, count: int, mask_token_id: int
) -> tuple[Tensor, Tensor]:
    """Inserts masks right after each row's last real token; padding on the right moves behind them.

    Args:
        ids: int64 (B, L).
        real_BL: bool (B, L), False on padding.
        count: number of masks.
        mask_token_id: their id.

    Returns:
        ids int64 and real_BL bool (B, L + count).
    """
    ids = F.pad(ids, (0, count), value=mask_token_id)
    real_BL = F.pad(real_BL, (0, count))
    target_BL = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    # 0 for a row of padding, or of length 0
    end_B1 = F.pad((target_BL + 1) * real_BL, (1, 0)).amax(1, keepdim=True)
    is_new_BL = (target_BL >= end_B1) & (target_BL < end_B1 + count)
    source_BL = torch.where(target_BL < end_B1, target_BL, (target_BL - count).clamp(min=0))
    ids = ids.gather(1, source_BL).masked_fill(is_new_BL, mask_token_id)
    return ids, real_BL.gather(1, source_BL) | is_new_BL


def row_streams(
    seed: int | Sequence[int] | None,
    generator: torch.Generator | None,
    copies: int,
    batch_size: int,
) -> tuple[Tensor, Tensor]:
    """The random stream of each of the B * copies rows.

    Args:
        seed: int, or a list with one a row, or None: drawn from the generator.
        generator: on any device; None = torch's global one.
        copies: results for each row, next to each other.
        batch_size: B.

    Returns:
        Seeds and row numbers, int64 (B * copies,) each.

    Raises:
        ValueError: if both seed and generator are given, or the list has another length.
    """
    if seed is not None and generator is not None:
        raise ValueError("got both seed and generator; expected at most one of them.")
    if generator is not None and not isinstance(generator, torch.Generator):
        raise ValueError(f"generator is a {type(generator).__name__}; expected a torch.Generator.")
    if isinstance(seed, (list, tuple)):
        if len(seed) != batch_size:
            raise ValueError(
                f"seed is a list of {len(seed)};"
                f" expected one seed for each of the {batch_size} rows."
            )
        seeds = torch.tensor(seed).repeat_interleave(copies)
        return seeds, torch.arange(copies).repeat(batch_size)
    seed = seed_from(generator) if seed is None else seed
    return torch.tensor(seed).expand(batch_size * copies), torch.arange(batch_size * copies)
