"""What guidance trades: quality of samples, and how well a clean classifier knows them.

    accuracy = share of the samples whose class the extractor of their features gets right

Every guide is given the same numbered noise and labels, so that figures differ by the guide alone.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ardm.training import gather_rows

from ..denoisers import Denoiser
from ..diffusion import GaussianDiffusion
from ..guidance import Guides, autoguidance, classifier_free_guidance, classifier_guidance
from ..metrics import ImageQuality
from ..models.classifier import NoisyClassifier
from ..models.unet import UNet
from ..samplers import device_of, prepare, sample
from .sample_quality import SampleEvaluation

logger = logging.getLogger(__name__)

# how images are drawn for people: by the published ancestral chain, and in few steps
SHOWN = {"ancestral": ("ddpm", 250), "DDIM": ("ddim", 25)}


@dataclass(frozen=True)
class GuidedQuality:
    """The figures of samples of one guide.

    Args:
        quality: FID and its kin.
        accuracy: share in [0, 1].
    """

    quality: ImageQuality
    accuracy: float

    def as_dict(self) -> dict[str, float]:
        """FID, precision, recall and accuracy by name, as tables and curves have them."""
        shown = ("fid", "precision", "recall")
        return {name: getattr(self.quality, name) for name in shown} | {"accuracy": self.accuracy}


def swept_guides(
    classifier: NoisyClassifier | None, weaker: UNet | None
) -> dict[str, Callable[[float], Guides]]:
    """What makes a guidance of a scale, for each kind of guide.

    The classifier steers the network as if it knew no labels: the null class makes it an
    unconditional one.

    Args:
        classifier: of noisy images.
        weaker: a weaker network.

    Returns:
        Functions of a scale by name.
    """
    assert classifier is not None and weaker is not None  # they are named
    unlabelled = classifier_free_guidance(0.0)
    return {
        "classifier": lambda scale: [unlabelled, classifier_guidance(classifier, scale=scale)],
        "classifier-free": classifier_free_guidance,
        "auto": partial(autoguidance, weaker),
    }


def check_swept(
    model: Denoiser,
    diffusion: GaussianDiffusion,
    guides: Mapping[str, Callable[[float], Guides]],
    steps: str,
) -> None:
    """Makes sure that guides go with a model, before anything is drawn.

    Args:
        model: of the diffusion, with classes.
        diffusion: of the model.
        guides: of [`swept_guides`].
        steps: as for `sample`.

    Raises:
        ValueError: if one does not, or the model has no null class.
    """
    config = getattr(model, "config", None)
    if config is not None and config.num_classes is None:
        raise ValueError(
            "the model knows no classes; expected one of labelled images, trained with"
            " --label_dropout."
        )
    label = torch.zeros(1, dtype=torch.long, device=device_of(model))
    for guide in guides.values():
        prepare(model, diffusion, 1, steps=steps, labels=label, guidance=guide(1.0))


def guided_quality(
    evaluation: SampleEvaluation,
    model: Denoiser,
    diffusion: GaussianDiffusion,
    guidance: Guides | None,
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


def quality_by_scale(
    measure: Callable[[Guides], GuidedQuality],
    guides: Mapping[str, Callable[[float], Guides]],
    scales: Mapping[str, Sequence[float]],
) -> dict[str, dict[float, dict[str, float]]]:
    """The figures of several guides by scale.

    Args:
        measure: guidance -> figures; see [`guided_quality`].
        guides: by name, what makes a guidance of a scale.
        scales: of each guide by its name.

    Returns:
        name -> scale -> figures by name.
    """
    curves: dict[str, dict[float, dict[str, float]]] = {}
    for name, guide in guides.items():
        curves[name] = {}
        for scale in scales[name]:
            figures = measure(guide(scale)).as_dict()
            curves[name][scale] = figures
            told = "  ".join(f"{each} {value:.4g}" for each, value in figures.items())
            logger.info("%-16s scale %-4g  %s", name, scale, told)
    return curves


def guided_grids(
    model: UNet,
    diffusion: GaussianDiffusion,
    guides: Mapping[str, Guides],
    *,
    each: int = 4,
    seed: int = 0,
) -> dict[str, dict[str, Tensor]]:
    """The same noise under several guides, `each` images of a class, class by class.

    Args:
        model: of the diffusion, with classes.
        diffusion: of the model.
        guides: by name.
        each: images of a class.
        seed: of the noise.

    Returns:
        sampler -> guide -> images (classes * each, C, H, W).
    """
    config = model.config
    assert config.num_classes is not None
    labels = torch.arange(config.num_classes, device=device_of(model)).repeat_interleave(each)
    shape = (len(labels), config.in_channels, config.image_size, config.image_size)
    most = diffusion.num_timesteps
    return {
        f"{shown}, {min(steps, most)} steps": {
            name: sample(
                model,
                shape,
                diffusion,
                sampler=sampler,
                steps=min(steps, most),
                labels=labels,
                guidance=guidance,
                seed=seed,
            ).cpu()
            for name, guidance in guides.items()
        }
        for shown, (sampler, steps) in SHOWN.items()
    }
