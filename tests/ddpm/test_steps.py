"""The samplers' steps: exact laws on Gaussian data, orders of convergence, diffusers' steps."""

import itertools
import math
from dataclasses import dataclass

import pytest
import torch

from ddpm.diffusion import GaussianDiffusion
from ddpm.multistep import LONG_STEP
from ddpm.noise import RowNoise
from ddpm.samplers import sample
from ddpm.schedules import SCHEDULES, cosine_schedule, linear_schedule
from ddpm.single_steps import AncestralStep, DDIMStep
from ddpm.steps import STEPS as SAMPLERS

STEPS = (10, 25, 50, 100, 1000)
# standard deviation after so many steps from N(0, 1) to N(0, 1), in closed form
SMALL = (0.72165, 0.86408, 0.92469, 0.95962, 0.99552)  # linear
DDIM = {
    "linear": (0.81459, 0.92665, 0.96338, 0.98167, 0.99812),
    "cosine": (0.87225, 0.95021, 0.97529, 0.98768, 0.99875),
}


def affine(diffusion, model, t):
    """Slope of the mean and variance of the ancestral step at t, for a linear denoiser."""
    p = diffusion.p_mean_variance(model, torch.ones(1, 1, dtype=torch.float64), t, clip=False)
    return float(p.mean), (float(p.log_variance.exp()) if t else 0.0)


@pytest.mark.parametrize("respacing", ["10", "25", "ddim50", "100", "1000"])
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_fixed_large_keeps_standard_normal_data(gaussian, schedule, respacing):
    diffusion = GaussianDiffusion(SCHEDULES[schedule](1000), variance="fixed_large").respace(
        respacing
    )
    model = gaussian(0.0, 1.0).denoiser(diffusion)
    for t in range(1, diffusion.num_timesteps):
        slope, variance = affine(diffusion, model, t)
        assert slope**2 + variance == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(("steps", "expected"), list(zip(STEPS, SMALL, strict=True)))
def test_fixed_small_shrinks_it_by_what_is_known(gaussian, steps, expected):
    diffusion = GaussianDiffusion(linear_schedule(1000), variance="fixed_small").respace(steps)
    model = gaussian(0.0, 1.0).denoiser(diffusion)
    variance = 1.0
    for t in reversed(range(steps)):
        slope, added = affine(diffusion, model, t)
        variance = slope**2 * variance + added
    assert variance**0.5 == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("place", range(5))
def test_ddim_shrinks_it_by_the_product_of_cosines(gaussian, schedule, place):
    diffusion = GaussianDiffusion(SCHEDULES[schedule](1000), variance="fixed_small")
    spaced = diffusion.respace(STEPS[place])
    one = torch.ones(1, 1, dtype=torch.float64)
    model = gaussian(0.0, 1.0).denoiser(spaced)
    found = float(sample(model, (1, 1), spaced, sampler="ddim", clip=False, noise=one))
    angles = [0.0, *spaced.alphas_cumprod.sqrt().acos().tolist()]
    assert found == pytest.approx(
        math.prod(math.cos(b - a) for a, b in itertools.pairwise(angles)), rel=1e-9
    )
    assert found == pytest.approx(DDIM[schedule][place], abs=1e-5)


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("respacing", ["7", "1000"])
def test_ddim_with_eta_1_is_the_ancestral_step_of_fixed_small(mixture, respacing, clip):
    diffusion = GaussianDiffusion(linear_schedule(1000), variance="fixed_small").respace(respacing)
    model = mixture.denoiser(diffusion)
    x = torch.randn(20, 3, dtype=torch.float64)
    for t in {0, 1, 3, diffusion.num_timesteps - 1}:
        moved = []
        for step in (AncestralStep, DDIMStep):
            options = {"eta": 1.0} if step is DDIMStep else {}
            noise = RowNoise(torch.Generator().manual_seed(t))
            predict = lambda x, t: diffusion.p_mean_variance(model, x, t, clip=clip)  # noqa: E731
            moved.append(step(diffusion, noise, **options)(predict, x, t)[0])
        torch.testing.assert_close(moved[0], moved[1], rtol=1e-9, atol=1e-9)


def error(data, sampler, steps, diffusion, betas=None):
    """Distance from the flow's exact map, for Gaussian data: noise's spread becomes the data's."""
    spaced = diffusion.respace(steps)
    start = torch.linspace(-2, 2, 9, dtype=torch.float64).view(-1, 1)
    mean = float(data.means)
    std = data.std
    last = diffusion.alphas_cumprod[-1]
    exact = mean + (start - last.sqrt() * mean) / (last * std**2 + 1 - last).sqrt() * std
    model = data.denoiser(spaced)
    if betas is None:
        found = sample(model, start.shape, spaced, sampler=sampler, clip=False, noise=start)
    else:
        found = diffusers_2m(model, start, spaced, betas)
    return float((found - exact).abs().mean())


@pytest.mark.parametrize(
    ("sampler", "order"),
    [
        ("ddim", 1),
        ("heun", 2),
        ("dpm_solver++", 2),
        ("unipc2", 2),
        ("unipc3", 2),
    ],
)
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_order_of_convergence(gaussian, sampler, order, schedule):
    """The error against the exact solution of the flow falls as (1 / steps)^order."""
    diffusion = GaussianDiffusion(SCHEDULES[schedule](4000), variance="fixed_small")
    coarse, fine = (error(gaussian(0.2, 0.7), sampler, steps, diffusion) for steps in (50, 200))
    # what remains at t = 0 is of first order for all, and small
    assert fine < coarse / 4 ** (order - 0.45)
    assert error(gaussian(0.2, 0.7), sampler, 800, diffusion) < 5e-3


@pytest.mark.parametrize("steps", [50, 200, 800])
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_a_curvature_more_than_halves_the_error(gaussian, schedule, steps):
    diffusion = GaussianDiffusion(SCHEDULES[schedule](4000), variance="fixed_small")
    third, second = (
        error(gaussian(0.2, 0.7), sampler, steps, diffusion)
        for sampler in ("dpm_solver++3m", "dpm_solver++")
    )
    assert third < 0.5 * second


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name != "ddpm"])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_samples_of_a_mixture_are_like_it(mixture, sampler, schedule):
    kind = "v_prediction" if schedule.endswith("zero_snr") else "epsilon"
    diffusion = GaussianDiffusion(SCHEDULES[schedule](1000), kind, "fixed_small").respace(200)

    def model(x, times):
        t = int((diffusion.timesteps == times[0]).nonzero())
        bar = diffusion.alphas_cumprod[t]
        x0, _ = mixture.posterior(x, bar.sqrt(), 1 - bar)
        epsilon = (x - bar.sqrt() * x0) / (1 - bar).sqrt()
        return diffusion.target(x0, t, epsilon)

    x = sample(
        model,
        (4000, 1),
        diffusion,
        sampler=sampler,
        noise=torch.randn(4000, 1, dtype=torch.float64),
    )
    shares = [(abs(x - mean) < 0.25).double().mean() for mean in mixture.means]
    for share, weight in zip(shares, mixture.weights, strict=True):
        assert abs(float(share) - float(weight)) < 0.03
    assert float(x[x > 0.55].std()) == pytest.approx(0.05, abs=0.01)


# ---------------------------------------------------------------------------------------- diffusers
def theirs(scheduler, schedule, diffusion):
    """A scheduler of diffusers on our tables in float64 and our timesteps."""
    bars = (1 - schedule).cumprod(0)
    scheduler.betas = schedule
    scheduler.alphas = 1 - schedule
    scheduler.alphas_cumprod = bars
    scheduler.final_alpha_cumprod = scheduler.one = torch.tensor(1.0).double()
    return scheduler


@pytest.mark.parametrize("respacing", ["ddim50", "ddim20"])
@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_ddim_is_diffusers(mixture, respacing, clip, eta):
    diffusers = pytest.importorskip("diffusers")
    diffusion = GaussianDiffusion(linear_schedule(1000), variance="fixed_small").respace(respacing)
    model = mixture.denoiser(diffusion)
    noise = torch.randn(5, 1, 2, 2, dtype=torch.float64)
    scheduler = diffusers.DDIMScheduler(1000, beta_schedule="linear", clip_sample=clip)
    scheduler = theirs(scheduler, linear_schedule(1000), diffusion)
    scheduler.set_timesteps(diffusion.num_timesteps)  # "leading": as "ddimN"
    assert scheduler.timesteps.tolist() == diffusion.timesteps.flip(0).tolist()
    x = noise
    generator = torch.Generator().manual_seed(1)
    for time in scheduler.timesteps:
        output = model(x, time.expand(5))
        # else it would keep the noise of the image before it was clipped
        x = scheduler.step(
            output, time, x, eta=eta, use_clipped_model_output=True, generator=generator
        ).prev_sample
    ours = sample(
        model,
        noise.shape,
        diffusion,
        sampler="ddim",
        eta=eta,
        clip=clip,
        noise=noise,
        generator=generator.manual_seed(1),
    )
    torch.testing.assert_close(ours, x, rtol=1e-5, atol=1e-5)


def diffusers_2m(model, noise, diffusion, betas, clip=False):
    """Samples by diffusers' DPM-Solver++(2M) at our timesteps; `betas` are of the whole chain."""
    diffusers = pytest.importorskip("diffusers")
    options = {"beta_schedule": "linear", "solver_order": 2, "final_sigmas_type": "zero"}
    plain = diffusers.DPMSolverMultistepScheduler(len(betas), **options)
    scheduler = theirs(plain, betas, diffusion)
    scheduler.set_timesteps(timesteps=diffusion.timesteps.flip(0).tolist())
    # it rounds its own noise levels to float32
    levels = ((1 - diffusion.alphas_cumprod) / diffusion.alphas_cumprod).sqrt().flip(0)
    scheduler.sigmas = torch.cat((levels, torch.zeros(1).double()))
    x = noise
    for time in scheduler.timesteps:
        output = model(x, time.expand(len(noise)))
        # it knows no static clipping: the noise of the clipped image is put in the output's place
        if clip:
            t = int((diffusion.timesteps == time).nonzero())
            x0 = diffusion.p_mean_variance(lambda x, t, out=output: out, x, t).x0
            output = diffusion.epsilon(x0, x, t)
        x = scheduler.step(output, time, x).prev_sample
    return x


def chain(half_log_snr):
    """Betas of the chain with these (T,), from the least noise to the most."""
    bars = (2 * half_log_snr).sigmoid()
    return 1 - bars / torch.cat((torch.ones(1).double(), bars[:-1]))


def shortening(steps):
    """A chain whose steps are the shorter in log-SNR the nearer they are to the image."""
    gaps = torch.arange(steps, dtype=torch.float64)
    return chain(3 - 7 * gaps.cumsum(0) / gaps.sum())


def alternating(steps):
    """A chain of steps that are short in log-SNR, every other one a third of its neighbours."""
    gaps = LONG_STEP * torch.tensor([1.0, 1 / 3]).double().repeat(steps)[:steps]
    return chain(3 - gaps.cumsum(0))


# diffusers' own, with numpy 2
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("steps", [10, 14, 25, 100])
@pytest.mark.parametrize("betas", [shortening, alternating])
@pytest.mark.parametrize("clip", [False, True])
def test_dpm_solver_is_diffusers_where_steps_are_short_or_get_shorter(gaussian, steps, betas, clip):
    diffusion = GaussianDiffusion(betas(steps), variance="fixed_small")
    model = gaussian(0.2, 0.5).denoiser(diffusion)
    noise = torch.randn(5, 1, 2, 2, dtype=torch.float64)
    expected = diffusers_2m(model, noise, diffusion, betas(steps), clip)
    ours = sample(model, noise.shape, diffusion, sampler="dpm_solver++", clip=clip, noise=noise)
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize(
    ("steps", "share"), [(50, 0.5), (100, 0.6), (200, 0.75), (400, 0.8), (800, 1.05)]
)
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_many_steps_of_dpm_solver_lose_nothing_to_diffusers(gaussian, schedule, steps, share):
    """400 and 800 of 1000 timesteps are uneven: strides of 2 and 3, of 1 and 2."""
    diffusion = GaussianDiffusion(SCHEDULES[schedule](1000), variance="fixed_small")
    data = gaussian(0.2, 0.7)
    betas = SCHEDULES[schedule](1000)
    theirs = error(data, "diffusers", steps, diffusion, betas)
    assert error(data, "dpm_solver++", steps, diffusion) < share * theirs


def distance(x, data):
    """W2 between points (N, 1) and 1-D data, by their quantiles."""
    levels = (torch.arange(len(x), dtype=torch.float64) + 0.5) / len(x)
    low = torch.full_like(levels, -9.0)
    high = -low
    for _ in range(60):
        middle = (low + high) / 2
        below = torch.special.ndtr((middle[:, None] - data.means) / data.std) @ data.weights
        low = torch.where(below < levels, middle, low)
        high = torch.where(below < levels, high, middle)
    return float((x[:, 0].sort().values - low).square().mean().sqrt())


@dataclass
class Few:
    """Data, and what dpm_solver++'s error is at most on it, as shares of others' at equal steps."""

    means: tuple[float, ...]
    std: float
    of_ddim: float = 1.0
    of_diffusers: float = 1.1
    weights: tuple[float, ...] | None = None


FEW = {
    "three narrow modes": Few((-0.6, 0.1, 0.8), 0.05, weights=(0.3, 0.5, 0.2)),
    "three wide modes": Few((-0.6, 0.1, 0.8), 0.2, weights=(0.3, 0.5, 0.2)),
    "a Gaussian": Few((0.2,), 0.5),
    "two wide modes": Few((-0.6, 0.1), 0.2),
    # DDIM's errors in the modes' shares cancel at some numbers of steps
    "two narrow modes": Few((-0.6, 0.1), 0.05, of_ddim=1.3),
    "two close modes": Few((-0.15, 0.15), 0.05, of_diffusers=1.95),
    # reaching too far and stopping too early cancel in diffusers' at some numbers of steps
    "a narrow Gaussian": Few((-0.3,), 0.1, of_diffusers=math.inf),
}


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("steps", [8, 9, 10, 12, 15, 20])
@pytest.mark.parametrize("schedule", [linear_schedule, cosine_schedule])
@pytest.mark.parametrize("name", FEW)
def test_few_steps_of_dpm_solver_are_better_than_those_of_others(mixture_of, name, schedule, steps):
    few = FEW[name]
    data = mixture_of(few.means, few.std, few.weights)
    diffusion = GaussianDiffusion(schedule(1000), variance="fixed_small").respace(steps)
    model = data.denoiser(diffusion)
    levels = (torch.arange(400, dtype=torch.float64) + 0.5) / 400
    noise = torch.special.ndtri(levels)[:, None]
    options = {"clip": False, "noise": noise}
    ours, ddim = (
        distance(sample(model, noise.shape, diffusion, sampler=name, **options), data)
        for name in ("dpm_solver++", "ddim")
    )
    assert ours < few.of_ddim * ddim
    diffusers = distance(diffusers_2m(model, noise, diffusion, schedule(1000)), data)
    assert ours < few.of_diffusers * diffusers


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("name", FEW)
def test_few_steps_of_the_stochastic_solver_are_better_than_ancestral_ones(
    mixture_of, name, schedule
):
    few = FEW[name]
    data = mixture_of(few.means, few.std, few.weights)
    noise = torch.randn(5000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = {}
    for sampler, variance in (
        ("ddpm", "fixed_small"),
        ("ddpm", "fixed_large"),
        ("ddim", "fixed_small"),
        ("sde_dpm_solver++", "fixed_small"),
    ):
        diffusion = GaussianDiffusion(SCHEDULES[schedule](1000), variance=variance)
        model = data.denoiser(diffusion)
        options = {"steps": "trailing10", "clip": False, "noise": noise, "seed": 1}
        x = sample(model, noise.shape, diffusion, sampler=sampler, **options)
        found[sampler, variance] = distance(x, data)
        print(f"{schedule} {name}: {sampler}, {variance} {found[sampler, variance]:.3f}")
    assert found["sde_dpm_solver++", "fixed_small"] < found["ddpm", "fixed_small"]
