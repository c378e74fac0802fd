"""What guidance trades: quality of samples, and how well a clean classifier knows them.

    accuracy = share of the samples whose class the extractor of their features gets right

Every guide is given the same numbered noise and labels, so that figures differ by the guide alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ardm.training import gather_rows

from ..denoisers import Denoiser
from ..diffusion import GaussianDiffusion
from ..guides import Guidance
from ..metrics import ImageQuality
from .evaluation import SampleEvaluation


@dataclass(frozen=True)
class GuidedQuality:
    """The figures of samples of one guide.

    Args:
        quality: FID and its kin.
        accuracy: share in [0, 1].
    """

    quality: ImageQuality
    accuracy: float

    def as_dict(self) -> dict[str, float | None]:
        """FID, precision, recall and accuracy by name, as tables and curves have them."""
        shown = ("fid", "precision", "recall")
        return {name: getattr(self.quality, name) for name in shown} | {"accuracy": self.accuracy}


def guided_quality(
    evaluation: SampleEvaluation,
    model: Denoiser,
    diffusion: GaussianDiffusion,
    guidance: Guidance | Sequence[Guidance] | None,
    **options: Any,
) -> GuidedQuality:
    """Draws guided samples of all classes in turn and measures them; to be called on all processes.

    Args:
        evaluation: of samples, by an extractor that knows the model's classes.
        model: of the diffusion, with classes.
        diffusion: of the model.
        guidance: as for `sample`, of labels and scales that fit any batch.
        **options: of `sample`, such as sampler and steps.

    Returns:
        The figures, the same on all processes.

    Raises:
        ValueError: if the real images have no labels, or the extractor no classes.
    """
    labels = evaluation.labels
    if labels is None:
        raise ValueError("the real images have no labels; expected classes to steer to.")
    hits: list[Tensor] = []

    def count(numbers: Tensor, images: Tensor) -> None:
        probabilities = evaluation.quality.extractor(images).probabilities
        if probabilities is None:
            raise ValueError("the extractor has no classes; expected a classifier of the images.")
        hits.append(probabilities.argmax(1) == labels[numbers])

    quality = evaluation.measure(model, diffusion, count, guidance=guidance, **options)
    none = torch.empty(0, dtype=torch.bool)  # where there are more processes than images
    correct = gather_rows(torch.cat([none, *hits]))
    return GuidedQuality(quality, float(correct.double().mean()))
