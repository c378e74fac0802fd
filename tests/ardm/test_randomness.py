"""Keyed random numbers are uniform, independent over every key, and nothing but their keys."""

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from ardm.randomness import keyed_bits, keyed_uniforms, seed_from

ROWS, COLUMNS = torch.arange(400)[:, None], torch.arange(50)
SMALL_KEYS = [(0,), (1,), (-1,), (7, 3), (2**61 + 12345, 1)]


def splitmix(state):
    """The finaliser of Steele, Lea and Flood in Python's unbounded integers."""
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    state = (state ^ (state >> 27)) * 0x94D049BB133111EB % 2**64
    return state ^ (state >> 31)


def test_bits_are_splitmix64_of_the_keys_one_after_another():
    for keys in [(0,), (1, 2, 3), (-5, 2**40), (2**62, -(2**63))]:
        state = 0
        for key in keys:
            state = splitmix((state + key + 0x9E3779B97F4A7C15) % 2**64)
        assert int(keyed_bits(*keys)) % 2**64 == state
        assert float(keyed_uniforms(*keys)) == (state >> 12) / 2**52


@pytest.mark.parametrize("keys", SMALL_KEYS)
def test_uniform_over_consecutive_keys(keys):
    for uniforms in (
        keyed_uniforms(*keys, ROWS, COLUMNS),
        keyed_uniforms(*keys, ROWS * 2**32 + COLUMNS),
    ):
        assert uniforms.dtype == torch.float64 and uniforms.shape == (400, 50)
        assert (uniforms >= 0).all() and (uniforms < 1).all()
        assert stats.kstest(uniforms.flatten().numpy(), "uniform").pvalue > 1e-3
        bits = (uniforms * 2**52).long()
        # multiples of 2^-52: u * total < total after rounding
        assert (bits.double() == uniforms * 2**52).all()
        ones = torch.stack([(bits >> place & 1).double().mean() for place in range(52)])
        assert (ones - 0.5).abs().max() < 5 * 0.5 / np.sqrt(bits.numel())


def test_uniform_over_the_first_key():
    uniforms = keyed_uniforms(torch.arange(20_000), 1, 0)
    assert stats.kstest(uniforms.numpy(), "uniform").pvalue > 1e-3


def test_no_correlation_between_neighbours_in_any_key():
    uniforms = torch.stack([keyed_uniforms(5, stream, ROWS, COLUMNS) for stream in range(3)])
    seeds = torch.stack([keyed_uniforms(seed, 0, ROWS, COLUMNS) for seed in range(3)])
    pairs = [(uniforms[0], uniforms[1]), (uniforms[1], uniforms[2]), (seeds[0], seeds[1])]
    pairs += [(u[1:], u[:-1]) for u in uniforms] + [(u[:, 1:], u[:, :-1]) for u in uniforms]
    for first, second in pairs:
        correlation, p_value = stats.spearmanr(first.flatten(), second.flatten())
        assert abs(correlation) < 0.04 and p_value > 1e-3


def test_keys_that_share_a_sum_or_are_swapped_are_distinct():
    values = {float(keyed_uniforms(*keys)) for keys in itertools.product(range(12), repeat=3)}
    values |= {float(keyed_uniforms(*keys)) for keys in itertools.product(range(12), repeat=2)}
    assert len(values) == 12**3 + 12**2


def test_values_do_not_depend_on_the_batch_they_are_drawn_in():
    whole = keyed_uniforms(9, ROWS, COLUMNS)
    assert torch.equal(whole[17:40, 5:9], keyed_uniforms(9, ROWS[17:40], COLUMNS[5:9]))
    assert float(whole[3, 4]) == float(keyed_uniforms(9, 3, 4))
    shuffled = torch.randperm(400)
    assert torch.equal(
        whole[shuffled], keyed_uniforms(torch.tensor(9), ROWS[shuffled].int(), COLUMNS)
    )


def test_seed_from_is_the_generators_and_moves_it_on():
    first, second = (torch.Generator().manual_seed(3) for _ in range(2))
    seeds = [seed_from(first) for _ in range(100)]
    assert seeds == [seed_from(second) for _ in range(100)] and len(set(seeds)) == 100
    assert all(0 <= seed < 2**62 for seed in seeds)
    torch.manual_seed(3)
    assert [seed_from(None) for _ in range(100)] == seeds
