"""Interval: the noise levels at which a guide acts, low < sigma <= high.

sigma = sqrt((1 - alpha_bar) / alpha_bar), the noise's standard deviation over the image's; guidance
helps in the middle, where it is decided what an image shows (arXiv 2404.07724, section 3).
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from .checks import is_number


class Interval(NamedTuple):
    """Noise levels low < sigma <= high, of which high may be infinite."""

    low: float
    high: float

    @classmethod
    def of(cls, given: Any) -> "Interval":
        """The interval that somebody means.

        Args:
            given: (low, high), 0 <= low < high; None = all noise levels.

        Returns:
            An interval.

        Raises:
            ValueError: if it is none.
        """
        if given is None:
            return cls(-1.0, math.inf)
        paired = isinstance(given, Sequence) and len(given) == 2
        low, high = given if paired else (math.nan, math.nan)
        bounded = is_number(low, lambda sigma: sigma >= 0)
        if not bounded or not (high == math.inf or is_number(high, lambda sigma: sigma > low)):
            raise ValueError(
                f"interval is {given!r}; expected (low, high), noise levels 0 <= low < high, where"
                " sigma = sqrt((1 - alpha_bar) / alpha_bar)."
            )
        return cls(float(low), float(high))

    def holds(self, sigma: float) -> bool:
        """Whether a noise level lies in it."""
        return self.low < sigma <= self.high

    def check(self, sigmas: Sequence[float]) -> None:
        """Makes sure that it is of some consequence.

        Args:
            sigmas: noise levels of a sampling, from the least on.

        Raises:
            ValueError: if it holds none of them.
        """
        if not any(map(self.holds, sigmas)):
            raise ValueError(
                f"the interval ({self.low:g}, {self.high:g}) holds none of the {len(sigmas)} noise"
                f" levels of this sampling, which reach from {sigmas[0]:.4g} to {sigmas[-1]:.4g};"
                " expected one that does."
            )
