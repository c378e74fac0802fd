"""The flags of upsampling, and what they say: which small images, how noisy, by which models."""

import argparse
from typing import Any

from ..diffusion import GaussianDiffusion
from ..models.presets import PRESETS
from ..models.unet import UNet
from ..upsampling import check_noise_level, check_stages


def add_upsampler_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what an upsampler learns to enlarge, and the model whose images it is shown on.

    Args:
        parser: of a training, with the flags of arguments.py.
    """
    group = parser.add_argument_group("upsampling")
    size = "pixels a side of the small images; nothing = the preset's or the model's, or half"
    group.add_argument("--low_resolution", type=int, help=size)
    noise = "small images go 0 to so many steps of q, of which the network is told; 0 = none"
    group.add_argument("--max_noise_level", type=int, default=0, help=f"{noise} (default: 0)")
    base = "a saved model of the small images: the card also shows what is made of its images"
    group.add_argument("--base_name_or_path", help=base)


def add_cascade_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds a second stage that enlarges what a saved model draws.

    Args:
        parser: of a sampling, with the flags of arguments.py.
    """
    group = parser.add_argument_group("upsampling")
    group.add_argument("--upsampler", help="a saved upsampler, which enlarges the images")
    noise = "steps of q that they go before; for an upsampler trained with --max_noise_level"
    group.add_argument("--noise_level", type=int, default=0, help=f"{noise} (default: 0)")


def check_cascade(
    model: UNet, second: tuple[UNet, GaussianDiffusion] | None, args: argparse.Namespace
) -> None:
    """Makes sure that the stages of a sampling fit together, before the first one draws.

    Args:
        model: of the first stage.
        second: upsampler and its diffusion; None = there is no second stage.
        args: parsed flags of [`add_cascade_arguments`], and `steps`, `height` and `width`.

    Raises:
        ValueError: if they do not, or the model needs small images itself.
    """
    if second is not None:
        upsampler, diffusion = second
        check_stages(model, upsampler)
        check_noise_level(args.noise_level, upsampler.config, diffusion)
        if args.height is not None or args.width is not None:
            raise ValueError("got --height or --width and --upsampler, whose models have sizes.")
        diffusion.respace(args.steps)
    elif model.config.low_resolution is not None:
        size = model.config.low_resolution
        raise ValueError(
            f"the model enlarges images of {size} pixels; expected one that draws them as"
            " --model_name_or_path, and this one as --upsampler (in Python: `ddpm.upsample`)."
        )
    elif args.noise_level:
        raise ValueError(f"noise_level is {args.noise_level}, and there is no --upsampler.")


def image_shape(
    model: UNet, height: int | None = None, width: int | None = None
) -> tuple[int, int, int]:
    """(C, H, W) of the images that a network draws, of its own size or of another."""
    size = model.config.image_size
    height, width = (size if given is None else given for given in (height, width))
    return model.config.in_channels, height, width


def condition_settings(args: argparse.Namespace, image_size: int) -> dict[str, Any]:
    """Which small images a new network is given: values of `ddpm.evaluation.new_network`.

    Args:
        args: parsed flags of [`add_upsampler_arguments`].
        image_size: pixels a side of the large images.

    Returns:
        `low_resolution`, `noise_augmentation` and `max_noise_level`.
    """
    of_preset = PRESETS["ddpm_unet"].get(args.preset, {}).get("low_resolution")
    size = args.low_resolution
    if size is None:
        size = of_preset or image_size // 2
    told = args.max_noise_level > 0
    most = args.max_noise_level if told else None
    return {"low_resolution": size, "noise_augmentation": told, "max_noise_level": most}


def continue_condition(model: UNet, args: argparse.Namespace, name: str) -> None:
    """Makes sure that a saved upsampler has learned the small images that it shall go on with.

    Its configuration then says the largest noise of both trainings.

    Args:
        model: the network.
        args: parsed flags of [`add_upsampler_arguments`].
        name: of the model, for messages.

    Raises:
        ValueError: if their size differs, or there is noise that it is not told of.
    """
    config = model.config
    if args.low_resolution not in (None, config.low_resolution):
        raise ValueError(
            f"{name} enlarges images of {config.low_resolution} pixels; low_resolution is"
            f" {args.low_resolution}: leave it out, or train a fresh model."
        )
    if args.max_noise_level and not config.noise_augmentation:
        raise ValueError(
            f"{name} is not told of noise in small images; expected max_noise_level 0, or a fresh"
            " model."
        )
    if config.max_noise_level is not None:
        config.max_noise_level = max(config.max_noise_level, args.max_noise_level)
