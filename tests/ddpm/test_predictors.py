"""A guidance reaches every sampler, whether it changes the image or the mean, or is refused."""

import pytest
import torch

from ddpm import GaussianDiffusion, linear_schedule, sample
from ddpm.steps import STEPS

X = torch.zeros(2, 1, 2, 2, dtype=torch.float64)


def toward(direction):
    """A guidance that moves the mean by `direction` times the variance, as a gradient would."""

    def guidance(predict):
        def guided(x, t):
            p = predict(x, t)
            return p.with_mean(p.mean + p.log_variance.exp() * direction)

        return guided

    return guidance


def drawn(model, diffusion, sampler, guidance):
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(X.shape, generator=generator, dtype=X.dtype)
    options = {"noise": noise, "clip": False, "progress": False, "seed": 0}
    return sample(model, X.shape, diffusion, sampler=sampler, guidance=guidance, **options)


@pytest.mark.parametrize("sampler", STEPS)
def test_a_moved_mean_moves_the_images_of_every_sampler(gaussian, sampler):
    diffusion = GaussianDiffusion(linear_schedule(1000), variance="fixed_small").respace(20)
    model = gaussian(0.0, 0.5).denoiser(diffusion)
    plain = drawn(model, diffusion, sampler, None)
    assert torch.equal(drawn(model, diffusion, sampler, toward(0.0)), plain)
    for sign in (1.0, -1.0):
        moved = drawn(model, diffusion, sampler, toward(sign)) - plain
        assert (sign * moved > 0.05).all()


@pytest.mark.parametrize(
    ("guidance", "message"),
    [
        (3, "guidance is a int"),
        (lambda predict: None, "the guidance gave a NoneType"),
        (lambda predict: lambda x, t: x, "gave a Tensor at t = 19"),
    ],
    ids=["no function", "no predictor", "no Reverse"],
)
def test_what_is_no_guidance_is_refused(gaussian, guidance, message):
    diffusion = GaussianDiffusion(linear_schedule(1000), variance="fixed_small").respace(20)
    with pytest.raises(ValueError, match=message):
        drawn(gaussian().denoiser(diffusion), diffusion, "ddim", guidance)


@pytest.mark.parametrize("sampler", STEPS)
def test_a_network_that_gives_nan_draws_nothing(sampler):
    diffusion = GaussianDiffusion(linear_schedule(100), variance="fixed_small").respace(5)
    with pytest.raises(ValueError, match="not finite"):
        drawn(lambda x, t: x * torch.nan, diffusion, sampler, None)
