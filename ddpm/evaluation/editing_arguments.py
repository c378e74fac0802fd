"""The flags of editing, and what they say: images to begin with, and the part to be made."""

import argparse
import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..data import load_images
from ..data.pixels import prepare_image
from ..denoisers import to_model_range
from ..models.unet import UNet
from .image_sets import stacked

logger = logging.getLogger(__name__)


def add_editing_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds images that are changed or filled in, instead of noise to begin with.

    Args:
        parser: of a sampling.
    """
    group = parser.add_argument_group("editing")
    images = "a folder of images, a .npy or .npz file: image k is made of the k-th, in turn"
    group.add_argument("--edit", help=images)
    strength = "share of the steps that an image is gone back (default: 0.5)"
    group.add_argument("--strength", type=float, help=strength)
    mask = "a picture, white where something is to be made: the rest stays as it is"
    group.add_argument("--mask", help=mask)
    passes = "how often each stretch of steps is gone, with a mask (default: 1)"
    group.add_argument("--num_passes", type=int, help=passes)


def check_editing(args: argparse.Namespace) -> None:
    """Makes sure that no flag is without effect.

    Args:
        args: parsed flags of [`add_editing_arguments`], and others of a sampling.

    Raises:
        ValueError: if one is.
    """
    needs = {"strength": "edit", "mask": "edit", "num_passes": "mask"}
    for name, needed in needs.items():
        if getattr(args, name) is not None and getattr(args, needed) is None:
            raise ValueError(f"got --{name} without --{needed}, which it is about.")
    if args.mask is not None and args.strength is not None:
        raise ValueError("got --mask and --strength; expected one: what is masked is made anew.")
    others = [name for name in ("height", "width", "upsampler") if getattr(args, name) is not None]
    if args.edit is not None and others:
        raise ValueError(f"got --edit and --{others[0]}; the images to edit have the model's size.")


def edit_settings(args: argparse.Namespace) -> dict[str, Any]:
    """How images are edited: options of `ddpm.inpaint` or `ddpm.image_to_image` that are given."""
    chosen = {"strength": args.strength, "num_passes": args.num_passes}
    return {name: value for name, value in chosen.items() if value is not None}


def images_to_edit(path: str, model: UNet, num_images: int) -> Tensor:
    """Images of a folder or file, in the model's size.

    Args:
        path: a folder of images, or a .npy or .npz file.
        model: the network.
        num_images: N; the images that there are are taken in turn.

    Returns:
        Floats in [-1, 1], (N, C, H, W).

    Raises:
        ValueError: if there is nothing to read.
    """
    config = model.config
    place: dict[str, Any] = {"train_dir" if Path(path).is_dir() else "train_file": path}
    form: dict[str, Any] = {"image_size": config.image_size, "channels": config.in_channels}
    found = load_images(**place, **form, validation_fraction=0, class_conditional=False)
    images, _ = stacked(found["train"])
    if num_images < len(images):
        logger.warning("%d of %d images of %s: see --num_images", num_images, len(images), path)
    return to_model_range(images)[torch.arange(num_images) % len(images)]


def read_mask(path: str | None, model: UNet) -> Tensor | None:
    """Where something is to be made.

    Args:
        path: a picture, white there; None = there is no mask.
        model: the network, to whose images' size the picture is brought.

    Returns:
        bool (H, W), or None.

    Raises:
        ValueError: if it is no picture, or has nothing white in it.
    """
    from PIL import Image, UnidentifiedImageError

    if path is None:
        return None
    try:
        with Image.open(path) as picture:
            grey = prepare_image(picture, model.config.image_size, 1)  # as the images are
    except (OSError, UnidentifiedImageError) as error:
        raise ValueError(
            f"{path} is no picture ({error}); expected one, white to be made."
        ) from error
    mask = grey[0] > 127
    if not mask.any():
        raise ValueError(f"{path} has nothing white in it; expected white where to make something.")
    return mask
