"""The process p: its variances, its respaced chains, what the network is told, diffusers' steps."""

import pytest
import torch

from ddpm.diffusion import GaussianDiffusion
from ddpm.schedules import SCHEDULES, cosine_schedule, linear_schedule, zero_terminal_snr
from ddpm.variances import VARIANCES

FIXED = ("fixed_small", "fixed_large")


def silent(x, t, labels=None):
    """A fresh network with a learned variance: all zeros."""
    return torch.zeros(len(x), 2 * x.shape[1], *x.shape[2:], dtype=x.dtype)


# ---------------------------------------------------------------------------------------- variances
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
    x_t = torch.randn(2, 1, 3, 3)
    output = torch.randn(2, 2, 3, 3)
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
    assert torch.equal(moved.mean, mean)
    # image and mean say the same, whichever a sampler reads
    torch.testing.assert_close(
        diffusion.q_posterior(moved.x0, x_t, 40)[0], mean, atol=1e-5, rtol=1e-5
    )
    assert torch.equal(moved.log_variance, p.log_variance) and not torch.equal(p.mean, aimed.mean)
    for change in (p.with_x0, p.with_mean):
        with pytest.raises(ValueError, match=r"\(1, 3, 3\); expected \(2, 1, 3, 3\)"):
            change(mean[0])


def test_a_fixed_variance_ignores_a_learned_one():
    output = torch.randn(2, 2, 3, 3)
    x_t = torch.randn(2, 1, 3, 3)
    diffusion = GaussianDiffusion(linear_schedule(100), variance="fixed_large")
    both = diffusion.reverse(output, x_t, 5)
    mean_alone = diffusion.reverse(output[:, :1], x_t, 5)
    for name in ("x0", "mean", "log_variance"):
        assert torch.equal(getattr(both, name), getattr(mean_alone, name))


# ---------------------------------------------------------------------------------------- respacing
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
        s = full.alphas_cumprod[kept[t - 1]]
        u = full.alphas_cumprod[kept[t]]
        alpha = (u / s).sqrt()
        variance = 1 - u / s
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
    # of the respaced tables
    assert float(spaced.q_posterior(x0, x_t, 0)[2].mean()) == pytest.approx(float(first))


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


@pytest.mark.parametrize("num_timesteps", [4000, 1000, 300])
def test_rescaled_timesteps_are_of_a_chain_of_1000(num_timesteps):
    """t * 1000 / T as float32, T being that of the whole chain, however it is respaced."""
    told = []

    def model(x, t):
        told.append(t)
        return x

    full = GaussianDiffusion(
        linear_schedule(num_timesteps), variance="fixed_small", rescale_timesteps=True
    )
    x = torch.zeros(3, 1, 2, 2)
    for chain in (full, full.respace("ddim25"), full.respace("100").respace("7,3")):
        last = chain.num_timesteps - 1
        t = torch.tensor([0, last, 3])
        kept = torch.arange(num_timesteps)[chain.timesteps]  # int64, as without
        expected = torch.tensor([int(kept[i]) * 1000 / num_timesteps for i in t])
        told.clear()
        chain.p_mean_variance(model, x, t)
        chain.losses(model, x, t)
        chain.with_variance("fixed_large").p_mean_variance(model, x, t)
        for i in t.tolist():
            chain.p_mean_variance(model, x, i)
        assert all(times.dtype == torch.float32 for times in told)
        assert [times.tolist() for times in told[:3]] == [expected.tolist()] * 3
        assert [times.tolist() for times in told[3:]] == [[float(one)] * 3 for one in expected]
    short = full.respace("5")
    told.clear()
    short.bits_per_dim(model, x)
    # improved-diffusion's own order: float32 of t, then times 1000 / T
    torch.testing.assert_close(
        torch.stack(told)[:, 0], short.timesteps.float() * (1000 / num_timesteps), rtol=2e-7, atol=0
    )
    if num_timesteps == 4000:
        assert float(full.network_times(3999, x)[0]) == 999.75


def test_rescaled_timesteps_change_nothing_but_what_is_told():
    plain, rescaled = (
        GaussianDiffusion(cosine_schedule(40), rescale_timesteps=rescale).respace("20")
        for rescale in (False, True)
    )
    for name, value in vars(plain).items():
        if isinstance(value, torch.Tensor) and name != "_told":
            assert torch.equal(value, getattr(rescaled, name)), name
    assert plain.network_times(3, torch.zeros(2, 1)).dtype == torch.int64


# ---------------------------------------------------------------------------------------- diffusers
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
    scheduler.alphas_cumprod = (1 - linear_schedule(1000)).cumprod(0)
    scheduler.betas = linear_schedule(1000)
    scheduler.one = torch.tensor(1.0).double()
    scheduler.set_timesteps(timesteps=diffusion.timesteps.flip(0).tolist())
    channels = 2 if variance == "learned_range" else 1
    for t in {0, 1, 2, len(diffusion.timesteps) // 2, len(diffusion.timesteps) - 1}:
        x_t = torch.randn(2, 1, 4, 4).double()
        output = torch.randn(2, channels, 4, 4).double()
        seeded = torch.Generator().manual_seed(t)
        theirs = scheduler.step(output, int(diffusion.timesteps[t]), x_t, generator=seeded)
        p = diffusion.p_mean_variance(lambda x, times, out=output: out, x_t, t, clip=clip)
        noise = (
            torch.randn(x_t.shape, generator=seeded.manual_seed(t), dtype=torch.float64) if t else 0
        )
        ours = p.mean + (0.5 * p.log_variance).exp() * noise
        torch.testing.assert_close(p.x0, theirs.pred_original_sample, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(ours, theirs.prev_sample, rtol=1e-5, atol=1e-5)


# ---------------------------------------------------------------------------------------- bad input
def test_noise_prediction_cannot_end_in_pure_noise():
    with pytest.raises(ValueError, match="last beta is 1"):
        GaussianDiffusion(zero_terminal_snr(linear_schedule(100)))


@pytest.mark.parametrize(
    "t",
    [
        -1,
        100,
        3.0,
        torch.tensor([-1, 2]),
        torch.tensor([1, 100]),
        torch.tensor([1]),
        torch.tensor([1.0, 2.0]),
    ],
)
def test_timesteps_that_there_are_not(t):
    diffusion = GaussianDiffusion(linear_schedule(100))
    x = torch.zeros(2, 1, 4, 4)
    calls = (
        lambda: diffusion.q_sample(x, t),
        lambda: diffusion.q_step(x, t),
        lambda: diffusion.q_posterior(x, x, t),
        lambda: diffusion.p_mean_variance(silent, x, t),
    )
    for call in calls:
        with pytest.raises(ValueError, match="t is "):
            call()


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
