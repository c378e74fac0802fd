"""Ranking: which candidates come first by their scores, where rounding must not decide.

    v_1 >= v_2 >= ...,  and v_i counts as equal to v_{i+1} if v_i - v_{i+1} <= tie

Positions in the same situation have the same score but for rounding (all interior positions of a
fully masked row, say), and rounding changes with the batch around a row. Equals come from left to
right.

Shapes: B batch, K candidates.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

# Scores closer than this are equal: rounding must not decide which comes first.
TIE = 1e-5  # nats, or in proportion to a probability
_RELATIVE_TIE = 1e-6  # of scores whose scale is not known


def ranking(scores_BK: Tensor, open_BK: Tensor, tie: Tensor | float | None = TIE) -> Tensor:
    """Sorts candidates, highest score first and the leftmost first among equals.

    Args:
        scores_BK: (B, K).
        open_BK: bool (B, K); the others come last.
        tie: in the scores' unit; (B, K): of two neighbours the larger one counts; None: a millionth
            of the row's largest score.

    Returns:
        int64 (B, K), indices into K.
    """
    if tie is None:
        known_BK = scores_BK.masked_fill(~open_BK | scores_BK.isinf(), 0)
        tie = (known_BK.abs().amax(1, keepdim=True) * _RELATIVE_TIE).expand_as(scores_BK)
    limits = torch.finfo(scores_BK.dtype)
    # an open position with -inf, too, comes before those that are closed
    scores_BK = scores_BK.clamp(limits.min, limits.max).masked_fill(~open_BK, -torch.inf)
    values_BK, index_BK = scores_BK.sort(dim=1, descending=True, stable=True)
    tied_BK = _tied(values_BK, index_BK, tie)
    level_BK = F.pad((~tied_BK).cumsum(1), (1, 0))
    return index_BK.gather(1, (level_BK * scores_BK.shape[1] + index_BK).argsort(1))


def _tied(values_BK: Tensor, index_BK: Tensor, tie: Tensor | float) -> Tensor:
    """bool (B, K - 1): whether a sorted score equals the next; two closed ones do not."""
    if isinstance(tie, Tensor):
        tie_BK = tie.gather(1, index_BK)
        tie = torch.maximum(tie_BK[:, :-1], tie_BK[:, 1:])
    return values_BK[:, :-1] - values_BK[:, 1:] <= tie


def best(
    scores_BK: Tensor, open_BK: Tensor | None, tie: Tensor | float | None, count: int
) -> Tensor:
    """The set that the first `count` of [`ranking`] are.

    Without its sort wherever no tie is cut: nearly always.

    Args:
        scores_BK: (B, K), finite unless `tie` is None.
        open_BK: bool (B, K), at least `count` in each row; None: all.
        tie: as for [`ranking`].
        count: how many of each row.

    Returns:
        int64 (B, count), indices into K; their order has no meaning.
    """
    on_cpu = scores_BK.device.type == "cpu"  # a GPU would have to wait for the answer
    if on_cpu and tie is not None and count < scores_BK.shape[1]:
        open_scores_BK = (
            scores_BK if open_BK is None else scores_BK.masked_fill(~open_BK, -torch.inf)
        )
        values_BK, index_BK = open_scores_BK.topk(count + 1, dim=1)
        # a tie inside the set does not matter; one between its last and the next does, and is rare
        if not _tied(values_BK[:, -2:], index_BK[:, -2:], tie).any():
            return index_BK[:, :-1]
    open_BK = torch.ones_like(scores_BK, dtype=torch.bool) if open_BK is None else open_BK
    return ranking(scores_BK, open_BK, tie)[:, :count]
