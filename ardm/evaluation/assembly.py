"""From values to what is trained, and to what tells one training from another."""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..configuration_ardm import ARDMConfig
from ..data.lost_text import plain_backend
from ..data.tokenization import vocabulary_size
from ..modeling_ardm import ARDMForMaskedLM
from ..training import fingerprint, weights_fingerprint

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset
    from transformers import PreTrainedTokenizerBase

_SPECIAL = ("mask", "pad", "bos", "eos", "unk")
_ROWS_AT_ONCE = 4096
_ROWS_OF_A_STREAM = 64


def new_model(
    tokenizer: "PreTrainedTokenizerBase", sequence_length: int, seed: int = 0, **sizes: int
) -> ARDMForMaskedLM:
    """A fresh network for the ids of a tokenizer.

    Args:
        tokenizer: with a mask token.
        sequence_length: tokens of the longest sequence.
        seed: of the weights; torch's global generator is set to it.
        **sizes: of `ARDMConfig`.

    Returns:
        The model.
    """
    torch.manual_seed(seed)
    ids: dict[str, Any] = {
        f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in _SPECIAL
    }
    lengths = {
        "vocab_size": vocabulary_size(tokenizer),
        "max_position_embeddings": sequence_length,
    }
    config = ARDMConfig(**(ids | lengths | sizes))
    return ARDMForMaskedLM(config)


def run_identity(
    windows: "Dataset | IterableDataset",
    tokenizer: "PreTrainedTokenizerBase",
    model: ARDMForMaskedLM,
    objective: Mapping[str, Any],
    *,
    fresh: bool,
) -> dict[str, Any]:
    """What decides the result of a training, beside its `TrainingConfig` and optimiser.

    Args:
        windows: of the training text. The first ones stand for a stream, whose end is not known.
        tokenizer: that made them.
        model: the network, before it is trained.
        objective: settings of what is minimised.
        fresh: whether the seed alone made the weights; else they are told by their content.

    Returns:
        The value of `identity` for `ardm.training.train`.
    """
    return {
        "data": fingerprint(_contents(windows)),
        "tokenizer": tokenizer_fingerprint(tokenizer),
        **model_identity(model, objective, fresh=fresh),
    }


def model_identity(
    model: ARDMForMaskedLM, objective: Mapping[str, Any], *, fresh: bool
) -> dict[str, Any]:
    """The part of a training's identity that is not of its data.

    Args:
        model: the network, before it is trained.
        objective: settings of what is minimised.
        fresh: whether the seed alone made the weights; else they are told by their content.

    Returns:
        Of network, weights and objective.
    """
    settings: dict[str, Any] = {"class": type(model).__name__, **model.config.to_diff_dict()}
    if isinstance(model, ARDMForMaskedLM):
        settings = {
            name: getattr(model.config, name) for name in sorted(ARDMConfig.__annotations__)
        }
    return {
        "model": settings,
        "objective": dict(objective),
        "initial_weights": "fresh" if fresh else weights_fingerprint(model),
    }


def tokenizer_fingerprint(tokenizer: "PreTrainedTokenizerBase") -> str:
    """Tells tokenizers apart that read or write text differently.

    Args:
        tokenizer: a fast one.

    Returns:
        As of [`ardm.training.fingerprint`].
    """
    special = sorted(f"{name}={token}" for name, token in tokenizer.special_tokens_map.items())
    return fingerprint(text.encode() for text in (plain_backend(tokenizer).to_str(), *special))


def _contents(windows: Any) -> Iterator[bytes]:
    """The ids of windows, however they are stored."""
    from datasets import Dataset

    if not isinstance(windows, Dataset):
        for row in islice(windows, _ROWS_OF_A_STREAM):
            yield row["input_ids"].numpy().astype(np.int32).tobytes()
        return
    rows = windows.select_columns(["input_ids"]).with_format("arrow")
    for table in rows.iter(_ROWS_AT_ONCE):
        for chunk in table.column("input_ids").chunks:
            yield chunk.flatten().to_numpy().astype(np.int32).tobytes()
