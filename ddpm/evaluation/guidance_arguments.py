"""The flags of guidance, and what they say: which guide, how strong, at which noise levels."""

import argparse
from collections.abc import Callable
from typing import Any

from torch import Tensor

from ..guidance import autoguidance, classifier_free_guidance, classifier_guidance
from ..guides import PLACES, Guide
from ..models.classifier import NoisyClassifier
from ..models.unet import UNet

GUIDES = ("classifier", "classifier_free", "auto")
_NEEDS = {"classifier": "classifier", "auto": "weaker_model"}  # which flag names its network
_SCALES = {"classifier": 1.0, "classifier_free": 2.0, "auto": 2.0}  # where none is given
_OFF = {"classifier": 0.0, "classifier_free": 1.0, "auto": 1.0}


def add_guidance_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what steers a sampling to its labels.

    Args:
        parser: of a sampling, with the flags of arguments.py.
    """
    group = parser.add_argument_group("guidance")
    which = "what steers (of two stages the first); nothing = by the flags below, or not at all"
    group.add_argument("--guidance", choices=GUIDES, help=which)
    scale = "nothing = 1 for a classifier, 2 for the others, of which 1 is off"
    group.add_argument("--guidance_scale", type=float, help=scale)
    group.add_argument("--classifier", help="a saved classifier of recipes/train_classifier.py")
    group.add_argument("--weaker_model", help="a saved model, for the guidance auto")
    at = "where ancestral sampling takes a classifier's gradient (default: mean)"
    group.add_argument("--guidance_at", choices=PLACES, help=at)
    interval = "noise levels at which it steers, low < sigma <= high"
    group.add_argument(
        "--guidance_interval", type=float, nargs=2, metavar=("LOW", "HIGH"), help=interval
    )


def chosen_guide(args: argparse.Namespace) -> str | None:
    """Which guide the flags ask for.

    Args:
        args: parsed flags of [`add_guidance_arguments`].

    Returns:
        A name of `GUIDES`, or None.

    Raises:
        ValueError: if a flag would have no effect, or one is missing.
    """
    by_flag = {"classifier": args.classifier, "auto": args.weaker_model}
    given = [name for name, value in by_flag.items() if value is not None]
    settings = ("guidance_scale", "guidance_interval", "guidance_at")
    said = [f"--{name}" for name in settings if getattr(args, name) is not None]
    name = args.guidance or (given[0] if given else None)
    if name is None:
        if "--guidance_scale" in said and "--guidance_at" not in said:
            return "classifier_free"
        if said:
            raise ValueError(f"got {' '.join(said)} and no guidance; expected --guidance, too.")
        return None
    unused = [each for each in given if each != name]
    if name in by_flag and by_flag[name] is None:
        raise ValueError(f"guidance is {name!r}; expected --{_NEEDS[name]}, too.")
    if unused:
        raise ValueError(
            f"got --{_NEEDS[unused[0]]}, which is for the guidance {unused[0]!r}, and not for"
            f" {name!r}; expected one of the two (in Python a list of guides adds them up)."
        )
    if args.guidance_at is not None and name != "classifier":
        raise ValueError(f"guidance is {name!r}; --guidance_at is of a classifier's gradient.")
    return name


def told_guide(args: argparse.Namespace) -> str:
    """What steers, and how strongly, in words; nothing if nothing does."""
    name = chosen_guide(args)
    if name is None:
        return ""
    scale = _scale(args, name)
    told = f"{name} guidance of scale {scale:g}"
    if scale == _OFF[name]:
        told += ", which is none,"
    if name in _NEEDS:
        told += f" by {getattr(args, _NEEDS[name])}"
    if args.guidance_interval is not None:
        told += " at noise levels {:g} to {:g}".format(*args.guidance_interval)
    return told


def _scale(args: argparse.Namespace, name: str) -> float:
    return _SCALES[name] if args.guidance_scale is None else args.guidance_scale


def guidance_for(
    args: argparse.Namespace,
    labels: Tensor | None,
    classifier: NoisyClassifier | None,
    weaker: UNet | None,
    *,
    conditional: bool,
) -> Callable[[Tensor], Guide] | None:
    """The guidance of each batch: the value of `ddpm.draw_images(guidance_for=)`.

    Args:
        args: parsed flags of [`add_guidance_arguments`].
        labels: int64 (N,), of all images.
        classifier: that the flags name.
        weaker: the network that they name.
        conditional: whether the model is given the labels, too.

    Returns:
        numbers of images, int64 (B,) -> a guide; None = nothing steers.

    Raises:
        ValueError: if the flags do not go together, or there is nothing to steer to.
    """
    name = chosen_guide(args)
    if name is None:
        return None
    if labels is None and name != "auto":
        raise ValueError(f"guidance is {name!r}, and there are no classes to steer to.")
    scale = _scale(args, name)
    interval = None if args.guidance_interval is None else tuple(args.guidance_interval)
    common: dict[str, Any] = {"interval": interval}
    if name == "classifier_free":
        guide = classifier_free_guidance(scale, **common)
        return lambda numbers: guide
    if name == "auto":
        assert weaker is not None
        guide = autoguidance(weaker, scale, **common)
        return lambda numbers: guide
    assert classifier is not None and labels is not None
    at = args.guidance_at or "mean"
    if conditional:  # its classes are the classifier's, or that is refused
        guide = classifier_guidance(classifier, None, scale, at, **common)
        return lambda numbers: guide
    return lambda numbers: classifier_guidance(classifier, labels[numbers], scale, at, **common)
