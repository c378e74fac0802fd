"""GaussianDiffusion against exact denoisers, the two-time formulae, and diffusers' scheduler."""

import math

import pytest
import torch

from ddpm.diffusion import GaussianDiffusion
from ddpm.losses import bound_bits
from ddpm.schedules import SCHEDULES, cosine_schedule, linear_schedule, zero_terminal_snr
from ddpm.variances import VARIANCES

FIXED = ("fixed_small", "fixed_large")


def silent(x, t, labels=None):
    """A fresh network with a learned variance: all zeros."""
    return torch.zeros(len(x), 2 * x.shape[1], *x.shape[2:], dtype=x.dtype)


# ------------------------------------------------------------------------------------------------------------ variances
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_ends_of_the_learned_range_are_the_fixed_variances(schedule):
    diffusion = GaussianDiffusion(SCHEDULES[schedule](100), "sample", "learned_range")
    x_t = torch.randn(2, 1, 3, 3, dtype=torch.float64)
    for t in range(1, 100):
        for v, variance in ((1.0, diffusion.betas[t]), (-1.0, diffusion.posterior_variance[t])):
            output = torch.cat((x_t, torch.full_like(x_t, v)), dim=1)
            log_variance = diffusion.reverse(output, x_t, t).log_variance
            torch.testing.assert_close(
                log_variance.exp(), variance.expand_as(x_t), rtol=1e-10, atol=0
            )
    # a fresh network sits at the geometric mean
    fresh = diffusion.p_mean_variance(silent, x_t, 50).log_variance.exp()
    geometric = (diffusion.betas[50] * diffusion.posterior_variance[50]).sqrt()
    torch.testing.assert_close(fresh, geometric.expand_as(x_t), rtol=1e-10, atol=0)


def test_learned_is_the_output_itself():
    diffusion = GaussianDiffusion(linear_schedule(100), variance="learned")
    x_t, output = torch.randn(2, 1, 3, 3), torch.randn(2, 2, 3, 3)
    assert torch.equal(diffusion.reverse(output, x_t, 7).log_variance, output[:, 1:])


def test_fixed_variances():
    for t in range(100):
        small, large = (
            GaussianDiffusion(linear_schedule(100), variance=name).p_mean_variance(
                silent, torch.ones(1, 1), t
            )
            for name in FIXED
        )
        process = GaussianDiffusion(linear_schedule(100), variance="fixed_small")
        at_least_1 = max(t, 1)
        assert float(small.log_variance.exp()) == pytest.approx(
            float(process.posterior_variance[at_least_1]), rel=1e-5
        )
        expected = process.betas[t] if t else process.posterior_variance[1]
        assert float(large.log_variance.exp()) == pytest.approx(float(expected), rel=1e-5)


def test_what_a_guidance_may_change():
    diffusion = GaussianDiffusion(linear_schedule(100), variance="fixed_small")
    x_t, x0, mean = torch.randn(3, 2, 1, 3, 3)
    p = diffusion.p_mean_variance(silent, x_t, 40)
    aimed = p.with_x0(x0)
    assert torch.equal(aimed.x0, x0) and torch.equal(
        aimed.mean, diffusion.q_posterior(x0, x_t, 40)[0]
    )
    moved = aimed.with_mean(mean)
    assert torch.equal(moved.mean, mean) and torch.equal(moved.x0, x0)
    assert torch.equal(moved.log_variance, p.log_variance) and not torch.equal(p.mean, aimed.mean)


def test_a_fixed_variance_ignores_a_learned_one():
    output, x_t = torch.randn(2, 2, 3, 3), torch.randn(2, 1, 3, 3)
    diffusion = GaussianDiffusion(linear_schedule(100), variance="fixed_large")
    both, mean_alone = diffusion.reverse(output, x_t, 5), diffusion.reverse(output[:, :1], x_t, 5)
    for name in ("x0", "mean", "log_variance"):
        assert torch.equal(getattr(both, name), getattr(mean_alone, name))


# ----------------------------------------------------------------------------------------------------------- likelihood
def quadrature(mean, std):
    """Four points (x0, noise) over which the mean of any quadratic is its mean under N(mean, std^2) x N(0, 1)."""
    x0 = torch.tensor([mean - std, mean - std, mean + std, mean + std], dtype=torch.float64).view(
        4, 1
    )
    return x0, torch.tensor([-1.0, 1.0, -1.0, 1.0], dtype=torch.float64).view(4, 1)


SHORT = [(cosine_schedule, 2, None), (cosine_schedule, 3, None)]
LONG = [(make, num_timesteps, respacing) for make in (linear_schedule, cosine_schedule) for num_timesteps in (40, 1000)
        for respacing in (None, "10", "ddim20", "3,5")]  # fmt: skip


@pytest.mark.parametrize(("make", "num_timesteps", "respacing"), SHORT + LONG)
def test_the_bound_is_tight_for_gaussian_data(gaussian, make, num_timesteps, respacing):
    """With the exact denoiser and the optimal variance nothing is lost, whatever T: arXiv 2006.11239, equation 5."""
    mean, std = 0.3, 0.4
    diffusion = GaussianDiffusion(make(num_timesteps), variance="learned")
    diffusion = diffusion if respacing is None else diffusion.respace(respacing)
    model = gaussian(mean, std).denoiser(diffusion, optimal_variance=True)
    x0, noise = quadrature(mean, std)
    nats = 0.0
    for t in range(diffusion.num_timesteps):
        x_t = diffusion.q_sample(x0, t, noise)
        p = diffusion.p_mean_variance(model, x_t, t, clip=False)
        if t == 0:  # a continuous decoder: the density of x0
            term = 0.5 * (
                math.log(2 * math.pi) + p.log_variance + (x0 - p.mean) ** 2 / p.log_variance.exp()
            )
        else:
            term = bound_bits(x0, t, diffusion.q_posterior(x0, x_t, t), p.mean, p.log_variance)[
                :, None
            ] * math.log(2)
        nats += float(term.mean())
    last = diffusion.alphas_cumprod[-1]
    prior = 0.5 * (last * (mean**2 + std**2) + (1 - last) - 1 - (1 - last).log())
    # KL of the marginal q(x_T) = N(sqrt(ab) m, ab s^2 + 1 - ab) from the prior: the one thing that is lost
    marginal = last * std**2 + 1 - last
    loss = 0.5 * (marginal + last * mean**2 - 1 - marginal.log())
    entropy = 0.5 * math.log(2 * math.pi * math.e * std**2)
    assert nats + float(prior) == pytest.approx(entropy + float(loss), abs=1e-9)


@pytest.mark.parametrize("variance", FIXED)
def test_a_fixed_variance_loses_something(gaussian, variance):
    diffusion = GaussianDiffusion(linear_schedule(1000), variance=variance)
    exact, learned = (
        gaussian(0.3, 0.4),
        GaussianDiffusion(linear_schedule(1000), variance="learned"),
    )
    x0, noise = quadrature(0.3, 0.4)
    for t in (1, 10, 300, 999):
        x_t = diffusion.q_sample(x0, t, noise)
        posterior = diffusion.q_posterior(x0, x_t, t)
        worse = diffusion.p_mean_variance(exact.denoiser(diffusion), x_t, t, clip=False)
        best = learned.p_mean_variance(
            exact.denoiser(learned, optimal_variance=True), x_t, t, clip=False
        )
        terms = [bound_bits(x0, t, posterior, p.mean, p.log_variance).mean() for p in (worse, best)]
        assert terms[0] > terms[1]


@pytest.mark.parametrize("respacing", [None, "30"])
def test_bits_per_dim_of_gaussian_data(gaussian, respacing):
    mean, std = 0.1, 0.15
    data = gaussian(mean, std)
    diffusion = GaussianDiffusion(cosine_schedule(100), variance="learned")
    diffusion = diffusion if respacing is None else diffusion.respace(respacing)
    grey = ((data.draw(4000, 1, 2, 2, seed=1) + 1) * 127.5).round()
    x0 = (grey / 127.5 - 1).clamp(-1, 1)
    generator = torch.Generator().manual_seed(0)
    bits = diffusion.bits_per_dim(
        data.denoiser(diffusion, optimal_variance=True), x0, clip=False, generator=generator
    )
    assert bits.total.shape == bits.prior.shape == (4000,) and bits.per_step.shape == (
        4000,
        diffusion.num_timesteps,
    )
    torch.testing.assert_close(bits.total, bits.prior + bits.per_step.sum(1))
    entropy = 0.5 * math.log2(2 * math.pi * math.e * std**2) + math.log2(127.5)
    assert abs(float(bits.total.mean()) - entropy) < 4 * float(bits.total.std()) / 4000**0.5 + 1e-3
    again = diffusion.bits_per_dim(data.denoiser(diffusion, optimal_variance=True), x0, clip=False,
                                   generator=generator.manual_seed(0))  # fmt: skip
    assert torch.equal(again.per_step, bits.per_step)


def test_prior_bits_of_the_papers_schedules():
    x0 = torch.tensor([[0.5], [-0.5]])  # E x^2 = 0.25
    for betas, expected in (
        (linear_schedule(1000), 7.3e-6),
        (linear_schedule(4000), 7.7e-6),
        (cosine_schedule(1000), 4e-10),
    ):
        respaced = GaussianDiffusion(betas).respace("2")
        assert float(respaced.bits_per_dim(silent, x0).prior.mean()) == pytest.approx(
            expected, rel=0.1
        )


def test_bits_per_dim_leaves_the_model_as_it_was():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.frozen, self.calls = torch.nn.Dropout(), []
            self.frozen.eval()

        def forward(self, x, t, labels=None):
            self.calls.append((self.training, torch.is_grad_enabled(), tuple(t.tolist()), labels))
            return silent(x, t)

    net, diffusion = Net().train(), GaussianDiffusion(linear_schedule(40)).respace("4")
    net.frozen.eval()
    diffusion.bits_per_dim(net, torch.zeros(2, 1, 2, 2), torch.tensor([1, 2]))
    assert [call[:3] for call in net.calls] == [(False, False, (t, t)) for t in (0, 13, 26, 39)]
    assert all(call[3].tolist() == [1, 2] for call in net.calls)
    assert net.training and not net.frozen.training


# ------------------------------------------------------------------------------------------------------------ respacing
@pytest.mark.parametrize("kind", ["sample", "v_prediction", "previous"])
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("respacing", ["25", "ddim50", "7,3,20"])
def test_a_respaced_chain_is_the_same_process(schedule, kind, respacing):
    full = GaussianDiffusion(
        SCHEDULES[schedule](300), kind, "learned_range", "vlb", min_snr_gamma=5.0
    )
    spaced = full.respace(respacing)
    kept = spaced.timesteps
    assert torch.equal(spaced.alphas_cumprod, full.alphas_cumprod[kept])  # bit for bit
    torch.testing.assert_close(
        (1 - spaced.betas).cumprod(0), spaced.alphas_cumprod, rtol=1e-10, atol=1e-18
    )
    assert (spaced.prediction, spaced.variance, spaced.loss, spaced.min_snr_gamma) == (
        kind,
        "learned_range",
        "vlb",
        5.0,
    )
    x0, x_t, output = torch.randn(3, 2, 1, 3, 3, dtype=torch.float64)
    for t in range(1, len(kept)):
        # the two-time formula of arXiv 2107.00630, equations 28 to 31
        s, u = full.alphas_cumprod[kept[t - 1]], full.alphas_cumprod[kept[t]]
        alpha, variance = (u / s).sqrt(), 1 - u / s
        mean = alpha * (1 - s) / (1 - u) * x_t + s.sqrt() * variance / (1 - u) * x0
        torch.testing.assert_close(spaced.q_posterior(x0, x_t, t)[0], mean, rtol=1e-9, atol=1e-9)
        expected = (variance * (1 - s) / (1 - u)).expand_as(x0)
        torch.testing.assert_close(spaced.q_posterior(x0, x_t, t)[1], expected, rtol=1e-9, atol=0)
    for t in range(len(kept)):  # the network's words mean the same
        doubled = torch.cat((output, output), dim=1)
        torch.testing.assert_close(
            spaced.reverse(doubled, x_t, t).x0, full.reverse(doubled, x_t, int(kept[t])).x0
        )
    first = spaced.posterior_variance[1].log()
    assert float(spaced.q_posterior(x0, x_t, 0)[2].mean()) == pytest.approx(
        float(first)
    )  # of the respaced tables


def test_loss_weights_are_those_of_the_kept_steps():
    full = GaussianDiffusion(linear_schedule(100), min_snr_gamma=5.0)
    spaced = full.respace("7")
    assert torch.equal(spaced.loss_weights.values, full.loss_weights.values[spaced.timesteps])


@pytest.mark.parametrize("t", [-1, 100, 3.0, torch.tensor([-1, 2]), torch.tensor([1, 100]), torch.tensor([1]),
                               torch.tensor([1.0, 2.0])])  # fmt: skip
def test_timesteps_that_there_are_not(t):
    diffusion, x = GaussianDiffusion(linear_schedule(100)), torch.zeros(2, 1, 4, 4)
    calls = (lambda: diffusion.q_sample(x, t), lambda: diffusion.q_step(x, t), lambda: diffusion.q_posterior(x, x, t),
             lambda: diffusion.p_mean_variance(silent, x, t))  # fmt: skip
    for call in calls:
        with pytest.raises(ValueError, match="t is "):
            call()


def test_noise_of_another_shape_is_not_spread():
    diffusion, x = GaussianDiffusion(linear_schedule(100)), torch.zeros(2, 1, 4, 4)
    for call in (lambda noise: diffusion.q_sample(x, 3, noise), lambda noise: diffusion.q_step(x, 3, noise),
                 lambda noise: diffusion.losses(silent, x, torch.tensor([1, 2]), noise)):  # fmt: skip
        with pytest.raises(ValueError, match="noise has shape"):
            call(torch.zeros(1, 1, 4, 4))


def test_keeping_all_changes_no_bit():
    full = GaussianDiffusion(cosine_schedule(200))
    same = full.respace("200")
    for name, value in vars(full).items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, getattr(same, name)), name


def test_respacing_twice_keeps_the_networks_timesteps():
    twice = GaussianDiffusion(linear_schedule(1000)).respace("100").respace("ddim10")
    once = GaussianDiffusion(linear_schedule(1000)).respace("100")
    assert torch.equal(twice.timesteps, once.timesteps[::10]) and len(twice.timesteps) == 10
    assert torch.equal(twice.alphas_cumprod, once.alphas_cumprod[::10])


def test_the_network_is_told_its_own_timesteps():
    told = []

    def model(x, t):
        told.append(t.tolist())
        return x

    diffusion = GaussianDiffusion(linear_schedule(1000), variance="fixed_small").respace("ddim25")
    x = torch.zeros(3, 1, 2, 2)
    diffusion.p_mean_variance(model, x, 24)
    diffusion.p_mean_variance(model, x, torch.tensor([0, 1, 24]))
    diffusion.losses(model, x, torch.tensor([2, 0, 3]))
    assert told == [[960] * 3, [0, 40, 960], [80, 0, 120]]


# ------------------------------------------------------------------------------------------------------------ diffusers
@pytest.mark.parametrize("spacing", ["1000", "50", "ddim50", "25"])
@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large", "learned_range"])
@pytest.mark.parametrize("clip", [False, True])
def test_ancestral_steps_are_diffusers(spacing, kind, variance, clip):
    diffusers = pytest.importorskip("diffusers")
    diffusion = GaussianDiffusion(linear_schedule(1000), kind, variance).respace(spacing)
    scheduler = diffusers.DDPMScheduler(
        1000, beta_schedule="linear", variance_type=variance, clip_sample=clip, prediction_type=kind
    )
    # its own tables are float32
    scheduler.alphas_cumprod, scheduler.betas = (
        (1 - linear_schedule(1000)).cumprod(0),
        linear_schedule(1000),
    )
    scheduler.one = torch.tensor(1.0).double()
    scheduler.set_timesteps(timesteps=diffusion.timesteps.flip(0).tolist())
    channels = 2 if variance == "learned_range" else 1
    for t in {0, 1, 2, len(diffusion.timesteps) // 2, len(diffusion.timesteps) - 1}:
        x_t, output = torch.randn(2, 1, 4, 4).double(), torch.randn(2, channels, 4, 4).double()
        seeded = torch.Generator().manual_seed(t)
        theirs = scheduler.step(output, int(diffusion.timesteps[t]), x_t, generator=seeded)
        p = diffusion.p_mean_variance(lambda x, times, out=output: out, x_t, t, clip=clip)
        noise = (
            torch.randn(x_t.shape, generator=seeded.manual_seed(t), dtype=torch.float64) if t else 0
        )
        ours = p.mean + (0.5 * p.log_variance).exp() * noise
        torch.testing.assert_close(p.x0, theirs.pred_original_sample, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(ours, theirs.prev_sample, rtol=1e-5, atol=1e-5)


# ------------------------------------------------------------------------------------------------------------ bad input
@pytest.mark.parametrize(
    "settings",
    [
        {"prediction": "eps"},
        {"variance": "small"},
        {"loss": "mse"},
        {"min_snr_gamma": 0},
        {"min_snr_gamma": math.nan},
    ],
)
def test_unknown_settings(settings):
    with pytest.raises(ValueError, match=f"{next(iter(settings))} is .*expected"):
        GaussianDiffusion(linear_schedule(100), **settings)


def test_noise_prediction_cannot_end_in_pure_noise():
    with pytest.raises(ValueError, match="last beta is 1"):
        GaussianDiffusion(zero_terminal_snr(linear_schedule(100)))


def test_bad_images_and_timesteps():
    diffusion, x, t = (
        GaussianDiffusion(linear_schedule(100)),
        torch.zeros(2, 1, 4, 4),
        torch.tensor([1, 2]),
    )
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
    with pytest.raises(ValueError, match=r"noise has shape \(2, 1, 4, 5\)"):
        diffusion.losses(silent, x, t, torch.zeros(2, 1, 4, 5))


@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_the_networks_channels(variance, channels):
    diffusion = GaussianDiffusion(linear_schedule(100), variance=variance)

    def model(x, t):
        return x.repeat(1, channels, 1, 1)

    if channels == 2 or (channels == 1 and variance in FIXED):
        diffusion.p_mean_variance(model, torch.zeros(2, 1, 4, 4), 3)
    else:
        with pytest.raises(ValueError, match=rf"\(2, {channels}, 4, 4\) of images .*expected"):
            diffusion.p_mean_variance(model, torch.zeros(2, 1, 4, 4), 3)


def test_a_network_that_gives_no_tensor():
    with pytest.raises(ValueError, match="tuple"):
        GaussianDiffusion(linear_schedule(100)).p_mean_variance(
            lambda x, t: (x,), torch.zeros(1, 1, 2, 2), 3
        )
