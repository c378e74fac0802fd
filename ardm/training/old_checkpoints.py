"""Checkpoints of earlier versions, which Accelerate wrote: pickles, read as data alone.

    optimizer.bin, scaler.pt, random_states_N.pkl, custom_checkpoint_N.pkl

torch unpickles them without executing code (`weights_only=True`), and refuses what holds any.
"""

import re
import warnings
from pathlib import Path
from typing import Any

import torch

_NAMES = {"optimizer.bin": "optimizer", "scaler.pt": "scaler"}
_NUMBERED = {"random_states": "random", "custom_checkpoint": "object"}
_MODEL_OF_MANY = "module."  # before each name, where several processes trained


def is_old(folder: Path) -> bool:
    """Whether an earlier version wrote a checkpoint."""
    return (folder / "optimizer.bin").exists()


def read_old(folder: Path) -> dict[str, Any]:
    """The states of a checkpoint, as `snapshot.py` names and arranges them.

    Args:
        folder: of the checkpoint.

    Returns:
        States by name.

    Raises:
        ValueError: if a file is none of the known ones, or holds code.
    """
    return dict(_read(file) for file in sorted(folder.iterdir()) if file.suffix != ".json")


def _read(file: Path) -> tuple[str, Any]:
    from accelerate.utils import load  # knows which of numpy's classes are data
    from safetensors.torch import load_file

    name = _new_name(file)
    if file.suffix == ".safetensors":
        return name, _without_prefix(load_file(file))
    try:
        with warnings.catch_warnings():
            # of what torch never wrote here, and refuses next
            warnings.filterwarnings("ignore", "Detected pickle protocol")
            state = load(file, map_location="cpu", weights_only=True)
        return name, _random_numbers(state) if name.startswith("random_") else state
    except Exception as error:  # a stranger's file may raise any
        raise ValueError(
            f"{file} cannot be read without executing code ({type(error).__name__})."
            " Give another checkpoint, or resume_from_checkpoint='none' to start afresh."
        ) from error


def _new_name(file: Path) -> str:
    numbered = re.fullmatch(r"(random_states|custom_checkpoint)_(\d+)\.pkl", file.name)
    if numbered:
        return f"{_NUMBERED[numbered[1]]}_{numbered[2]}"
    if file.name in _NAMES:
        return _NAMES[file.name]
    if file.suffix == ".safetensors":
        return file.stem
    raise ValueError(f"{file} is no part of a checkpoint; remove it, or give another checkpoint.")


def _without_prefix(weights: dict[str, Any]) -> dict[str, Any]:
    if all(name.startswith(_MODEL_OF_MANY) for name in weights):
        return {name.removeprefix(_MODEL_OF_MANY): value for name, value in weights.items()}
    return weights


def _random_numbers(state: dict[str, Any]) -> dict[str, Any]:
    on_devices = state.get("torch_cuda_manual_seed")
    return {
        "python": state["random_state"],
        "numpy": state["numpy_random_seed"],
        "torch": state["torch_manual_seed"],
        "device": on_devices[torch.cuda.current_device()] if on_devices else None,
    }
