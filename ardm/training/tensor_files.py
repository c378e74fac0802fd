"""Nested states in files that hold data and no code: safetensors, with the nesting as JSON.

What `state_dict()` gives - dicts, lists and tuples of tensors, numbers and texts - goes to one
safetensors file: the tensors under their path ("state.0.exp_avg"), and in the metadata what is
around them. Unlike a pickle such a file can be read without trusting who wrote it.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

_NESTING = "nesting"
_SCALARS = (bool, int, float, str, type(None))  # what JSON holds as it is


def write_state(state: Any, path: Path) -> None:
    """Writes a nested state.

    Args:
        state: dicts, lists and tuples of tensors, arrays, numbers, texts and None.
        path: of the file.

    Raises:
        ValueError: if there is something else in it.
    """
    from safetensors.torch import save_file

    packer = _Packer()
    nesting = json.dumps(packer.pack(state, ()))
    save_file(packer.tensors, path, metadata={_NESTING: nesting})


def read_state(path: Path) -> Any:
    """What [`write_state`] wrote, equal bit for bit, on the CPU.

    Args:
        path: of the file.

    Returns:
        The state.

    Raises:
        ValueError: if it cannot be read as such.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            nesting = json.loads((file.metadata() or {})[_NESTING])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return _unpacked(nesting, tensors)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} holds no state in safetensors: {error!r}.") from error


def check_state(state: Any) -> None:
    """Makes sure that a state can be written.

    Args:
        state: as for [`write_state`].

    Raises:
        ValueError: if it cannot.
    """
    _Packer().pack(state, ())


class _Packer:
    """Takes a state apart: tensors by name, and what JSON can hold of the rest."""

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._storages: set[int] = set()

    def pack(self, value: Any, path: tuple[str, ...]) -> Any:
        if isinstance(value, _SCALARS):
            return value
        if isinstance(value, (list, tuple)):
            items = [self.pack(item, (*path, str(i))) for i, item in enumerate(value)]
            return {"tuple": items} if isinstance(value, tuple) else items
        if isinstance(value, dict) and all(isinstance(key, _SCALARS) for key in value):
            return {"dict": [[key, self.pack(v, (*path, str(key)))] for key, v in value.items()]}
        if isinstance(value, Tensor):
            return {"tensor": self._put_aside(value, path)}
        if isinstance(value, (np.ndarray, np.generic)):
            return {"array": self._put_aside(torch.as_tensor(value), path)}
        raise ValueError(
            f"a state holds a {type(value).__name__} at {'.'.join(path)!r}; expected dicts, lists"
            " and tuples of tensors, arrays, numbers and texts, which can be read back without"
            " executing code."
        )

    def _put_aside(self, tensor: Tensor, path: tuple[str, ...]) -> str:
        tensor = tensor.detach().cpu().contiguous()
        storage = tensor.untyped_storage()
        # a file of safetensors shares no memory between tensors
        if storage.data_ptr() in self._storages or storage.nbytes() != tensor.nbytes:
            tensor = tensor.clone()
        self._storages.add(storage.data_ptr())
        name = ".".join(path)
        while name in self.tensors:  # "a.b" may be a key, and the path to "b" in "a"
            name += "'"
        self.tensors[name] = tensor
        return name


def _unpacked(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_unpacked(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    [(kind, content)] = value.items()
    if kind == "tuple":
        return tuple(_unpacked(item, tensors) for item in content)
    if kind == "dict":
        return {key: _unpacked(item, tensors) for key, item in content}
    if kind not in ("tensor", "array"):
        raise ValueError(f"it holds a {kind!r}")
    return tensors[content] if kind == "tensor" else tensors[content].numpy()
