"""The flags of the classifier's recipe, and what they say; those of images are in arguments.py."""

import argparse
from typing import Any

from ardm.training.hub_arguments import add_hub_arguments

from ..models.pools import POOLS
from .arguments import DIFFUSION, NETWORK, Flag, add_flags, network_sizes, values

_PRESET = "a released classifier's sizes, such as 64x64_classifier, instead of the flags below"
_NETWORK = NETWORK | {
    "preset": Flag(str, None, _PRESET),
    "pool": Flag(POOLS, "attention", "how feature maps become logits"),
}
_PROCESS = {name: DIFFUSION[name] for name in ("schedule", "num_timesteps", "rescale_timesteps")}
_IMAGES = {
    "noised": Flag(bool, True, "train on noisy images; without it, on clean ones alone"),
    "random_crop": Flag(
        bool, False, "cut a square of 0.8 of the side or more out of each training image"
    ),
}
_TRAINING = {
    "weight_decay": Flag(float, 0.05, "of AdamW, as a share of the learning rate"),
    "max_eval_images": Flag(int, 1000, "held-out images that are scored, each at 21 noise levels"),
}


def add_classifier_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what is trained: whose noise it sees, the network's sizes, and where it is uploaded.

    Args:
        parser: the recipe's parser.
    """
    group = parser.add_argument_group("classifier")
    group.add_argument(
        "--diffusion_name_or_path",
        help="a saved diffusion model that the classifier shall guide: its noise, sizes and classes"
        " (default: the noise of the flags below)",
    )
    add_flags(group, _IMAGES)
    add_hub_arguments(group)
    add_flags(group, _TRAINING)
    add_flags(parser.add_argument_group("network"), _NETWORK)
    add_flags(parser.add_argument_group("diffusion"), _PROCESS)


def process_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Whose noise: keyword values of `ddpm.evaluation.new_process`."""
    return values(args, _PROCESS)


def classifier_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Which network: keyword values of `ddpm.evaluation.new_classifier`."""
    return network_sizes(args) | values(args, ["pool", "seed"])


def objective_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Which training loss: keyword values of `ddpm.classification.ClassificationObjective`."""
    return values(args, ["seed", "random_flip", *_IMAGES])
