"""Figures of a bound: bits per token, character or byte, and perplexity, of independent sequences.

    bits per unit = sum_b nats_b / sum_b units_b / log 2
    perplexity    = exp(sum_b nats_b / sum_b tokens_b)

Both are ratios of sums. Their standard errors are the linearised ones of a ratio, and of its
exponential (the delta method): Cochran, Sampling Techniques, chapter 6.
"""

import math
from typing import NamedTuple

from torch import Tensor

_Z95 = 1.96  # the normal distribution's two-sided 95 % point


class Estimate(NamedTuple):
    """A figure and its standard error, in the same unit; NaN if there is no error to be known."""

    value: float
    standard_error: float

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval: 1.96 standard errors to each side; NaN where the error is."""
        margin = _Z95 * self.standard_error
        return self.value - margin, self.value + margin


class PositiveEstimate(NamedTuple):
    """As [`Estimate`], of a figure known up to a factor: of a perplexity the logarithm averages."""

    value: float
    standard_error: float

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval: the exponential of that of the logarithm; NaN where the error is."""
        factor = _exp(_Z95 * self.standard_error / self.value)
        return self.value / factor, self.value * factor


def ratio_of_sums(nats: Tensor, num_units: Tensor) -> Estimate:
    """Nats, or anything else, per unit: sum / sum, over independent sequences.

    Args:
        nats: (B,), of each sequence.
        num_units: (B,), the same.

    Returns:
        Value and standard error; the error is NaN for a single sequence.

    Raises:
        ValueError: if the shapes differ or there is no unit at all.
    """
    if nats.shape != num_units.shape or nats.ndim != 1:
        raise ValueError(
            f"nats {tuple(nats.shape)}, num_units {tuple(num_units.shape)}; expected the same (B,)."
        )
    nats = nats.double()
    num_units = num_units.double()
    total = float(num_units.sum())
    if total <= 0:
        raise ValueError("num_units sums to 0; expected at least one unit.")
    ratio = float(nats.sum()) / total
    if len(nats) == 1:
        return Estimate(ratio, math.nan)
    residuals = nats - ratio * num_units
    return Estimate(ratio, float(residuals.std()) * math.sqrt(len(nats)) / total)


def bits_per_unit(nats: Tensor, num_units: Tensor) -> Estimate:
    """Bits per unit of a data set: sum of nats / sum of units, over independent sequences.

    The error covers the choice of sequences and, where nats are estimates of a bound, their masks.
    Sequences with many units may have many nats.

    Args:
        nats: float64 (B,), of each sequence.
        num_units: (B,), tokens, characters or bytes of each sequence.

    Returns:
        Value and standard error, bits per unit; the error is NaN for a single sequence.

    Raises:
        ValueError: if the shapes differ or there is no unit at all.
    """
    ratio, error = ratio_of_sums(nats, num_units)
    return Estimate(ratio / math.log(2), error / math.log(2))


def perplexity(nats: Tensor, num_tokens: Tensor) -> PositiveEstimate:
    """Exponential of the mean nats per token, over independent sequences.

    Args:
        nats: float64 (B,), of each sequence.
        num_tokens: (B,), of each sequence.

    Returns:
        Value, its standard error by the delta method, and the interval that is the exponential of
        that of the mean nats per token. The error is NaN for a single sequence; a perplexity beyond
        float64 is infinite.

    Raises:
        ValueError: if the shapes differ or there is no token at all.
    """
    ratio, error = ratio_of_sums(nats, num_tokens)
    value = _exp(ratio)
    return PositiveEstimate(value, value * error)  # d exp(x) = exp(x) dx


def describe(estimate: Estimate | PositiveEstimate, unit: str, kind: str | None = None) -> str:
    """A figure as text, rounded by its error.

    "2.073 bits per character, 95 % interval 1.97 .. 2.18 (upper bound)"

    Args:
        estimate: the figure.
        unit: what it counts, in words.
        kind: what the figure is, in words.

    Returns:
        One line. The interval ends at the first significant digit of the standard error, the value
        one later.
    """
    error = estimate.standard_error
    suffix = f" ({kind})" if kind else ""
    if not math.isfinite(error):
        return f"{estimate.value:.3f} {unit}, no interval known{suffix}"
    decimals = max(-math.floor(math.log10(error)), 0) if error > 0 else 2
    low, high = estimate.interval
    interval = f"95 % interval {low:.{decimals}f} .. {high:.{decimals}f}"
    return f"{estimate.value:.{decimals + 1}f} {unit}, {interval}{suffix}"


def _exp(x: float) -> float:
    try:
        return math.exp(x)
    except OverflowError:
        return math.inf
