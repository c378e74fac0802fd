"""The flags of the image recipes, and what they say, as values for the functions that do it."""

import argparse
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ardm.training import given_flags
from ardm.training.hub_arguments import add_hub_arguments, check_hub_arguments
from ardm.training.local_paths import public

from ..data.labels import LABELS
from ..losses import LOSSES
from ..predictions import PREDICTIONS
from ..schedules import SCHEDULES
from ..variances import LEARNED, VARIANCES
from .report import COMPARED
from .sample_quality import SAMPLERS


class Flag(NamedTuple):
    """A flag: the type of its value, or the words that it may be; a bool is --x and --no-x."""

    kind: Any
    default: Any
    text: str
    nargs: str | None = None


_IMAGES = {
    "dataset_name": Flag(
        str, None, "a `datasets` name or a local data set; nothing = scikit-learn's digits"
    ),
    "dataset_config_name": Flag(str, None, "its configuration"),
    "train_dir": Flag(
        str, None, "a folder of images, or of train and val; several sub-folders are classes"
    ),
    "validation_dir": Flag(str, None, "the same for validation"),
    "train_file": Flag(
        str, None, "uint8 (N, H, W[, C]) in a .npy file, or .npz with images and perhaps labels"
    ),
    "validation_file": Flag(str, None, "the same for validation"),
    "validation_fraction": Flag(
        float, 0.1, "how much is held out where the data has no validation part; 0 = nothing"
    ),
    "labels": Flag(
        LABELS, "auto", "of a folder: by sub-folder, metadata.csv, or names like cat_01.jpg"
    ),
    "image_column": Flag(
        str, None, "the column of images, of file names, or the array; nothing = the only one"
    ),
    "label_column": Flag(
        str, None, "the column or the array of classes; nothing = the only one, or called so"
    ),
    "image_size": Flag(
        int, None, "pixels a side; nothing = as the data, if all of it is square and of one size"
    ),
    "channels": Flag(int, None, "1 = grey, 3 = RGB; nothing = grey if all images are"),
}
_SWITCHES = {
    "random_flip": Flag(bool, False, "mirror images left to right with probability 1/2"),
    "class_conditional": Flag(bool, None, "give labels; nothing = if the data has them"),
}
NETWORK = {
    "preset": Flag(
        str, None, "a released network's sizes, such as 64x64_diffusion, instead of the flags below"
    ),
    "model_channels": Flag(int, 32, "base width"),
    "channel_mult": Flag(
        float, None, "width of each level over the base width; nothing = by the images' size", "*"
    ),
    "num_res_blocks": Flag(int, 2, "residual blocks of a level"),
    "attention_resolutions": Flag(
        int, None, "levels with attention, by their height in pixels; nothing = by the size", "*"
    ),
    "num_head_channels": Flag(int, 32, "channels of an attention head"),
    "num_heads": Flag(int, None, "heads by number, instead of num_head_channels"),
    "attention_order": Flag(
        ("legacy", "new"), "new", "how rows of queries, keys and values are ordered"
    ),
    "use_scale_shift_norm": Flag(
        bool, True, "the timestep scales and shifts the second norm, or is added before it"
    ),
    "resblock_updown": Flag(bool, True, "residual blocks change the resolution, or plain layers"),
    "rescale_residual": Flag(bool, False, "divide what a residual block gives by sqrt(2)"),
    "conv_resample": Flag(bool, True, "those plain layers have a convolution"),
    "norm_num_groups": Flag(int, 8, "groups of a group norm"),
    "dropout": Flag(float, 0.0, "in residual blocks"),
}
DIFFUSION = {
    "schedule": Flag(SCHEDULES, "cosine", "noise schedule"),
    "prediction": Flag(PREDICTIONS, "epsilon", "what the network predicts"),
    "variance": Flag(VARIANCES, "learned_range", "of the reverse process"),
    "loss": Flag(LOSSES, "hybrid", "what is minimised"),
    "timestep_sampler": Flag(
        ("uniform", "loss_second_moment"), "uniform", "how training chooses timesteps"
    ),
    "num_timesteps": Flag(int, 1000, "T"),
    "min_snr_gamma": Flag(float, None, "cap of the loss weights, usually 5"),
    "label_dropout": Flag(
        float, 0.0, "share of labels hidden in training, usually 0.1, for classifier-free guidance"
    ),
    "rescale_timesteps": Flag(bool, False, "tell the network t * 1000 / T in place of t"),
}
_EVALUATION = {
    "max_eval_images": Flag(int, 180, "held-out images whose bound is estimated"),
    "num_quality_images": Flag(int, 500, "samples behind each FID, which take time; 0 = no FID"),
    "quality_steps": Flag(str, ["10", "25", "50"], "of the table of FID", "+"),
    "quality_samplers": Flag(tuple(SAMPLERS), [*COMPARED], "of the same", "+"),
    "inception_weights": Flag(
        str, None, "pt_inception-2015-12-05-6726825d.pth: FID by Inception's features"
    ),
}
_TRAINING = ("timestep_sampler", "label_dropout")  # also of a saved model and its diffusion
_PROCESS = tuple(name for name in DIFFUSION if name not in _TRAINING)


# ----------------------------------------------------------------------------------- the flags
def add_image_arguments(parser: argparse.ArgumentParser, *, flips: bool = True) -> None:
    """Adds the flags of [`image_settings`], and `--random_flip` for [`objective_settings`].

    Args:
        parser: the recipe's parser.
        flips: whether there is a `--random_flip`.
    """
    switches = {name: flag for name, flag in _SWITCHES.items() if flips or name != "random_flip"}
    add_flags(parser.add_argument_group("images"), _IMAGES | switches)


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what is trained: a saved model or the settings of a new one, and where it is uploaded.

    These are the flags of [`network_settings`], [`process_settings`] and [`objective_settings`],
    which read the training's `--seed`, too.

    Args:
        parser: the recipe's parser.
    """
    group = parser.add_argument_group("model")
    group.add_argument("--model_name_or_path", help="go on from a saved model and its diffusion")
    add_hub_arguments(group)
    add_flags(parser.add_argument_group("network"), NETWORK)
    add_flags(parser.add_argument_group("diffusion"), DIFFUSION)


def add_evaluation_arguments(parser: argparse.ArgumentParser, *, quality: bool = True) -> None:
    """Adds what a trained model is measured by: how many images, steps, whose features.

    Args:
        parser: the recipe's parser.
        quality: whether samples are compared with images, too.
    """
    names = _EVALUATION if quality else ("max_eval_images",)
    flags = {name: _EVALUATION[name] for name in names}
    add_flags(parser.add_argument_group("evaluation"), flags)


def add_flags(group: Any, flags: dict[str, Flag]) -> None:
    """Adds flags that take a value to a group of a parser."""
    for name, flag in flags.items():
        kind = {"type": flag.kind} if isinstance(flag.kind, type) else {"choices": [*flag.kind]}
        how: dict[str, Any] = kind | {"nargs": flag.nargs}
        if flag.kind is bool:
            how = {"action": argparse.BooleanOptionalAction}
        text = f"{flag.text} (default: {flag.default})"
        group.add_argument(f"--{name}", default=flag.default, help=text, **how)


# ---------------------------------------------------------------------------- what they have said
def image_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Which images: keyword values of `ddpm.data.load_images`."""
    return values(args, [*_IMAGES, "class_conditional"])


def network_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Which network: keyword values of `ddpm.evaluation.new_network`."""
    outputs = {"learn_sigma": args.variance in LEARNED}
    inputs = {"null_class": args.label_dropout != 0}
    return network_sizes(args) | {"seed": args.seed} | outputs | inputs


def network_sizes(args: argparse.Namespace) -> dict[str, Any]:
    """The flags of a network's sizes, where heads are given by number or by channels."""
    said = values(args, NETWORK)
    if args.num_heads is None:
        del said["num_heads"]
    else:
        said["num_head_channels"] = None
    return said


def process_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Which diffusion: keyword values of `ddpm.evaluation.new_diffusion`."""
    return values(args, _PROCESS)


def objective_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Which training loss: keyword values of `ddpm.evaluation.new_objective`."""
    return values(args, [*_TRAINING, "seed", "random_flip"])


def quality_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Which table of FID: keyword values of `ddpm.evaluation.new_sample_evaluation`."""
    return {
        "num_images": args.num_quality_images,
        "steps": args.quality_steps,
        "inception_weights": args.inception_weights,
        "data_name": data_name(args),
        "seed": args.seed,
    }


def parse(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """Reads the flags of a training; one that would have no effect is refused.

    Args:
        parser: with all flags of this module but those of sampling.
        argv: the words; None = those of this process.

    Returns:
        The flags.

    Raises:
        ValueError: if flags of network or diffusion are given to a saved model, which has its own,
            or sizes beside a preset, or one of the sizes is without effect beside the others, or
            an upload would fail.
    """
    args = parser.parse_args(argv)
    check_hub_arguments(args)
    for name, (flags, way_out) in _overruled(args).items():
        said = given_flags(parser, argv, flags)
        if said:
            raise ValueError(f"got {' '.join(said)} and {name}; {way_out}.")
    return args


def _overruled(args: argparse.Namespace) -> dict[str, tuple[list[str], str]]:
    """Flags that have no effect: what says so -> they, and the way out."""
    one = "leave out the one or the other"
    found = {}
    if vars(args).get("diffusion_name_or_path"):
        own = "a diffusion_name_or_path, which has its own"
        found[own] = (["schedule", "num_timesteps", "rescale_timesteps"], one)
    if vars(args).get("model_name_or_path"):
        found["a model_name_or_path, which has its own"] = ([*NETWORK, *_PROCESS], one)
        return found
    if args.preset:
        sizes = [name for name in (*NETWORK, "pool") if name in vars(args) and name != "preset"]
        found["a preset, which has its own"] = (sizes, one)
        return found
    if args.num_heads is not None:
        found["a num_heads, which decides it"] = (["num_head_channels"], one)
    if args.resblock_updown:
        way_out = "give --no-resblock_updown, too, or leave it out"
        found["residual blocks that change the resolution"] = (["conv_resample"], way_out)
    return found


def run_flags(args: argparse.Namespace) -> dict[str, Any]:
    """The flags that a training followed, by name.

    Args:
        args: all flags of the recipe.

    Returns:
        All of them, but for those without effect, as a saved model or a preset overrules them.
    """
    unused = {name for flags, _ in _overruled(args).values() for name in flags}
    return {name: value for name, value in vars(args).items() if name not in unused}


def data_name(args: argparse.Namespace) -> str:
    """What the images are called on a card: a name, no path of this machine.

    Args:
        args: parsed flags of [`add_image_arguments`].

    Returns:
        The name.
    """
    return public(args.train_dir or args.train_file or args.dataset_name or "scikit-learn digits")


def held_out_name(args: argparse.Namespace) -> str:
    """What the held-out images are called on a card: a name, no path of this machine.

    Args:
        args: parsed flags of [`add_image_arguments`].

    Returns:
        The name.
    """
    given = args.validation_file or args.validation_dir or ""
    return public(given) or f"held-out part of {data_name(args)}"


def values(args: argparse.Namespace, names: Iterable[str]) -> dict[str, Any]:
    """Some flags by name."""
    return {name: getattr(args, name) for name in names}
