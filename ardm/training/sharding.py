"""Sharded tensors: each process holds a part; in a file they are whole.

Only what a process needs of `torch.distributed.tensor` is here; who shards the parameters is
Accelerate (FSDP2). All functions leave tensors that are whole as they are.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

if TYPE_CHECKING:
    from accelerate import Accelerator


def is_sharded(accelerator: "Accelerator") -> bool:
    """Whether it shards the models that it prepares."""
    return accelerator.distributed_type.value == "FSDP"


def gathered(state: Any, kept: bool) -> Any:
    """A nested state with its sharded tensors whole; to be called on all processes.

    Args:
        state: dicts, lists and tuples with tensors.
        kept: whether this process needs the result; else it need not have room for it.

    Returns:
        The state, what was sharded on the CPU; None where it is not kept.
    """
    whole = tree_map_only(Tensor, lambda tensor: _whole(tensor, kept), state)
    return whole if kept else None


def _whole(tensor: Tensor, kept: bool) -> Tensor | None:
    if hasattr(tensor, "full_tensor"):
        tensor = tensor.full_tensor()
        return tensor.cpu() if kept else None
    return tensor


def sharded_like(tensor: Tensor, model: Tensor) -> Tensor:
    """This process's part of a tensor, if that is how a tensor of the same shape is kept.

    Args:
        tensor: whole, the same on every process.
        model: which may be sharded.

    Returns:
        A tensor that is sharded as `model`; `tensor` itself if that is not sharded.
    """
    if not hasattr(model, "full_tensor") or tensor.shape != model.shape:
        return tensor
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(model, DTensor)
    return distribute_tensor(tensor.to(model.device), model.device_mesh, model.placements)


class PlainModel:
    """The plain module that a sharded model was, without its weights until they are needed.

    Evaluations call it, each process as often as it likes; every call of the sharded model is one
    of all processes.

    Args:
        model: before it is sharded.
    """

    def __init__(self, model: nn.Module):
        self.module = copy.deepcopy(model)
        self._empty()

    @contextmanager
    def filled(self, sharded: nn.Module) -> Iterator[nn.Module]:
        """Gives it whole weights for as long as a block lasts; to be called on all processes.

        Args:
            sharded: the model.

        Yields:
            The plain module.
        """
        self._fill(sharded)
        try:
            yield self.module
        finally:
            self._empty()

    def put_in_place_of(self, sharded: nn.Module) -> None:
        """The sharded model becomes the plain module, with whole weights; on all processes.

        Args:
            sharded: the model.
        """
        self._fill(sharded)
        sharded.__class__ = self.module.__class__
        sharded.__dict__ = self.module.__dict__

    def _fill(self, sharded: nn.Module) -> None:
        whole = {}
        for name, param in sharded.named_parameters():
            tensor = param.full_tensor() if hasattr(param, "full_tensor") else param
            whole[name] = nn.Parameter(tensor.detach().clone(), param.requires_grad)
        self._set(whole)
        for name, buffer in sharded.named_buffers():
            owner, _, own_name = name.rpartition(".")
            self.module.get_submodule(owner)._buffers[own_name] = buffer

    def _empty(self) -> None:
        self._set(
            {
                name: nn.Parameter(torch.empty_like(param, device="meta"), param.requires_grad)
                for name, param in self.module.named_parameters()
            }
        )

    def _set(self, params: dict[str, nn.Parameter]) -> None:
        """By name; those that are tied to one stay tied to it."""
        first = {id(param): name for name, param in self.module.named_parameters()}
        for module in self.module.modules():
            for name, param in module._parameters.items():
                if param is not None:
                    module._parameters[name] = params[first[id(param)]]
