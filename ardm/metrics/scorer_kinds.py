"""Kinds of scorers: whether a language model predicts the next token or masked ones."""

import torch
from transformers import PretrainedConfig, PreTrainedModel

# by its absolute name, as evaluate copies this file and its siblings elsewhere
from ardm.training import evaluating


def scorer_kind(model: PreTrainedModel | PretrainedConfig) -> str:
    """What a model or configuration of transformers predicts: the next token or masked ones.

    Args:
        model: a model, recognised by the names of its classes, or a configuration, by its
            `architectures`, else by `is_decoder`.

    Returns:
        "causal" or "masked".

    Raises:
        ValueError: if it is neither.
    """
    is_config = not hasattr(model, "config")
    classes = [base.__name__ for base in type(model).__mro__]
    names: list[str] = (getattr(model, "architectures", None) or []) if is_config else classes
    for name in names:
        if name.endswith("ForMaskedLM"):
            return "masked"
        if name.endswith(("ForCausalLM", "LMHeadModel")):
            return "causal"
    if is_config and getattr(model, "is_decoder", False):
        return "causal"
    raise ValueError(
        f"cannot tell what the scorer {type(model).__name__} {names[:1]} predicts; expected a"
        " causal or masked language model, or kind='causal' or 'masked'."
    )


@torch.no_grad()
def sees_ahead(model: PreTrainedModel) -> bool:
    """Whether the second token changes the first's logits.

    It does in a BertLMHeadModel that is not set to be a decoder.

    Args:
        model: any language model of transformers.

    Returns:
        True of a masked language model, False of a causal one.
    """
    probe = torch.tensor([[0, 0], [0, 1]], device=next(model.parameters()).device)
    with evaluating(model):
        logits = model(input_ids=probe, attention_mask=torch.ones_like(probe)).logits
    first, other = logits[:, 0].float()
    finite = first.isfinite()  # ids that a model never gives have -inf
    change = (first - other)[finite].abs().max()
    return bool(change > 0.1 * first[finite].std())  # well above rounding in bfloat16
