"""From flags to a model of pixels that is trained, and whether the images are what they suppose.

The images themselves come from whoever reads them, as arrays.
"""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..configuration_ardm import ARDMConfig
from ..data.images import ImageFormat, ImageTokens
from ..modeling_ardm import ARDMForMaskedLM
from ..training import fingerprint
from . import arguments
from .assembly import model_identity
from .stage_arguments import add_stage_arguments, check_stages, smallest_base, stage_settings

NETWORK = {
    "hidden_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 344,
    "hidden_dropout": 0.1,
}
DIGIT_VALUES = 17  # grey levels of scikit-learn's digits
OBJECTIVE = (*arguments.OBJECTIVE, "prompt_dropout")


def add_image_model_arguments(parser: argparse.ArgumentParser, num_stages: int) -> None:
    """Adds the flags of a training on pixels, beside those of images and of the loop.

    Args:
        parser: the recipe's parser.
        num_stages: default of its flag; the base is the smallest that will do.
    """
    arguments.add_model_arguments(parser, NETWORK, scored="images")
    add_stage_arguments(parser, num_stages)
    add = parser.add_argument_group("pixels").add_argument
    add("--num_values", type=int, help="grey levels; nothing = 17 for the digits, else 256")
    add("--prompt_dropout", type=float, default=0.1, help="share of classes hidden, for guidance")
    add("--guidance_scale", type=float, default=1.0, help="of the pictures; 1 = off")


def parse_image_training(
    parser: argparse.ArgumentParser, argv: list[str] | None
) -> argparse.Namespace:
    """Reads the flags of a training; one that would have no effect is refused.

    Args:
        parser: with the flags of [`add_image_model_arguments`].
        argv: the words; None = those of this process.

    Returns:
        The flags.

    Raises:
        ValueError: if a saved model's own settings are given again, or there is no name to upload
            to.
    """
    args = arguments.parse(parser, argv)
    if args.num_values is None:
        own_data = args.train_dir or args.train_file or args.dataset_name
        args.num_values = 256 if own_data else DIGIT_VALUES
    check_stages(parser, argv)
    if args.branching_factor is None:
        args.branching_factor = smallest_base(args.num_values, args.num_stages)
    return args


def check_images(
    args: argparse.Namespace, images: Tensor, class_names: Sequence[str] | None
) -> None:
    """Makes sure that images hold what their flags suppose, before a training.

    Args:
        args: the flags.
        images: uint8 (N, C, H, W), all of the training.
        class_names: of the classes, or None.

    Raises:
        ValueError: if all values are among the darkest few, as where an array holds grey levels
            0..16 and not pixels, or guidance is asked for without classes.
    """
    brightest = int(images.max())
    if brightest < min(args.num_values, 128):
        raise ValueError(
            f"the brightest value of all images is {brightest}; expected pixels of 0..255"
            f" (multiply grey levels 0..{brightest} by {255 // max(brightest, 1)})."
        )
    if args.guidance_scale != 1 and not class_names:
        raise ValueError(
            f"guidance_scale is {args.guidance_scale} and the images have no classes to guide"
            " towards; expected 1, or classes."
        )


def check_same_images(
    saved: ImageFormat,
    saved_names: Sequence[str] | None,
    data: ImageFormat,
    names: Sequence[str] | None,
) -> None:
    """Makes sure that a saved model is trained on images as its own.

    Args:
        saved: its format.
        saved_names: its classes.
        data: the format of the data, with the model's number of values.
        names: the data's classes.

    Raises:
        ValueError: if shape or classes are others.
    """
    if saved.shape != data.shape:
        raise ValueError(
            f"the images are {data.shape} (channels, height, width); expected {saved.shape}, those"
            " of the saved model."
        )
    if [*(saved_names or ())] != [*(names or ())]:
        raise ValueError(
            f"the images' classes are {names}; expected {saved_names}, those of the saved model."
        )


def new_image_model(image_format: ImageFormat, args: argparse.Namespace) -> ARDMForMaskedLM:
    """A fresh network for images.

    Args:
        image_format: of the images.
        args: the flags; torch's global generator is set to the seed.

    Returns:
        The model.
    """
    torch.manual_seed(args.seed)
    sizes = {name: getattr(args, name) for name in NETWORK}
    return ARDMForMaskedLM(
        ARDMConfig(**image_format.model_settings, **stage_settings(args), **sizes)
    )


def image_identity(
    images: ImageTokens, model: ARDMForMaskedLM, objective: Mapping[str, Any], *, fresh: bool
) -> dict[str, Any]:
    """What decides the result of a training, as `ardm.evaluation.run_identity` says it of text.

    Args:
        images: of the training.
        model: the network, before it is trained.
        objective: settings of what is minimised.
        fresh: whether the seed alone made the weights; else they are told by their content.

    Returns:
        The value of `identity` for `ardm.training.train`.
    """
    data = fingerprint([images.input_ids.numpy().tobytes()])
    return {"data": data} | model_identity(model, objective, fresh=fresh)
