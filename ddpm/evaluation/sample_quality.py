"""How good samples are: FID and its kin against the images that a model was trained on.

Small images are compared in the features of a classifier of their own classes, which is trained
here. Samples are drawn by number, shared out over the processes, and scored as files would be.
"""

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ardm.training import check_integer, own_share

from ..denoisers import Denoiser, to_model_range, to_uint8
from ..diffusion import GaussianDiffusion
from ..drawing import balanced_labels, draw_images
from ..metrics import FeatureExtractor, ImageQuality, ImageQualityEvaluation
from ..metrics.feature_classifier import SmallClassifier, train_feature_classifier
from ..noise import stream
from ..steps import STEPS
from .image_sets import Images, stacked

logger = logging.getLogger(__name__)

# what can be compared: a sampler, and the variance of its steps where it is not the model's own
SAMPLERS: dict[str, tuple[str, str | None]] = {
    "ddpm": ("ddpm", None),
    "ddpm, fixed_small": ("ddpm", "fixed_small"),
    "ddpm, fixed_large": ("ddpm", "fixed_large"),
    **{name: (name, None) for name in STEPS},
}
_KEPT = 10_000  # images behind KID, precision and recall, whose cost grows with their square


class SampleEvaluation:
    """FID and its kin of samples against real images, for any sampler and number of steps.

    FID is of all images; KID, precision and recall are of the first 10,000 at most.

    Args:
        dataset: the real images.
        extractor: as for `ImageQualityEvaluation`.
        num_images: samples of each evaluation; their labels go through the data set's classes in
            turn.
        batch_size: images drawn side by side.
        seed: of the samples.

    Raises:
        ValueError: if there are fewer images, or fewer are to be drawn, than the figures need.
    """

    def __init__(
        self,
        dataset: Images,
        extractor: FeatureExtractor | nn.Module | str,
        num_images: int,
        batch_size: int = 250,
        seed: int = 0,
    ):
        from accelerate import PartialState

        num_images = check_integer("num_images", num_images, 1)
        real, labels = stacked(dataset)
        num_classes = None if labels is None else int(labels.max()) + 1
        self.labels = balanced_labels(num_images, num_classes)
        self.image_shape = tuple(real.shape[1:])
        self.num_images = num_images
        self.batch_size = batch_size
        self.seed = seed
        self.state = PartialState()
        self.quality = ImageQualityEvaluation(extractor, seed=seed, max_kept=_KEPT)
        self.quality.check_counts(num_images, len(real))
        # data may lie class by class, and the first numbers are kept: these are a fair part of all
        numbers = torch.randperm(len(real), generator=stream(seed, "reference"))
        for places in own_share(len(real)).split(batch_size):
            self.quality.update_reference(to_model_range(real[places]), numbers[places])

    def __call__(
        self, model: Denoiser, diffusion: GaussianDiffusion, sampler: str, steps: int | str | None
    ) -> ImageQuality:
        """Draws and compares; to be called on all processes.

        Args:
            model: of the diffusion.
            diffusion: of the model.
            sampler: a name in `SAMPLERS`.
            steps: as for `sample`.

        Returns:
            The figures, the same on all processes.
        """
        name, variance = SAMPLERS[sampler]
        process = diffusion if variance is None else diffusion.with_variance(variance)
        return self.measure(model, process, sampler=name, steps=steps)

    def measure(
        self,
        model: Denoiser,
        diffusion: GaussianDiffusion,
        look: Callable[[Tensor, Tensor], None] | None = None,
        **options: Any,
    ) -> ImageQuality:
        """Draws and compares, with any options of `sample`; to be called on all processes.

        Args:
            model: of the diffusion.
            diffusion: of the model.
            look: called with the numbers (B,) and images (B, C, H, W) of each batch that is drawn
                here, as they are compared.
            **options: of `sample`.

        Returns:
            The figures, the same on all processes.
        """
        samples = draw_images(
            model,
            diffusion,
            self.num_images,
            self.image_shape,
            seed=self.seed,
            labels=self.labels,
            batch_size=self.batch_size,
            process_index=self.state.process_index,
            num_processes=self.state.num_processes,
            progress=False,
            **options,
        )
        self.quality.reset()
        for numbers, images in samples:
            as_saved = to_model_range(to_uint8(images.cpu()))  # what a file would hold
            self.quality.update(as_saved, numbers)
            if look is not None:
                look(numbers, as_saved)
        return self.quality.compute()


def extractor_of(
    train: Images, held_out: Images | None, data_name: str, seed: int = 0
) -> SmallClassifier | None:
    """A classifier of the data's own classes, trained here, whose features compare small images.

    Args:
        train: what it learns from.
        held_out: what the accuracy in its name is of; None = what it learned from.
        data_name: for the extractor's name.
        seed: of its training.

    Returns:
        An extractor for [`SampleEvaluation`]; None without labels.
    """
    images, labels = stacked(train)
    if labels is None:
        return None
    logger.info("Training a classifier of %s, whose features compare images ...", data_name)
    others = None
    if held_out is not None:
        other_images, other_labels = stacked(held_out)
        others = None if other_labels is None else (to_model_range(other_images), other_labels)
    return train_feature_classifier(
        to_model_range(images), labels, held_out=others, data_name=data_name, seed=seed
    )
