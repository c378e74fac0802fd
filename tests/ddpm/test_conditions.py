"""The gradient of a condition: right, of each image alone, without a trace, and checked."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from ddpm import (
    ClassifierConfig,
    GaussianDiffusion,
    NoisyClassifier,
    UNet,
    UNetConfig,
    classifier_guidance,
    cosine_schedule,
    linear_schedule,
    sample,
)
from ddpm.guides import PLACES
from ddpm.predictors import Predictor

DIFFUSION = GaussianDiffusion(cosine_schedule(50))
SHAPE = (3, 1, 8, 8)
LABELS = torch.tensor([0, 2, 1])
SIZES = {
    "image_size": 8,
    "in_channels": 1,
    "model_channels": 8,
    "num_res_blocks": 1,
    "channel_mult": (1, 2),
    "attention_resolutions": (4,),
    "num_heads": 2,
    "norm_num_groups": 4,
    "num_classes": 3,
}


def classifier(**changes):
    torch.manual_seed(0)
    return NoisyClassifier(ClassifierConfig(**(SIZES | changes)))


class Network(nn.Module):
    """Says 0, and counts how often."""

    def __init__(self, **changes):
        super().__init__()
        self.config = UNetConfig(**(SIZES | changes))
        self.calls = 0

    def forward(self, x, t, labels=None):
        self.calls += 1
        return torch.cat((torch.zeros_like(x), torch.zeros_like(x)), 1)


def gradient_of(function, labels, x, t, chain=DIFFUSION, sampled=None):
    guide = classifier_guidance(function, labels)
    predictor = Predictor(Network(), chain, sampled, lambda x0: x0)
    return guide.gradient(predictor, x, t)


@pytest.mark.parametrize("schedule", [linear_schedule, cosine_schedule])
@pytest.mark.parametrize("respacing", ["1000", "ddim25", "10"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_gradient_is_that_of_the_exact_expression(classes_of, schedule, respacing, dtype):
    diffusion = GaussianDiffusion(schedule(1000), variance="fixed_small")
    data = classes_of(diffusion, [[0.5, 0.6], [-0.6, 0]], [[0.3, 0.2], [0.2, 0.4]], [1, 2])
    chain = diffusion.respace(respacing)
    labels = torch.tensor([0, 1, 1, 0])
    x = torch.randn(4, 2, dtype=torch.float64)
    for t in (0, 1, chain.num_timesteps // 2, chain.num_timesteps - 1):
        exact = data.gradient(x, chain.timesteps[t].expand(4), labels)
        logits = lambda x, t: data.log_joint(x.double(), t).to(x.dtype)  # noqa: E731
        found = gradient_of(logits, labels, x.to(dtype), t, chain)
        assert found.dtype == dtype
        torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-5)


def test_a_classifiers_logits_are_normalised_and_those_of_the_label_taken():
    model = classifier().eval()
    x = torch.randn(SHAPE).requires_grad_()
    t = torch.full((3,), int(DIFFUSION.timesteps[20]))
    log_probs = model(x, t).log_softmax(1)[torch.arange(3), LABELS]
    (expected,) = torch.autograd.grad(log_probs.sum(), x)
    assert expected.abs().min(0).values.max() > 0
    torch.testing.assert_close(gradient_of(model, LABELS, x.detach(), 20), expected)
    one = gradient_of(model, 2, x.detach(), 20)
    torch.testing.assert_close(one[1], expected[1])
    # without labels of its own, those of the sampling
    torch.testing.assert_close(gradient_of(model, None, x.detach(), 20, sampled=LABELS), expected)
    # by finite differences too: not the gradient of something else
    with torch.no_grad():
        step = 1e-2 * torch.randn(SHAPE)
        up, down = (model(x + sign * step, t).log_softmax(1) for sign in (1, -1))
    difference = (up - down)[torch.arange(3), LABELS] / 2
    slope = (expected * step).flatten(1).sum(1)
    torch.testing.assert_close(difference, slope, rtol=0.02, atol=1e-5)


@pytest.mark.parametrize("respacing", ["50", "7"])
def test_a_classifier_is_told_rescaled_timesteps_too(respacing):
    chain = GaussianDiffusion(cosine_schedule(50), rescale_timesteps=True).respace(respacing)
    model = classifier().eval()
    for parameter in model.parameters():  # a fresh one does not see the time
        nn.init.normal_(parameter, std=0.3)
    x = torch.randn(SHAPE).requires_grad_()
    for t in (0, 3, chain.num_timesteps - 1):
        log_probs = model(x, torch.full((3,), int(chain.timesteps[t]) * 20.0)).log_softmax(1)
        (expected,) = torch.autograd.grad(log_probs[torch.arange(3), LABELS].sum(), x)
        torch.testing.assert_close(gradient_of(model, LABELS, x.detach(), t, chain), expected)


def test_an_image_alone_has_the_gradient_that_it_has_in_a_batch():
    model = classifier()
    x = torch.randn(SHAPE)
    together = gradient_of(model, LABELS, x, 30)
    for row in range(3):
        alone = gradient_of(model, LABELS[row : row + 1], x[row : row + 1], 30)
        torch.testing.assert_close(alone[0], together[row], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("at", PLACES)
@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_the_classifier_is_frozen_and_evaluated_in_every_mode(mode, at):
    model = classifier(dropout=0.5).train()
    guide = classifier_guidance(model, LABELS, 2.0, at)
    with mode():
        images = sample(Network(), SHAPE, DIFFUSION, steps=4, guidance=guide, seed=0)
        labels = LABELS.clone()  # an inference tensor in that mode
        same = classifier_guidance(model, labels, 2.0, at)
        again = sample(Network(), SHAPE, DIFFUSION, steps=4, guidance=same, seed=0)
    assert torch.equal(images, again) and not images.requires_grad and model.training
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    frozen = classifier().requires_grad_(False)
    getattr(frozen, "activation_checkpointing_enable", frozen.gradient_checkpointing_enable)()
    checkpointed = classifier_guidance(frozen, LABELS, 2.0, at)
    found = sample(Network(), SHAPE, DIFFUSION, steps=4, guidance=checkpointed, seed=0)
    torch.testing.assert_close(found, images)
    assert not any(p.requires_grad for p in frozen.parameters())


def test_half_precision_weights_steer_float_images():
    model = classifier()
    x = torch.randn(SHAPE)
    exact = gradient_of(model, LABELS, x, 30)
    half = gradient_of(model.bfloat16(), LABELS, x, 30)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, exact, rtol=0.1, atol=0.05 * float(exact.abs().max()))
    with torch.autocast("cpu", torch.bfloat16):
        mixed = gradient_of(classifier(), LABELS, x, 30)
    torch.testing.assert_close(mixed, exact, rtol=0.1, atol=0.05 * float(exact.abs().max()))


def test_a_compiled_classifier_steers_alike():
    model = classifier()
    x = torch.randn(SHAPE)
    compiled = torch.compile(model, backend="aot_eager")
    for t in (30, 10):
        found, expected = (gradient_of(each, LABELS, x, t) for each in (compiled, model))
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)


# -------------------------------------------------------------------------------------- bad input
def nan_below(x, t):
    return x.flatten(1).sum(1).log()


@pytest.mark.parametrize("at", PLACES)
@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
@pytest.mark.parametrize(
    ("function", "labels", "message"),
    [
        (classifier(image_size=4, attention_resolutions=(2,)), LABELS, "of 4 pixels.* draws 8"),
        (classifier(in_channels=3), LABELS, "expected .*3"),
        (classifier(), None, "no labels"),
        (classifier(), torch.tensor([0, 1, 3]), r"labels reach from 0 to 3; expected 0\.\.2"),
        (classifier(), torch.tensor([0, -1, 2]), "labels reach from -1"),
        (classifier(), 3, "labels reach from 3"),
        (classifier(), torch.tensor([0, 1]), "2 labels"),
        (lambda x, t: x.mean(), None, r"gave \(\) of 3 images"),
        (lambda x, t: x.flatten(1), None, "no labels"),
        (lambda x, t: x, None, r"gave \(3, 1, 8, 8\)"),
        (lambda x, t: x[:2].flatten(1).sum(1), None, r"gave \(2,\) of 3"),
        (lambda x, t: 1.0, None, "gave float"),
        (lambda x, t: x.flatten(1).sum(1).to(torch.complex64), None, "gave torch.complex64"),
        (lambda x, t: x.flatten(1).sum(1, keepdim=True), 0, "K > 1 classes"),
        (lambda x, t: x.detach().flatten(1).sum(1), None, "no gradient"),
        (lambda x, t: torch.ones(3, requires_grad=True) * 2, None, "does not depend"),
        (lambda x, t: x.flatten(1).sum(1), LABELS, "labels are given"),
        (nan_below, None, "not finite"),
    ],
)
def test_what_cannot_steer_is_refused_before_the_first_step(function, labels, message, sampler, at):
    model = Network()
    guide = classifier_guidance(function, labels, 1.0, at)
    with pytest.raises(ValueError, match=message):
        sample(model, SHAPE, DIFFUSION, sampler=sampler, steps=4, guidance=guide, seed=0)
    assert model.calls == 0
    late = classifier_guidance(function, labels, 1.0, at, interval=(0.0, 0.1))
    with pytest.raises(ValueError, match=message):
        sample(model, SHAPE, DIFFUSION, sampler=sampler, steps=4, guidance=late, seed=0)
    assert model.calls == 0


def test_classes_of_another_number_than_the_networks():
    guide = classifier_guidance(classifier(num_classes=4))
    with pytest.raises(ValueError, match="knows 4 classes and the network 3"):
        sample(Network(), SHAPE, DIFFUSION, labels=LABELS, steps=4, guidance=guide)
    own = classifier_guidance(classifier(num_classes=4), 3)  # of classes of its own
    assert sample(Network(), SHAPE, DIFFUSION, labels=LABELS, steps=4, guidance=own).shape == SHAPE


def test_a_classifier_of_another_diffusion():
    def bright(x, t):
        return x.flatten(1).sum(1)

    for betas in (linear_schedule(50), cosine_schedule(20), cosine_schedule(49)):
        bright.config = SimpleNamespace(betas=betas.tolist())
        with pytest.raises(ValueError, match="noise of another diffusion"):
            sample(Network(), SHAPE, DIFFUSION, steps=4, guidance=classifier_guidance(bright))
    bright.config = SimpleNamespace(betas=DIFFUSION.betas.tolist())
    for steps in (None, 4, "ddim10"):
        options = {"steps": steps, "guidance": classifier_guidance(bright, scale=0.1)}
        assert sample(Network(), SHAPE, DIFFUSION, **options).shape == SHAPE


@pytest.mark.parametrize(
    "labels", [1.5, "cat", torch.zeros(3), [0.5], torch.zeros(3, 1).long(), [], True, [[0]]]
)
def test_labels_that_are_no_classes(labels):
    with pytest.raises(ValueError, match="labels are"):
        classifier_guidance(classifier(), labels)


@pytest.mark.parametrize("function", [None, 3, "classifier", torch.zeros(3)])
def test_functions_that_are_none(function):
    with pytest.raises(ValueError, match="the classifier is a"):
        classifier_guidance(function, LABELS)


@pytest.mark.parametrize("function", [lambda x: x, lambda: 0, lambda x, t, y: x])
def test_functions_of_something_else(function):
    with pytest.raises(ValueError, match=r"cond_fn\(x, t\) cannot be called so \("):
        classifier_guidance(function)


def test_a_network_that_predicts_images_is_no_classifier():
    config = UNetConfig(**{**SIZES, "num_classes": 3})
    with pytest.raises(ValueError, match="the classifier is a UNet, which predicts images"):
        classifier_guidance(UNet(config), LABELS)


@pytest.mark.parametrize("at", ["x0", None, 1, ["mean"]])
def test_places_that_are_none(at):
    with pytest.raises(ValueError, match="at is"):
        classifier_guidance(classifier(), LABELS, at=at)
