"""Adoption settings: what an ARDM must know of a model, read off its configuration and tokenizer.

    mask_token_id         what hides a token
    given_token_ids       what stands around texts: always known, never generated
    tokenizer_size        how many ids are tokens; rows of the embedding behind them are none
    right_shift_logits    whether logits at p are of position p + 1

They become fields of the model's own configuration, and so of its config.json.
"""

from typing import Any

from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from .checks import check_integer
from .new_tokens import vocabulary_size

MASK = "[MASK]"
_AROUND = ("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id")
_SPECIAL = ("bos_token_id", "eos_token_id", "unk_token_id", "pad_token_id")
_SHIFTED = {"Dream"}  # trained so
_WAY_OUT = "its tokenizer if that has one, or mask_token_id=, the id of a token that no text holds"


def adoption_settings(
    config: PreTrainedConfig,
    tokenizer: PreTrainedTokenizerBase | None,
    wanted: dict[str, Any],
    *,
    causal: bool,
    masked: bool,
) -> dict[str, Any]:
    """The settings, by name; those of the call come before saved ones, and these before others.

    Args:
        config: of the model; not changed.
        tokenizer: of the model, or None.
        wanted: the call's, None where it says nothing.
        causal: whether the model predicts next tokens.
        masked: whether it is an encoder, whose texts are given their ends; of others, as of those
            with code of their own, the EOS is written by the model.

    Returns:
        All of them. The mask id is None where a causal model gets a new one.

    Raises:
        ValueError: if there is no mask id, one is out of range, or two do not fit.
    """
    rows = config.vocab_size
    mask = _mask_token_id(config, tokenizer, wanted["mask_token_id"], causal)
    last = None if causal else rows - 1
    if mask is not None:
        mask = check_integer("mask_token_id", mask, 0, last, " (vocab_size - 1)")
    given = wanted["given_token_ids"]
    if given is None:
        saved = getattr(config, "given_token_ids", None)
        given = saved if saved is not None else _around_texts(config, tokenizer, masked)
    given = sorted({check_integer("given_token_ids", each, 0, rows - 1) for each in given})
    if mask in given:
        raise ValueError(f"given_token_ids hold {mask}, the mask id; expected other ids.")
    shift = wanted["right_shift_logits"]
    if shift is None:
        shift = getattr(config, "right_shift_logits", config.model_type in _SHIFTED)
    if not isinstance(shift, bool):
        raise ValueError(f"right_shift_logits is {shift!r}; expected True or False.")
    settings = {
        "mask_token_id": mask,
        "given_token_ids": given,
        "right_shift_logits": shift,
        **_ids_with_rows(config),
        **_padding(config, tokenizer, mask),
        **_tokenizer_size(config, tokenizer),
    }
    own = getattr(config, "mask_token_id", None)
    if hasattr(config, "right_shift_logits") and own is not None and own != mask:
        settings["given_token_ids"] = sorted({*given, own})  # adopted by another: never written
    return settings


def added_mask_token(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase | None) -> int:
    """The id of a new mask token, behind all others; the tokenizer gets it in place.

    Args:
        config: of a causal model.
        tokenizer: its own; None: the id is a new row of the embedding.

    Returns:
        The id.
    """
    if tokenizer is None:
        return config.vocab_size
    tokenizer.add_special_tokens({"mask_token": MASK})
    return int(tokenizer.mask_token_id)


def _mask_token_id(
    config: PreTrainedConfig,
    tokenizer: PreTrainedTokenizerBase | None,
    wanted: int | None,
    causal: bool,
) -> int | None:
    own = getattr(config, "mask_token_id", None)
    of_tokenizer = None if tokenizer is None else tokenizer.mask_token_id
    adopted = hasattr(config, "right_shift_logits")
    if adopted and None not in (own, of_tokenizer) and own != of_tokenizer and wanted is None:
        raise ValueError(
            f"the tokenizer's mask_token_id is {of_tokenizer}; expected {own}, by which the model"
            " was adopted."
        )
    for found in (wanted, own if adopted else None, of_tokenizer, own):
        if found is not None:
            return found
    if causal:
        return None
    who = "the model has" if tokenizer is None else "the model and its tokenizer have"
    raise ValueError(f"{who} no mask token; expected {_WAY_OUT}.")


def _around_texts(
    config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase | None, masked: bool
) -> list[int]:
    """What a tokenizer sets around a text, less an EOS that is written by the model."""
    if tokenizer is not None:
        special = {*tokenizer.all_special_ids} - {tokenizer.mask_token_id}
        around = {*tokenizer("")["input_ids"]} & special
        return [*around] if masked else [*around - {tokenizer.eos_token_id}]
    if not masked:
        return []
    found = (getattr(config, name, None) for name in _AROUND)
    return [token for token in found if isinstance(token, int) and token < config.vocab_size]


def _ids_with_rows(config: PreTrainedConfig) -> dict[str, Any]:
    """Special ids without those that have no row, which transformers' defaults may name."""
    found: dict[str, Any] = {}
    for name in _SPECIAL:
        value = getattr(config, name, None)
        ids = value if isinstance(value, (list, tuple)) else [value]
        kept = [each for each in ids if each is not None and 0 <= each < config.vocab_size]
        if value is not None and len(kept) < len(ids):
            found[name] = kept or None
    return found


def _padding(
    config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase | None, mask: int | None
) -> dict[str, Any]:
    """The pad id, where the tokenizer alone tells it, or it is no id at all."""
    own = getattr(config, "pad_token_id", None)
    if own is not None and 0 <= own < config.vocab_size and own != mask:
        return {}
    found = None if tokenizer is None else tokenizer.pad_token_id
    if found == mask:
        found = None
    return {} if own is None and found is None else {"pad_token_id": found}


def _tokenizer_size(
    config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase | None
) -> dict[str, Any]:
    """How many ids are tokens, where the embedding has more rows than the tokenizer."""
    if tokenizer is None:
        return {}
    size = vocabulary_size(tokenizer)
    if size < config.vocab_size:
        return {"tokenizer_size": size}
    return {"tokenizer_size": None} if hasattr(config, "tokenizer_size") else {}
