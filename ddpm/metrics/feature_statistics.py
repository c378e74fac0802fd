"""What is kept of the features phi_i of N images seen batch by batch, on one process or shared out
over several.

    mean = sum_i phi_i / N,    covariance = (sum_i phi_i phi_i^T - N mean mean^T) / (N - 1),
    inception score = exp(sum_i KL(p(y|x_i) || mean_j p(y|x_j)) / N)                 (arXiv 1606.03498)

All are functions of sums, which take O(F^2) memory and add up over batches and processes in any
order. What needs the features themselves has them in the order of the images' numbers, which does
not depend on who saw which image.

Shapes: B images of a batch, N in all, M of them kept, F features, K classes (0 = the extractor has
    none).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

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
        if max_kept is not None and max_kept < 0:
            raise ValueError(f"max_kept is {max_kept}; expected None or at least 0.")
        self.max_kept = max_kept
        self._sums: list[Tensor] | None = (
            None  # (F,), (F, F), (K,), (1,); None before the first image
        )
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
        if (
            numbers.shape != (len(batch.features),)
            or numbers.dtype != torch.int64
            or (numbers < 0).any()
        ):
            raise ValueError(
                f"numbers are {numbers.dtype} {tuple(numbers.shape)}; expected int64"
                f" ({len(batch.features)},), none negative: one for each image."
            )
        features_BF = batch.features.double()
        sums = [features_BF.sum(0), features_BF.T @ features_BF]
        if batch.probabilities is None:
            sums += [torch.zeros(0, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)]
        else:
            sums += [
                batch.probabilities.sum(0),
                torch.xlogy(batch.probabilities, batch.probabilities).sum()[None],
            ]
        _same_shapes([sums, self._sums])
        self._sums = (
            sums if self._sums is None else [a + b for a, b in zip(self._sums, sums, strict=True)]
        )
        self._numbers.append(numbers.cpu())
        kept = slice(None) if self.max_kept is None else (numbers < self.max_kept).cpu()
        self._kept.append((numbers.cpu()[kept], batch.features[kept]))

    @staticmethod
    def merge(parts: Sequence["FeatureStatistics"]) -> "FeatureStatistics":
        """What one object that had seen the images of all parts would hold.

        Args:
            parts: statistics of disjoint sets of images, some of which may be empty.

        Returns:
            New statistics; those of the parts are left as they are.

        Raises:
            ValueError: if there are no parts, or their extractors or `max_kept` differ.
        """
        limits = {part.max_kept for part in parts}
        if len(limits) != 1:
            raise ValueError(
                f"max_kept of the parts are {limits}; expected parts that keep the same number."
            )
        sums = _same_shapes([part._sums for part in parts])
        merged = FeatureStatistics(parts[0].max_kept)
        merged._sums = (
            [torch.stack(same).sum(0) for same in zip(*sums, strict=True)] if sums else None
        )
        merged._numbers = [numbers for part in parts for numbers in part._numbers]
        merged._kept = [kept for part in parts for kept in part._kept]
        return merged

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

        parts = gather_object([(self._shapes(), self._numbers, self._kept)])
        gathered = FeatureStatistics(self.max_kept)
        gathered._numbers = [numbers for _, part, _ in parts for numbers in part]
        gathered._kept = [kept for _, _, part in parts for kept in part]
        gathered._check_numbers()
        shapes = [shape for shape, _, _ in parts if shape is not None]
        if any(
            shape != shapes[0] for shape in shapes
        ):  # before `reduce`, which would hang or add what does not fit
            raise ValueError(
                f"the processes' features have the shapes {shapes}; expected the same extractor on"
                " all."
            )
        if shapes:
            state = PartialState()
            sums = self._sums
            if sums is None:  # a process without images takes part too
                sums = [torch.zeros(shape, dtype=torch.float64) for shape in shapes[0]]
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
        """exp of the mutual information of image and class, in 1..K; None without class
        probabilities.
        """
        if self._sums is None or len(self._sums[2]) == 0:
            return None
        marginal_K = self._sums[2] / len(self)
        negentropy = self._sums[3] / len(self)
        return float((negentropy - torch.xlogy(marginal_K, marginal_K).sum()).exp())

    def _shapes(self) -> list[tuple[int, ...]] | None:
        return None if self._sums is None else [tuple(x.shape) for x in self._sums]

    def _check_numbers(self) -> None:
        values, counts = torch.cat([torch.zeros(0, dtype=torch.int64), *self._numbers]).unique(
            return_counts=True
        )
        if (counts > 1).any():
            raise ValueError(
                f"image number {int(values[counts > 1][0])} occurs {int(counts.max())} times;"
                " expected each once: a sampler that fills up its last batch repeats images"
                " (even_batches=False turns that off)."
            )


def _same_shapes(many: Sequence[Any]) -> list[list[Tensor]]:
    """The sums that there are, if they are of one kind of features."""
    present = [sums for sums in many if sums is not None]
    kinds = {(len(sums[0]), len(sums[2])) for sums in present}
    if len(kinds) > 1:
        raise ValueError(
            f"(features, classes) are {sorted(kinds)}; expected those of one extractor."
        )
    return present
