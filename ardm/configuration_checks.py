"""Configuration checks: what a configuration's settings may be, and what of a file's is taken over.

Every message says what was got and what is expected.
"""

import reprlib
from dataclasses import fields
from difflib import get_close_matches
from typing import Any, TypeVar

from huggingface_hub.dataclasses import strict
from huggingface_hub.errors import StrictDataclassFieldValidationError
from transformers import PreTrainedConfig

ConfigClass = TypeVar("ConfigClass", bound=type[PreTrainedConfig])
# what transformers itself puts into a configuration, beside the fields of its base class
OF_TRANSFORMERS = {
    "_attn_implementation_autoset",
    "_commit_hash",
    "_name_or_path",
    "attn_implementation",
    "auto_map",
    "custom_pipelines",
    "model_type",
    "name_or_path",
    "num_labels",
    "output_attentions",
    "quantization_config",
    "tie_last_hidden_states",
    "torch_dtype",
    "use_cache",
}
# the kernels that need no code but torch's
_OF_TORCH = ("eager", "sdpa", "flex_attention")


def strictly_typed(config_class: ConfigClass) -> ConfigClass:
    """A configuration whose settings are of their types: a class decorator.

    It is huggingface_hub's `strict`, whose error of its own kind becomes a ValueError of one line.

    Args:
        config_class: the class.

    Returns:
        The class, whose settings raise ValueError where they are set to anything else.
    """
    checked: Any = strict(config_class)
    types = {field.name: field.type for field in fields(config_class)}
    set_checked = checked.__setattr__

    def set_or_refuse(self: Any, name: str, value: Any) -> None:
        try:
            set_checked(self, name, value)
        except StrictDataclassFieldValidationError as error:
            kind = types[name]
            expected = kind.__name__ if isinstance(kind, type) else str(kind)
            raise ValueError(
                f"{name} is {reprlib.repr(value)} ({type(value).__name__}); expected {expected}."
            ) from error

    checked.__setattr__ = set_or_refuse
    return checked


def as_lists(table: Any) -> Any:
    """Rows of labels as JSON has them.

    Args:
        table: nested lists, tuples, arrays or tensors; anything else stays as it is.

    Returns:
        Nested lists.
    """
    if hasattr(table, "tolist"):
        return table.tolist()
    return [*map(as_lists, table)] if isinstance(table, (list, tuple)) else table


def nearest_name(name: str, *vocabularies: set[str]) -> list[str]:
    """The most similar known name, of the first vocabulary that has one.

    Args:
        name: that is not known.
        *vocabularies: known names, the likeliest first.

    Returns:
        One name, or none.
    """
    found = (get_close_matches(name, sorted(names), 1) for names in vocabularies)
    return next(filter(None, found), [])


def names_of(config_class: type[PreTrainedConfig]) -> set[str]:
    """The settings that a configuration has.

    Args:
        config_class: its class.

    Returns:
        Their names, with those of its bases.
    """
    return {field.name for field in fields(config_class)}


def without_kernels(config_dict: dict[str, Any], asked: Any) -> dict[str, Any]:
    """A file's content, whose choice of a kernel is refused if that is code of someone else's.

    Args:
        config_dict: of config.json.
        asked: the kernel that the caller names, or None.

    Returns:
        The content, with one of torch's kernels or none.

    Raises:
        ValueError: if the file names another one and the caller none.
    """
    content = dict(config_dict)
    for name in ("attn_implementation", "_attn_implementation", "_attn_implementation_internal"):
        wish = content.pop(name, None)
        if wish in (None, *_OF_TORCH):
            content |= {} if wish is None else {"attn_implementation": wish}
        elif asked is None:
            raise ValueError(
                f"the configuration's file asks for the attention kernel {wish!r} ({name});"
                " expected none: pass attn_implementation=... to from_pretrained if you trust it,"
                " or delete it from the file."
            )
    return content


def require(condition: bool, expected: str, **got: object) -> None:
    """Refuses the one field that is named, with its value, unless a condition holds.

    Args:
        condition: what must hold.
        expected: it in words.
        **got: the field's name and value, one of them.

    Raises:
        ValueError: if it does not.
    """
    if not condition:
        ((name, value),) = got.items()
        raise ValueError(f"{name} is {value}; expected {expected}.")
