"""Multistep solvers are diffusers' where steps are short or get shorter, and safe elsewhere.

Their orders of convergence and the rest of their laws are in test_steps.py, with all others'.
"""

import itertools

import pytest
import torch

from ddpm import GaussianDiffusion, inpaint, sample
from ddpm.multistep import LONG_STEP, Past, SDEDPMSolverStep, trust
from ddpm.samplers import prepare
from ddpm.schedules import SCHEDULES, cosine_schedule, linear_schedule

# diffusers' own, with numpy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
THEIRS = {
    "dpm_solver++3m": ("DPMSolverMultistepScheduler", {"solver_order": 3}),
    "unipc2": ("UniPCMultistepScheduler", {"solver_order": 2}),
    "unipc3": ("UniPCMultistepScheduler", {"solver_order": 3}),
}
MULTISTEP = ("dpm_solver++", *THEIRS)


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


def scheduler_of(name, options, diffusion):
    """A scheduler of diffusers at all timesteps of a chain, with its own levels in float64."""
    diffusers = pytest.importorskip("diffusers")
    options = {"beta_schedule": "linear", "final_sigmas_type": "zero"} | options
    scheduler = getattr(diffusers, name)(diffusion.num_timesteps, **options)
    scheduler.alphas_cumprod = diffusion.alphas_cumprod
    scheduler.set_timesteps(diffusion.num_timesteps)
    scheduler.timesteps = diffusion.timesteps.flip(0)
    levels = ((1 - diffusion.alphas_cumprod) / diffusion.alphas_cumprod).sqrt().flip(0)
    scheduler.sigmas = torch.cat((levels, torch.zeros(1).double()))
    return scheduler


@pytest.mark.parametrize("steps", [6, 14, 15, 40])
@pytest.mark.parametrize("betas", [shortening, alternating])
@pytest.mark.parametrize("sampler", THEIRS)
def test_deterministic_ones_are_diffusers(mixture, sampler, betas, steps):
    diffusion = GaussianDiffusion(betas(steps), variance="fixed_small")
    model = mixture.denoiser(diffusion)
    x = noise = torch.randn(5, 1, 2, 2, dtype=torch.float64)
    scheduler = scheduler_of(*THEIRS[sampler], diffusion)
    for time in scheduler.timesteps:
        x = scheduler.step(model(x, time.expand(5)), time, x).prev_sample
    ours = sample(model, noise.shape, diffusion, sampler=sampler, clip=False, noise=noise)
    torch.testing.assert_close(ours, x, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("steps", [6, 40])
@pytest.mark.parametrize("betas", [shortening, alternating])
def test_the_stochastic_one_is_diffusers_with_the_same_noise(mixture, betas, steps):
    diffusion = GaussianDiffusion(betas(steps), variance="fixed_small")
    model = mixture.denoiser(diffusion)
    x = ours = torch.randn(5, 1, 2, 2, dtype=torch.float64)
    draws = [torch.randn_like(x) for _ in range(steps)]
    options = {"solver_order": 2, "algorithm_type": "sde-dpmsolver++"}
    scheduler = scheduler_of("DPMSolverMultistepScheduler", options, diffusion)
    for time, draw in zip(scheduler.timesteps, draws, strict=True):
        output = model(x, time.expand(5))
        x = scheduler.step(output, time, x, variance_noise=draw).prev_sample
    remaining = iter(draws)
    step = SDEDPMSolverStep(diffusion, lambda like: next(remaining))
    predict = lambda x, t: diffusion.p_mean_variance(model, x, t, clip=False)  # noqa: E731
    for t in reversed(range(steps)):
        ours, _ = step(predict, ours, t)
    torch.testing.assert_close(ours, x, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("steps", "off"), [(10, 0.15), (40, 0.04), (200, 0.02)])
@pytest.mark.parametrize("schedule", [linear_schedule, cosine_schedule])
def test_the_stochastic_one_keeps_standard_normal_data(gaussian, schedule, steps, off):
    """The more steps, the nearer."""
    diffusion = GaussianDiffusion(schedule(1000), variance="fixed_small")
    model = gaussian(0.0, 1.0).denoiser(diffusion)
    x = sample(
        model,
        (20_000, 1),
        diffusion,
        sampler="sde_dpm_solver++",
        steps=f"trailing{steps}",
        clip=False,
        noise=torch.randn(20_000, 1, dtype=torch.float64),
        seed=None,
    )
    assert float(x.std()) == pytest.approx(1, abs=off)


def even_chain(steps):
    """Steps of one length in half of log-SNR, from 3 to -3."""
    bars = torch.linspace(6, -6, steps + 1, dtype=torch.float64).sigmoid()
    before = torch.cat((torch.ones(1, dtype=torch.float64), bars[:-1]))
    return GaussianDiffusion(1 - bars / before, variance="fixed_small")


ORDERS = {"ddim": 1, "heun": 2, "dpm_solver++": 2, "dpm_solver++3m": 2, "unipc2": 3, "unipc3": 4}


@pytest.mark.parametrize(("sampler", "order"), [*ORDERS.items()])
def test_orders_in_the_middle_of_a_chain_of_even_steps(gaussian, sampler, order):
    """UniPC's correction raises the order of its prediction by one (arXiv 2302.04867, theorem 3.1);
    at the ends of a chain its order is lower."""
    data = gaussian(0.2, 0.7)
    start = torch.linspace(-2, 2, 9, dtype=torch.float64).view(-1, 1)

    def error_of(steps):
        diffusion = even_chain(steps)
        bars = diffusion.alphas_cumprod

        def flow(t):  # the Gaussian at t
            return bars[t].sqrt() * data.means, (bars[t] * data.std**2 + 1 - bars[t]).sqrt()

        states = {}
        options = {"sampler": sampler, "clip": False, "noise": start, "progress": False}
        model = data.denoiser(diffusion)
        sample(
            model, start.shape, diffusion, callback=lambda s: states.update({s.level: s}), **options
        )
        (mean, std), (first_mean, first_std) = flow(steps // 2), flow(steps)
        exact = mean + (start - first_mean) / first_std * std
        return float((states[steps // 2 + 1].x - exact).abs().max())

    coarse, fine = error_of(40), error_of(160)
    assert fine < coarse / 4 ** (order - 0.35)
    if order < 3:
        assert fine > coarse / 4 ** (order + 0.35)


def test_a_drift_is_trusted_as_far_as_it_was_seen():
    for h, h_last in itertools.product((0.1, 0.4, 0.6, 1.0, 3.0), repeat=2):
        assert trust(h, h_last) * h == pytest.approx(min(h, max(h_last, LONG_STEP)))
        assert h > max(h_last, LONG_STEP) or trust(h, h_last) == 1


def test_the_past_is_of_the_steps_just_before():
    past = Past([float(-t) for t in range(12)], length=2)
    for t in (6, 5):
        past.add(t, torch.tensor(float(t)))
    assert [(place, float(image)) for place, image in past.before(4)] == [(-5.0, 5.0), (-6.0, 6.0)]
    past.add(4, torch.tensor(4.0))
    assert [place for place, _ in past.before(3)] == [-4.0, -5.0]  # no longer than asked for
    assert past.before(11) == [] and past.before(3) == []  # after a jump nothing comes back
    past = Past([0.0, -float("inf")], length=2)
    past.add(1, torch.tensor(1.0))
    assert past.before(0) == []  # where nothing was seen


@pytest.mark.parametrize("sampler", MULTISTEP)
def test_a_jump_back_forgets_what_was_predicted(mixture, sampler):
    """With everything to be made, the second of two passes is sampling from where it begins."""
    diffusion = GaussianDiffusion(cosine_schedule(1000), variance="fixed_small").respace(12)
    sampling = prepare(mixture.denoiser(diffusion), diffusion, 3, sampler=sampler, clip=False)
    x = torch.randn(3, 1, 2, 2, dtype=torch.float64)
    down = range(12, -1, -1)
    alone = sampling.follow(down, x)
    whole = prepare(mixture.denoiser(diffusion), diffusion, 3, sampler=sampler, clip=False)
    whole.follow(down, 2 * x + 1)
    assert torch.equal(whole.follow(down, x), alone)


@pytest.mark.parametrize("sampler", MULTISTEP)
def test_a_known_part_does_not_spoil_the_rest(mixture, sampler):
    """Pixels of the mixture are independent: what is known of some must not move the others."""
    diffusion = GaussianDiffusion(cosine_schedule(1000), variance="fixed_small").respace(12)
    model = mixture.denoiser(diffusion)
    images = torch.full((3, 1, 2, 2), 0.1, dtype=torch.float64)
    rest = torch.zeros(1, 1, 2, 2, dtype=torch.bool)
    rest[..., 0] = True
    options = {"sampler": sampler, "clip": False}
    filled = inpaint(model, images, rest, diffusion, seed=0, **options)
    assert torch.equal(filled[..., 1], images[..., 1])
    everything = torch.ones(1, dtype=torch.bool)
    free = inpaint(model, images, everything, diffusion, seed=0, **options)
    torch.testing.assert_close(filled[..., 0], free[..., 0])


# -------------------------------------------------------------------------------- smoothed digits
STD = 0.1


def digits_denoiser(diffusion):
    """The exact network of digits with Gaussian noise of standard deviation STD."""
    from sklearn.datasets import load_digits

    digits = torch.tensor(load_digits().data) / 8 - 1

    def model(x, t, labels=None):
        bar = diffusion.alphas_cumprod[int(t[0])]
        spread = bar * STD**2 + 1 - bar
        shares = (-(torch.cdist(x, bar.sqrt() * digits) ** 2) / (2 * spread)).softmax(1)
        centre = shares @ digits
        x0 = centre + STD**2 * bar.sqrt() / spread * (x - bar.sqrt() * centre)
        return (x - bar.sqrt() * x0) / (1 - bar).sqrt()

    return model


@pytest.mark.slow
@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_few_steps_on_digits(name):
    """Distance from the flow's own end, from the same noise: what each is worth in few steps."""
    diffusion = GaussianDiffusion(SCHEDULES[name](1000), variance="fixed_small")
    model = digits_denoiser(diffusion)
    noise = torch.randn(100, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    spacings = ("5", "trailing5", "10", "trailing10", "25", "trailing25")

    def drawn(sampler, steps):
        options = {"sampler": sampler, "steps": steps, "clip": False, "noise": noise}
        return sample(model, noise.shape, diffusion, **options)

    exact = drawn("heun", None)
    error = {
        (sampler, steps): float((drawn(sampler, steps) - exact).square().mean().sqrt())
        for sampler in ("ddim", "heun", *MULTISTEP)
        for steps in spacings
    }
    for (sampler, steps), value in error.items():
        print(f"{name} {sampler:15s} {steps:>10s} {value:.3f}")
    for sampler in ("dpm_solver++3m", "unipc2", "unipc3"):
        # whatever the spacing, the default one too, no worse than first order
        for steps in spacings:
            assert error[sampler, steps] < 1.02 * error["ddim", steps]
        assert error[sampler, "trailing10"] < 0.9 * error["dpm_solver++", "trailing10"]
        assert error[sampler, "25"] < 0.8 * error["dpm_solver++", "25"] or name == "cosine"
    assert error["unipc3", "trailing10"] < {"linear": 0.13, "cosine": 0.065}[name]
    assert error["ddim", "trailing5"] < error["ddim", "5"]
