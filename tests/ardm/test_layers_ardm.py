"""Rotary positions turn by a position's coordinates, each axis its own share of the pairs."""

import itertools

import pytest
import torch

from ardm import ARDMConfig
from ardm.layers_ardm import apply_rotary, rotary_angles

SHAPES = [[6], [2, 3], [3, 2, 2], [4, 1, 3], [1, 4], [5, 1], [2, 2, 2, 2]]


def config_of(shape, head_size=16):
    sizes = {"hidden_size": 2 * head_size, "num_attention_heads": 2}
    return ARDMConfig(position_shape=shape, **sizes)


def angles_of(shape, positions, head_size=16):
    """(L, D), the angles of positions."""
    config = config_of(shape, head_size)
    cos, sin = rotary_angles(config, torch.tensor([positions]), torch.float64)
    assert cos.shape == sin.shape == (1, 1, len(positions), head_size)
    return torch.atan2(sin, cos)[0, 0]


def coordinates(position, shape):
    """Of a position in a grid, the last axis fastest; beyond the end the first axis goes on."""
    found = []
    for size in reversed(shape[1:]):
        found.insert(0, position % size)
        position //= size
    return [position, *found]


def axes_of_pairs(shape, num_pairs):
    """Which axis turns each pair: axes of size 1 none, but for the first, the first ones more."""
    axes = [0, *[axis for axis, size in enumerate(shape) if axis and size > 1]]
    counts = [len(range(number, num_pairs, len(axes))) for number in range(len(axes))]
    return [axis for axis, count in zip(axes, counts, strict=True) for _ in range(count)]


@pytest.mark.parametrize("shape", SHAPES)
def test_each_pair_turns_by_one_coordinate_and_its_frequency(shape):
    for head_size in (8, 16, 20):
        axes = axes_of_pairs(shape, head_size // 2)
        positions = [*range(2 * torch.tensor(shape).prod())]
        angles = angles_of(shape, positions, head_size)
        assert torch.equal(angles[:, : head_size // 2], angles[:, head_size // 2 :])
        for pair, axis in enumerate(axes):
            number, count = pair - axes.index(axis), axes.count(axis)
            frequency = 10_000.0 ** -(number / count)
            turned = torch.tensor([coordinates(p, shape)[axis] * frequency for p in positions])
            expected = torch.atan2(turned.double().sin(), turned.double().cos())
            torch.testing.assert_close(angles[:, pair], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("length", [1, 7, 300])
def test_one_axis_is_none(length):
    positions = torch.arange(length)[None]
    for shape in ([length], [1], [3], [length, 1], [length, 1, 1]):
        ours = rotary_angles(config_of(shape), positions, torch.float32)
        plain = rotary_angles(config_of(None), positions, torch.float32)
        assert all(torch.equal(one, other) for one, other in zip(ours, plain, strict=True))


def test_axes_of_one_say_nothing():
    positions = [*range(12)]
    for with_ones, without in (
        ([4, 1, 3], [4, 3]),
        ([4, 3, 1], [4, 3]),
        ([2, 1, 2, 1, 3], [2, 2, 3]),
    ):
        assert torch.equal(angles_of(with_ones, positions), angles_of(without, positions))


@pytest.mark.parametrize("shape", [[3, 4], [4, 3, 2]])
def test_equal_coordinates_turn_alike(shape):
    size = int(torch.tensor(shape).prod())
    angles = angles_of(shape, [*range(size)])
    axes = axes_of_pairs(shape, 8)
    for one, other in itertools.combinations(range(size), 2):
        for axis, (a, b) in enumerate(
            zip(coordinates(one, shape), coordinates(other, shape), strict=True)
        ):
            of_axis = [pair for pair in range(8) if axes[pair] == axis]
            assert torch.equal(angles[one, of_axis], angles[other, of_axis]) == (a == b)


@pytest.mark.parametrize("shape", [None, [12], [3, 4], [2, 3, 2]])
def test_scores_hang_on_the_offset_along_each_axis(shape):
    """A query and a key one row (column, channel) further have the score that they had."""
    grid = shape or [12]
    cos, sin = rotary_angles(config_of(shape), torch.arange(12)[None], torch.float64)
    query, key = torch.randn(2, 1, 1, 1, 16, dtype=torch.float64)
    scores = apply_rotary(query, cos, sin)[0, 0] @ apply_rotary(key, cos, sin)[0, 0].t()
    by_offset = {}
    for one, other in itertools.product(range(12), repeat=2):
        pair = (coordinates(one, grid), coordinates(other, grid))
        offset = tuple(b - a for a, b in zip(*pair, strict=True))
        by_offset.setdefault(offset, []).append(float(scores[one, other]))
    for same in by_offset.values():
        assert max(same) - min(same) < 1e-5
    means = sorted(sum(same) / len(same) for same in by_offset.values())
    assert all(after - before > 1e-6 for before, after in itertools.pairwise(means))


@pytest.mark.parametrize("shape", [[], [0, 3], [3, -1], [2] * 9])
def test_axes_that_are_none_or_too_many_are_refused(shape):
    with pytest.raises(ValueError, match=r"position_shape is \[.*; expected .*sizes of at least 1"):
        config_of(shape)
    assert config_of([2] * 8).position_shape == [2] * 8
