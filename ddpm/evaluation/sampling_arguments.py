"""The flags of sampling: how many images of a saved model are drawn, of which size and how."""

import argparse
from typing import Any

from ..steps import STEPS
from .arguments import Flag, add_flags, values

_SAMPLING = {
    "num_images": Flag(int, 40, "how many to draw"),
    "batch_size": Flag(int, 64, "images drawn side by side on each process"),
    "height": Flag(int, None, "pixels, a multiple of 2^(levels-1); nothing = the model's size"),
    "width": Flag(int, None, "the same"),
    "sampler": Flag(STEPS, "ddpm", "how x_t becomes x_{t-1}"),
    "steps": Flag(str, "250", 'how many, or a spacing: "trailing10", "ddim25", "10,10,10"'),
    "eta": Flag(float, 0.0, "share of new noise in ddim's steps"),
    "variance": Flag(
        str, None, "of ddpm's steps, instead of the model's: fixed_small or fixed_large"
    ),
    "clip": Flag(("static", "dynamic", "none"), "static", "how x0 is kept in [-1, 1]"),
    "class_name": Flag(str, None, "draw this class only; nothing = all of them in turn"),
    "seed": Flag(int, 0, "of all images"),
}


def add_sampling_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what is drawn of a saved model, and how.

    Args:
        parser: the recipe's parser.
    """
    add_flags(parser.add_argument_group("sampling"), _SAMPLING)


def check_sampling(args: argparse.Namespace) -> None:
    """Makes sure that no flag is without effect.

    Args:
        args: parsed flags of [`add_sampling_arguments`], perhaps with those of guidance.

    Raises:
        ValueError: if one is: variance and mean of p are what ancestral sampling reads alone.
    """
    if STEPS[args.sampler].reads == "mean":
        return
    at = getattr(args, "guidance_at", None)
    unread = {"variance": args.variance, "guidance_at": None if at == "epsilon" else at}
    for name, value in unread.items():
        if value is not None:
            raise ValueError(
                f"got --{name} {value} and --sampler {args.sampler}, which has no use for it;"
                " expected the sampler ddpm, or leave it out."
            )


def sampling_settings(args: argparse.Namespace) -> dict[str, Any]:
    """How images are drawn: keyword values of `ddpm.draw_images`."""
    chosen = values(args, ("seed", "batch_size", "sampler", "steps", "eta"))
    return chosen | {"clip": args.clip != "none" and args.clip}
