"""Images made from images: inversion, paths with jumps, known pixels, ends of interpolation."""

import itertools
import math

import pytest
import torch

from ddpm.diffusion import GaussianDiffusion
from ddpm.editing import ddim_invert, image_to_image, inpaint, interpolate, repainting_path, slerp
from ddpm.samplers import sample
from ddpm.schedules import SCHEDULES
from ddpm.steps import STEPS


@pytest.fixture
def setting(mixture):
    diffusion = GaussianDiffusion(SCHEDULES["linear"](1000), variance="fixed_small")
    return mixture, diffusion, mixture.denoiser(diffusion)


def test_images_that_are_none_are_refused_before_the_network_is_called():
    diffusion = GaussianDiffusion(SCHEDULES["cosine"](20), "sample", "fixed_small")
    calls = []

    def model(x, t):
        calls.append(t)
        return x

    image = torch.zeros(2, 1, 2, 2)
    mask = torch.tensor([[True, False], [True, True]]).view(1, 1, 2, 2)
    for bad, message in ((image + 2, r"expected \[-1, 1\]"), (image * math.nan, "not finite")):
        with pytest.raises(ValueError, match=message):
            image_to_image(model, bad, diffusion)
        with pytest.raises(ValueError, match=message):
            inpaint(model, bad, mask, diffusion)
    for edit in (ddim_invert, image_to_image):
        for bad in (image.numpy(), image * math.nan):
            with pytest.raises(ValueError, match="images"):
                edit(model, bad, diffusion)
    for options, message in (
        ({"weights": ()}, "weights"),
        ({"weights": [math.nan]}, "a weight is nan"),
        ({"sampler": "heun"}, "sampler"),
        ({"eta": 3}, "eta"),
        ({"clip": "so"}, "clip"),
    ):
        with pytest.raises(ValueError, match=message):
            interpolate(model, image, image, diffusion, **options)
    assert not calls


@pytest.mark.parametrize("shown", [True, False])
def test_inversion_shows_how_far_it_is(shown, capsys):
    diffusion = GaussianDiffusion(SCHEDULES["cosine"](5), "sample", "fixed_small")
    ddim_invert(lambda x, t: x, torch.zeros(1, 1, 2, 2), diffusion, progress=shown)
    assert ("inverting" in capsys.readouterr().err) == shown


# ---------------------------------------------------------------------------------------- inversion
def round_trip_error(data, diffusion, steps, images):
    spaced = diffusion.respace(steps)
    noise = ddim_invert(data.denoiser(spaced), images, spaced)
    again = sample(
        data.denoiser(spaced), images.shape, spaced, sampler="ddim", clip=False, noise=noise
    )
    return float((again - images).abs().mean())


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("kind", ["gaussian", "mixture"])
def test_the_error_of_inversion_halves_with_twice_the_steps(gaussian, mixture, schedule, kind):
    data = mixture if kind == "mixture" else gaussian(0.2, 0.3)
    diffusion = GaussianDiffusion(SCHEDULES[schedule](1000), variance="fixed_small")
    images = data.draw(300, 1)
    errors = [round_trip_error(data, diffusion, steps, images) for steps in (100, 200, 400)]
    for coarse, fine in itertools.pairwise(errors):
        assert 1.5 < coarse / fine < 2.6
    assert errors[-1] < 1e-2


def test_the_noise_of_gaussian_data_is_the_exact_one(gaussian):
    data = gaussian(0.2, 0.3)
    diffusion = GaussianDiffusion(SCHEDULES["linear"](1000), variance="fixed_small")
    images = data.draw(200, 1)
    last = diffusion.alphas_cumprod[-1]
    exact = last.sqrt() * 0.2 + (images - 0.2) / 0.3 * (last * 0.3**2 + 1 - last).sqrt()
    noise = ddim_invert(data.denoiser(diffusion), images, diffusion)
    torch.testing.assert_close(noise, exact, rtol=0, atol=0.02)


def test_inversion_takes_steps_and_refuses_randomness(setting):
    data, diffusion, model = setting
    images = data.draw(5, 1)
    spaced = diffusion.respace(50)
    assert torch.equal(
        ddim_invert(model, images, diffusion, steps=50), ddim_invert(model, images, spaced)
    )
    with pytest.raises(ValueError, match=r"eta is 0\.5; expected 0"):
        ddim_invert(model, images, diffusion, eta=0.5)


# ----------------------------------------------------------------------------------- image to image
@pytest.mark.parametrize("sampler", STEPS)
def test_strength_decides_how_much_stays(setting, sampler):
    data, diffusion, model = setting
    images = data.draw(400, 1)
    distances = []
    for strength in (0.02, 0.3, 1.0):
        changed = image_to_image(
            model, images, diffusion, strength=strength, sampler=sampler, steps=100, seed=0
        )
        distances.append(float((changed - images).abs().mean()))
    # at 0.02 within its component, at 1 nothing to do with it
    assert distances[0] < 0.06 < distances[1] < distances[2] and distances[2] > 0.3


def test_image_to_image_begins_at_the_level_of_its_strength(setting):
    _, diffusion, model = setting
    levels = []
    image_to_image(
        model,
        torch.zeros(1, 1, dtype=torch.float64),
        diffusion,
        strength=0.4,
        steps=50,
        seed=0,
        callback=lambda state: levels.append(state.level),
    )
    assert levels == list(range(19, -1, -1))
    seen = []

    def look(x, t):
        seen.append(x)
        return x

    images = torch.full((4000, 1), 0.5, dtype=torch.float64)
    image_to_image(look, images, diffusion, strength=0.4, steps=50, seed=0)
    bar = float(diffusion.respace(50).alphas_cumprod[19])
    assert float(seen[0].std()) == pytest.approx((1 - bar) ** 0.5, rel=0.04)
    assert float(seen[0].mean()) == pytest.approx(0.5 * bar**0.5, abs=0.03)
    for strength in (0, -1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="strength"):
            image_to_image(model, torch.zeros(1, 1), diffusion, strength=strength)


# --------------------------------------------------------------------------------------- inpainting
def pairs(count, seed=0):
    """Two equal pixels from the mixture, and their exact denoiser: a pixel tells the other."""
    means = torch.tensor([-0.6, 0.1, 0.8], dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    centre = means[torch.randint(3, (count,), generator=generator)]
    return (
        centre[:, None] + 0.05 * torch.randn(count, 2, generator=generator, dtype=torch.float64)
    ), means


def pair_denoiser(diffusion, means, std=0.05):
    place = {int(time): t for t, time in enumerate(diffusion.timesteps)}

    def model(x, times):
        bar = diffusion.alphas_cumprod[place[int(times[0])]]
        total = std**2 * bar + 1 - bar
        distance = x[:, :, None] - bar.sqrt() * means  # (B, 2, 3)
        shares = (-(distance**2) / (2 * total)).sum(1, keepdim=True).softmax(-1)
        x0 = (shares * (means + std**2 * bar.sqrt() / total * distance)).sum(-1)
        return (x - bar.sqrt() * x0) / (1 - bar).sqrt()

    return model


@pytest.mark.parametrize("sampler", STEPS)
def test_what_is_filled_in_fits_what_is_known(sampler):
    images, means = pairs(200)
    diffusion = GaussianDiffusion(SCHEDULES["linear"](1000), variance="fixed_small").respace(50)
    mask = torch.tensor([[False, True]])
    hidden = images.masked_fill(mask, 9.0)  # what is there does not matter
    filled = inpaint(
        pair_denoiser(diffusion, means), hidden, mask, diffusion, num_passes=5, sampler=sampler
    )
    assert torch.equal(filled[:, 0], images[:, 0])
    assert float(((filled[:, 1] - filled[:, 0]).abs() < 0.3).double().mean()) > 0.9


def test_passes_let_the_rest_agree():
    images, means = pairs(400)
    diffusion = GaussianDiffusion(SCHEDULES["linear"](1000), variance="fixed_small").respace(50)
    mask = torch.tensor([[False, True]])
    agreeing = []
    for num_passes in (1, 5):
        filled = inpaint(
            pair_denoiser(diffusion, means), images, mask, diffusion, num_passes=num_passes
        )
        agreeing.append(float(((filled[:, 1] - filled[:, 0]).abs() < 0.3).double().mean()))
    assert agreeing[1] > agreeing[0] + 0.02


@pytest.mark.parametrize("num_steps", [1, 2, 10, 25])
@pytest.mark.parametrize("jump_length", [1, 3, 10, 100])
@pytest.mark.parametrize("num_passes", [1, 2, 4])
def test_a_path_goes_down_every_level_as_often_as_asked(num_steps, jump_length, num_passes):
    path = repainting_path(num_steps, jump_length, num_passes)
    assert path[0] == num_steps and path[-1] == 0
    moves = list(itertools.pairwise(path))
    assert all(abs(a - b) == 1 for a, b in moves)
    for level in range(1, num_steps + 1):
        assert moves.count((level, level - 1)) == num_passes
        assert moves.count((level - 1, level)) == num_passes - 1


def test_going_up_is_a_step_of_the_forward_process():
    """A path up and down with a perfect denoiser of a single image ends at that image."""
    diffusion = GaussianDiffusion(SCHEDULES["cosine"](20), "sample", "fixed_small")
    image = torch.full((3, 1, 2, 2), 0.3, dtype=torch.float64)
    spreads = {}

    def note(state):
        spreads.setdefault(state.level, []).append(state.x)

    mask = torch.ones(1, dtype=torch.bool).view(1, 1, 1, 1)
    many = image.expand(3, 1, 2, 2).repeat(2000, 1, 1, 1)
    inpaint(lambda x, t: many, many, mask, diffusion, jump_length=4, num_passes=3, callback=note)
    for level, xs in spreads.items():
        bar = 1.0 if level == 0 else float(diffusion.alphas_cumprod[level - 1])
        assert len(xs) == 3
        for x in xs:
            assert float(x.mean()) == pytest.approx(bar**0.5 * 0.3, abs=0.03)
            assert float(x.std()) == pytest.approx((1 - bar) ** 0.5, abs=0.03)


@pytest.mark.parametrize(
    ("mask", "options", "message"),
    [
        (torch.ones(2, 1, 2, 2), {}, "mask is torch.float32"),
        (torch.ones(2, 1, 3, 2, dtype=torch.bool), {}, "mask has shape"),
        (torch.ones(4, 2, 1, 2, 2, dtype=torch.bool), {}, "mask has shape"),
        (torch.ones(2, 1, 2, 2, dtype=torch.bool), {"num_passes": 0}, "num_passes is 0"),
        (torch.ones(2, 1, 2, 2, dtype=torch.bool), {"jump_length": 0}, "jump_length is 0"),
        (torch.ones(2, 1, 2, 2, dtype=torch.bool), {"sampler": "none"}, "sampler"),
    ],
)
def test_bad_input(mask, options, message):
    diffusion = GaussianDiffusion(SCHEDULES["cosine"](20), "sample", "fixed_small")
    with pytest.raises(ValueError, match=message):
        inpaint(lambda x, t: x, torch.zeros(2, 1, 2, 2), mask, diffusion, **options)
    with pytest.raises(ValueError, match="uint8"):
        inpaint(lambda x, t: x, torch.zeros(2, 1, 2, 2, dtype=torch.uint8), mask, diffusion)


def test_the_known_part_is_as_noisy_as_the_rest():
    diffusion = GaussianDiffusion(SCHEDULES["cosine"](20), "sample", "fixed_small")
    images = torch.full((4000, 1), 0.5, dtype=torch.float64)
    seen = {}
    # nothing is to be made: x is the known part alone
    nothing = torch.zeros(1, 1, dtype=torch.bool)
    start = []

    def model(x, t):
        start.append(x)
        return images

    inpaint(
        model,
        images,
        nothing,
        diffusion,
        callback=lambda state: seen.update({state.level: state.x}),
    )
    seen[20] = start[0]
    for level, x in seen.items():
        bar = 1.0 if level == 0 else float(diffusion.alphas_cumprod[level - 1])
        assert float(x.mean()) == pytest.approx(
            0.5 * bar**0.5, abs=4 * (1 - bar) ** 0.5 / 4000**0.5 + 1e-9
        )
        assert float(x.std()) == pytest.approx((1 - bar) ** 0.5, rel=0.05, abs=1e-9)


# ------------------------------------------------------------------------------------ interpolation
def test_the_ends_of_an_interpolation_are_the_images(setting):
    data, diffusion, _ = setting
    spaced = diffusion.respace(500)
    model = data.denoiser(spaced)
    first = data.draw(20, 4, seed=1)
    second = data.draw(20, 4, seed=2)
    way = interpolate(model, first, second, spaced, weights=(0.0, 0.5, 1.0), clip=False)
    assert way.shape == (3, 20, 4)
    for end, images in ((way[0], first), (way[-1], second)):
        assert float((end - images).abs().mean()) < 0.02
    with pytest.raises(ValueError, match="expected the same"):
        interpolate(model, first, second[:3], spaced)


def test_slerp_keeps_the_length_of_noise_and_meets_its_ends():
    first, second = torch.randn(2, 6, 3, 16, 16, dtype=torch.float64)
    for weight in (0.0, 0.2, 0.5, 1.0):
        between = slerp(first, second, weight)
        assert float((between.flatten(1).norm(dim=1) / 768**0.5 - 1).abs().max()) < 0.1
    torch.testing.assert_close(slerp(first, second, 0.0), first)
    torch.testing.assert_close(slerp(first, second, 1.0), second)
    torch.testing.assert_close(slerp(first, first, 0.3), first)
    unit = first / first.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    other = second / second.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    middle = slerp(unit, other, 0.5)
    torch.testing.assert_close(middle.flatten(1).norm(dim=1), torch.ones(6, dtype=torch.float64))
    torch.testing.assert_close(
        (middle * unit).flatten(1).sum(1), (middle * other).flatten(1).sum(1)
    )
