"""How guides are put together, when they act, what they ask of networks, and what is refused."""

import pytest
import torch
from torch import nn

from ddpm import (
    ClassifierConfig,
    GaussianDiffusion,
    NoisyClassifier,
    UNet,
    UNetConfig,
    autoguidance,
    classifier_free_guidance,
    classifier_guidance,
    cosine_schedule,
    image_to_image,
    inpaint,
    linear_schedule,
    sample,
)
from ddpm.editing import ddim_invert, interpolate
from ddpm.steps import STEPS

SHAPE = (3, 1, 4, 4)
DIFFUSION = GaussianDiffusion(cosine_schedule(50))
LABELS = torch.tensor([0, 1, 2])
every_sampler = pytest.mark.parametrize("sampler", STEPS)


class Watch(nn.Module):
    """A U-Net, and how it was called."""

    def __init__(self, network):
        super().__init__()
        self.network = network
        self.config = network.config
        self.calls = []

    def forward(self, x, t, labels=None):
        self.calls.append((len(x), int(t[0]), None if labels is None else labels.tolist()))
        assert not self.network.training
        return self.network(x, t, labels=labels)


def noisy_classifier():
    sizes = {"image_size": 4, "in_channels": 1, "model_channels": 8, "channel_mult": (1,)}
    sizes |= {"num_res_blocks": 1, "attention_resolutions": (), "num_heads": 2}
    return NoisyClassifier(ClassifierConfig(**sizes, norm_num_groups=4, num_classes=3))


def unet(**changes):
    torch.manual_seed(0)
    settings = {"image_size": 4, "in_channels": 1, "model_channels": 8, "channel_mult": (1, 2)}
    settings |= {"num_res_blocks": 1, "attention_resolutions": (2,), "num_heads": 2}
    settings |= {"norm_num_groups": 4, "num_classes": 3, "null_class": True}
    network = UNet(UNetConfig(**(settings | changes)))
    for parameter in network.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, 0.0, 0.1)
    return Watch(network)


def bright(x, t):
    """A condition that is no classifier: bright images."""
    return x.flatten(1).sum(1)


def drawn(model, guidance, **options):
    options = {"steps": 6, "seed": 0, "labels": LABELS} | options
    return sample(model, SHAPE, DIFFUSION, guidance=guidance, **options)


@every_sampler
def test_classifier_free_guidance_is_one_call_for_twice_the_images(sampler):
    model = unet().train()
    drawn(model, classifier_free_guidance(2.0), sampler=sampler)
    assert {(count, tuple(labels)) for count, _, labels in model.calls} == {(6, (0, 1, 2, 3, 3, 3))}
    evaluations = 11 if sampler == "heun" else 6
    assert len(model.calls) == evaluations and model.training


@every_sampler
def test_its_ends_are_the_plain_network_with_and_without_labels(sampler):
    model = unet()
    for scale, labels in ((0.0, None), (1.0, LABELS)):
        expected = drawn(model, None, sampler=sampler, labels=labels)
        found = drawn(model, classifier_free_guidance(scale), sampler=sampler)
        assert torch.equal(found, expected)
        # one image at an end and another elsewhere
        scales = [scale, scale, 3.0]
        some = drawn(model, classifier_free_guidance(scales), sampler=sampler)
        torch.testing.assert_close(some[:2], expected[:2], rtol=1e-4, atol=1e-4)
        assert not torch.allclose(some[2], expected[2], atol=1e-3)


def test_another_network_may_be_the_unconditional_one():
    model = unet(null_class=False)
    other = unet(num_classes=None, null_class=False, learn_sigma=False)
    guide = classifier_free_guidance(2.0, unconditional=other.train())
    drawn(model, guide)
    assert [labels for _, _, labels in model.calls] == [[0, 1, 2]] * 6
    assert [labels for _, _, labels in other.calls] == [None] * 6 and other.training
    expected = drawn(model, None)
    assert torch.equal(drawn(model, classifier_free_guidance(1.0, unconditional=other)), expected)


@every_sampler
def test_autoguidance_asks_the_weaker_network_the_same(sampler):
    model, weaker = unet(), unet(dropout=0.5).train()
    with torch.no_grad():
        weaker.network.head.weight.mul_(0.5)
    guided = drawn(model, autoguidance(weaker, 2.0), sampler=sampler)
    assert model.calls == weaker.calls and weaker.training
    assert torch.equal(drawn(model, autoguidance(weaker, 1.0)), drawn(model, None))
    assert not torch.allclose(guided, drawn(model, None, sampler=sampler))


def test_the_variance_is_between_those_of_the_two_networks():
    model, weaker = unet().eval(), unet().eval()
    with torch.no_grad():
        weaker.network.head.weight.mul_(-1)
    x = torch.randn(SHAPE)
    t = torch.full((3,), 20)
    own, other = model(x, t, LABELS)[:, 1:], weaker(x, t, LABELS)[:, 1:]
    seen = {}

    def look(predict):
        def looked(x, t):
            p = predict(x, t)
            seen[t] = p.rest
            return p

        return looked

    for scale, expected in ((0, other), (0.5, (own + other) / 2), (1, own), (4, own)):
        options = {"steps": None, "noise": x, "guidance": [look, autoguidance(weaker, scale)]}
        diffusion = GaussianDiffusion(DIFFUSION.betas[:21])
        sample(model, SHAPE, diffusion, labels=LABELS, **options)
        torch.testing.assert_close(seen[20], expected)


def test_rescaling_is_diffusers():
    diffusers = pytest.importorskip(
        "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion"
    )
    outputs = torch.randn(2, 4, 3, 8, 8)
    for share in (0.0, 0.3, 1.0):
        guide = classifier_free_guidance(3.0, share)
        moved = guide.move(outputs[0], outputs[1], 3)
        plain = classifier_free_guidance(3.0).move(outputs[0], outputs[1], 3)
        expected = diffusers.rescale_noise_cfg(plain, outputs[0], guidance_rescale=share)
        torch.testing.assert_close(moved, expected)
    flat = torch.zeros(1, 1, 2, 2)  # as of a fresh network
    assert torch.equal(classifier_free_guidance(3.0, 0.5).move(flat, flat, 1), flat)


# --------------------------------------------------------------------------------------- intervals
@every_sampler
def test_a_guide_acts_within_its_interval_alone(sampler):
    chain = DIFFUSION.respace(6)
    sigmas = ((1 - chain.alphas_cumprod) / chain.alphas_cumprod).sqrt()
    interval = (float(sigmas[1]), float(sigmas[3]))  # the lower end is left out
    times = []

    def seen(x, t):
        times.append(int(t[0]))
        return bright(x, t)

    model = unet()
    guides = [
        classifier_guidance(seen, scale=0.3, at="x_t", interval=interval),
        classifier_free_guidance(2.0, interval=interval),
    ]
    states = []
    drawn(model, guides, sampler=sampler, callback=states.append)
    inside = chain.timesteps[[3, 2]].tolist()
    first = int(chain.timesteps[-1])  # tried before the first step
    assert sorted(set(times) - {first}) == sorted(inside)
    doubled = {t for count, t, _ in model.calls if count == 6}
    assert doubled == set(inside)
    plain = []
    drawn(model, None, sampler=sampler, callback=plain.append)
    for step in range(1 if sampler == "heun" else 2):
        assert torch.equal(states[step].x, plain[step].x)
    assert not torch.equal(states[-1].x, plain[-1].x)


# ------------------------------------------------------------------------------------- composition
@every_sampler
@pytest.mark.parametrize("clip", [True, "dynamic"])
def test_guided_images_are_in_range_and_known_parts_stay(sampler, clip):
    model = unet()
    guides = [classifier_guidance(bright, scale=50.0), classifier_free_guidance(4.0)]
    options = {"sampler": sampler, "steps": 6, "seed": 0, "labels": LABELS, "clip": clip}
    options["guidance"] = guides
    images = torch.rand(SHAPE) - 0.5
    mask = torch.zeros(SHAPE, dtype=torch.bool)
    mask[..., :2] = True
    filled = inpaint(model, images, mask, DIFFUSION, jump_length=2, num_passes=2, **options)
    assert torch.equal(filled[~mask], images[~mask])
    changed = image_to_image(model, images, DIFFUSION, **options)
    for made in (filled, changed, sample(model, SHAPE, DIFFUSION, **options)):
        assert float(made.abs().max()) <= 1
    options["guidance"] = None
    for made, edit in ((changed, image_to_image), (filled, inpaint)):
        more = (images, mask) if edit is inpaint else (images,)
        assert float(made.mean()) > float(edit(model, *more, DIFFUSION, **options).mean())


def test_guides_reach_inversion_and_interpolation():
    model = unet()
    images = torch.rand(SHAPE) - 0.5
    options = {"steps": 6, "labels": LABELS}
    plain = ddim_invert(model, images, DIFFUSION, **options)
    guide = classifier_guidance(bright, scale=0.5)
    assert not torch.allclose(
        ddim_invert(model, images, DIFFUSION, guidance=guide, **options), plain
    )
    between = interpolate(
        model, images, -images, DIFFUSION, guidance=[guide], weights=[0.5], **options
    )
    assert between.shape == (1, *SHAPE) and between.isfinite().all()


def test_functions_are_put_around_guides():
    seen = []

    def outside(predict):
        def looked(x, t):
            p = predict(x, t)
            seen.append(p.x0)
            return p.with_x0(torch.zeros_like(p.x0))

        return looked

    model = unet()
    for guides in ([outside, classifier_guidance(bright)], [classifier_guidance(bright), outside]):
        images = drawn(model, guides, sampler="ddim")
        assert torch.equal(images, torch.zeros(SHAPE))
    assert len(seen) == 12
    guided, steered = seen[0], seen[6]  # what is looked at at the first step, by either order
    assert torch.equal(guided, steered)
    seen.clear()
    drawn(model, outside, sampler="ddim")
    assert not torch.allclose(seen[0], guided)  # the guide had moved it


# -------------------------------------------------------------------------------------- bad input
@pytest.mark.parametrize("interval", [(2, 1), (1, 1), (-1, 2), (0.1,), "ab", 3, (0, float("nan"))])
def test_intervals_that_are_none(interval):
    for make in (
        lambda: classifier_guidance(bright, interval=interval),
        lambda: classifier_free_guidance(2.0, interval=interval),
        lambda: autoguidance(bright, 2.0, interval=interval),
    ):
        with pytest.raises(ValueError, match="interval is"):
            make()
    assert classifier_free_guidance(2.0, interval=(0, float("inf"))).interval.low == 0


@pytest.mark.parametrize("scale", [float("nan"), float("inf"), "2", None, [], [1.0, None], True])
def test_scales_that_are_no_numbers(scale):
    for make in (
        lambda: classifier_guidance(bright, scale=scale),
        lambda: classifier_free_guidance(scale),
        lambda: autoguidance(bright, scale),
    ):
        with pytest.raises(ValueError, match="scale is"):
            make()


@every_sampler
def test_a_rescaled_image_does_not_depend_on_the_scales_of_others(sampler):
    """Not even where its own scale says: what the network says without labels."""
    model = unet()
    scales = torch.tensor([0.0, 3.0, 0.5])
    together = drawn(model, classifier_free_guidance(scales, rescale=0.7), sampler=sampler)
    alone = [
        drawn(model, classifier_free_guidance(float(scale), rescale=0.7), sampler=sampler)[row]
        for row, scale in enumerate(scales)
    ]
    torch.testing.assert_close(together, torch.stack(alone), rtol=0, atol=1e-4)
    near = drawn(model, classifier_free_guidance(1e-5, rescale=0.7), sampler=sampler)
    torch.testing.assert_close(near[0], alone[0], rtol=0, atol=1e-2)


@pytest.mark.parametrize("rescale", [-0.1, 1.5, "1", float("nan")])
def test_shares_that_are_none(rescale):
    with pytest.raises(ValueError, match="rescale is"):
        classifier_free_guidance(2.0, rescale)


@pytest.mark.parametrize(
    ("guidance", "message", "options"),
    [
        (classifier_free_guidance(2.0), "no labels", {"labels": None}),
        (classifier_free_guidance([2.0, 1.0]), "2 scales", {}),
        (classifier_guidance(bright, scale=torch.ones(4)), "4 scales", {}),
        (classifier_free_guidance(2, unconditional=bright), "no labels", {"labels": None}),
        (autoguidance(unet(num_classes=5), 2.0), "num_classes 5", {}),
        (autoguidance(unet(in_channels=2), 2.0), "in_channels 2", {}),
        (autoguidance(unet(image_size=8, attention_resolutions=(4,)), 2.0), "image_size 8", {}),
        (autoguidance(unet(low_resolution=2), 2.0), "low_resolution 2", {}),
        (autoguidance(lambda x, t, labels: x[:1], 2.0), r"\(1, 1, 4, 4\)", {}),
        (classifier_free_guidance(2, unconditional=unet(null_class=False)), "no null class", {}),
        (classifier_free_guidance(2.0, interval=(1e6, 1e7)), "holds none of the 6", {}),
        (classifier_guidance(bright, interval=(0, 1e-9)), "holds none of the 6", {}),
        (unet(), "guidance is a Watch", {}),
        (classifier_guidance, "gave a Gradient", {}),
        ([classifier_guidance(bright), 3], "guidance is a int", {}),
        (lambda predict: classifier_guidance(bright), "gave a Gradient, which is a guide", {}),
        (classifier_free_guidance, "a function that makes a guide; expected what it makes", {}),
        (autoguidance(noisy_classifier(), 2.0), "weaker network is a NoisyClassifier", {}),
        (
            classifier_free_guidance(2.0, unconditional=noisy_classifier()),
            "unconditional network is a NoisyClassifier",
            {},
        ),
        (lambda predict: classifier_guidance(bright)(lambda x, t: None), "to steer a function", {}),
    ],
)
def test_what_does_not_go_together_is_refused_before_the_network_is_called(
    guidance, message, options
):
    model = unet()
    for sampler in ("ddpm", "ddim"):
        with pytest.raises(ValueError, match=message):
            drawn(model, guidance, sampler=sampler, **options)
        assert model.calls == []


def test_a_network_without_a_null_class_is_refused():
    model = unet(null_class=False)
    with pytest.raises(ValueError, match=r"no null class.*label_dropout"):
        drawn(model, classifier_free_guidance(2.0))
    assert model.calls == []


def test_networks_whose_configuration_says_little_are_taken_at_their_word():
    def weaker(x, t, labels=None):
        return x * 0.5

    weaker.config = type("Config", (), {"num_classes": 3, "sample_size": 4})()
    for guide in (autoguidance(weaker, 2.0), classifier_free_guidance(2.0, unconditional=weaker)):
        assert drawn(unet(), guide).shape == SHAPE


def test_no_guidance_is_the_predictor_itself():
    model = unet()
    assert torch.equal(drawn(model, []), drawn(model, None))


def test_zero_terminal_snr_starts_unguided_where_nothing_is_seen():
    from ddpm import zero_terminal_snr

    diffusion = GaussianDiffusion(
        zero_terminal_snr(linear_schedule(50)), "v_prediction", "fixed_small"
    )
    guide = classifier_guidance(bright, scale=0.1)
    model = unet(learn_sigma=False)
    for sampler in STEPS:
        images = sample(
            model, SHAPE, diffusion, sampler=sampler, steps=5, guidance=guide, seed=0, labels=LABELS
        )
        assert images.isfinite().all()
