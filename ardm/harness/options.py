"""Options of the evaluation harness: from text or numbers to numbers, a device and a model."""

import contextlib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from ..hub import load_folder
from ..training import check_integer, process_state

if TYPE_CHECKING:
    from accelerate import PartialState
    from transformers import PreTrainedTokenizerBase

    from ..modeling_ardm import ARDMForMaskedLM

# YAML and the harness read some words as booleans
SWITCH = {"on": True, "off": False, True: True, False: False}


def whole_number(name: str, value: int | str, minimum: int, others: str = "") -> int:
    """Reads an integer.

    Args:
        name: of the option.
        value: the number, or its digits.
        minimum: the least allowed.
        others: for the message, what else the option may be.

    Returns:
        The number.

    Raises:
        ValueError: if it is none, or smaller.
    """
    if isinstance(value, str):
        with contextlib.suppress(ValueError):  # what is no number is refused by its own words
            value = int(value)
    return check_integer(name, value, minimum, others=others)


def one_of(name: str, value: Any, allowed: Sequence[Any]) -> Any:
    """The value. Raises ValueError unless it is allowed."""
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; expected one of {list(allowed)}.")
    return value


def choose_device(device: str | torch.device | None) -> "tuple[torch.device, PartialState]":
    """Where this process computes, and which of several processes it is.

    Args:
        device: a name; None, or several processes = Accelerate's choice; a GPU where there is none
            = the CPU.

    Returns:
        The device, and Accelerate's view of the processes.

    Raises:
        ValueError: if it names no kind of device.
    """
    try:
        wanted = None if device is None else torch.device(device)
    except (RuntimeError, TypeError) as error:
        message = f"device is {device!r}; expected a name like 'cpu' or 'cuda:0'."
        raise ValueError(message) from error
    if wanted is not None and wanted.type == "cuda" and not torch.cuda.is_available():
        wanted = torch.device("cpu")
    state = process_state(cpu=wanted is not None and wanted.type == "cpu")
    return (state.device if wanted is None or state.num_processes > 1 else wanted), state


def load(
    pretrained: "str | os.PathLike[str] | ARDMForMaskedLM | None",
    tokenizer: "PreTrainedTokenizerBase | None",
) -> "tuple[ARDMForMaskedLM, PreTrainedTokenizerBase]":
    """Loads a model and its tokenizer, unless they are in memory already.

    Args:
        pretrained: a folder, a name on the Hub, or a model.
        tokenizer: of a model in memory, else None.

    Returns:
        The model and its tokenizer.

    Raises:
        ValueError: if there is no such model, or a model and a tokenizer that do not come together.
    """
    if isinstance(pretrained, (str, os.PathLike)) and tokenizer is None:
        return load_folder(pretrained)
    if isinstance(pretrained, torch.nn.Module) and tokenizer is not None:
        return pretrained, tokenizer
    got = type(pretrained).__name__ if isinstance(pretrained, torch.nn.Module) else repr(pretrained)
    raise ValueError(
        f"pretrained is {got} and tokenizer {type(tokenizer).__name__};"
        " expected a folder or a name on the Hub, or a model with its tokenizer."
    )
