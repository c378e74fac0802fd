"""Architectures: which class of a language model a configuration is of, and how it is called.

    masked LM     logits at p are of position p, given both sides     BERT, RoBERTa, ModernBERT, ESM
    causal LM     logits at p are of position p + 1, given the left   Llama, Qwen, Gemma, GPT-2

Both give logits (B, L, V) for ids (B, L). Others cannot become an ARDM: an encoder-decoder has no
single text to hide tokens in, and a network without a head of tokens no logits.
"""

from typing import Any

from transformers import PreTrainedConfig, PreTrainedModel
from transformers.dynamic_module_utils import get_class_from_dynamic_module
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)

from .older_code import completed

# where a repository with code of its own names its class with a head: LLaDA, Dream and the like
_AUTO_CLASSES = ("AutoModelForMaskedLM", "AutoModelForCausalLM", "AutoModel")
_EXPECTED = "a masked language model (*ForMaskedLM) or a causal one (*ForCausalLM, GPT2LMHeadModel)"


def class_of(
    config: PreTrainedConfig, name: str, own: str, **download: Any
) -> type[PreTrainedModel]:
    """The class with a head of tokens that a saved configuration is of.

    Args:
        config: of the model.
        name: where it comes from, a folder or a name on the Hub.
        own: entry of the configuration's `auto_map` that is ours, and so no class of its own.
        **download: of `from_pretrained`, as `revision`; `trust_remote_code=True` runs
            code of the folder.

    Returns:
        The class.

    Raises:
        ValueError: if there is none, or the model is an encoder-decoder.
    """
    check_one_text(config)
    trusted = download.pop("trust_remote_code", None)
    known: list[Any] = [
        mapping[type(config)]
        for mapping in (MODEL_FOR_MASKED_LM_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING)
        if type(config) in mapping
    ]
    for model_class in known:  # BERT is a masked one unless it was saved as a causal one
        if model_class.__name__ in (config.architectures or ()):
            return model_class
    if known:
        return known[0]
    auto_map = getattr(config, "auto_map", None) or {}
    for auto_class in _AUTO_CLASSES:
        reference = auto_map.get(auto_class)
        if reference is not None and reference != own:
            if not trusted:
                raise ValueError(
                    f"{name} comes with code of its own; expected trust_remote_code=True, once you"
                    " have read it."
                )
            found: Any = get_class_from_dynamic_module(reference, name, **download)
            found.register_for_auto_class(auto_class)  # so that it is saved with its code
            return completed(found)
    raise ValueError(f"{name} is of type {config.model_type!r}; expected {_EXPECTED}.")


def check_language_model(model: PreTrainedModel) -> None:
    """Raises ValueError unless a model is of one text, with a head of tokens.

    Args:
        model: of transformers, or of a repository's own code.

    Raises:
        ValueError: if it is another.
    """
    if not isinstance(model, PreTrainedModel):
        raise ValueError(
            f"the model is a {type(model).__name__}; expected {_EXPECTED}, a folder or a name on"
            " the Hub (adopt a model before it is wrapped, by PEFT or DDP)."
        )
    check_one_text(model.config)
    names = {base.__name__ for base in type(model).__mro__}
    kind = model.config.model_type
    known = {
        mapping[kind]
        for mapping in (MODEL_FOR_MASKED_LM_MAPPING_NAMES, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
        if kind in mapping
    }
    if known & names:
        return
    if known or model.__module__.startswith("transformers.models."):
        heads = " or ".join(sorted(known)) or _EXPECTED
        raise ValueError(f"the model is a {type(model).__name__}; expected {heads}.")
    if model.get_output_embeddings() is None:
        raise ValueError(
            f"the model is a {type(model).__name__} without output embeddings; expected {_EXPECTED}"
            " with a head that gives logits of tokens."
        )


def check_one_text(config: PreTrainedConfig) -> None:
    """Raises ValueError for an encoder-decoder, and for a model of more than text."""
    if getattr(config, "is_encoder_decoder", False):
        raise ValueError(
            f"the model ({config.model_type}) is an encoder-decoder; expected {_EXPECTED}, which"
            " reads one text."
        )
    if not hasattr(config, "vocab_size"):
        raise ValueError(
            f"the configuration ({config.model_type}) has no vocab_size; expected {_EXPECTED}"
            " of text alone."
        )
