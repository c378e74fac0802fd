"""Resampling: passes in which generated tokens go back to mask and are predicted again.

After the last step one pass sends n = round(fraction * generated) tokens back, draws all n again:

    random           uniformly chosen; with n = 1, random-scan Gibbs sampling, which leaves a
                     distribution with the model's conditionals as it is
    least_confident  those drawn with the lowest probability

Between the steps (the schedules of ReMDM, arXiv 2503.00307), with c tokens generated and m hidden,
n of the c go back and n of the m + n hidden ones are drawn, by the order of the generation:

    remdm_cap        n = min(fraction * c, m)
    remdm_rescale    n = fraction * min(c, m)
    remdm_conf       as cap, chosen with probability proportional to exp(-p) of each token as drawn

With several stages it is a token's last reveal that is taken back, and whose probability counts.
Unlike in ReMDM the number is fixed and only which tokens go back is left to chance, as everywhere
in this package; every pass is a call of its own, which no longer sees what went back; and
remdm_conf sends back as many as cap, where the paper's expects at most one a step. A row without a
known and a hidden token between two of its steps has no such passes.

Shapes: B batch, L length.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from .canvas import REVISION, Canvas
from .randomness import gumbel
from .ranking import TIE, ranking


class ResampleOrder(NamedTuple):
    """Which tokens go back, and when.

    Args:
        score: log_probs (B, L) as drawn, uniforms (B, L) -> (B, L), highest goes first.
        between: whether the passes lie between the steps of the plan, or after them.
        share: numbers of tokens generated and hidden -> the number of which a fraction goes back.
        tie: difference up to which two scores are equal.
    """

    score: Callable[[Tensor, Tensor], Tensor]
    between: bool
    share: Callable[[int, int], int] = lambda known, hidden: known
    tie: float = 0.0


def _by_chance(log_probs_BL: Tensor, uniforms_BL: Tensor) -> Tensor:
    return uniforms_BL


def _unlikely_by_chance(log_probs_BL: Tensor, uniforms_BL: Tensor) -> Tensor:
    """The first n of exp(-p) with Gumbel noise: n choices without replacement."""
    return gumbel(uniforms_BL) - log_probs_BL.exp()


RESAMPLE_ORDERS = {
    "random": ResampleOrder(_by_chance, between=False),
    "least_confident": ResampleOrder(lambda log_probs_BL, _: -log_probs_BL, False, tie=TIE),
    "remdm_cap": ResampleOrder(_by_chance, between=True),
    "remdm_rescale": ResampleOrder(_by_chance, between=True, share=min),
    "remdm_conf": ResampleOrder(_unlikely_by_chance, between=True),
}
RESAMPLE_NAMES = tuple(RESAMPLE_ORDERS)


@dataclass(frozen=True)
class Resampling:
    """How many tokens go back, when, and which.

    Args:
        steps: number of resampling passes.
        fraction: share of the generated tokens that one pass sends back, in (0, 1].
        order: one of `RESAMPLE_ORDERS`.
    """

    steps: int
    fraction: float
    order: ResampleOrder

    @property
    def between(self) -> bool:
        """Whether the passes lie between the steps of the plan, or after them."""
        return self.order.between

    def number(self, known: int, hidden: int) -> int:
        """How many of `known` generated tokens one pass sends back where `hidden` are hidden.

        At least 1 of them, if there is any; between the steps no more than are hidden.
        """
        number = max(1, round(self.fraction * self.order.share(known, hidden)))
        return min(number, hidden if self.between else known)

    def positions(self, canvas: Canvas, number_B1: Tensor, revision_B1: Tensor) -> Tensor:
        """Which generated tokens go back.

        Args:
            canvas: the rows.
            number_B1: int64 (B, 1), how many of each row.
            revision_B1: int64 (B, 1), which revision of its row this is, from 1: a key of the
                random numbers.

        Returns:
            bool (B, L).
        """
        written_BL = canvas.returnable(blockwise=self.between)
        uniforms_BL = canvas.uniforms(REVISION, canvas.place_BL, revision_B1)
        scores_BL = self.order.score(canvas.last_log_probs_BL, uniforms_BL)
        rank_BL = ranking(scores_BL, written_BL, self.order.tie).argsort(1)
        return (rank_BL < number_B1) & written_BL
