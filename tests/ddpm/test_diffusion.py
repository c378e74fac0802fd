"""The whole diffusion: its settings, and what its losses and its likelihood refuse."""

import math

import pytest
import torch

from ddpm.diffusion import GaussianDiffusion
from ddpm.schedules import linear_schedule


def silent(x, t, labels=None):
    """A fresh network with a learned variance: all zeros."""
    return torch.zeros(len(x), 2 * x.shape[1], *x.shape[2:], dtype=x.dtype)


@pytest.mark.parametrize(
    "settings",
    [
        {"prediction": "eps"},
        {"variance": "small"},
        {"loss": "mse"},
        {"min_snr_gamma": 0},
        {"min_snr_gamma": math.nan},
        {"rescale_timesteps": 1},
    ],
)
def test_unknown_settings(settings):
    with pytest.raises(ValueError, match=f"{next(iter(settings))} is .*expected"):
        GaussianDiffusion(linear_schedule(100), **settings)


def test_bad_images_and_timesteps():
    diffusion = GaussianDiffusion(linear_schedule(100))
    x = torch.zeros(2, 1, 4, 4)
    t = torch.tensor([1, 2])
    for images, times, message in (
        (x + 1.1, t, r"lie in \[1.1, 1.1\]; expected \[-1, 1\]"),
        (x + float("nan"), t, "expected"),
        (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), t, "uint8"),
        (x, torch.tensor([1, 100]), r"1..100; expected 0..99"),
        (x, torch.tensor([-1, 1]), "expected 0..99"),
        (x, torch.tensor([1]), "shape"),
        (x, torch.tensor([1.0, 2.0]), "int64"),
        (x, 3, "t is a int"),
    ):
        with pytest.raises(ValueError, match=message):
            diffusion.losses(silent, images, times)
    with pytest.raises(ValueError, match="expected"):
        diffusion.bits_per_dim(silent, x - 2)
    with pytest.raises(ValueError, match=r"noise is torch.float32 \(2, 1, 4, 5\)"):
        diffusion.losses(silent, x, t, torch.zeros(2, 1, 4, 5))


def test_noise_of_another_shape_is_not_spread():
    diffusion = GaussianDiffusion(linear_schedule(100))
    x = torch.zeros(2, 1, 4, 4)
    for call in (
        lambda noise: diffusion.q_sample(x, 3, noise),
        lambda noise: diffusion.q_step(x, 3, noise),
        lambda noise: diffusion.losses(silent, x, torch.tensor([1, 2]), noise),
    ):
        with pytest.raises(ValueError, match=r"noise is .* expected floats of shape"):
            call(torch.zeros(1, 1, 4, 4))
