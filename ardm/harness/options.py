"""Options of the evaluation harness, which arrive as text or numbers, become numbers, a device and
a model.
"""

import os
from collections.abc import Sequence
from typing import Any

import torch

from ..hub.folder import load_folder
from ..training.launching import process_state


def whole_number(name: str, value: Any, least: int, others: str = "") -> int:
    """Reads an integer.

    Args:
        name: of the option.
        value: the number, or its digits.
        least: the smallest allowed.
        others: for the message, what else the option may be.

    Returns:
        The number.

    Raises:
        ValueError: if it is none, or smaller.
    """
    try:
        number = int(str(value))  # "1.5", True and "many" are none
    except ValueError:
        number = least - 1
    if number < least:
        raise ValueError(f"{name} is {value!r}; expected an integer of at least {least}{others}.")
    return number


def one_of(name: str, value: Any, allowed: Sequence[Any]) -> Any:
    """The value. Raises ValueError unless it is allowed."""
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; expected one of {list(allowed)}.")
    return value


def choose_device(device: str | torch.device | None) -> tuple[torch.device, Any]:
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
        raise ValueError(
            f"device is {device!r}; expected a name like 'cpu' or 'cuda:0'."
        ) from error
    if wanted is not None and wanted.type == "cuda" and not torch.cuda.is_available():
        wanted = torch.device("cpu")
    state = process_state(cpu=wanted is not None and wanted.type == "cpu")
    return (state.device if wanted is None or state.num_processes > 1 else wanted), state


def load(pretrained: Any, tokenizer: Any) -> tuple[Any, Any]:
    """Loads a model and its tokenizer, unless they are in memory already.

    Args:
        pretrained: a folder, a name on the Hub, or a model.
        tokenizer: of a model in memory, else None.

    Returns:
        The model and its tokenizer.

    Raises:
        ValueError: if there is no such model, or a model and a tokenizer that do not come together.
    """
    in_memory = isinstance(pretrained, torch.nn.Module)
    if in_memory == (tokenizer is None) or not (
        in_memory or isinstance(pretrained, (str, os.PathLike))
    ):
        got = type(pretrained).__name__ if in_memory else repr(pretrained)
        raise ValueError(
            f"pretrained is {got} and tokenizer {type(tokenizer).__name__}; expected a folder or a"
            " name on the Hub, or a model with its tokenizer."
        )
    return (pretrained, tokenizer) if in_memory else load_folder(os.fspath(pretrained))
