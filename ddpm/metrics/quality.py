"""How good N generated images are next to M reference images, in an extractor's features phi.

    FID                Frechet distance of Gaussians fitted to phi   lower is better; biased by 1/N
    KID                kernel distance of phi                        lower is better; unbiased
    precision, recall  of the manifolds of phi                       higher is better, in [0, 1]
    Inception score    exp E KL(p(y|x) || p(y))                      higher is better, in [1, K]

Sources: arXiv 1706.08500, 1801.01401, 1904.06991 and 1606.03498.

    quality = ImageQualityEvaluation("pt_inception-2015-12-05-6726825d.pth", seed=0)
    quality.update_reference(images)  # batch by batch, in [-1, 1]; each process takes its own
    quality.update(samples)
    print(quality.compute().as_dict())

A figure is a fact about images, their number and an extractor, so that it is only given together
with these.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ardm.training import check_integer

from ..denoisers import check_images
from .distances import (
    KernelDistance,
    PrecisionRecall,
    frechet_distance,
    kernel_distance,
    neighbour_radii,
    precision_recall,
)
from .feature_statistics import FeatureStatistics
from .features import FeatureExtractor, as_extractor
from .inception import load_inception


@dataclass(frozen=True)
class ImageQuality:
    """The figures and what they are about; None where a figure was not asked for or cannot be had.

    Args:
        fid: squared Frechet distance.
        kid: squared kernel distance.
        kid_standard_error: its standard error; see [`kernel_distance`].
        inception_score: exp of the mutual information of image and class, all images in one split;
            with the extractor's classes, so that it is the Inception score proper only with
            Inception.
        precision: share of the samples that look real.
        recall: share of the references that are covered.
        num_images: samples.
        num_reference: reference images.
        num_kept: samples and reference images that KID, precision and recall are of, each at most.
        extractor: name of the extractor.
        seed: of KID's subsets.
    """

    fid: float
    kid: float | None
    kid_standard_error: float | None
    inception_score: float | None
    precision: float | None
    recall: float | None
    num_images: int
    num_reference: int
    num_kept: int | None
    extractor: str
    seed: int

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, as a tracker or a JSON file takes them."""
        return asdict(self)


class ImageQualityEvaluation:
    """Scores samples against a reference; both are seen batch by batch and in any order.

    On several processes each of them passes its own images, and all get the same figures. Call
    `compute` on all, and make the `Accelerator` (or, on CPUs, `PartialState(cpu=True)`) first: it
    is what knows of the other processes.

    Args:
        extractor: a file of Inception's weights, a module, a [`FeatureExtractor`], or a function
            with a name; called with images in [-1, 1], it returns features or (features, class
            probabilities).
        seed: of KID's subsets.
        max_kept: KID, precision and recall are computed of the images with numbers below this,
            whose features are kept in memory; None = all, 0 = none, which leaves those figures out.
            FID takes all images in any case.
        kid_subsets: see [`kernel_distance`]; None = KID over all kept images at once.
        kid_subset_size: images in a subset.
        num_neighbours: k of precision and recall.

    Raises:
        ValueError: if the extractor has no name or cannot be read, or a number is too small.
    """

    def __init__(
        self,
        extractor: FeatureExtractor | nn.Module | Callable[[Tensor], Any] | str | Path,
        *,
        seed: int = 0,
        max_kept: int | None = None,
        kid_subsets: int | None = 100,
        kid_subset_size: int = 1000,
        num_neighbours: int = 3,
    ):
        check_integer("num_neighbours", num_neighbours, 1)
        if kid_subsets is not None:
            check_integer("kid_subsets", kid_subsets, 1, others=" or None")
            check_integer("kid_subset_size", kid_subset_size, 2)
        if max_kept is not None and 0 < max_kept <= num_neighbours:
            raise ValueError(
                f"max_kept is {max_kept};"
                f" expected 0, None or more than {num_neighbours} neighbours."
            )
        if isinstance(extractor, (str, Path)):
            self.extractor = load_inception(extractor)
        else:
            self.extractor = as_extractor(extractor)
        self.seed = seed
        self.max_kept = max_kept
        self.num_neighbours = num_neighbours
        self.kid_subsets = kid_subsets
        self.kid_subset_size = kid_subset_size
        self._reference = FeatureStatistics(max_kept)
        self._samples = FeatureStatistics(max_kept)
        # of so many reference images, for all models that are compared with them
        self._radii: tuple[int, Tensor] | None = None

    def update_reference(self, images: Tensor, numbers: Tensor | None = None) -> None:
        """Adds reference images.

        Args:
            images: float (B, C, H, W) in [-1, 1]; B may differ from call to call and be 0.
            numbers: int64 (B,), of each image among those of all processes; figures depend on who
                saw which image no more than on the order, if an image keeps its number. None = as
                if process r of P had been given the images r, r + P, ...

        Raises:
            ValueError: if the images or numbers are wrong.
        """
        self._update(self._reference, images, numbers)

    def update(self, images: Tensor, numbers: Tensor | None = None) -> None:
        """Adds samples.

        Args:
            images: as for `update_reference`.
            numbers: as for `update_reference`; samples and references are numbered apart.

        Raises:
            ValueError: if the images or numbers are wrong.
        """
        self._update(self._samples, images, numbers)

    def reset(self) -> None:
        """Forgets the samples and keeps the reference, the yardstick of the next model."""
        self._samples = FeatureStatistics(self.max_kept)

    def check_counts(self, num_samples: int, num_reference: int) -> None:
        """Makes sure that there are as many images as the figures need, at best before all work.

        Args:
            num_samples: samples.
            num_reference: images that they are compared with.

        Raises:
            ValueError: if there are fewer.
        """
        least = 2 if self.max_kept == 0 else self.num_neighbours + 1
        if min(num_samples, num_reference) < least:
            raise ValueError(
                f"there are {num_samples} samples and {num_reference} reference images; expected"
                f" at least {least} of each."
            )

    def compute(self) -> ImageQuality:
        """The figures of all samples so far; to be called on all processes.

        Returns:
            The same on every process.

        Raises:
            ValueError: if there are too few images, or an image number occurs twice.
        """
        reference = self._reference.gather()
        samples = self._samples.gather()
        self.check_counts(len(samples), len(reference))
        kid, manifolds = self._compare_kept(reference.features, samples.features)
        return ImageQuality(
            fid=frechet_distance(*reference.moments, *samples.moments),
            kid=kid.value if kid else None,
            kid_standard_error=kid.standard_error if kid else None,
            inception_score=samples.inception_score,
            precision=manifolds.precision if manifolds else None,
            recall=manifolds.recall if manifolds else None,
            num_images=len(samples),
            num_reference=len(reference),
            num_kept=self.max_kept,
            extractor=self.extractor.name,
            seed=self.seed,
        )

    def _compare_kept(
        self, reference: Tensor, samples: Tensor
    ) -> tuple[KernelDistance, PrecisionRecall] | tuple[None, None]:
        if self.max_kept == 0:
            return None, None
        kid = kernel_distance(
            reference,
            samples,
            num_subsets=self.kid_subsets,
            subset_size=self.kid_subset_size,
            seed=self.seed,
        )
        if self._radii is None or self._radii[0] != len(reference):
            self._radii = len(reference), neighbour_radii(reference, self.num_neighbours)
        manifolds = precision_recall(
            reference, samples, num_neighbours=self.num_neighbours, real_radii=self._radii[1]
        )
        return kid, manifolds

    def _update(
        self, statistics: FeatureStatistics, images: Tensor, numbers: Tensor | None
    ) -> None:
        check_images(images, flat=False, empty=True, wait=True)
        if numbers is None:
            numbers = _next_numbers(len(statistics), len(images))
        if len(images):
            statistics.update(self.extractor(images), numbers)


def _next_numbers(num_seen: int, count: int) -> Tensor:
    from accelerate import PartialState

    state = PartialState()
    return state.process_index + state.num_processes * torch.arange(num_seen, num_seen + count)
