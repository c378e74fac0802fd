"""What networks predict: targets and images are inverse, and thresholds keep their promise."""

import pytest
import torch

from ddpm.diffusion import GaussianDiffusion
from ddpm.predictions import PREDICTIONS, clipping, dynamic_threshold
from ddpm.schedules import SCHEDULES, linear_schedule

CASES = [
    (name, kind)
    for name in SCHEDULES
    for kind in PREDICTIONS
    if not ("zero" in name and kind == "epsilon")
]


@pytest.mark.parametrize(("schedule", "kind"), CASES)
def test_a_perfect_prediction_is_the_image(schedule, kind):
    diffusion = GaussianDiffusion(SCHEDULES[schedule](200), kind, "fixed_small")
    x0, noise = torch.randn(2, 4, 1, 3, 3, dtype=torch.float64)
    for t in range(200):
        x_t = diffusion.q_sample(x0, t, noise)
        p = diffusion.reverse(diffusion.target(x0, t, noise), x_t, t)
        torch.testing.assert_close(p.x0, x0, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(diffusion.epsilon(x0, x_t, t), noise, rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(
            p.mean, diffusion.q_posterior(x0, x_t, t)[0], rtol=1e-6, atol=1e-6
        )


def test_targets_are_the_papers():
    x0, noise = torch.randn(2, 4, 1, 3, 3, dtype=torch.float64)
    t = torch.tensor([0, 5, 50, 99])
    for kind in PREDICTIONS:
        diffusion = GaussianDiffusion(linear_schedule(100), kind, "fixed_small")
        bar = diffusion.alphas_cumprod[t].view(-1, 1, 1, 1)
        x_t = diffusion.q_sample(x0, t, noise)
        expected = {
            "epsilon": noise,
            "sample": x0,
            "v_prediction": bar.sqrt() * noise - (1 - bar).sqrt() * x0,
            "previous": diffusion.q_posterior(x0, x_t, t)[0],
        }[kind]
        torch.testing.assert_close(diffusion.target(x0, t, noise), expected, rtol=1e-10, atol=1e-10)


def test_the_mean_of_previous_is_what_the_network_says():
    diffusion = GaussianDiffusion(linear_schedule(100), "previous", "fixed_small")
    x_t, said = torch.randn(2, 4, 1, 3, 3, dtype=torch.float64)
    for t in (0, 1, 50, 99):
        torch.testing.assert_close(
            diffusion.reverse(said, x_t, t).mean, said, rtol=1e-10, atol=1e-10
        )


def test_v_is_the_velocity_on_the_circle():
    # x = cos(phi) x0 + sin(phi) noise, v = dx / dphi
    diffusion = GaussianDiffusion(linear_schedule(100), "v_prediction", "fixed_small")
    x0, noise = torch.randn(2, 4, 1, dtype=torch.float64)
    for t in (0, 40, 99):
        angle = diffusion.alphas_cumprod[t].sqrt().acos()
        after, before = ((angle + h).cos() * x0 + (angle + h).sin() * noise for h in (1e-6, -1e-6))
        torch.testing.assert_close(
            diffusion.target(x0, t, noise), (after - before) / 2e-6, rtol=1e-8, atol=1e-8
        )


@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.995, 1.0])
def test_dynamic_threshold_is_torchs_quantile(quantile):
    x0 = torch.randn(7, 3, 5, 5) * torch.linspace(0.1, 4, 7).view(-1, 1, 1, 1)
    found = dynamic_threshold(x0, quantile)
    limits = torch.quantile(x0.abs().flatten(1), quantile, dim=1).clamp(min=1).view(-1, 1, 1, 1)
    torch.testing.assert_close(found, x0.clamp(-limits, limits) / limits)
    assert bool((found.abs() <= 1 + 1e-6).all())


def test_an_image_in_range_is_left_alone():
    x0 = torch.rand(3, 1, 4, 4) * 2 - 1
    for clip in (True, False, None, "static", "dynamic"):
        torch.testing.assert_close(clipping(clip)(x0), x0)
    assert float(clipping(True)(3 * x0).abs().max()) == 1
    assert torch.equal(clipping(False)(3 * x0), 3 * x0)


@pytest.mark.parametrize("clip", ["yes", 1.5, "Static"])
def test_unknown_clip(clip):
    with pytest.raises(ValueError, match="clip is"):
        clipping(clip)
