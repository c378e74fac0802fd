"""Contrasts: what a network says, moved away from what a weaker one says of the same images.

The weaker one is the network itself without labels (arXiv 2207.12598), or another network (arXiv
2406.02507). What is made of both is in guides.py.

Shapes: B images (B, C, H, W); an output has C channels, or 2C with a variance.
"""

from typing import Any

import torch
from torch import Tensor

from ardm.training.progress import evaluating

from .conditioning import Conditioned
from .denoisers import check_model
from .guides import Contrast
from .predictors import Predictor


class NullClass(Contrast):
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


class WeakerNetwork(Contrast):
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
        if getattr(theirs, "model_type", None) == "ddpm_classifier":
            raise ValueError(
                f"the {self.role} network is a {type(self.network).__name__}; expected one that"
                " predicts images, of the same diffusion."
            )
        needs_labels = getattr(theirs, "num_classes", None) and not getattr(
            theirs, "null_class", True
        )
        if not self.with_labels and needs_labels:
            raise ValueError(
                f"the unconditional network has {theirs.num_classes} classes and no null class;"
                " expected one without classes, or trained with --label_dropout."
            )
        shared = ("image_size", "in_channels", "low_resolution")
        for name in (*shared, "num_classes") if self.with_labels else shared:
            own, other = getattr(ours, name, None), getattr(theirs, name, None)
            # a network of somebody else's may not say
            if hasattr(ours, name) and hasattr(theirs, name) and own != other:
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
