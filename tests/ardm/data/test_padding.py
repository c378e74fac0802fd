"""Rows side by side: each is where the mask is true, in order, at the side that was asked for."""

import pytest
import torch

from ardm.data.padding import padded

ROWS = [[3, 0, 5], [], [7]]


@pytest.mark.parametrize(
    ("side", "expected"),
    [("right", [[1, 1, 1], [0, 0, 0], [1, 0, 0]]), ("left", [[1, 1, 1], [0, 0, 0], [0, 0, 1]])],
)
def test_rows_are_found_where_the_mask_is_true(side, expected):
    ids, real = padded(ROWS, side)
    assert ids.dtype == torch.int64 and real.dtype == torch.bool
    assert real.long().tolist() == expected and not ids[~real].any()
    assert [row[kept].tolist() for row, kept in zip(ids, real, strict=True)] == ROWS


def test_rows_are_padded_on_the_right_unless_asked():
    ids, real = padded([[1], [2, 3]])
    assert ids.tolist() == [[1, 0], [2, 3]] and real.tolist() == [[True, False], [True, True]]
