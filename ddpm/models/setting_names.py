"""Settings by their names and types: a misspelt one would be kept, and read by nobody.

A call must name settings that the configuration has. A saved file may hold others, of other
versions, which are left out with a warning. The same rule as of text models' configurations.
"""

import os
import reprlib
import warnings
from dataclasses import fields
from typing import Any, TypeVar

from huggingface_hub.dataclasses import strict
from huggingface_hub.errors import StrictDataclassFieldValidationError
from transformers import PreTrainedConfig

from ardm.training.near_names import meant

ConfigClass = TypeVar("ConfigClass", bound=type[PreTrainedConfig])

# what transformers itself puts into a configuration, beside the fields of its base class
_OF_TRANSFORMERS = {
    "_attn_implementation_autoset",
    "_commit_hash",
    "_name_or_path",
    "attn_implementation",
    "auto_map",
    "model_type",
    "name_or_path",
    "num_labels",
    "output_attentions",
    "quantization_config",
    "tie_last_hidden_states",
    "torch_dtype",
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


class NamedConfig(PreTrainedConfig):
    """A configuration that takes no settings of unknown names; `__post_init__` calls the check."""

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Makes a configuration from a file's content, and settings of the call that replace it.

        Settings of the file that nothing reads are left out, with a warning. A file cannot choose
        an attention kernel that is other code than torch's: only a call can.

        Args:
            config_dict: the file's content.
            **kwargs: settings of the call; `return_unused_kwargs=True` returns those with unknown
                names as well.

        Returns:
            The configuration, or with `return_unused_kwargs` a pair of it and a dictionary.

        Raises:
            ValueError: if settings do not fit, the call has some of unknown names, or the file asks
                for a kernel.
        """
        wants_unused = kwargs.pop("return_unused_kwargs", False)
        own = _names(cls) - _names(PreTrainedConfig)
        chosen = {name: kwargs.pop(name) for name in own & set(kwargs)}  # to be checked as well
        content = _without_kernels(config_dict, kwargs.get("attn_implementation"))
        unknown = sorted(set(content) - cls._known_names())
        if unknown:
            warnings.warn(
                f"config.json has settings that {cls.__name__} does not know, which are left out:"
                f" {', '.join(unknown)}.",
                stacklevel=2,
            )
        content = {name: value for name, value in content.items() if name not in unknown}
        config, unused = super().from_dict(content | chosen, return_unused_kwargs=True, **kwargs)
        if wants_unused:
            return config, unused
        cls.check_names({name: value for name, value in unused.items() if value is not None})
        return config

    @classmethod
    def from_json_file(cls, json_file: str | os.PathLike[str]) -> Any:
        """Reads a configuration, by the rules of `from_dict`."""
        return cls.from_dict(cls._dict_from_json_file(json_file))

    @classmethod
    def _known_names(cls) -> set[str]:
        return _names(cls) | _OF_TRANSFORMERS

    @classmethod
    def check_names(cls, names: dict[str, Any]) -> None:
        """Raises ValueError with the nearest known name for what is no field or transformers'."""
        known = cls._known_names()
        unknown = sorted(set(names) - known)
        if unknown:
            raise ValueError(
                f"unknown settings {unknown}{meant(unknown, known)}; expected fields of"
                f" {cls.__name__}."
            )


def _names(config_class: type[PreTrainedConfig]) -> set[str]:
    return {field.name for field in fields(config_class)}


def _without_kernels(config_dict: dict[str, Any], asked: Any) -> dict[str, Any]:
    """A file's content, whose choice of a kernel is refused if that is code of someone else's."""
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
