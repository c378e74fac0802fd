"""ClassificationObjective: what a classifier of noisy images learns, and how well it knows them.

    loss = mean over images of -log p(y | x_t, t),    x_t ~ q(x_t | x_0),    t uniform in 0..T-1

in nats (arXiv 2105.05233, section 4 and appendix H). Noise and timesteps of example k are those
that `DiffusionObjective` gives it: functions of (seed, k), see examples.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ardm.training import Batch

from .augmentation import CROP_DRAWS, cropped, mirrored
from .denoisers import Denoiser, check_images, check_labels
from .examples import (
    CROP,
    FLIP,
    example_images,
    example_noise,
    example_uniforms,
    spread_uniforms,
)
from .forward_process import ForwardProcess
from .timesteps import UniformTimesteps, stratified_timesteps

NUM_QUARTILES = 4
TOP = 5  # likeliest classes, among which the true one may be


class ClassificationObjective:
    """A loss function (model, batch) -> figures for a training loop.

    A batch holds "images", uint8 or floats in [-1, 1] (B, C, H, W), and "labels", int64 (B,).

    Args:
        process: q, whose noise the classifier learns to see through.
        seed: key of everything random.
        noised: whether images are noised; False = a classifier of clean images, told t = 0.
        random_crop: cut a square of at least 0.8 of the side out of each image and bring it back to
            the full size.
        random_flip: mirror each image with probability 1/2, left to right.
    """

    def __init__(
        self,
        process: ForwardProcess,
        seed: int = 0,
        *,
        noised: bool = True,
        random_crop: bool = False,
        random_flip: bool = False,
    ):
        self.process = process
        self.seed = seed
        self.noised = noised
        self.random_crop = random_crop
        self.random_flip = random_flip
        self.probabilities = UniformTimesteps(process.num_timesteps).probabilities()

    def __call__(self, model: Denoiser, batch: Batch) -> dict[str, Tensor]:
        """The loss of one micro-batch.

        Args:
            model: (x_t, t) -> logits (B, K).
            batch: see above.

        Returns:
            "loss", the cross-entropy in nats, which is minimised, and "accuracy", the share of
            images whose likeliest class is theirs.

        Raises:
            ValueError: if there is no image, or images or labels are not as they should be.
        """
        numbers = batch.example_numbers.tolist()
        if "labels" not in batch:
            raise ValueError("the batch has no labels; expected int64 (B,), a class an image.")
        images = self._augmented(example_images(batch["images"], numbers), numbers)
        x_t, times = self._noised(images, numbers, batch.global_batch_size)
        losses, ranks = judged(model(x_t, times), batch["labels"])
        return {"loss": losses.mean(), "accuracy": (ranks == 0).float().mean()}

    def _augmented(self, images: Tensor, numbers: list[int]) -> Tensor:
        check_images(images, flat=False)
        if self.random_crop:
            images = cropped(images, example_uniforms(self.seed, CROP, numbers, CROP_DRAWS))
        if self.random_flip:
            images = mirrored(images, example_uniforms(self.seed, FLIP, numbers))
        return images

    def _noised(
        self, images: Tensor, numbers: list[int], global_batch_size: int
    ) -> tuple[Tensor, Tensor]:
        """x_t, and the timesteps that the classifier is told."""
        if not self.noised:
            return images, self.process.network_times(0, images)
        uniforms = spread_uniforms(self.seed, numbers, global_batch_size)
        t, _ = stratified_timesteps(self.probabilities, uniforms)
        t = t.to(images.device)
        noise = example_noise(self.seed, numbers, images)
        return self.process.q_sample(images, t, noise), self.process.network_times(t, images)


def judged(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """What a classifier's answers are worth.

    Args:
        logits: floats (B, K).
        labels: int64 (B,), the true classes.

    Returns:
        The cross-entropy of each image in nats, float32 (B,), and how many classes are likelier
        than its own, int64 (B,).

    Raises:
        ValueError: if there are not K logits and one label an image, or (on a CPU) a label is out
            of range.
    """
    if logits.ndim != 2:
        raise ValueError(
            f"the classifier gave {tuple(logits.shape)}; expected logits (B, number of classes)."
        )
    check_labels(labels, len(logits), logits.device)
    num_classes = logits.shape[1]
    seen = labels.device.type == "cpu"  # a GPU would have to wait for the answer
    if seen and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise ValueError(
            f"labels reach from {labels.min()} to {labels.max()}; expected 0..{num_classes - 1},"
            f" the {num_classes} classes of the classifier."
        )
    logits = logits.float()
    own = logits.gather(1, labels[:, None])
    return F.cross_entropy(logits, labels, reduction="none"), (logits > own).sum(1)


# ----------------------------------------------------------------------------------- by timestep
@dataclass(frozen=True, kw_only=True)
class AccuracyByNoise:
    """How well a classifier knows images, by how noisy they are.

    Every figure is a mean over all images, one for each of S equal strata of the timesteps, from
    the least noise to the most.

    Args:
        num_timesteps: T.
        num_classes: K.
        num_images: behind each figure.
        accuracy: shares of images whose likeliest class is theirs, (S,).
        cross_entropy: in nats, (S,).
        top5_accuracy: shares of images whose class is among the five likeliest, (S,).
        clean_accuracy: of images without noise, told t = 0.
        clean_cross_entropy: of the same, in nats.
        clean_top5_accuracy: of the same.
    """

    num_timesteps: int
    num_classes: int
    num_images: int
    accuracy: Sequence[float]
    cross_entropy: Sequence[float]
    top5_accuracy: Sequence[float]
    clean_accuracy: float
    clean_cross_entropy: float
    clean_top5_accuracy: float

    @property
    def middles(self) -> list[float]:
        """The timestep in the middle of each stratum, (S,)."""
        count = len(self.accuracy)
        return [(place + 0.5) * self.num_timesteps / count - 0.5 for place in range(count)]


def quartiles(figures: Sequence[float]) -> list[float]:
    """Means over each quarter of the timesteps.

    Args:
        figures: (S,), by timestep, S a multiple of 4.

    Returns:
        Four means, of the least noise first.
    """
    return torch.tensor(figures, dtype=torch.float64).view(NUM_QUARTILES, -1).mean(1).tolist()
