"""Snapshot: a run's tensors and random numbers, to files that hold data and no code, and back.

    model.safetensors           the weights
    average.safetensors         their moving average, if there is one
    optimizer.safetensors       the optimiser's state
    scaler.safetensors          the scale of the loss, in fp16
    object_N.safetensors        of what the accelerator was told to checkpoint, such as an objective
    random_N.safetensors        where process N's random numbers are

The main process writes all but the others' random numbers. What is sharded is whole in the files,
so that a run may go on with another number of processes.
"""

import logging
import random
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from .averaging import WeightAverage
from .old_checkpoints import is_old, read_old
from .sharding import gathered, sharded_like
from .tensor_files import check_state, read_state, write_state

if TYPE_CHECKING:
    from accelerate import Accelerator

logger = logging.getLogger(__name__)
_READ_SAFELY = (".safetensors", ".json")


class Snapshot:
    """What of a run goes into a checkpoint; all methods are to be called on all processes.

    Args:
        model: before Accelerate wrapped it.
        optimizer: as Accelerate prepared it.
        average: of the weights.
        accelerator: which prepared them.

    Raises:
        ValueError: if an object that is to be checkpointed holds what is no data.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        average: WeightAverage,
        accelerator: "Accelerator",
    ):
        self.model = model
        self.optimizer = optimizer
        self.average = average
        self.accelerator = accelerator
        self.objects = list(accelerator._custom_objects)
        for item in self.objects:  # found out now, not at the first checkpoint
            check_state(item.state_dict())

    def take(self) -> dict[str, Any]:
        """The states that go to files here, by name; what is sharded is gathered."""
        own = {f"random_{self.accelerator.process_index}": _random_numbers(self.accelerator.device)}
        whole = gathered(self._states(), kept=self.accelerator.is_main_process)
        return own | (whole or {})

    def write(self, states: Mapping[str, Any], folder: Path) -> None:
        """Writes them.

        Args:
            states: as [`Snapshot.take`] gave them.
            folder: which exists.
        """
        for name, state in states.items():
            write_state(state, folder / f"{name}.safetensors")

    def read(self, folder: Path, num_processes: int) -> None:
        """Goes back to what was written; nothing is changed before all of it is read.

        Args:
            folder: of the checkpoint.
            num_processes: of how many it holds the random numbers.

        Raises:
            ValueError: if a file is missing, none of ours, of something else or cannot be read
                without executing code.
        """
        states = read_old(folder) if is_old(folder) else _read_all(folder)
        wanted = {*self._states(), *(f"random_{process}" for process in range(num_processes))}
        if states.keys() != wanted:
            raise ValueError(
                f"{folder} holds states of {sorted(states)}; expected {sorted(wanted)}."
            )
        try:
            self._go_back(states)
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise ValueError(f"{folder} does not fit this run: {error!r}.") from error

    def _states(self) -> dict[str, Any]:
        """What is the same on every process, or sharded over them."""
        states = {"model": _weights(self.model), "optimizer": self.optimizer.state_dict()}
        if self.average.values:
            states["average"] = self.average.state_dict()
        if self.accelerator.scaler is not None:
            states["scaler"] = self.accelerator.scaler.state_dict()
        return states | {f"object_{i}": item.state_dict() for i, item in enumerate(self.objects)}

    def _go_back(self, states: Mapping[str, Any]) -> None:
        _load_weights(self.model, states["model"])
        _load_optimizer(self.optimizer, states["optimizer"])
        if self.average.values:
            self.average.load_state_dict(states["average"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(states["scaler"])
        for i, item in enumerate(self.objects):
            item.load_state_dict(states[f"object_{i}"])
        process = self.accelerator.process_index
        numbers = states.get(f"random_{process}")
        if numbers is None:
            logger.warning("process %d is new; its dropout starts anew", process)
        else:
            _set_random_numbers(numbers, self.accelerator.device)


def _read_all(folder: Path) -> dict[str, Any]:
    others = sorted(file.name for file in folder.iterdir() if file.suffix not in _READ_SAFELY)
    if others:
        raise ValueError(
            f"{folder} holds {others}, which may hold code; expected {_READ_SAFELY} files alone."
        )
    return {file.stem: read_state(file) for file in sorted(folder.glob("*.safetensors"))}


# -------------------------------------------------------------------------------------- weights
def _weights(model: nn.Module) -> dict[str, Tensor]:
    """By name; those that are tied once, those that are frozen not at all."""
    state = model.state_dict(keep_vars=True)
    first = {id(value): name for name, value in reversed(state.items())}
    frozen = _frozen(model)
    return {
        name: value
        for name, value in state.items()
        if first[id(value)] == name and id(value) not in frozen
    }


def _frozen(model: nn.Module) -> set[int]:
    """The ids of parameters that are not trained; a buffer may change all the same."""
    return {id(param) for param in model.parameters() if not param.requires_grad}


@torch.no_grad()
def _load_weights(model: nn.Module, saved: Mapping[str, Tensor]) -> None:
    state = model.state_dict(keep_vars=True)
    wrong = {name for name in saved if name not in state or saved[name].shape != state[name].shape}
    filled = {id(state[name]) for name in saved.keys() - wrong} | _frozen(model)
    missing = {name for name, value in state.items() if id(value) not in filled}
    if wrong or missing:
        raise KeyError(f"weights {sorted(wrong | missing)[:3]}")
    # a buffer may hold infinities, such as a mask that is added to scores
    learned = {id(param) for param in model.parameters()}
    broken = [
        name
        for name, value in saved.items()
        if id(state[name]) in learned and not value.isfinite().all()
    ]
    if broken:
        raise KeyError(f"weights {broken[:3]} that are not finite")
    for name, value in saved.items():
        state[name].copy_(sharded_like(value, state[name]))


# of torch's optimisers and ours: as large as the parameter
_MOMENTS = {"exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer"}


def _load_optimizer(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    params = [param for group in optimizer.param_groups for param in group["params"]]
    # what decides the result is equal; how it is computed (fused, foreach) this machine knows
    given = [
        {name: value for name, value in group.items() if name not in ("params", "lr")}
        for group in optimizer.param_groups
    ]
    if len({frozenset(state) for state in saved["state"].values()}) > len(optimizer.param_groups):
        raise KeyError("moments of some parameters alone")
    for index, state in saved["state"].items():
        for name, value in state.items():
            if isinstance(value, Tensor):
                if name in _MOMENTS and value.shape != params[index].shape:
                    raise KeyError(f"{name} of shape {tuple(value.shape)}")
                state[name] = sharded_like(value, params[index])
    optimizer.load_state_dict(saved)
    for group, settings in zip(optimizer.param_groups, given, strict=True):
        group.update(settings)


# ------------------------------------------------------------------------------- random numbers
def _random_numbers(device: torch.device) -> dict[str, Any]:
    on_device = None
    if device.type != "cpu":
        on_device = torch.get_device_module(device).get_rng_state(device)
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
        "device": on_device,
    }


def _set_random_numbers(saved: Mapping[str, Any], device: torch.device) -> None:
    random.setstate(saved["python"])
    np.random.set_state(saved["numpy"])
    torch.set_rng_state(saved["torch"])
    if saved["device"] is not None and device.type != "cpu":
        torch.get_device_module(device).set_rng_state(saved["device"], device)
