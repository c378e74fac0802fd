"""The noisy classifier: pooling by one query, the U-Net's own encoder, gradients for guidance."""

import pytest
import torch
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel

from ddpm.models.classifier import NoisyClassifier
from ddpm.models.configuration_classifier import ClassifierConfig
from ddpm.models.configuration_unet import UNetConfig
from ddpm.models.pools import MAP_POOLS
from ddpm.models.unet import UNet

VARIANTS = [
    {},
    {"attention_order": "legacy"},
    {
        "image_size": 20,
        "in_channels": 1,
        "channel_mult": (0.5, 1, 2),
        "attention_resolutions": (10, 5),
    },
    {"resblock_updown": False, "use_scale_shift_norm": False},
    {"channel_mult": (1,), "attention_resolutions": ()},
    {"rescale_residual": True, "pool": "adaptive"},
    {"pool": "spatial"},
    {"resblock_updown": False, "num_res_blocks": 2, "pool": "spatial_v2"},
]


@pytest.fixture(scope="module")
def tiny(sizes, randomise):
    """Changes of the sizes -> a classifier with random weights."""

    def make(**changes):
        config = ClassifierConfig(**sizes(**({"num_classes": 5} | changes)))
        return randomise(NoisyClassifier(config))

    return make


def batch(model, size=3):
    config = model.config
    return torch.randn(
        size, config.in_channels, config.image_size, config.image_size
    ), torch.randint(0, 1000, (size,))


def close(first, second, tolerance=1e-5):
    torch.testing.assert_close(first, second, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_are_the_pooled_half_of_a_unet(tiny, sizes, variant):
    """The U-Net with the classifier's weights computes the same up to its middle."""
    model = tiny(**variant)
    encoder = {name: value for name, value in variant.items() if name != "pool"}
    unet = UNet(UNetConfig(**sizes(**encoder))).eval()
    shared = {
        name: tensor
        for name, tensor in model.state_dict().items()
        if not name.startswith(("norm.", "pool."))
    }
    assert not unet.load_state_dict(shared, strict=False).unexpected_keys
    found = []
    for module in (unet.encoder.stem, *unet.encoder.blocks, unet.middle):
        module.register_forward_hook(lambda module, args, output: found.append(output))
    x, t = batch(model)
    with torch.no_grad():
        unet(x, t)
        if model.config.pool in MAP_POOLS:
            norm = model.norm
            pooled = model.pool(F.silu(F.group_norm(found[-1], 4, norm.weight, norm.bias, 1e-5)))
        else:
            assert model.norm is None
            pooled = model.pool(torch.cat([h.flatten(2).mean(2) for h in found], 1))
        logits = model(x, t)
    assert logits.shape == (3, 5)
    close(logits, pooled)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_parameter_gets_a_finite_gradient(tiny, variant):
    model = tiny(**variant).train()
    x, t = batch(model)
    F.cross_entropy(model(x, t), torch.tensor([0, 1, 4])).backward()
    for name, parameter in model.named_parameters():
        assert (
            parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any()
        ), name


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_frozen_classifier_gives_each_image_its_own_gradient(
    tiny, checkpoint_activations, checkpointing
):
    model = tiny().requires_grad_(False).train()
    if checkpointing:
        checkpoint_activations(model)
    x, t = batch(model)
    labels = torch.tensor([0, 1, 4])

    def gradient(rows):
        part = x[rows].clone().requires_grad_()
        log_probs = model(part, t[rows]).log_softmax(-1).gather(1, labels[rows, None])
        return torch.autograd.grad(log_probs.sum(), part)[0]

    together = gradient(slice(0, 3))
    assert together.abs().amax((1, 2, 3)).min() > 1e-3
    for i in range(3):
        close(gradient(slice(i, i + 1)), together[i : i + 1])


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_same_function_however_it_is_run(tiny, variant):
    model = tiny(**variant)
    x, t = batch(model)
    with torch.no_grad():
        logits = model(x, t)
        close(model(x, t, torch.tensor([0, 1, 4])), logits)  # labels do nothing
        close(model(x, t.double()), logits)
        assert (model(x, t + 1) - logits).abs().max() > 1e-4
        model.set_attn_implementation("eager")
        close(model(x, t), logits)
        close(
            model.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last), t),
            logits,
        )
        half = model.bfloat16()(x, t)
        assert (
            half.dtype == torch.float32 and (half - logits).abs().max() < 0.1 * logits.abs().max()
        )


def test_a_fresh_classifier_knows_nothing_but_does_not_start_at_zero(sizes):
    torch.manual_seed(0)
    model = NoisyClassifier(ClassifierConfig(**sizes(), num_classes=5))
    logits = model(*batch(model, 64))
    assert 0 < logits.std() < 1
    assert float(model.pool.positional_embedding.detach().std()) == pytest.approx(16**-0.5, rel=0.2)


@pytest.mark.parametrize("variant", VARIANTS)
def test_save_and_load(tiny, tmp_path, variant):
    model = tiny(**variant)
    x, t = batch(model)
    model.save_pretrained(tmp_path)
    for loaded in (NoisyClassifier.from_pretrained(tmp_path), AutoModel.from_pretrained(tmp_path)):
        assert type(loaded) is NoisyClassifier
        with torch.no_grad():
            assert torch.equal(loaded(x, t), model(x, t))
    assert type(AutoConfig.from_pretrained(tmp_path)) is ClassifierConfig


@pytest.mark.parametrize(
    ("x", "t", "labels", "message"),
    [
        (torch.zeros(2, 3, 8, 8), torch.zeros(2), None, "x has shape"),
        (torch.zeros(2, 2, 16, 16), torch.zeros(2), None, r"expected \(B, 2, 8, 8\), the one size"),
        (torch.zeros(2, 2, 8, 8), torch.zeros(3), None, "t has shape"),
        (torch.zeros(2, 2, 8, 8), torch.zeros(2), torch.tensor([0, 5]), r"expected 0\.\.4"),
        (torch.zeros(2, 2, 8, 8), torch.zeros(2), torch.zeros(2), "int64"),
    ],
)
def test_bad_inputs_are_refused(tiny, x, t, labels, message):
    with pytest.raises(ValueError, match=message):
        tiny()(x, t, labels)
