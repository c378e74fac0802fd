"""Distances of two sets of features X (N, F) and Y (M, F), or of the Gaussians with their moments.

    Frechet:     |m_1 - m_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2))
    kernel:      E k(x, x') + E k(y, y') - 2 E k(x, y),  k(x, y) = (x.y / F + 1)^3
    precision:   share of Y in the union of balls around the x that reach to x's k-th neighbour in X
    recall:      the same with X and Y exchanged

Sources: arXiv 1706.08500, equation 6; arXiv 1801.01401, section 4; arXiv 1904.06991, equations 1
and 2. All in float64; blocks of rows bound the memory.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ardm.training import check_integer

_BLOCK = 1024  # rows of a matrix of kernels or distances at once


class KernelDistance(NamedTuple):
    """A squared maximum mean discrepancy, unbiased and so perhaps negative; its standard error."""

    value: float
    standard_error: float


class PrecisionRecall(NamedTuple):
    """Shares in [0, 1]."""

    precision: float
    recall: float


def frechet_distance(
    mean_1: Tensor, covariance_1: Tensor, mean_2: Tensor, covariance_2: Tensor
) -> float:
    """Squared 2-Wasserstein distance of two Gaussians, whose covariances may be singular.

    Args:
        mean_1: (F,).
        covariance_1: (F, F), symmetric and positive semi-definite up to rounding.
        mean_2: (F,).
        covariance_2: (F, F).

    Returns:
        The distance, at least 0.

    Raises:
        ValueError: if the shapes do not fit or a number is not finite.
    """
    num_features = mean_1.numel()
    moments = [x.double() for x in (mean_1, mean_2, covariance_1, covariance_2)]
    shapes = [tuple(x.shape) for x in moments]
    if shapes != [(num_features,)] * 2 + [(num_features, num_features)] * 2:
        raise ValueError(
            f"means and covariances have the shapes {shapes}; expected (F,), (F,), (F, F), (F, F)."
        )
    if not all(x.isfinite().all() for x in moments):
        raise ValueError("a mean or covariance is not finite; expected numbers.")
    mean_1, mean_2, covariance_1, covariance_2 = moments
    # With S = L L^T, the eigenvalues of S_1 S_2 are the squared singular values of L_1^T L_2. A
    # root of computed eigenvalues instead would turn the rounding errors of 1e-16 around the zeros
    # of a singular matrix into 1e-8.
    overlap = torch.linalg.svdvals(_factor(covariance_1).T @ _factor(covariance_2)).sum()
    shift = (mean_1 - mean_2).square().sum()
    # equation 6
    distance = shift + covariance_1.trace() + covariance_2.trace() - 2 * overlap
    return max(0.0, float(distance))


def kernel_distance(
    x: Tensor, y: Tensor, *, num_subsets: int | None = None, subset_size: int = 1000, seed: int = 0
) -> KernelDistance:
    """Unbiased squared maximum mean discrepancy with the cubic polynomial kernel.

    Args:
        x: (N, F), at least 2 rows.
        y: (M, F), at least 2 rows.
        num_subsets: mean over that many pairs of random subsets, as the paper reports (100 of
            1000), with the standard error of that mean given the features. None, or where a set is
            no larger than a subset: over all rows, with a jackknife standard error over rows, up to
            sqrt(2) too large where the distributions are equal. Both estimate the same distance;
            the second varies less.
        subset_size: rows of a subset.
        seed: of the subsets.

    Returns:
        Value and standard error; NaN if the error cannot be known (2 rows, one subset).

    Raises:
        ValueError: if the features do not fit, or a number of subsets or rows is too small.
    """
    x, y = _checked(x, y, least=2)
    if num_subsets is not None:
        check_integer("num_subsets", num_subsets, 1, others=" or None")
        check_integer("subset_size", subset_size, 2)
    if num_subsets is None or subset_size >= min(len(x), len(y)):
        return _jackknifed(x, y)
    generator = torch.Generator().manual_seed(seed)
    values = []
    for _ in range(num_subsets):
        parts = [
            z[torch.randperm(len(z), generator=generator)[:subset_size].to(z.device)]
            for z in (x, y)
        ]
        values.append(_jackknifed(*parts).value)
    mean = math.fsum(values) / num_subsets
    if num_subsets == 1:
        return KernelDistance(mean, math.nan)
    variance = math.fsum((value - mean) ** 2 for value in values) / (num_subsets - 1)
    return KernelDistance(mean, math.sqrt(variance / num_subsets))


def precision_recall(
    real: Tensor,
    generated: Tensor,
    *,
    num_neighbours: int = 3,
    real_radii: Tensor | None = None,
) -> PrecisionRecall:
    """How much of what is generated looks real, and how much of what is real is covered.

    Args:
        real: (N, F).
        generated: (M, F).
        num_neighbours: k; a ball reaches the k-th nearest other row of its own set.
        real_radii: [`neighbour_radii`] of the real rows, where several sets are compared with them;
            None = computed here.

    Returns:
        The shares, ties on the edge of a ball counted as inside.

    Raises:
        ValueError: if the features do not fit, or a set has no k-th neighbour.
    """
    check_integer("num_neighbours", num_neighbours, 1)
    real, generated = _checked(real, generated, least=num_neighbours + 1)
    radii_N = neighbour_radii(real, num_neighbours) if real_radii is None else real_radii
    radii_M = neighbour_radii(generated, num_neighbours)
    inside = []
    covered_N = torch.zeros(len(real), dtype=torch.bool, device=real.device)
    for block, radii in zip(generated.split(_BLOCK), radii_M.split(_BLOCK), strict=True):
        distances = _distances(block, real)
        # equation 1 for a generated row among the real ones, and for a real one among the generated
        inside.append((distances <= radii_N).any(1))
        covered_N |= (distances <= radii[:, None]).any(0)
    precision = float(torch.cat(inside).double().mean())
    return PrecisionRecall(precision, recall=float(covered_N.double().mean()))


def neighbour_radii(x: Tensor, num_neighbours: int) -> Tensor:
    """Distance of each row to its k-th nearest other row.

    Args:
        x: (N, F), N > k.
        num_neighbours: k.

    Returns:
        float64 (N,).
    """
    x = x.double()
    nearest = num_neighbours + 1  # of all rows: the row itself (or its equal) is at distance 0
    return torch.cat([_distances(b, x).kthvalue(nearest, 1).values for b in x.split(_BLOCK)])


def _factor(covariance: Tensor) -> Tensor:
    """L (F, rank) with L L^T = covariance, but for directions of no more variance than rounding."""
    variances, directions = torch.linalg.eigh((covariance + covariance.T) / 2)
    floor = variances.abs().max() * len(variances) * torch.finfo(variances.dtype).eps
    kept = variances > floor
    return directions[:, kept] * variances[kept].sqrt()


def _checked(x: Tensor, y: Tensor, least: int) -> tuple[Tensor, Tensor]:
    for z in (x, y):
        if z.ndim != 2 or len(z) < least or z.shape[1] == 0 or z.shape[1] != x.shape[1]:
            raise ValueError(
                f"features have the shapes {tuple(x.shape)} and {tuple(y.shape)}; expected (N, F)"
                f" and (M, F) with at least {least} rows."
            )
        if not z.isfinite().all():
            raise ValueError("a feature is not finite; expected numbers.")
    return x.double(), y.double()


def _kernel_row_sums(x: Tensor, y: Tensor) -> Tensor:
    """sum_j k(x_i, y_j), (N,)."""
    return torch.cat([(block @ y.T / x.shape[1] + 1).pow(3).sum(1) for block in x.split(_BLOCK)])


def _jackknifed(x: Tensor, y: Tensor) -> KernelDistance:
    """The unbiased estimate, and its variance over leaving out one row, from sums over rows."""
    # without j = i
    within = [_kernel_row_sums(z, z) - (z.square().mean(1) + 1).pow(3) for z in (x, y)]
    across = [_kernel_row_sums(x, y), _kernel_row_sums(y, x)]
    n = len(x)
    m = len(y)
    total_x = float(within[0].sum())
    total_y = float(within[1].sum())
    total = float(across[0].sum())
    value = total_x / (n * (n - 1)) + total_y / (m * (m - 1)) - 2 * total / (n * m)
    if min(n, m) < 3:
        return KernelDistance(value, math.nan)
    variance = 0.0
    for rows, crossing, size, other in ((within[0], across[0], n, m), (within[1], across[1], m, n)):
        # what changes when row i is left out; the other set's own term does not
        own = (rows.sum() - 2 * rows) / ((size - 1) * (size - 2))
        left_out = own - 2 * (total - crossing) / ((size - 1) * other)
        variance += (size - 1) / size * float((left_out - left_out.mean()).square().sum())
    return KernelDistance(value, math.sqrt(variance))


def _distances(x: Tensor, y: Tensor) -> Tensor:
    """|x_i - y_j| from differences: |x|^2 + |y|^2 - 2 x.y loses the small ones, and ties."""
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
