"""The condition: the mean of the image's own pixels, q's noise at any level, bound to a network."""

import math

import pytest
import torch
from torch import nn

from ddpm.conditioning import Conditioned, OwnLowResolution, downsample, noised
from ddpm.diffusion import GaussianDiffusion
from ddpm.noise import stream
from ddpm.schedules import linear_schedule

DIFFUSION = GaussianDiffusion(linear_schedule(1000))


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Spy:
    """Remembers what it was given."""

    def __call__(self, x, t, labels=None, **given):
        self.given = {"labels": labels, **given}
        return x


def streams(count, seed=0):
    return [stream(seed, number) for number in range(count)]


@pytest.mark.parametrize(("size", "low_resolution"), [(8, 4), (8, 2), (12, 3), (6, 6), (4, 1)])
def test_a_small_pixel_is_the_mean_of_its_area(size, low_resolution):
    images = normal(3, 2, size, size)
    small = downsample(images, low_resolution)
    side = size // low_resolution
    for row in range(low_resolution):
        for column in range(low_resolution):
            rows = slice(row * side, (row + 1) * side)
            area = images[:, :, rows, column * side : (column + 1) * side]
            torch.testing.assert_close(small[:, :, row, column], area.mean((2, 3)))


def test_a_level_is_so_many_steps_of_q():
    """Moments by the product of the steps, x_s = prod sqrt(1 - beta) z + noise."""
    low_res = torch.full((5, 1, 100, 100), 0.7)
    levels = torch.tensor([0, 1, 2, 300, 1000])
    moved = noised(low_res, levels, DIFFUSION, normal(5, 1, 100, 100))
    assert torch.equal(moved[0], low_res[0])
    for image, level in zip(moved[1:], levels[1:].tolist(), strict=True):
        signal = math.prod(1 - float(beta) for beta in DIFFUSION.betas[:level])
        noise = math.sqrt(1 - signal)
        assert float(image.mean()) == pytest.approx(0.7 * math.sqrt(signal), abs=0.03 * noise)
        assert float(image.std()) == pytest.approx(noise, rel=0.03)


def test_the_network_is_given_what_is_bound_once_or_several_times():
    low_res, levels = normal(2, 1, 4, 4), torch.tensor([3, 5])
    spy = Spy()
    for copies in (1, 2, 3):
        Conditioned(spy, low_res, levels)(normal(2 * copies, 1, 8, 8), torch.tensor(0))
        assert torch.equal(spy.given["low_res"], torch.cat([low_res] * copies))
        assert spy.given["noise_level"].tolist() == [3, 5] * copies
        assert spy.given["labels"] is None
    labels = torch.tensor([1, 0])
    Conditioned(spy, low_res)(normal(2, 1, 8, 8), torch.tensor(0), labels)
    assert torch.equal(spy.given["labels"], labels) and "noise_level" not in spy.given
    with pytest.raises(ValueError, match="3 images and 2 small ones"):
        Conditioned(spy, low_res)(normal(3, 1, 8, 8), torch.tensor(0))


def test_what_is_bound_is_no_weight_and_goes_where_the_network_goes():
    model = nn.Linear(1, 1)
    bound = Conditioned(model, normal(2, 1, 4, 4), torch.tensor([3, 5]))
    assert set(bound.state_dict()) == {"model.weight", "model.bias"}
    assert bound.to("meta").low_res.is_meta and bound.noise_level.is_meta


def test_each_image_is_given_with_its_own_small_version():
    images, spy = normal(4, 1, 8, 8), Spy()
    OwnLowResolution(4)(spy, images, streams(4))(images, torch.tensor(0))
    assert set(spy.given) == {"labels", "low_res"}
    assert torch.equal(spy.given["low_res"], downsample(images, 4))


def test_levels_are_uniform_and_an_image_has_its_own():
    images, spy = torch.zeros(600, 1, 4, 4), Spy()
    condition = OwnLowResolution(2, DIFFUSION, max_noise_level=4)
    condition(spy, images, streams(600))(images, torch.tensor(0))
    levels, low_res = spy.given["noise_level"], spy.given["low_res"]
    shares = torch.bincount(levels, minlength=5) / 600
    assert len(shares) == 5 and float((shares - 0.2).abs().max()) < 0.06
    assert not low_res[levels == 0].any() and low_res[levels > 0].flatten(1).any(1).all()
    condition(spy, images[7:9], streams(600)[7:9])(images[7:9], torch.tensor(0))
    assert torch.equal(spy.given["noise_level"], levels[7:9])
    torch.testing.assert_close(spy.given["low_res"], low_res[7:9])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), "low_resolution"),
        ((4, DIFFUSION, -1), "max_noise_level"),
        ((4, DIFFUSION, 1001), r"max_noise_level is 1001; expected 0\.\.1000"),
        ((4, None, 1), "max_noise_level is 1"),
    ],
)
def test_numbers_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        OwnLowResolution(*arguments)
