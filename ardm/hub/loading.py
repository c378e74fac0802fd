"""From the files of a saved text model to network and tokenizer, or one line on what is wrong.

Nothing is filled in: a weight that is missing or not finite, a setting that cannot be read or a
special token that stands for something else is an error, not a model that writes nonsense. A masked
or causal language model of someone else's is adopted (adoption.py).
"""

import os
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from ..adoption import adopt
from ..data.tokenization import vocabulary_size
from ..generation_config_ardm import ARDMGenerationConfig
from ..modeling_ardm import ARDMForMaskedLM
from ..training.model_folders import find_model, loading, model_type_of, read_json

_MODEL_TYPE = "ardm"
_ELSEWHERE = {
    "ddpm_classifier": (
        "; load it with ddpm.hub.load_classifier, as recipes/sample_ddpm.py --classifier does"
    ),
    "ddpm": "; load it with ddpm.hub.load_folder, as recipes/sample_ddpm.py does",
}
_JSON = ("config.json", "generation_config.json", "tokenizer_config.json", "tokenizer.json")
_FAULTS = {
    "missing_keys": "the network has parameters that are not",
    "unexpected_keys": "there are parameters unknown to the network",
    "mismatched_keys": "there are parameters of another size than the network's",
}
_IDS = ("mask_token_id", "pad_token_id", "eos_token_id")


def load(
    name_or_path: str | os.PathLike[str], *, trust_remote_code: bool = False
) -> tuple[Any, PreTrainedTokenizerBase]:
    """Reads a model and its tokenizer, and makes sure that they are whole and fit each other.

    Args:
        name_or_path: a folder, or "user/name" on the Hub.
        trust_remote_code: run code that comes with a model of someone else's.

    Returns:
        The model in evaluation mode, an `ARDMForMaskedLM` or an adopted one, and its tokenizer.

    Raises:
        ValueError: if there is no such model, a file is damaged, or two do not fit.
    """
    name = find_model(name_or_path)
    with loading(name):
        code: dict[str, Any] = {"trust_remote_code": True} if trust_remote_code else {}
        if _text_model_type(name) == _MODEL_TYPE:
            _check_files(name)
            model: Any = load_network(name)
            tokenizer = AutoTokenizer.from_pretrained(name)
        else:
            tokenizer = AutoTokenizer.from_pretrained(name, **code)
            model = adopt(name, tokenizer, **code)
            _check_finite(model)
        _check_fit(model, tokenizer)
    return model.eval(), tokenizer


def _text_model_type(name: str) -> str:
    """What a configuration says that a model is, unless that is one of images."""
    kind = model_type_of(name)
    for start, hint in _ELSEWHERE.items():
        if kind.startswith(start):
            raise ValueError(f"it is a model of type {kind!r}, expected one of text{hint}")
    return kind


def _check_files(name: str) -> None:
    """Of a folder: transformers goes on without a settings file that it cannot read."""
    folder = Path(name)
    if not folder.is_dir():
        return
    contents = {each: read_json(folder / each) for each in _JSON if (folder / each).exists()}
    if (folder / "images.json").exists():
        raise ValueError(
            "it is a model of images: load it with ardm.hub.load_image_folder, as"
            " recipes/train_ardm_pixels.py --model_name_or_path does"
        )
    if "tokenizer.json" not in contents:
        raise ValueError("the folder has no tokenizer.json, expected that of a fast tokenizer")
    if "generation_config.json" in contents:
        ARDMGenerationConfig.from_pretrained(name)


def load_network(name: str) -> ARDMForMaskedLM:
    """Reads the network of a folder, or of a repository of the Hub.

    Args:
        name: of either.

    Returns:
        The model.

    Raises:
        ValueError: if weights are missing, unknown, of another size or not finite.
    """
    # a size that does not match is no error then, but told like other faults
    how: dict[str, Any] = {"output_loading_info": True, "ignore_mismatched_sizes": True}
    model, info = ARDMForMaskedLM.from_pretrained(name, **how)
    for fault, of_what in _FAULTS.items():
        if found := sorted(map(str, info[fault])):
            raise ValueError(f"{of_what} in its weights, such as {found[0]}")
    _check_finite(model)
    return model


def _check_finite(model: nn.Module) -> None:
    for key, weight in model.named_parameters():
        if not torch.isfinite(weight).all():
            raise ValueError(f"the weights of {key} are not finite")


def _check_fit(model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    size = vocabulary_size(tokenizer)
    if size > model.config.vocab_size:
        raise ValueError(
            f"the tokenizer has {size} tokens; expected at most the model's"
            f" {model.config.vocab_size}"
        )
    if tokenizer.mask_token_id is None:
        raise ValueError("the tokenizer has no mask token, expected the model's")
    for name in _IDS:
        theirs = getattr(tokenizer, name)
        ours = getattr(model.config, name)
        allowed = ours if isinstance(ours, list) else [ours]
        if None not in (theirs, ours) and theirs not in allowed:
            raise ValueError(f"the tokenizer's {name} is {theirs}, expected the model's {ours}")
