"""What is kept of the features phi_i of N images seen batch by batch, on any number of processes.

    mean = sum_i phi_i / N,    covariance = (sum_i phi_i phi_i^T - N mean mean^T) / (N - 1),
    inception score = exp(sum_i KL(p(y|x_i) || mean_j p(y|x_j)) / N)       (arXiv 1606.03498)

All are functions of sums, which take O(F^2) memory and add up over batches and processes in any
order. What needs the features themselves has them in the order of the images' numbers, which does
not depend on who saw which image.

Shapes: B images of a batch, N in all, M of them kept, F features, K classes (0 = the extractor has
none).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ardm.training import check_integer

from .features import Features


class Moments(NamedTuple):
    """Mean float64 (F,) and unbiased covariance float64 (F, F) of features."""

    mean: Tensor
    covariance: Tensor


class FeatureStatistics:
    """Sums of features, and the features of the first images.

    Args:
        max_kept: the features of images with numbers below this are kept; None = all, 0 = none.

    Raises:
        ValueError: if `max_kept` is negative.
    """

    def __init__(self, max_kept: int | None = None):
        if max_kept is not None:
            check_integer("max_kept", max_kept, 0, others=" or None")
        self.max_kept = max_kept
        # (F,), (F, F), (K,), (1,); None before the first image
        self._sums: list[Tensor] | None = None
        self._numbers: list[Tensor] = []
        self._kept: list[tuple[Tensor, Tensor]] = []  # numbers (B,), features (B, F)

    def __len__(self) -> int:
        return sum(map(len, self._numbers))

    def update(self, batch: Features, numbers: Tensor) -> None:
        """Adds images.

        Args:
            batch: of at least one image, as a [`FeatureExtractor`] gives it.
            numbers: int64 (B,), of each image among all images of all processes; each is used once.

        Raises:
            ValueError: if there is not one number an image, or the features are of another kind
                than before.
        """
        shaped = numbers.shape == (len(batch.features),) and numbers.dtype == torch.int64
        if not shaped or (numbers < 0).any():
            raise ValueError(
                f"numbers are {numbers.dtype} {tuple(numbers.shape)}; expected int64"
                f" ({len(batch.features)},), none negative: one for each image."
            )
        sums = _sums_of(batch)
        if self._sums is None:
            self._sums = sums
        elif _shapes(self._sums) == _shapes(sums):
            self._sums = [a + b for a, b in zip(self._sums, sums, strict=True)]
        else:
            raise ValueError(
                f"sums over features and classes have the shapes {_shapes(sums)}; expected those of"
                f" one extractor, {_shapes(self._sums)}."
            )
        self._numbers.append(numbers.cpu())
        kept = slice(None) if self.max_kept is None else (numbers < self.max_kept).cpu()
        self._kept.append((numbers.cpu()[kept], batch.features[kept]))

    def gather(self) -> "FeatureStatistics":
        """The statistics over all processes, the same on each of them; to be called on all.

        Returns:
            New statistics, with which nothing was added up twice; `self` goes on counting this
            process's images.

        Raises:
            ValueError: if two images have the same number, or the processes' extractors differ.
        """
        from accelerate import PartialState
        from accelerate.utils import gather_object, reduce

        own = None if self._sums is None else _shapes(self._sums)
        parts = gather_object([(own, self._numbers, self._kept)])
        gathered = FeatureStatistics(self.max_kept)
        gathered._numbers = [numbers for _, part, _ in parts for numbers in part]
        gathered._kept = [kept for _, _, part in parts for kept in part]
        gathered._check_numbers()
        found = [shapes for shapes, _, _ in parts if shapes is not None]
        # before `reduce`, which would hang or add what does not fit
        if any(shapes != found[0] for shapes in found):
            raise ValueError(
                f"the processes' features have the shapes {found};"
                " expected the same extractor on all."
            )
        if not found:
            return gathered
        state = PartialState()
        sums = self._sums
        if sums is None:  # a process without images takes part too
            sums = [torch.zeros(shape, dtype=torch.float64) for shape in found[0]]
        if state.num_processes > 1:
            sums = [
                reduce(x.to(state.device), reduction="sum").cpu() if len(x) else x for x in sums
            ]
        gathered._sums = sums
        return gathered

    @property
    def moments(self) -> Moments:
        """Mean and covariance of all features.

        Raises:
            ValueError: if there are fewer than two images.
        """
        if self._sums is None or len(self) < 2:
            raise ValueError(f"there are {len(self)} images; expected at least 2 for a covariance.")
        sum_F = self._sums[0]
        outer_FF = self._sums[1]
        count = len(self)
        mean_F = sum_F / count
        return Moments(mean_F, (outer_FF - count * torch.outer(mean_F, mean_F)) / (count - 1))

    @property
    def features(self) -> Tensor:
        """float64 (M, F): the features that are kept, by the images' numbers."""
        if not self._kept:
            return torch.zeros(0, 0, dtype=torch.float64)
        numbers, features = (torch.cat(parts) for parts in zip(*self._kept, strict=True))
        return features[numbers.argsort()].double()

    @property
    def inception_score(self) -> float | None:
        """exp of the mutual information of image and class, in 1..K; None without classes."""
        if self._sums is None or len(self._sums[2]) == 0:
            return None
        marginal_K = self._sums[2] / len(self)
        negentropy = self._sums[3] / len(self)
        return float((negentropy - torch.xlogy(marginal_K, marginal_K).sum()).exp())

    def _check_numbers(self) -> None:
        numbers = torch.cat([torch.zeros(0, dtype=torch.int64), *self._numbers])
        values, counts = numbers.unique(return_counts=True)
        if (counts > 1).any():
            raise ValueError(
                f"image number {int(values[counts > 1][0])} occurs {int(counts.max())} times;"
                " expected each once: a sampler that fills up its last batch repeats images"
                " (even_batches=False turns that off)."
            )


def _sums_of(batch: Features) -> list[Tensor]:
    features_BF = batch.features.double()
    sums = [features_BF.sum(0), features_BF.T @ features_BF]
    p_BK = batch.probabilities
    if p_BK is None:
        return [*sums, torch.zeros(0, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)]
    return [*sums, p_BK.sum(0), torch.xlogy(p_BK, p_BK).sum()[None]]


def _shapes(sums: list[Tensor]) -> list[tuple[int, ...]]:
    return [tuple(x.shape) for x in sums]
