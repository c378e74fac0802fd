"""What the card of an image diffusion model is told: figures and facts, which cards.py words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ardm.training.card_parts import RunFigures
from ardm.training.local_paths import public

from ..diffusion import GaussianDiffusion
from ..metrics import ImageQuality
from ..models.unet import UNet

# figures of samples, by field, and what a table calls them
METRICS = {"fid": "FID", "kid": "KID", "precision": "precision", "recall": "recall"}
_DIFFUSION = (
    "num_timesteps",
    "prediction",
    "variance",
    "loss",
    "min_snr_gamma",
    "rescale_timesteps",
)


@dataclass(frozen=True, kw_only=True)
class Likelihood:
    """The bound on held-out images, in bits per dimension; of a path its last component is kept."""

    dataset: str
    num_images: int
    bits_per_dim: float
    standard_error: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "dataset", public(self.dataset))

    @classmethod
    def of(cls, dataset: str, num_images: int, figures: Mapping[str, float]) -> "Likelihood":
        """From the figures of a `ddpm.evaluation.BoundEvaluation`."""
        return cls(
            dataset=dataset,
            num_images=num_images,
            bits_per_dim=figures["bits_per_dim"],
            standard_error=figures["bits_per_dim_standard_error"],
        )


@dataclass(frozen=True, kw_only=True)
class SampleQuality:
    """How near one sampler's images are to real ones; None = not measured."""

    sampler: str
    steps: int | str
    fid: float | None = None
    kid: float | None = None
    kid_standard_error: float | None = None
    precision: float | None = None
    recall: float | None = None

    @classmethod
    def of(cls, sampler: str, steps: int | str, quality: ImageQuality) -> "SampleQuality":
        """From the figures of an `ImageQualityEvaluation`."""
        measured = {name: getattr(quality, name) for name in (*METRICS, "kid_standard_error")}
        return cls(sampler=sampler, steps=steps, **measured)


@dataclass(frozen=True, kw_only=True)
class ImageModelFigures(RunFigures):
    """What cards of diffusion models and of classifiers say alike.

    Args:
        image_size: pixels a side.
        low_resolution: pixels a side of the small images that an upsampler enlarges.
        num_channels: 1 or 3.
        class_names: what label k is called, at k.
        num_images: trained on.
    """

    image_size: int | None = None
    low_resolution: int | None = None
    num_channels: int | None = None
    class_names: Sequence[str] | None = None
    num_images: int | None = None


@dataclass(frozen=True, kw_only=True)
class CardFigures(ImageModelFigures):
    """All that a card says, beside what every card may say; what keeps its default is left out.

    Args:
        null_class: whether the network knows images without class, too.
        label_dropout: share of the labels that training replaced by the null class.
        diffusion: settings of the process, by name.
        likelihood: on held-out images.
        quality: a row each of the table.
        num_generated: images behind every row.
        num_real: images that they are compared with.
        extractor: name of the features.
        quality_seed: of the sampling.
    """

    null_class: bool = False
    label_dropout: float = 0.0
    diffusion: Mapping[str, object] = field(default_factory=dict)
    likelihood: Likelihood | None = None
    quality: Sequence[SampleQuality] = ()
    num_generated: int | None = None
    num_real: int | None = None
    extractor: str | None = None
    quality_seed: int | None = None


def model_facts(
    model: UNet, diffusion: GaussianDiffusion, class_names: Sequence[str] | None
) -> dict[str, Any]:
    """What a card says of a network and its diffusion.

    Args:
        model: the network.
        diffusion: what it is trained with.
        class_names: of its labels, or None.

    Returns:
        Fields of [`CardFigures`].
    """
    return {
        "num_parameters": model.num_parameters(),
        "image_size": model.config.image_size,
        "low_resolution": model.config.low_resolution,
        "num_channels": model.config.in_channels,
        "class_names": class_names,
        "null_class": model.config.null_class,
        "diffusion": {name: getattr(diffusion, name) for name in _DIFFUSION},
    }


def quality_facts(measured: Sequence[tuple[str, int | str, ImageQuality]]) -> dict[str, Any]:
    """What a card says of samples that were measured alike.

    Args:
        measured: sampler, number of steps and figures, all of as many images, by the same features
            and seed.

    Returns:
        Fields of [`CardFigures`]; none if nothing was measured.
    """
    if not measured:
        return {}
    _, _, common = measured[0]
    return {
        "quality": [SampleQuality.of(*row) for row in measured],
        "num_generated": common.num_images,
        "num_real": common.num_reference,
        "extractor": common.extractor,
        "quality_seed": common.seed,
    }
