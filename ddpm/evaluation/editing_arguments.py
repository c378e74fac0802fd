"""The flags of editing, and what they say: images to begin with, and the part to be made."""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

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


class Given(NamedTuple):
    """Images to edit, floats (N, C, H, W) in [-1, 1], and their labels, int64 (N,), or None."""

    images: Tensor
    labels: Tensor | None


def edit_settings(args: argparse.Namespace, model: UNet) -> dict[str, Any]:
    """How images are edited: options of `ddpm.drawing.draw_edited` that are given.

    Args:
        args: parsed flags of [`add_editing_arguments`].
        model: the network.

    Returns:
        Value by name.

    Raises:
        ValueError: as of [`read_mask`].
    """
    chosen = {"strength": args.strength, "num_passes": args.num_passes}
    chosen |= {"mask": read_mask(args.mask, model)}
    return {name: value for name, value in chosen.items() if value is not None}


def images_to_edit(
    path: str, model: UNet, num_images: int, class_names: Sequence[str] | None = None
) -> Given:
    """Images of a folder or file, in the model's size, and the classes that they are of.

    Args:
        path: a folder of images, or a .npy or .npz file.
        model: the network.
        num_images: N; the images that there are are taken in turn.
        class_names: what label k is called, at k; None = classes are not asked for.

    Returns:
        [`Given`]; labels are None where the images do not say them, or other ones, which is told.

    Raises:
        ValueError: if there is nothing to read.
    """
    if not Path(path).exists():
        raise ValueError(f"there is no {path}; expected a folder of images, a .npy or .npz file.")
    config = model.config
    place: dict[str, Any] = {"train_dir" if Path(path).is_dir() else "train_file": path}
    form: dict[str, Any] = {"image_size": config.image_size, "channels": config.in_channels}
    if class_names is None:
        form["class_conditional"] = False
    found = load_images(**place, **form, validation_fraction=0)["train"]
    pixels, labels = stacked(found)
    if num_images < len(pixels):
        logger.warning("%d of %d images of %s: see --num_images", num_images, len(pixels), path)
    numbers = torch.arange(num_images) % len(pixels)
    images = to_model_range(pixels)[numbers]
    if class_names is None:
        return Given(images, None)
    said = found.class_names or []
    if labels is None or not set(said) <= set(class_names):
        logger.warning(
            "%s does not say which of the model's classes its images are: image k is made one of"
            " class k mod %d; see --class_name",
            path,
            len(class_names),
        )
        return Given(images, None)
    ours = torch.tensor([list(class_names).index(name) for name in said])
    return Given(images, ours[labels][numbers])


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
