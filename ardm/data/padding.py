"""Padding: rows of different lengths side by side, with a mask that says what is real."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


def padded(
    rows: Sequence[Sequence[int]], side: Literal["left", "right"] = "right"
) -> tuple[Tensor, Tensor]:
    """Puts rows of ids side by side.

    Args:
        rows: B rows, the longest of L ids.
        side: where a shorter one is padded.

    Returns:
        Ids, int64 (B, L), 0 where there is padding, and bool (B, L), True where there is none.
    """
    ids = [torch.tensor(row, dtype=torch.long) for row in rows]
    real = [torch.ones_like(row, dtype=torch.bool) for row in ids]
    ids_BL, real_BL = (
        pad_sequence(each, batch_first=True, padding_side=side) for each in (ids, real)
    )
    return ids_BL, real_BL
