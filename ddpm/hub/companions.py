"""What a saved model is used with, read from folders or the Hub: what steers it, what enlarges it.

Weights of another diffusion, size or classes would steer without a word, and wrongly; a network
does not know its diffusion or the names of its classes, but its folder does.
"""

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from ..diffusion import GaussianDiffusion
from ..models.classifier import NoisyClassifier
from ..models.unet import UNet
from .classifier_folder import load_classifier
from .folder import load_class_names, load_folder

logger = logging.getLogger(__name__)


class SavedModels(NamedTuple):
    """A model and what it is used with, all in evaluation mode."""

    model: UNet
    diffusion: GaussianDiffusion
    class_names: list[str] | None  # of the model, or of the classifier that steers it
    second: tuple[UNet, GaussianDiffusion] | None  # the upsampler and its diffusion
    classifier: NoisyClassifier | None
    weaker: UNet | None

    def to(self, device: torch.device) -> "SavedModels":
        """The same, with all networks moved to a device."""
        networks: list[Any] = [self.model, self.classifier, self.weaker, *(self.second or ())[:1]]
        for network in filter(None, networks):
            network.to(device)
        return self


def load_together(
    name: str,
    *,
    upsampler: str | None = None,
    classifier: str | None = None,
    weaker: str | None = None,
    variance: str | None = None,
) -> SavedModels:
    """Reads a model and what steers and enlarges it.

    Args:
        name: of the model, a folder or user/name.
        upsampler: a saved upsampler's name; None = there is none.
        classifier: as of [`load_guides`].
        weaker: as of [`load_guides`].
        variance: of p(x_{t-1} | x_t) instead of the saved ones, "fixed_small" or "fixed_large".

    Returns:
        [`SavedModels`].

    Raises:
        ValueError: if one cannot be read, or does not go with the model.
    """
    model, diffusion = load_folder(name)
    second = None if upsampler is None else load_upsampler(name, upsampler)
    its_classifier, its_weaker = load_guides(
        name, model, diffusion, classifier=classifier, weaker=weaker
    )
    class_names = load_class_names(name)
    if class_names is None and its_classifier is not None:
        class_names = its_classifier.config.label_names
    if variance is not None:
        diffusion = diffusion.with_variance(variance)
        second = second and (second[0], second[1].with_variance(variance))
    return SavedModels(model, diffusion, class_names, second, its_classifier, its_weaker)


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
        ValueError: if one cannot be read, or is of another diffusion, size or classes. A classifier
            that does not know its noise is warned of.
    """
    its_classifier = its_weaker = None
    if classifier is not None:
        its_classifier = load_classifier(classifier)
        _check_same_classes(name, classifier, its_classifier.config.class_names)
        if its_classifier.config.betas is None:
            logger.warning(
                "%s does not say on which noise it was trained; one of clean images (--no-noised)"
                " steers to nothing, and one of other noise badly",
                classifier,
            )
    if weaker is not None:
        its_weaker, its_diffusion = load_folder(weaker)
        _check_same_classes(name, weaker, load_class_names(weaker))
        for field in ("image_size", "in_channels", "low_resolution", "num_classes"):
            ours, theirs = getattr(model.config, field), getattr(its_weaker.config, field)
            if ours != theirs:
                raise ValueError(
                    f"{weaker} has {field} {theirs} and {name} {ours}; expected the same."
                )
        _check_same_diffusion(name, diffusion, weaker, its_diffusion)
    return its_classifier, its_weaker


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
