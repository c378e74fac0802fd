"""What the recipes' flags of network and diffusion mean."""

import argparse
from typing import Any

import torch

from ..diffusion import GaussianDiffusion
from ..losses import LOSSES
from ..models.configuration_unet import UNetConfig
from ..models.unet import UNet
from ..objective import DiffusionObjective
from ..predictions import PREDICTIONS
from ..schedules import SCHEDULES
from ..timesteps import LossSecondMomentTimesteps
from ..variances import LEARNED, VARIANCES

_NETWORK: dict[str, tuple[Any, Any, str]] = {
    "preset": (
        str,
        None,
        "a released network's sizes, such as 64x64_diffusion, instead of the flags below",
    ),
    "model_channels": (int, 32, "base width"),
    "channel_mult": (
        float,
        None,
        "width of each level, in units of the base width; nothing = by the images' size",
    ),
    "num_res_blocks": (int, 2, "residual blocks of a level"),
    "attention_resolutions": (
        int,
        None,
        "levels with attention, by their height in pixels; nothing = by the size",
    ),
    "num_head_channels": (int, 32, "channels of an attention head"),
    "norm_num_groups": (int, 8, "groups of a group norm"),
    "dropout": (float, 0.0, "in residual blocks"),
}
_LISTS = ("channel_mult", "attention_resolutions")
_CHOICES: dict[str, tuple[Any, str, str]] = {
    "schedule": (SCHEDULES, "cosine", "noise schedule"),
    "prediction": (PREDICTIONS, "epsilon", "what the network predicts"),
    "variance": (VARIANCES, "learned_range", "of the reverse process"),
    "loss": (LOSSES, "hybrid", "what is minimised"),
    "timestep_sampler": (
        ("uniform", "loss_second_moment"),
        "uniform",
        "how training chooses timesteps",
    ),
}


MODEL_FLAGS = (
    *_NETWORK,
    "schedule",
    "prediction",
    "variance",
    "loss",
    "num_timesteps",
    "min_snr_gamma",
)


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that the functions below read; they also read `--seed` and `--random_flip`.

    Args:
        parser: the recipe's parser.
    """
    group = parser.add_argument_group("network")
    for name, (kind, default, text) in _NETWORK.items():
        several = "*" if name in _LISTS else None
        group.add_argument(
            f"--{name}",
            type=kind,
            default=default,
            nargs=several,
            help=f"{text} (default: {default})",
        )
    group = parser.add_argument_group("diffusion")
    for name, (known, default, text) in _CHOICES.items():
        group.add_argument(
            f"--{name}", choices=list(known), default=default, help=f"{text} (default: {default})"
        )
    group.add_argument("--num_timesteps", type=int, default=1000, help="T (default: 1000)")
    group.add_argument(
        "--min_snr_gamma", type=float, help="cap of the loss weights, usually 5 (default: none)"
    )


def new_diffusion(args: argparse.Namespace) -> GaussianDiffusion:
    """The diffusion that the flags say.

    Args:
        args: parsed flags.

    Returns:
        A [`GaussianDiffusion`].
    """
    betas = SCHEDULES[args.schedule](args.num_timesteps)
    return GaussianDiffusion(
        betas, args.prediction, args.variance, args.loss, min_snr_gamma=args.min_snr_gamma
    )


def new_network(
    args: argparse.Namespace, image_size: int, num_channels: int, num_classes: int | None
) -> UNet:
    """A fresh network for some images.

    Args:
        args: parsed flags.
        image_size: of the images.
        num_channels: of the images.
        num_classes: of the labels; None without.

    Returns:
        A [`UNet`], its weights drawn from `args.seed`.

    Raises:
        ValueError: if the sizes do not fit together, or the images do not fit the preset.
    """
    data: dict[str, Any] = {
        "in_channels": num_channels,
        "num_classes": num_classes,
        "learn_sigma": args.variance in LEARNED,
    }
    if args.preset is not None:
        config = UNetConfig.preset(args.preset, **data)
        if config.image_size != image_size:
            raise ValueError(
                f"preset {args.preset!r} is for images of {config.image_size} pixels; these have"
                f" {image_size}."
            )
    else:
        sizes: dict[str, Any] = {name: getattr(args, name) for name in _NETWORK if name != "preset"}
        sizes |= levels_for(image_size, args.channel_mult, args.attention_resolutions)
        config = UNetConfig(image_size=image_size, **sizes, **data)
    torch.manual_seed(args.seed)
    return UNet(config)


def levels_for(
    image_size: int,
    channel_mult: list[float] | None = None,
    attention_resolutions: list[int] | None = None,
) -> dict[str, list]:
    """Levels of a network for images of some size: halved while it is even and above 4, four at
    most.

    Args:
        image_size: pixels a side.
        channel_mult: width of each level, if it is chosen.
        attention_resolutions: levels with attention, if they are chosen; else all below the first
            that have 16 pixels or less a side.

    Returns:
        Both, as `UNetConfig` takes them.
    """
    if channel_mult is None:
        sizes = [image_size]
        while sizes[-1] % 2 == 0 and sizes[-1] > 4 and len(sizes) < 4:
            sizes.append(sizes[-1] // 2)
        channel_mult = [1.0, 2.0, 2.0, 2.0][: len(sizes)]
    factors = [int(factor) if factor == int(factor) else factor for factor in channel_mult]
    if attention_resolutions is None:
        attention_resolutions = [
            image_size >> level for level in range(1, len(factors)) if image_size >> level <= 16
        ]
    return {"channel_mult": factors, "attention_resolutions": attention_resolutions}


def new_objective(args: argparse.Namespace, diffusion: GaussianDiffusion) -> DiffusionObjective:
    """The training loss that the flags say; its state belongs into checkpoints where timesteps are
    resampled.

    Args:
        args: parsed flags.
        diffusion: of the model.

    Returns:
        A [`DiffusionObjective`].
    """
    resampled = args.timestep_sampler == "loss_second_moment"
    timesteps = LossSecondMomentTimesteps(diffusion.num_timesteps) if resampled else None
    return DiffusionObjective(diffusion, args.seed, timesteps, random_flip=args.random_flip)
