"""Contrasts: what a network says, moved away from what a weaker one says of the same images.

    moved = weaker + s (output - weaker)

(arXiv 2207.12598, equation 6; arXiv 2406.02507, equation 3.) The weaker one is the network itself
without labels, or another network.

Shapes: B images (B, C, H, W); an output has C channels, or 2C with a variance.
"""

from typing import Any

import torch
from torch import Tensor

from ardm.training import evaluating

from .checks import is_number
from .conditioning import Conditioned
from .denoisers import check_model
from .guides import Contrast
from .predictors import Predictor


class Lerp(Contrast):
    """weaker + s (output - weaker), perhaps with the spread of the output.

    Args:
        scale: s.
        interval: as of every guide.
        rescale: see [`classifier_free_guidance`].
    """

    def __init__(self, scale: Any, interval: Any, rescale: Any):
        super().__init__(scale, interval)
        if rescale is not None and not is_number(rescale, lambda share: 0 <= share <= 1):
            raise ValueError(f"rescale is {rescale!r}; expected a number in [0, 1], or None.")
        self.rescale = float(rescale or 0)

    def gives_weaker(self) -> bool:
        return not self.scale.any() and not self.rescale

    def move(self, output: Tensor, weaker: Tensor, num_channels: int) -> Tensor:
        said, rest = output.split((num_channels, output.shape[1] - num_channels), 1)
        other, other_rest = weaker.split((num_channels, weaker.shape[1] - num_channels), 1)
        scale = self.scale_of(said)
        moved = torch.lerp(other, said, scale.expand_as(said))  # exact at 0 and at 1
        if self.rescale:
            moved = torch.lerp(moved, moved * _spread(said) / _spread(moved), self.rescale)
        if rest.shape == other_rest.shape:  # a variance between the two, and no further
            rest = torch.lerp(other_rest, rest, scale.clamp(0, 1).expand_as(rest))
        return torch.cat((moved, rest), dim=1)


class NullClass(Lerp):
    """Away from what the network says of images without class."""

    def check(self, predictor: Predictor) -> None:
        if predictor.labels is None:
            raise ValueError(
                "there are no labels to steer to; expected sample(..., labels=) with"
                " classifier-free guidance."
            )
        config = getattr(predictor.model, "config", None)
        if config is not None and not getattr(config, "null_class", True):
            raise ValueError(
                "the network has no null class, which means 'no label'; expected one that was"
                " trained with --label_dropout, or"
                " classifier_free_guidance(scale, unconditional=network)."
            )

    def null_labels(self, predictor: Predictor) -> Tensor | None:
        num_classes = getattr(getattr(predictor.model, "config", None), "num_classes", None)
        if num_classes is None or predictor.labels is None:  # a function in a network's place
            return None
        return torch.full_like(predictor.labels, num_classes)

    def ask(self, predictor: Predictor, x: Tensor, t: int) -> Tensor:
        return predictor.ask(predictor.model, x, t, None)


class WeakerNetwork(Lerp):
    """Away from what another network says; an upsampler's is given the same small images."""

    def __init__(self, network: Any, scale: Any, interval: Any, rescale: Any, *, with_labels: bool):
        super().__init__(scale, interval, rescale)
        check_model(network)
        self.network = network
        self.with_labels = with_labels
        self.role = "weaker" if with_labels else "unconditional"

    def check(self, predictor: Predictor) -> None:
        if not self.with_labels and predictor.labels is None:
            raise ValueError(
                "there are no labels to steer to; expected sample(..., labels=) with"
                " classifier-free guidance."
            )
        ours = getattr(predictor.model, "config", None)
        theirs = getattr(self.network, "config", None)
        if ours is None or theirs is None:  # functions in a network's place
            return
        if not hasattr(theirs, "null_class"):
            raise ValueError(
                f"the {self.role} network is a {type(self.network).__name__}; expected one that"
                " predicts images, of the same diffusion."
            )
        needs_labels = theirs.num_classes and not theirs.null_class
        if not self.with_labels and needs_labels:
            raise ValueError(
                f"the unconditional network has {theirs.num_classes} classes and no null class;"
                " expected one without classes, or trained with --label_dropout."
            )
        shared = ("image_size", "in_channels", "low_resolution")
        for name in (*shared, "num_classes") if self.with_labels else shared:
            own, other = getattr(ours, name, None), getattr(theirs, name, None)
            if own != other:
                raise ValueError(
                    f"the {self.role} network has {name} {other} and the network {own};"
                    " expected the same."
                )

    def null_labels(self, predictor: Predictor) -> Tensor | None:
        return None

    def ask(self, predictor: Predictor, x: Tensor, t: int) -> Tensor:
        labels = predictor.labels if self.with_labels else None
        network = self.network
        if isinstance(predictor.model, Conditioned) and not isinstance(network, Conditioned):
            network = predictor.model.like(network)
        with evaluating(network):
            return predictor.ask(network, x, t, labels)


def _spread(images: Tensor) -> Tensor:
    """Standard deviation of each image, (B, 1, ...); 1 where all its values are the same."""
    deviations = images.flatten(1).std(1).view(-1, *[1] * (images.ndim - 1))
    return torch.where(deviations > 0, deviations, 1)
