"""adopt: a masked or causal language model of anyone becomes the network of an ARDM.

    model = adopt("google-bert/bert-base-uncased")           # or any *ForMaskedLM
    model = adopt("Qwen/Qwen3-0.6B", tokenizer)              # a causal one: it then sees both sides

It gets `generate`, the likelihoods and the bound's loss. Its weights and its class's code stay what
they are, so that its own class still reads what it saves; what an ARDM needs to know beyond that
stands in its configuration: the mask id, ids that are never generated, the shift of logits. It is a
good ARDM only once it has been trained with every ratio of masks.
"""

import os
import warnings
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from .adopted_ardm import AUTO_MAP, AdoptedLanguageModel, adopted_class
from .adoption_settings import added_mask_token, adoption_settings
from .adoption_trial import try_out
from .architectures import check_language_model, class_of
from .generation_ardm import ARDMGenerationMixin
from .generation_config_ardm import ARDMGenerationConfig
from .model_classes import is_causal_class, is_masked_class
from .new_tokens import add_rows
from .vocabulary import impossible_ids

_DOWNLOAD = ("cache_dir", "force_download", "local_files_only", "revision", "subfolder", "token")


def adopt(
    model: PreTrainedModel | str | os.PathLike[str],
    tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    mask_token_id: int | None = None,
    given_token_ids: list[int] | None = None,
    right_shift_logits: bool | None = None,
    **kwargs: Any,
) -> Any:
    """Makes an ARDM of a language model; one that was adopted before is read as it was saved.

    A model in memory is changed in place. Special tokens that its tokenizer sets around a text,
    such as [CLS] and [SEP], are never masked, never generated, and outside of every likelihood.

    Args:
        model: of one of transformers' *ForMaskedLM or causal classes, or one that comes with code
            of its own (LLaDA, Dream); or a folder, or its name on the Hub.
        tokenizer: its tokenizer, which tells the special ids; None: of a name, the one that lies
            beside it. That of a causal model gets a mask token, in place, if it has none.
        mask_token_id: the id that hides a token; None: of an adopted model as saved, else the
            tokenizer's, the configuration's, or for a causal model a new one.
        given_token_ids: ids that are always known; None: as saved, else those that the tokenizer
            sets around texts, or without one the configuration's BOS, EOS, CLS and SEP.
        right_shift_logits: whether the logits at p are read as those of position p + 1; None: as
            saved, else no. Worth trying for a causal model, which was trained so.
        **kwargs: of `from_pretrained`, such as `dtype`, `device_map`, `attn_implementation`,
            `revision`, `trust_remote_code`.

    Returns:
        The model, a subclass of its own class, with `generate`, `nelbo` and the like.

    Raises:
        ValueError: if the model is no language model of one text, has no mask token, or sees only
            what lies to the left; if an id is outside its vocabulary; if there is no such folder.
    """
    settings = {
        "mask_token_id": mask_token_id,
        "given_token_ids": given_token_ids,
        "right_shift_logits": right_shift_logits,
    }
    if tokenizer is not None and not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise ValueError(
            f"tokenizer is {tokenizer!r:.60}; expected what AutoTokenizer.from_pretrained gives."
        )
    network: Any = model
    if isinstance(model, (str, os.PathLike)):
        name = str(model)
        _check_path(name)
        network = _loaded(name, kwargs)
        if tokenizer is None:
            tokenizer = _tokenizer_of(name, kwargs)
    elif kwargs:
        raise ValueError(
            f"got a model in memory and {', '.join(sorted(kwargs))}; expected these with a folder"
            " or a name, from which a model is loaded."
        )
    bases = type(network).__mro__
    if ARDMGenerationMixin in bases and AdoptedLanguageModel not in bases:
        return network  # an ARDM from the beginning
    check_language_model(network)
    _change(network, tokenizer, settings)
    return network


def _change(
    model: Any, tokenizer: PreTrainedTokenizerBase | None, settings: dict[str, Any]
) -> None:
    """Makes an ARDM of a model in memory; one that is refused is what it was before."""
    own_class, config = type(model), model.config
    saved = {"generation_config": getattr(model, "generation_config", None)}
    settings_before, num_rows = {**vars(config)}, config.vocab_size
    try:
        _settle(model, tokenizer, settings)
        try_out(model)
    except ValueError:
        if config.vocab_size != num_rows:
            model.resize_token_embeddings(num_rows)
        model.__class__ = own_class
        vars(config).clear()
        vars(config).update(settings_before)
        vars(model).update(saved)
        raise


def _settle(
    model: Any, tokenizer: PreTrainedTokenizerBase | None, settings: dict[str, Any]
) -> None:
    """Gives a model what an ARDM needs: settings, rows, its class."""
    config = model.config
    causal = is_causal_class(type(model))
    again = isinstance(model, AdoptedLanguageModel)
    masked = is_masked_class(type(model))
    found = adoption_settings(config, tokenizer, settings, causal=causal, masked=masked)
    if found["mask_token_id"] is None:
        found["mask_token_id"] = added_mask_token(config, tokenizer)
    rows = max(found["mask_token_id"] + 1, config.vocab_size)
    if causal and rows > config.vocab_size:
        add_rows(model, rows)
    eos_token_id = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    if eos_token_id is not None and not again:  # chat models have several, told there alone
        found.setdefault("eos_token_id", eos_token_id)
    for name, value in found.items():
        setattr(config, name, value)
    if causal:
        config.is_causal = False
        config.use_cache = False  # a token's state changes with every other token
    _turn_off_token_dropout(model)
    impossible_ids(config)  # refuses what does not fit
    if not again:
        own_class: Any = type(model)
        model.__class__ = adopted_class(own_class)
        model.generation_config = ARDMGenerationConfig.from_model_config(config)


def _turn_off_token_dropout(model: Any) -> None:
    """Has ESM treat every share of masks alike: it scales embeddings by the share, 0 / 0 at all.

    What it made of its mask's embedding, zeros, stays.
    """
    if not getattr(model.config, "token_dropout", False):
        return
    for module in model.modules():
        if getattr(module, "token_dropout", False):
            module.token_dropout = False
    with torch.no_grad():
        model.get_input_embeddings().weight[model.config.mask_token_id] = 0
    model.config.token_dropout = False


# ---------------------------------------------------------------------------------------- loading
def _loaded(name: str, kwargs: dict[str, Any]) -> Any:
    """The model of a folder or a name, of its own class or as it was adopted."""
    config = kwargs.pop("config", None)
    download = {key: kwargs[key] for key in (*_DOWNLOAD, "trust_remote_code") if key in kwargs}
    if config is None:
        try:
            config = AutoConfig.from_pretrained(name, **download)
        except OSError as error:  # of the Hub: many lines
            reason = " ".join(str(error).split())[:200]
            raise ValueError(f"no model can be loaded from {name!r}: {reason}") from error
    model_class: Any = class_of(config, name, AUTO_MAP["AutoModelForMaskedLM"], **download)
    if hasattr(config, "right_shift_logits"):  # saved by an adopted one
        model_class = adopted_class(model_class)
    if not model_class.__module__.startswith("transformers."):
        loaded = model_class.from_pretrained(name, config=config, **kwargs)
        if isinstance(loaded, AdoptedLanguageModel):  # their loading may put their own settings in
            settings_from = {key: kwargs[key] for key in _DOWNLOAD if key in kwargs}
            loaded.generation_config = ARDMGenerationConfig.from_model_config(config)
            loaded.adjust_generation_fn(None, False, None, name, **settings_from)
        return loaded
    loaded, info = model_class.from_pretrained(
        name, config=config, output_loading_info=True, **kwargs
    )
    missing = sorted(map(str, info["missing_keys"]))
    if missing:
        warnings.warn(
            f"{len(missing)} weights of {model_class.__name__} are not in {name} and were drawn at"
            f" random: {', '.join(missing[:3])}{', ...' if missing[3:] else ''}.",
            stacklevel=3,
        )
    return loaded


def _tokenizer_of(name: str, kwargs: dict[str, Any]) -> PreTrainedTokenizerBase | None:
    """The tokenizer beside a model; None if there is none."""
    folder = Path(name)
    files = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "vocab.model")
    if folder.is_dir() and not any((folder / each).exists() for each in files):
        return None
    download = {key: kwargs[key] for key in (*_DOWNLOAD, "trust_remote_code") if key in kwargs}
    return AutoTokenizer.from_pretrained(name, **download)


def _check_path(name: str) -> None:
    """Raises ValueError for what can only be a folder and is none: it never goes to the Hub."""
    is_path = name.startswith((".", "~", os.sep)) or name.count("/") > 1 or "\\" in name
    beside = "/" in name and os.path.isdir(name.partition("/")[0])  # runs/ardn, where there is runs
    if not os.path.isdir(name) and (is_path or beside or os.path.exists(name) or not name):
        raise ValueError(f"there is no folder {name!r}; expected one with a model's config.json.")
    if os.path.isdir(name) and not os.path.isfile(os.path.join(name, "config.json")):
        raise ValueError(f"the folder {name!r} has no config.json; expected that of a model.")


class AdoptedForMaskedLM:
    """What `AutoModelForMaskedLM` finds in the folder of an adopted model: it calls [`adopt`]."""

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str], **kwargs: Any) -> Any:
        """Reads an adopted model.

        Args:
            name: a folder, or a name on the Hub.
            **kwargs: as in transformers.

        Returns:
            The model.
        """
        kwargs.pop("_from_auto", None)
        return adopt(name, **kwargs)

    @classmethod
    def register_for_auto_class(cls, auto_class: Any = None) -> None:
        """transformers' hook: an adopted model brings its code along by itself."""
