"""Respacing: the released code's own lists, laws for all counts, and what cannot be read."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddpm.respacing import kept_timesteps

EVEN_25 = [
    0,
    42,
    83,
    125,
    166,
    208,
    250,
    291,
    333,
    375,
    416,
    458,
    500,
    541,
    583,
    624,
    666,
    708,
    749,
    791,
    832,
    874,
    916,
    957,
    999,
]


def test_lists_of_the_released_code():
    assert kept_timesteps(1000, "25") == kept_timesteps(1000, 25) == EVEN_25
    assert kept_timesteps(1000, "ddim25") == list(range(0, 1000, 40))
    assert kept_timesteps(1000, "ddim50") == list(range(0, 1000, 20))
    assert kept_timesteps(300, "10,10,10")[:10] == [0, 11, 22, 33, 44, 55, 66, 77, 88, 99]
    assert kept_timesteps(10, "2,3") == [0, 4, 5, 7, 9]
    assert kept_timesteps(7, "1,2,1") == [0, 3, 4, 5]  # sections of 3, 2 and 2


@given(st.integers(2, 1200), st.data())
def test_even_respacing_has_both_ends_and_rises(num_timesteps, data):
    count = data.draw(st.integers(2, num_timesteps))
    kept = kept_timesteps(num_timesteps, str(count))
    assert len(kept) == count and kept[0] == 0 and kept[-1] == num_timesteps - 1
    gaps = {b - a for a, b in itertools.pairwise(kept)}
    assert min(gaps) >= 1 and max(gaps) - min(gaps) <= 1 and kept == sorted(set(kept))


@given(st.integers(2, 400))
def test_all_of_them(num_timesteps):
    assert kept_timesteps(num_timesteps, num_timesteps) == list(range(num_timesteps))


@given(st.lists(st.integers(1, 9), min_size=2, max_size=6), st.integers(9, 40))
def test_sections_hold_their_counts(counts, size):
    kept = kept_timesteps(size * len(counts), ",".join(map(str, counts)))
    assert kept == sorted(set(kept))
    for index, count in enumerate(counts):
        assert sum(index * size <= t < (index + 1) * size for t in kept) == count


@pytest.mark.parametrize(
    "respacing",
    [
        "1",
        1,
        "0",
        "ddim1",
        "ddim999",
        "ddim0",
        "",
        "a",
        "10,",
        "10;10",
        "-5",
        "1001",
        "2.5",
        2.5,
        "501,499",
        "0,5",
        None,
    ],
)
def test_refused(respacing):
    with pytest.raises(ValueError, match="expected"):
        kept_timesteps(1000, respacing)
