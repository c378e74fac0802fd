"""The losses: what they are made of, whom they teach, and what min-SNR weights say."""

import pytest
import torch

from ddpm.diffusion import GaussianDiffusion
from ddpm.losses import LOSSES, tamed
from ddpm.models import UNet, UNetConfig
from ddpm.predictions import PREDICTIONS
from ddpm.schedules import cosine_schedule, linear_schedule, zero_terminal_snr
from ddpm.variances import VARIANCES

B, T = 6, 1000
TIMES = torch.tensor([0, 1, 2, 300, 700, 999])


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    x0 = torch.randint(256, (B, 2, 3, 3), generator=generator).double() / 127.5 - 1
    noise, output = (
        torch.randn(B, c, 3, 3, generator=generator, dtype=torch.float64) for c in (2, 4)
    )
    return x0, noise, output


def losses(
    output,
    loss,
    prediction="epsilon",
    variance="learned_range",
    times=TIMES,
    num_timesteps=T,
    **settings,
):
    x0, noise, _ = batch()
    diffusion = GaussianDiffusion(
        linear_schedule(num_timesteps), prediction, variance, loss, **settings
    )
    return diffusion.losses(lambda x, t: output, x0, times, noise)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_simple_is_the_squared_error_of_the_target(prediction):
    x0, noise, output = batch()
    target = GaussianDiffusion(linear_schedule(T), prediction).target(x0, TIMES, noise)
    expected = ((target - output[:, :2]) ** 2).mean((1, 2, 3))
    torch.testing.assert_close(losses(output, "simple", prediction), expected)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("variance", ["learned", "learned_range"])
def test_hybrid_is_simple_and_a_thousandth_of_the_bound(prediction, variance):
    output = batch()[2]
    for num_timesteps in (T, 4 * T):
        simple, hybrid, vlb = (
            losses(output, loss, prediction, variance, num_timesteps=num_timesteps)
            for loss in ("simple", "hybrid", "vlb")
        )
        torch.testing.assert_close(hybrid, simple + vlb / 1000)


def test_hybrid_teaches_the_bound_to_the_variance_alone():
    output = batch()[2].requires_grad_()
    gradients = {
        loss: torch.autograd.grad(losses(output, loss).sum(), output)[0]
        for loss in ("simple", "hybrid", "vlb")
    }
    # the bound's part is exactly 0 there
    assert torch.equal(gradients["hybrid"][:, :2], gradients["simple"][:, :2])
    torch.testing.assert_close(gradients["hybrid"][:, 2:], gradients["vlb"][:, 2:] / T)
    assert bool((gradients["simple"][:, 2:] == 0).all())
    assert bool((gradients["vlb"].abs().amax((2, 3)) > 0).all())


@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large"])
def test_a_fixed_variance_learns_nothing_from_hybrid(variance):
    output = batch()[2][:, :2]
    assert torch.equal(
        losses(output, "hybrid", variance=variance), losses(output, "simple", variance=variance)
    )


def test_the_mean_of_vlb_over_timesteps_is_the_bound_without_its_prior():
    x0, noise, output = (tensor[:1] for tensor in batch())
    diffusion = GaussianDiffusion(cosine_schedule(50), loss="vlb")

    def model(x, t):
        return output.expand(len(x), -1, -1, -1)

    every = diffusion.losses(
        model, x0.expand(50, -1, -1, -1), torch.arange(50), noise.expand(50, -1, -1, -1)
    )
    terms = []
    for t in range(50):
        one = torch.tensor([t])
        terms.append(diffusion.losses(model, x0, one, noise) / 50)
    torch.testing.assert_close(every.mean(), torch.cat(terms).sum())
    # and the same terms are those of bits_per_dim, whose noise comes from the generator
    generator = torch.Generator().manual_seed(5)
    bits = diffusion.bits_per_dim(model, x0, clip=False, generator=generator)
    generator.manual_seed(5)
    draws = torch.cat(
        [torch.randn(x0.shape, generator=generator, dtype=x0.dtype) for _ in range(50)]
    )
    torch.testing.assert_close(
        diffusion.losses(model, x0.expand(50, -1, -1, -1), torch.arange(50), draws) / 50,
        bits.per_step[0],
    )


def test_a_fresh_networks_simple_loss_is_the_variance_of_the_noise():
    _x0, noise, output = batch()
    torch.testing.assert_close(
        losses(torch.zeros_like(output), "simple"), noise.square().mean((1, 2, 3))
    )


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
def test_min_snr_weights_are_the_papers(prediction):
    output = batch()[2]
    plain = losses(output, "simple", prediction)
    weighted = losses(output, "simple", prediction, min_snr_gamma=5.0)
    bar = (1 - linear_schedule(T)).cumprod(0)[TIMES]
    snr = bar / (1 - bar)
    capped = snr.clamp(max=5)
    expected = {"epsilon": capped / snr, "sample": capped, "v_prediction": capped / (snr + 1)}[
        prediction
    ]
    torch.testing.assert_close(weighted / plain, expected)


def test_min_snr_weights_the_same_image_error_alike():
    """An error of the image counts the same, whatever the network predicts."""
    x0, noise, _ = batch()
    wrong = x0 + 0.01
    found = []
    for prediction in PREDICTIONS:
        diffusion = GaussianDiffusion(
            linear_schedule(T), prediction, "fixed_small", "simple", min_snr_gamma=5.0
        )
        x_t = diffusion.q_sample(x0, TIMES, noise)
        # the output that stands for the wrong image
        output = diffusion.target(wrong, TIMES, diffusion.epsilon(wrong, x_t, TIMES))
        found.append(diffusion.losses(lambda x, t, out=output: out, x0, TIMES, noise))
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-6, atol=0)


def test_loss_weights_are_those_of_the_kept_steps():
    full = GaussianDiffusion(linear_schedule(100), min_snr_gamma=5.0)
    spaced = full.respace("7")
    assert torch.equal(spaced.loss_weights.values, full.loss_weights.values[spaced.timesteps])


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("scale", [1.0, 30.0])
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_every_gradient_is_finite_in_float32(loss, scale, prediction):
    x0, noise, output = (tensor.float() for tensor in batch())
    output = (scale * output).requires_grad_()
    diffusion = GaussianDiffusion(linear_schedule(T), prediction, "learned_range", loss)
    value = diffusion.losses(lambda x, t: output, x0, TIMES, noise)
    assert value.dtype == torch.float32 and bool(value.isfinite().all())
    assert bool(torch.autograd.grad(value.sum(), output)[0].isfinite().all())


def test_a_row_does_not_depend_on_the_others():
    x0, noise, output = batch()
    for loss in LOSSES:
        diffusion = GaussianDiffusion(linear_schedule(T), loss=loss)
        together = diffusion.losses(lambda x, t: output, x0, TIMES, noise)
        for row in range(B):
            one = slice(row, row + 1)
            alone = diffusion.losses(lambda x, t, s=one: output[s], x0[one], TIMES[one], noise[one])
            torch.testing.assert_close(alone[0], together[row])


@pytest.mark.parametrize("schedule", [linear_schedule, cosine_schedule])
@pytest.mark.parametrize("loss", ["vlb", "hybrid"])
@pytest.mark.parametrize("variance", ["learned", "learned_range"])
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_fresh_network_begins_at_a_loss_that_can_be_learned_from(
    prediction, variance, loss, schedule
):
    """A network that says 0 pays thousands of bits at t = 0 for "sample" and "previous"."""
    x0, noise, output = batch()
    diffusion = GaussianDiffusion(schedule(1000), prediction, variance, loss)
    fresh = torch.zeros_like(output).requires_grad_()
    t = torch.zeros(len(x0), dtype=torch.int64)
    start = diffusion.losses(lambda x, t: fresh, x0, t, noise)
    assert (start / (1000 if loss == "vlb" else 1) < 150).all()
    start.sum().backward()
    assert fresh.grad.isfinite().all() and fresh.grad.abs().sum() > 0


@pytest.mark.parametrize("limit", [2.0, 16.0])
def test_tamed_bits_are_themselves_below_the_limit_and_rise_smoothly_above(limit):
    below = torch.linspace(-3, limit, 20, dtype=torch.float64)
    assert torch.equal(tamed(below, limit), below)
    above = torch.linspace(limit, 1e4, 1000, dtype=torch.float64, requires_grad=True)
    bits = tamed(above, limit)
    (slope,) = torch.autograd.grad(bits.sum(), above)
    assert bits.max() < 10 * limit and (slope > 0).all() and slope[0] == 1
    torch.testing.assert_close(slope, limit / above.detach())


def test_a_terminal_step_without_any_signal_is_learned():
    """arXiv 2305.08891: there is where sampling begins, and SNR = 0 would weigh it with 0."""
    diffusion = GaussianDiffusion(
        zero_terminal_snr(linear_schedule(100)), "v_prediction", "fixed_small", min_snr_gamma=5.0
    )
    x0, noise, output = batch()
    output = output[:, :2]
    last = torch.full((len(x0),), 99)
    plain = output.clone().requires_grad_()
    diffusion.losses(lambda x, t: plain, x0, last, noise).sum().backward()
    assert (plain.grad != 0).all()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_fresh_network_learns(prediction, variance, loss):
    """A dozen steps on one batch lower its loss, and all gradients stay finite."""
    torch.manual_seed(0)
    sizes = {"model_channels": 32, "channel_mult": (1,), "num_res_blocks": 1}
    model = UNet(UNetConfig(image_size=4, in_channels=1, attention_resolutions=(), **sizes))
    diffusion = GaussianDiffusion(cosine_schedule(1000), prediction, variance, loss)
    x0 = torch.full((32, 1, 4, 4), 0.5)
    noise = torch.randn_like(x0)
    t = torch.linspace(0, 999, 32).long()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    found = []
    for _ in range(13):
        found.append(diffusion.losses(model, x0, t, noise).mean())
        optimizer.zero_grad()
        found[-1].backward()
        assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
        optimizer.step()
    found = torch.stack(found).detach()
    assert found.isfinite().all() and found[-1] < 0.8 * found[0]
