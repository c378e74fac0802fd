"""Model classes: what a network's class tells of how it reads a text.

    causal class    logits at p are of position p + 1, given the left     Llama, Qwen, Gemma, GPT-2
    masked class    logits at p are of position p, given both sides       BERT, RoBERTa, ESM

transformers' tables of Auto classes say which is which; a class made of one of theirs counts too.
"""

import inspect
from functools import lru_cache
from typing import Any

from torch import Tensor
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)


def is_causal_class(model_class: type) -> bool:
    """Whether a class of transformers, or one made of it, predicts next tokens."""
    names = {base.__name__ for base in model_class.__mro__}
    causal = {*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()}
    return bool(names & (causal - {*MODEL_FOR_MASKED_LM_MAPPING_NAMES.values()}))


def is_masked_class(model_class: type) -> bool:
    """Whether a class of transformers predicts masked tokens."""
    names = {base.__name__ for base in model_class.__mro__}
    return bool(names & {*MODEL_FOR_MASKED_LM_MAPPING_NAMES.values()})


@lru_cache(maxsize=64)
def parameters_of(model_class: Any) -> frozenset[str]:
    """The names that a class's `forward` takes."""
    return frozenset(inspect.signature(model_class.forward).parameters)


def check_no_padding(model_class: type, attention_mask: Tensor | None) -> None:
    """Makes sure that a model that would read padding is given none.

    Args:
        model_class: its class, whose `forward` takes no `attention_mask`, or heeds it in part.
        attention_mask: (B, L), 0 on padding, or None.

    Raises:
        ValueError: if there is padding.
    """
    if attention_mask is not None and not attention_mask.all():
        raise ValueError(
            f"{model_class.__name__} would read padding as text;"
            " expected rows of one length without padding, one call a length."
        )
