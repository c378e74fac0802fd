"""Figures that are reported: bits per token or character with their standard error, from nats per sequence."""

import math

from torch import Tensor


def bits_per_unit(nats: Tensor, num_units: Tensor) -> tuple[float, float]:
    """Bits per unit of a data set, and its standard error: sum of nats / sum of units, over independent sequences.

    The error covers the choice of sequences and, where nats are estimates of a bound, their masks. It is the usual
    linearised error of a ratio: sequences with many units may have many nats.

    Args:
        nats: float64 (B,), of each sequence.
        num_units: (B,), tokens, characters or bytes of each sequence.

    Returns:
        Value and standard error, bits per unit; the error is NaN for a single sequence.

    Raises:
        ValueError: if the shapes differ or there is no unit at all.
    """
    if nats.shape != num_units.shape or nats.ndim != 1:
        raise ValueError(f"nats {tuple(nats.shape)}, num_units {tuple(num_units.shape)}; expected the same (B,).")
    total = float(num_units.sum())
    if total <= 0:
        raise ValueError("num_units sums to 0; expected at least one unit.")
    ratio = float(nats.sum()) / total
    residuals = nats.double() - ratio * num_units.double()
    error = float(residuals.std()) * math.sqrt(len(nats)) / total if len(nats) > 1 else math.nan
    return ratio / math.log(2), error / math.log(2)
