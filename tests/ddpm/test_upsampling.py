"""Upsampling: the conditional law by an exact denoiser, streams of an image's own, two stages."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ddpm import (
    Conditioned,
    autoguidance,
    classifier_free_guidance,
    classifier_guidance,
    inpaint,
)
from ddpm.conditioning import noised
from ddpm.diffusion import GaussianDiffusion
from ddpm.models import ClassifierConfig, NoisyClassifier, UNet, UNetConfig
from ddpm.noise import stream
from ddpm.samplers import sample
from ddpm.schedules import cosine_schedule
from ddpm.upsampling import STREAMS, cascade, upsample

DIFFUSION = GaussianDiffusion(cosine_schedule(20))
SIZES = {
    "image_size": 8,
    "in_channels": 1,
    "model_channels": 8,
    "channel_mult": (1,),
    "num_res_blocks": 1,
    "attention_resolutions": (),
    "num_heads": 2,
    "norm_num_groups": 4,
    "num_classes": 3,
}
LABELS = torch.tensor([0, 2, 1])


def network(seed=0, **changes):
    torch.manual_seed(seed)
    model = UNet(UNetConfig(**SIZES | changes)).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model


@pytest.fixture(scope="module")
def upsampler():
    return network(low_resolution=4, noise_augmentation=True)


@pytest.fixture(scope="module")
def base():
    return network(image_size=4)


def steered(labels=None, scale=1.0):
    config = ClassifierConfig(**SIZES)
    return classifier_guidance(NoisyClassifier(config), labels, scale)


def small(count=3, seed=0):
    return torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(seed)) * 2 - 1


# --------------------------------------------------------------------------------------- the law
class ExactUpsampler(nn.Module):
    """The best denoiser of pixels N(0, std^2), independent, of whose areas the means are given.

    Given the mean z of n pixels these are z + (I - 11'/n) N(0, std^2): along 1 nothing is left to
    know, and in all other directions x_0 is a Gaussian as without z. With noise in z, whose
    variance is v, z itself has the posterior of prior N(0, std^2 / n).
    """

    def __init__(self, diffusion, std, told=False):
        super().__init__()
        self.config = SimpleNamespace(
            image_size=4, in_channels=1, low_resolution=2, noise_augmentation=told
        )
        self.diffusion, self.std = diffusion, std

    def forward(self, x, t, labels=None, low_res=None, noise_level=None):
        bar = self.diffusion.alphas_cumprod[int(t[0])]
        signal, variance = float(bar.sqrt()), float(1 - bar)
        x_mean = F.avg_pool2d(x, 2)
        mean = low_res
        if noise_level is not None:  # two views of the same mean, of independent noise
            seen = self.diffusion.alphas_cumprod[int(noise_level[0]) - 1]
            precision = 4 / self.std**2 + seen / (1 - seen) + 4 * bar / (1 - bar)
            mean = low_res * seen.sqrt() / (1 - seen) + 4 * x_mean * signal / variance
            mean = (mean / precision).float()
        share = self.std**2 * signal / (self.std**2 * signal**2 + variance)
        between = x - x_mean.repeat_interleave(2, 2).repeat_interleave(2, 3)
        image = mean.repeat_interleave(2, 2).repeat_interleave(2, 3) + share * between
        return (x - signal * image) / variance**0.5


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "heun", "dpm_solver++"])
def test_an_exact_denoiser_gives_the_law_of_images_with_that_small_one(sampler):
    diffusion = GaussianDiffusion(cosine_schedule(100), variance="fixed_large")
    low_res = torch.tensor([[0.3, -0.2], [0.1, 0.0]]).expand(4000, 1, 2, 2)
    model = ExactUpsampler(diffusion, std=0.5)
    images = upsample(model, low_res, diffusion, sampler=sampler, clip=False, seed=0)
    torch.testing.assert_close(F.avg_pool2d(images, 2), low_res, atol=2e-3, rtol=0)
    rest = images - low_res.repeat_interleave(2, 2).repeat_interleave(2, 3)
    covariance = torch.cov(rest.flatten(1).T) / 0.5**2
    area = torch.arange(16).view(4, 4)
    area = area // 8 * 2 + area % 4 // 2  # which small pixel
    together = (area.flatten()[:, None] == area.flatten()).float()
    expected = torch.eye(16) - together / 4
    assert float((covariance - expected).abs().max()) < 0.08


def test_a_noisy_small_image_leaves_its_own_uncertainty():
    """z_s of a fixed z, then the posterior of z given z_s: both variances are in the result."""
    diffusion = GaussianDiffusion(cosine_schedule(100), variance="fixed_small")
    level, std, z = 20, 0.4, 0.3
    bar = float(diffusion.alphas_cumprod[level - 1])
    prior = std**2 / 4
    share = bar * prior / (bar * prior + 1 - bar)
    model = ExactUpsampler(diffusion, std, told=True)
    low_res = torch.full((4000, 1, 2, 2), z)
    options = {"sampler": "heun", "clip": False, "seed": 0, "noise_level": level}
    means = F.avg_pool2d(upsample(model, low_res, diffusion, **options), 2)
    spread = share**2 * (1 - bar) / bar + prior * (1 - share)
    assert float(means.mean()) == pytest.approx(share * z, abs=0.01)
    assert float(means.var()) == pytest.approx(spread, rel=0.05)


# ------------------------------------------------------------------------------------ one image
@pytest.mark.parametrize("noise_level", [0, 5])
def test_an_image_does_not_depend_on_its_batch(upsampler, noise_level):
    options = {"noise_level": noise_level, "steps": 4}
    whole = upsample(upsampler, small(), DIFFUSION, labels=LABELS, seed=[3, 4, 5], **options)
    for row in range(3):
        one = slice(row, row + 1)
        given = (upsampler, small()[one], DIFFUSION)
        alone = upsample(*given, labels=LABELS[one], seed=[3 + row], **options)
        torch.testing.assert_close(alone[0], whole[row], rtol=0, atol=1e-5)
    other = upsample(upsampler, -small(), DIFFUSION, labels=LABELS, seed=[3, 4, 5], **options)
    assert not torch.allclose(other, whole, atol=1e-2)


def test_it_is_sampling_with_the_small_images_bound_after_noise_of_the_same_streams(upsampler):
    plain = sample(
        Conditioned(upsampler, small()),
        (3, 1, 8, 8),
        DIFFUSION,
        labels=LABELS,
        generator=[stream(7, row, *STREAMS) for row in range(3)],
    )
    assert torch.equal(upsample(upsampler, small(), DIFFUSION, labels=LABELS, seed=7), plain)
    generators = [stream(7, row, *STREAMS) for row in range(3)]
    noise = torch.stack([torch.randn(1, 4, 4, generator=each) for each in generators])
    levels = torch.full((3,), 5)
    bound = Conditioned(upsampler, noised(small(), levels, DIFFUSION, noise), levels)
    options = {"labels": LABELS, "steps": 4}
    by_hand = sample(bound, (3, 1, 8, 8), DIFFUSION, generator=generators, **options)
    given = (upsampler, small(), DIFFUSION)
    assert torch.equal(upsample(*given, seed=7, noise_level=5, **options), by_hand)


@pytest.mark.parametrize("noise_level", [0, 5])
def test_guidance_sees_the_small_images(noise_level):
    """One call for twice the images: both halves are given the same small ones, in their order."""
    model = network(low_resolution=4, noise_augmentation=True, null_class=True)
    options = {"seed": 0, "steps": 4, "noise_level": noise_level}
    draw = partial(upsample, model, small(), DIFFUSION, labels=LABELS, **options)
    plain = draw()
    # so near 1 the network is asked for both, and the images are those of its own labels
    near = draw(guidance=classifier_free_guidance(1 + 1e-7))
    # the first step divides by sqrt(ab_T), and with it the rounding of another batch's kernels
    torch.testing.assert_close(near, plain, rtol=0, atol=1e-3)
    unlabelled = upsample(model, small(), DIFFUSION, labels=None, **options)
    torch.testing.assert_close(
        draw(guidance=classifier_free_guidance(0.0)), unlabelled, rtol=0, atol=1e-5
    )
    assert not torch.allclose(draw(guidance=classifier_free_guidance(3.0)), plain, atol=0.01)


def test_editing_sees_the_small_images(upsampler):
    options = {"labels": LABELS, "seed": 0, "steps": 4}
    mask = torch.arange(8)[:, None] >= 4
    images = torch.zeros(3, 1, 8, 8)
    filled = inpaint(Conditioned(upsampler, small()), images, mask, DIFFUSION, **options)
    assert not filled[:, :, :4].any() and filled[:, :, 4:].any()


# ------------------------------------------------------------------------------------ two stages
@pytest.mark.parametrize("seed", [0, [5, 6, 7]])
def test_a_cascade_is_the_two_calls_by_hand(base, upsampler, seed):
    second = {"sampler": "ddim", "steps": 4}
    low_res, images = cascade(
        base,
        DIFFUSION,
        upsampler,
        DIFFUSION,
        3,
        labels=LABELS,
        seed=seed,
        noise_level=2,
        base_options={"steps": 5},
        upsampler_options=second,
    )
    common = {"labels": LABELS, "seed": seed}
    expected = sample(base, (3, 1, 4, 4), DIFFUSION, steps=5, **common)
    assert torch.equal(low_res, expected)
    by_hand = upsample(upsampler, expected, DIFFUSION, noise_level=2, **second, **common)
    assert torch.equal(images, by_hand)


def test_the_stages_of_a_seed_have_noise_of_their_own():
    """Where both draw images of one size, they begin at different noise."""
    begun = []

    def watched(x, t, labels=None, low_res=None):
        begun.append(x.clone())
        return torch.cat((x, x), dim=1)

    watched.config = UNetConfig(**SIZES | {"low_resolution": 4})
    for seed in (0, 1):
        sample(watched, (1, 1, 8, 8), DIFFUSION, steps=2, seed=seed, labels=LABELS[:1])
        upsample(watched, small(1), DIFFUSION, steps=2, seed=seed, labels=LABELS[:1])
    first = [x.flatten() for x in begun[::2]]
    assert len(begun) == 8
    assert float(torch.corrcoef(torch.stack(first)).triu(1).abs().max()) < 0.5


# ------------------------------------------------------------------------------------- mistakes
class Untouched(nn.Module):
    """A network that must not be called."""

    def __init__(self, model):
        super().__init__()
        self.config = model.config

    def forward(self, *args, **kwargs):
        raise AssertionError("the network was called")


@pytest.mark.parametrize(
    ("low_res", "options", "message"),
    [
        (small()[:, :, :3], {}, r"\(3, 1, 3, 4\); expected \(B, 1, 4, 4\)"),
        (small().expand(3, 3, 4, 4), {}, r"\(3, 3, 4, 4\); expected \(B, 1, 4, 4\)"),
        (small()[0], {}, "images are"),
        (2 * small(), {}, "lie in"),
        (small()[:0], {}, "no image"),
        ("x", {}, "images are a str"),
        (small(), {"noise_level": -1}, "noise_level"),
        (small(), {"noise_level": 21}, r"noise_level is 21; expected 0\.\.20"),
        (small(), {"noise_level": 0.5}, "noise_level"),
        (small(), {"steps": 1}, "number of steps is 1; expected"),
        (small(), {"sampler": "no"}, "sampler"),
        (small(), {"seed": [1]}, "1 generators or seeds"),
        (small(), {"labels": LABELS[:2]}, "labels"),
    ],
)
def test_what_cannot_be_upsampled_is_named_before_the_first_step(
    upsampler, low_res, options, message
):
    with pytest.raises(ValueError, match=message):
        upsample(Untouched(upsampler), low_res, DIFFUSION, **{"labels": LABELS} | options)


@pytest.mark.parametrize("noise_level", [0, 5])
def test_a_weaker_upsampler_is_given_the_same_small_images(upsampler, noise_level):
    """By hand: the noisy small images and their level, bound to both."""
    weaker = network(seed=1, low_resolution=4, noise_augmentation=True)
    asked = []
    weaker.register_forward_pre_hook(
        lambda module, args, given: asked.append((given["low_res"], given.get("noise_level"))),
        with_kwargs=True,
    )
    seen = []
    upsampler_calls = upsampler.register_forward_pre_hook(
        lambda module, args, given: seen.append((given["low_res"], given.get("noise_level"))),
        with_kwargs=True,
    )
    options = {"labels": LABELS, "seed": 0, "steps": 4, "noise_level": noise_level}
    guided = upsample(upsampler, small(), DIFFUSION, guidance=autoguidance(weaker, 2.0), **options)
    upsampler_calls.remove()
    assert len(asked) == len(seen) == 4
    for (low, level), (own_low, own_level) in zip(asked, seen, strict=True):
        assert torch.equal(low, own_low)
        assert (level is None and own_level is None) or torch.equal(level, own_level)
    plain = upsample(upsampler, small(), DIFFUSION, **options)
    assert not torch.equal(guided, plain)


def test_networks_and_diffusions_that_do_not_fit_are_named(base, upsampler):
    with pytest.raises(ValueError, match="upsamples nothing"):
        upsample(base, small(), DIFFUSION)
    with pytest.raises(ValueError, match="upsamples nothing"):
        upsample(lambda x, t: x, small(), DIFFUSION)
    with pytest.raises(ValueError, match="seen no noise"):
        upsample(network(low_resolution=4), small(), DIFFUSION, noise_level=1)
    quiet = network(low_resolution=4, noise_augmentation=True, max_noise_level=7)
    upsample(quiet, small(), DIFFUSION, noise_level=7, steps=2, labels=LABELS)
    with pytest.raises(ValueError, match=r"noise_level is 8; expected 0\.\.7, what the network"):
        upsample(quiet, small(), DIFFUSION, noise_level=8)
    with pytest.raises(ValueError, match="respaced"):
        upsample(upsampler, small(), DIFFUSION.respace(5), noise_level=1)
    with pytest.raises(ValueError, match="expected a GaussianDiffusion"):
        upsample(upsampler, DIFFUSION, small())


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"image_size": 8}, {}, "draws images of 8 pixels"),
        ({"in_channels": 3}, {}, "3 channel"),
        ({"num_classes": 4}, {}, "4 classes and the upsampler 3"),
        ({"low_resolution": 2}, {}, "enlarges images of 2 pixels itself"),
        ({}, {"labels": None}, "labels are None"),
        ({}, {"num_images": 0}, "num_images"),
        ({}, {"noise_level": 21}, "noise_level is 21"),
        ({}, {"upsampler_options": {"steps": 21}}, "21"),
        ({}, {"upsampler_options": {"sampler": "no"}}, "sampler"),
        ({}, {"upsampler_options": {"labels": None}}, "labels are None"),
        ({}, {"upsampler_options": {"labels": torch.tensor([0, 1, 9])}}, "from 0 to 9"),
        ({}, {"upsampler_options": {"guidance": steered(scale=[1.0, 2.0])}}, "2 scales"),
        ({}, {"upsampler_options": {"guidance": steered(labels=[0, 1])}}, "2 labels"),
        ({}, {"base_options": {"sampler": "no"}}, "sampler"),
    ],
)
def test_stages_that_do_not_fit_are_named_before_the_first_step(
    upsampler, changes, options, message
):
    base = Untouched(SimpleNamespace(config=UNetConfig(**SIZES | {"image_size": 4} | changes)))
    given = {"num_images": 3, "labels": LABELS} | options
    with pytest.raises(ValueError, match=message):
        cascade(base, DIFFUSION, upsampler, DIFFUSION, **given)
