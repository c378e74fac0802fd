"""UNetPreTrainedModel: how weights of the networks begin, are loaded and are saved."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init

from .code_files import auto_map, code_files  # not exported
from .guided_diffusion import GuidedDiffusionMixin  # not exported
from .layers_unet import ZeroConv2d, ZeroLinear


class UNetPreTrainedModel(
    GuidedDiffusionMixin,  # not exported
    PreTrainedModel,
):
    """Initialisation, checks of the inputs, and what transformers must know of the architecture."""

    main_input_name = "x"
    supports_gradient_checkpointing = True
    _no_split_modules = ["UNetBlock", "MiddleBlock"]
    _supports_sdpa = True
    _supports_attention_backend = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, (ZeroConv2d, ZeroLinear)):
            init.zeros_(module.weight)
            init.zeros_(module.bias)  # type: ignore[arg-type]  # all layers here have one
        elif isinstance(module, (nn.Conv2d, nn.Linear)):
            bound = module.weight[0].numel() ** -0.5  # PyTorch's own, with which ADM was trained
            init.uniform_(module.weight, -bound, bound)
            init.uniform_(module.bias, -bound, bound)  # type: ignore[arg-type]
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight)
        elif isinstance(module, nn.GroupNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)

    @classmethod
    def from_pretrained(cls, *args: Any, output_loading_info: bool = False, **kwargs: Any) -> Any:
        """Loads a model as all of transformers' do, if file and network have the same weights.

        Args:
            *args: as in transformers: the folder or the name on the Hub, ...
            output_loading_info: return the model and what differs, and raise nothing.
            **kwargs: as in transformers. An empty `state_dict` is a fresh network.

        Returns:
            The model in evaluation mode; a pair of it and a dictionary with `output_loading_info`.

        Raises:
            ValueError: if weights are missing, which transformers would draw at random, or there
                are some that the network has no place for.
        """
        loaded: Any = super().from_pretrained(*args, output_loading_info=True, **kwargs)
        model, info = loaded
        if output_loading_info or kwargs.get("state_dict") == {}:
            return (model, info) if output_loading_info else model
        for kind in ("missing", "unexpected"):
            names = sorted(info[f"{kind}_keys"])
            if names:
                raise ValueError(
                    f"{len(names)} weights of {cls.__name__} are {kind}, {', '.join(names[:3])}"
                    f"{', ...' if names[3:] else ''}; expected just those of the network that the"
                    " configuration describes (output_loading_info=True loads what is there)."
                )
        return model

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        is_main_process: bool = True,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Saves a model as all of transformers' do, and beside it its code and its diffusion.

        So the folder also loads where this package is not, with `trust_remote_code=True`.

        Args:
            save_directory: the folder; made if needed.
            is_main_process: whether this process writes the files.
            *args: as in transformers.
            **kwargs: as in transformers.

        Raises:
            ValueError: if `save_directory` is a file.
        """
        if os.path.isfile(save_directory):
            raise ValueError(f"save_directory {save_directory} is a file; expected a folder.")
        self.config.auto_map = auto_map(type(self)) or self.config.auto_map  # not exported
        if is_main_process:
            _write_whole(save_directory, self.files_beside())
        super().save_pretrained(save_directory, is_main_process, *args, **kwargs)

    def _get_files_timestamps(self, working_dir: str | os.PathLike[str]) -> dict[str, float]:
        """transformers' hook, asked before it saves and uploads: these files always go along."""
        times: dict[str, float] = super()._get_files_timestamps(working_dir)
        beside = self.files_beside()
        return {name: time for name, time in times.items() if name not in beside}

    def files_beside(self) -> dict[str, bytes]:
        """What is saved beside the weights, by file name: the code."""
        files: dict[str, bytes] = {}  # what was loaded without this package keeps its code anyway
        files |= code_files(type(self))  # not exported
        return files

    def _check_images(self, x: Tensor, t: Tensor, *, any_size: bool) -> Tensor:
        """Raises ValueError if x or t do not fit the network; returns t as (B,)."""
        config = self.config
        for name, given in (("x", x), ("t", t)):
            if not isinstance(given, Tensor):
                raise ValueError(f"{name} is a {type(given).__name__}; expected a tensor.")
        side = config.image_size
        factor = 2 ** (len(config.widths) - 1)
        if any_size:
            sizes = f"H, W), H and W multiples of 2^(levels-1) = {factor}"
            fits = min(x.shape[2:], default=0) > 0 and not any(n % factor for n in x.shape[2:])
        else:
            sizes = f"{side}, {side}), the one size that the network was made for"
            fits = x.shape[2:] == (side, side)
        if x.ndim != 4 or x.shape[1] != config.in_channels or not fits:
            raise ValueError(
                f"x has shape {tuple(x.shape)}; expected (B, {config.in_channels}, {sizes}."
            )
        if not x.is_floating_point():
            raise ValueError(f"x is {x.dtype}; expected floats in [-1, 1].")
        if not len(x):
            raise ValueError(f"there is no image, x has shape {tuple(x.shape)}; expected B >= 1.")
        if t.ndim == 0:
            return t.expand(len(x))
        if t.shape != x.shape[:1]:
            raise ValueError(
                f"t has shape {tuple(t.shape)}; expected ({len(x)},), one timestep an image, or ()."
            )
        return t


def check_labels(labels: Tensor, t: Tensor, num_rows: int) -> None:
    """Raises ValueError unless labels are int64 (B,) and, on a CPU, in 0..num_rows - 1."""
    if not isinstance(labels, Tensor):
        raise ValueError(f"labels are a {type(labels).__name__}; expected int64 ({len(t)},).")
    if labels.shape != t.shape or labels.dtype != torch.int64:
        raise ValueError(
            f"labels are {labels.dtype} {tuple(labels.shape)}; expected int64 ({len(t)},)."
        )
    if labels.device.type != "cpu" or torch.compiler.is_compiling():
        return  # a GPU would have to wait for the answer
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < num_rows:
        raise ValueError(
            f"labels reach from {labels.min()} to {labels.max()}; expected 0..{num_rows - 1},"
            f" the {num_rows} classes that the network was made for (num_classes of its config)."
        )


def _write_whole(folder: str | os.PathLike[str], contents: Mapping[str, bytes]) -> None:
    """Writes files aside, flushes them to the disk and renames them: none is there in part."""
    os.makedirs(folder, exist_ok=True)
    # named as what ardm.training writes aside, which removes what a killed process left behind
    prefix = f".writing-{os.getpid()}-"
    with tempfile.TemporaryDirectory(prefix=prefix, dir=folder) as aside:
        for name, content in contents.items():
            with open(Path(aside) / name, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        for name in contents:
            os.replace(Path(aside) / name, Path(folder) / name)
