"""The released ADM checkpoints, "guided-diffusion" state dicts: reading, writing, and their names.

    input_blocks.0.0    the stem             middle_block.{0, 1, 2}    residual, attention, residual
    input_blocks.N.M    encoder block N - 1  out.{0, 2}                norm, last layer or pool
    output_blocks.N.M   decoder block N      M = how many children of the block run before

    a classifier's other pools    out.{0, 3} norm and last layer of "adaptive"; out.{0, 2} the two
                                  layers of "spatial"; out.{0, 1, 3} with a norm in "spatial_v2"

A file does not say how its query-key-value rows are ordered: the preset does, and is never guessed.
"""

import os
import pickle
import zipfile
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Self

from ardm.training import replacing

# Our name of a module, below the block that holds it -> theirs.
TOP_LEVEL = {
    "time_embedding.linear1": "time_embed.0",
    "time_embedding.linear2": "time_embed.2",
    "class_embedding": "label_emb",
    "encoder.stem": "input_blocks.0.0",
    "norm": "out.0",
    "head": "out.2",
    "pool": "out.2",
    "pool.qkv": "out.2.qkv_proj",
    "pool.out": "out.2.c_proj",
    "pool.linear": "out.3",
    **{f"pool.{index}": f"out.{index}" for index in range(4)},  # pools that are sequences of layers
}
IN_BLOCKS = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "embedding": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "skip": "skip_connection",
    "norm": "norm",
    "qkv": "qkv",
    "out": "proj_out",
}
# A plain layer that changes the resolution is named after the direction.
PLAIN_RESAMPLING = {"encoder": "op", "decoder": "conv"}


class GuidedDiffusionMixin(nn.Module):
    """`from_guided_diffusion` and `to_guided_diffusion`, for the models that were released."""

    config: Any
    config_class: Any

    @classmethod
    def from_guided_diffusion(cls, path: str | os.PathLike[str], preset: Any) -> Self:
        """Reads a released checkpoint.

        Args:
            path: a .pt file with a state dict; nothing in it is executed.
            preset: name of the preset, such as "64x64_diffusion", or a configuration. A wrong
                attention order gives wrong images and no error: file and preset must belong
                together.

        Returns:
            The model in evaluation mode, float32.

        Raises:
            ValueError: if the file holds no state dict, or one that does not fit the preset.
        """
        config = cls.config_class.preset(preset) if isinstance(preset, str) else preset
        try:
            mapped = zipfile.is_zipfile(path)
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
        # whatever torch makes of it
        except (OSError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
            kind = type(error).__name__
            raise ValueError(
                f"{path} is no file of tensors ({kind}); expected a state dict."
            ) from error
        named = isinstance(state, Mapping)
        if not named or not all(isinstance(tensor, Tensor) for tensor in state.values()):
            raise ValueError(f"{path} holds no state dict; expected a file of names and tensors.")
        with torch.device("meta"):  # 2 GB of weights are not drawn at random first
            model = cls(config)
        names = released_names(model)
        check_fit({name: released_shape(model, own) for own, name in names.items()}, state)
        model = model.to_empty(device="cpu")
        shapes = {own: model.get_parameter(own).shape for own in names}
        model.load_state_dict(
            {own: state[name].reshape(shapes[own]) for own, name in names.items()}
        )
        return model.eval()

    def to_guided_diffusion(self, path: str | os.PathLike[str] | None = None) -> dict[str, Tensor]:
        """The state dict under the released names, which the original code can load.

        Args:
            path: a .pt file to write it to, all of it or none; None writes nothing.

        Returns:
            The state dict; its tensors share memory with the model.
        """
        own_state = self.state_dict()
        state = {
            name: own_state[own].reshape(released_shape(self, own))
            for own, name in released_names(self).items()
        }
        if path is not None:
            with replacing(path) as file:
                torch.save(state, file)
        return state


def released_names(model: nn.Module) -> dict[str, str]:
    """The released names of a network's parameters.

    Args:
        model: the network.

    Returns:
        Our name of every parameter -> its name in released files, in their order.

    Raises:
        ValueError: if the network is told noise levels, which that format knows nothing of.
    """
    if getattr(model, "noise_level_embedding", None) is not None:
        raise ValueError(
            "the network has noise_augmentation; expected one without: released files have no place"
            " for its weights."
        )
    return {own: _released_name(model, own) for own, _ in model.named_parameters()}


def _released_name(model: nn.Module, own: str) -> str:
    module, _, kind = own.rpartition(".")
    if module in TOP_LEVEL:
        return f"{TOP_LEVEL[module]}.{kind}"
    part, *path = module.split(".")
    if part == "middle":
        prefix = "middle_block"
        block = model.get_submodule("middle")
    elif part == "encoder":  # encoder.blocks.N.child...; their block 0 is the stem
        _, number, *path = path
        prefix = f"input_blocks.{int(number) + 1}"
        block = model.get_submodule(f"encoder.blocks.{number}")
    else:
        number, *path = path
        prefix = f"output_blocks.{number}"
        block = model.get_submodule(f"decoder.{number}")
    child, layer = path
    index = [name for name, _ in block.named_children()].index(child)
    theirs = PLAIN_RESAMPLING[part] if layer == "conv" else IN_BLOCKS[layer]
    return f"{prefix}.{index}.{theirs}.{kind}"


def released_shape(model: nn.Module, own: str) -> tuple[int, ...]:
    """Shape in released files, where some linear layers are convolutions with one tap."""
    shape = tuple(model.get_parameter(own).shape)
    if own == "pool.linear.weight":
        return (*shape, 1, 1)
    return (*shape, 1) if own.endswith((".qkv.weight", ".out.weight")) else shape


def check_fit(
    expected: Mapping[str, tuple[int, ...]], state: Mapping[str, Tensor], shown: int = 5
) -> None:
    """Compares a checkpoint with what a network needs.

    Args:
        expected: name -> shape.
        state: the checkpoint.
        shown: how many differences of each kind the message names.

    Raises:
        ValueError: if names or shapes differ.
    """
    differences = {
        "missing": [name for name in expected if name not in state],
        "unexpected": [name for name in state if name not in expected],
        "of another shape": [
            f"{name} {tuple(state[name].shape)} for {shape}"
            for name, shape in expected.items()
            if name in state and state[name].shape != shape
        ],
    }
    found = [
        f"{len(names)} {kind} ({', '.join(names[:shown])}{', ...' if len(names) > shown else ''})"
        for kind, names in differences.items()
        if names
    ]
    if found:
        raise ValueError(f"the checkpoint does not fit its preset: tensors {'; '.join(found)}.")
