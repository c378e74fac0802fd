"""From images to features: phi(x) in R^F, and p(y|x) over K classes where the network has classes.

FID, KID, precision and recall compare two sets of images only through phi, so that a figure means
nothing without the name of phi. Anything that maps images to features serves: a network, or a
function.

Shapes: B images, C channels, H x W pixels, F features, K classes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ardm.training import evaluating

from ..denoisers import check_images

_ROUNDING = 1e-3  # by which a sum of half-precision probabilities may miss 1


class Features(NamedTuple):
    """What an extractor knows of B images.

    Args:
        features: float32 or float64 (B, F), on the CPU.
        probabilities: float64 (B, K), rows sum to 1, on the CPU; None if the extractor has no
            classes.
    """

    features: Tensor
    probabilities: Tensor | None


@dataclass(frozen=True)
class FeatureExtractor:
    """A function of images under the name that its figures are recorded with.

    A module is run in evaluation mode, on its parameters' device, and is left in the mode it was
    in.

    Args:
        name: says which features these are: network, weights, preparation of the images.
        function: images float (B, C, H, W) in [-1, 1] -> features (B, F), or features and class
            probabilities (B, K).

    Raises:
        ValueError: if the name is empty or the function cannot be called.
    """

    name: str
    function: Callable[[Tensor], Any]

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ValueError(
                f"the extractor's name is {self.name!r}; expected a text that is not empty."
            )
        if not callable(self.function):
            raise ValueError(
                f"the extractor {self.name!r} is a {type(self.function).__name__};"
                " expected a callable."
            )

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Features:
        """Extracts the features of a batch.

        Args:
            images: float (B, C, H, W) in [-1, 1], at least one.

        Returns:
            Features, and class probabilities if there are any.

        Raises:
            ValueError: if these are no images in [-1, 1], or the function returns no features of
                them.
        """
        check_images(images, flat=False, wait=True)
        if isinstance(self.function, nn.Module):
            parameter = next(self.function.parameters(), images)
            with evaluating(self.function):
                output = self.function(images.to(parameter.device))
        else:
            output = self.function(images)
        paired = isinstance(output, tuple) and len(output) == 2
        features, probabilities = output if paired else (output, None)
        self._check_rows("features", features, len(images))
        if features.dtype not in (torch.float32, torch.float64):
            features = features.float()
        if probabilities is None:
            return Features(features.cpu(), None)
        self._check_rows("probabilities", probabilities, len(images))
        self._check_sums(probabilities)
        return Features(features.cpu(), probabilities.cpu().double())

    def _check_rows(self, what: str, rows: Any, num_images: int) -> None:
        table = isinstance(rows, Tensor) and rows.ndim == 2
        if not table or len(rows) != num_images or rows.shape[1] == 0:
            got = tuple(rows.shape) if isinstance(rows, Tensor) else type(rows).__name__
            raise ValueError(
                f"{self.name!r} returned {what} {got};"
                f" expected a tensor ({num_images}, number of {what})."
            )
        if not rows.is_floating_point() or not rows.isfinite().all():
            raise ValueError(
                f"{self.name!r} returned {what} that are not finite floats ({rows.dtype})."
            )

    def _check_sums(self, probabilities: Tensor) -> None:
        totals = probabilities.double().sum(1)
        if (probabilities < 0).any() or ((totals - 1).abs() > _ROUNDING).any():
            raise ValueError(
                f"{self.name!r} returned class probabilities that are negative or do not sum to 1"
                f" (sums {totals.min():.4g}..{totals.max():.4g}); expected a softmax over classes."
            )


def as_extractor(extractor: Any) -> FeatureExtractor:
    """Names a module or a function: by its `name`, else that of its class or the function's own.

    Args:
        extractor: a [`FeatureExtractor`], a module or a function, as `FeatureExtractor.function`.

    Returns:
        The extractor.

    Raises:
        ValueError: if it cannot be called, or is an anonymous function.
    """
    if isinstance(extractor, FeatureExtractor):
        return extractor
    if not callable(extractor):
        raise ValueError(
            f"the extractor is {extractor!r}; expected a FeatureExtractor, a module or a function."
        )
    name = getattr(extractor, "name", None)
    if not isinstance(name, str):
        name = str(getattr(extractor, "__qualname__", type(extractor).__name__))
    if name.endswith("<lambda>"):
        raise ValueError(
            "the extractor is a function without a name; expected FeatureExtractor(name, function)."
        )
    return FeatureExtractor(name, extractor)
