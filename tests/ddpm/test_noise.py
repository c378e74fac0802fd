"""Noise by keys: the same alone and in a batch, different for every key, normal."""

import pytest
import torch

from ddpm.noise import RowNoise, stream


def rows(*keys):
    return RowNoise([stream(*key) for key in keys])


def test_a_row_is_its_keys_own():
    keys = [(0, 0), (0, 1), (1, 0), (7, 123456789012)]
    like = torch.empty(4, 3, 5, 5)
    together = rows(*keys)(like)
    for row, key in enumerate(keys):
        assert torch.equal(rows(key)(like[:1])[0], together[row])
    assert torch.equal(rows(*keys[::-1])(like), together.flip(0))


def test_streams_of_neighbouring_keys_have_nothing_in_common():
    like = torch.empty(1, 10_000)
    draws = torch.cat([rows((seed, number))(like) for seed in range(4) for number in range(4)])
    correlations = torch.corrcoef(draws) - torch.eye(16)
    assert float(correlations.abs().max()) < 5 / 10_000**0.5
    assert stream(1, 23).initial_seed() != stream(12, 3).initial_seed()


def test_noise_is_standard_normal_and_goes_on():
    noise = rows(*[(0, row) for row in range(50)])
    first = noise(torch.empty(50, 2000))
    second = noise(torch.empty(50, 2000))
    for draw in (first, second):
        assert (
            abs(float(draw.mean())) < 5 / 100_000**0.5
            and abs(float(draw.std()) - 1) < 5 / 200_000**0.5
        )
    assert abs(float((first * second).mean())) < 5 / 100_000**0.5


def test_one_generator_or_none_for_all():
    generator = torch.Generator().manual_seed(3)
    like = torch.empty(2, 4, dtype=torch.float64)
    assert torch.equal(
        RowNoise(generator)(like),
        torch.randn(2, 4, generator=generator.manual_seed(3), dtype=torch.float64),
    )
    torch.manual_seed(3)
    assert torch.equal(
        RowNoise()(like), torch.randn(2, 4, generator=generator.manual_seed(3), dtype=torch.float64)
    )


def test_as_many_generators_as_rows():
    with pytest.raises(ValueError, match="2 generators or seeds for 3 images"):
        rows((0,), (1,))(torch.empty(3, 1))
