"""What a saved model is used with, read from folders or the Hub: what steers it, what enlarges it.

Weights of another diffusion, size or classes would steer without a word, and wrongly; a network
does not know its diffusion or the names of its classes, but its folder does.
"""

from collections.abc import Sequence

import torch

from ..diffusion import GaussianDiffusion
from ..models.classifier import NoisyClassifier
from ..models.unet import UNet
from .classifier_folder import load_classifier
from .folder import load_class_names, load_folder


def load_guides(
    name: str,
    model: UNet,
    diffusion: GaussianDiffusion,
    *,
    classifier: str | None = None,
    weaker: str | None = None,
) -> tuple[NoisyClassifier | None, UNet | None]:
    """Reads a classifier and a weaker model that are to steer a model.

    Args:
        name: of the model, a folder or user/name.
        model: its network.
        diffusion: its diffusion.
        classifier: a saved classifier's name; None = there is none.
        weaker: a saved model's name; None = there is none.

    Returns:
        The classifier and the weaker network, each in evaluation mode, or None.

    Raises:
        ValueError: if one cannot be read, or is of another diffusion, size or classes.
    """
    critic = worse = None
    if classifier is not None:
        critic = load_classifier(classifier)
        _check_same_classes(name, classifier, critic.config.class_names)
    if weaker is not None:
        worse, its_diffusion = load_folder(weaker)
        _check_same_classes(name, weaker, load_class_names(weaker))
        if worse.config.image_size != model.config.image_size:
            raise ValueError(
                f"{weaker} makes images of {worse.config.image_size} pixels and {name} of"
                f" {model.config.image_size}; expected the same."
            )
        _check_same_diffusion(name, diffusion, weaker, its_diffusion)
    return critic, worse


def load_upsampler(name: str, upsampler: str) -> tuple[UNet, GaussianDiffusion]:
    """Reads what is to enlarge the images of a model.

    Args:
        name: of the model that draws them, a folder or user/name.
        upsampler: of the one that enlarges them.

    Returns:
        Network and diffusion, as of [`load_folder`].

    Raises:
        ValueError: if it cannot be read, or has other classes.
    """
    found = load_folder(upsampler)
    _check_same_classes(name, upsampler, load_class_names(upsampler))
    return found


def _check_same_diffusion(
    name: str, diffusion: GaussianDiffusion, other: str, its: GaussianDiffusion
) -> None:
    """Raises ValueError unless the outputs of both networks mean the same."""
    for setting in ("num_timesteps", "prediction", "rescale_timesteps"):
        ours, theirs = getattr(diffusion, setting), getattr(its, setting)
        if ours != theirs:
            raise ValueError(
                f"{other} has {setting} {theirs} and {name} {ours}; expected a weaker model of the"
                " same diffusion."
            )
    if not torch.allclose(diffusion.betas, its.betas, rtol=1e-6):
        raise ValueError(
            f"{other} was trained on another noise schedule than {name}; expected a weaker model"
            " of the same diffusion."
        )


def _check_same_classes(name: str, other: str, theirs: Sequence[str] | None) -> None:
    """Raises ValueError if both models have names of classes, and others."""
    ours = load_class_names(name)
    if ours is not None and theirs is not None and list(ours) != list(theirs):
        raise ValueError(
            f"{other} has the classes {list(theirs)} and {name} {list(ours)}; expected the same,"
            " in the same order."
        )
