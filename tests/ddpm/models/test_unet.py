"""The U-Net starts at 0, knows timestep and class, treats images apart, however it is run."""

import pytest
import torch
from transformers import AutoConfig, AutoModel

from ddpm.models.configuration_unet import UNetConfig
from ddpm.models.layers_unet import MiddleBlock, UNetBlock
from ddpm.models.unet import UNet

VARIANTS = [
    {},
    {"attention_order": "legacy", "learn_sigma": True, "num_classes": 3},
    {
        "image_size": 20,
        "in_channels": 1,
        "channel_mult": (0.5, 1, 2),
        "attention_resolutions": (10, 5),
    },
    {"resblock_updown": False, "in_channels": 3},
    {"resblock_updown": False, "conv_resample": False, "use_scale_shift_norm": False},
    {"channel_mult": (1,), "attention_resolutions": (8,), "num_classes": 3, "null_class": True},
]


@pytest.fixture(scope="module")
def tiny(sizes, randomise):
    """Changes of the sizes -> a network with random weights."""
    return lambda **changes: randomise(UNet(UNetConfig(**sizes(**changes))))


def batch(model, size=3):
    config = model.config
    x = torch.randn(size, config.in_channels, config.image_size, config.image_size)
    labels = None if config.num_classes is None else torch.arange(size) % config.num_classes
    return x, torch.randint(0, 1000, (size,)), labels


def close(first, second, tolerance=1e-5):
    torch.testing.assert_close(first, second, rtol=tolerance, atol=tolerance)


def output_and_gradients(model, x, t, labels, weights):
    """The output, and the gradients of a weighted sum of it by x and every parameter."""
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    output = model(x, t, labels)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [output.detach(), *torch.autograd.grad((output * weights).sum(), [x, *parameters])]


def assert_same(first, second, tolerance=2e-5):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        scale = float(one.abs().max())
        torch.testing.assert_close(one, other, rtol=0, atol=tolerance * max(scale, 1))


# ----------------------------------------------------------------------------------------- the laws
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_fresh_network_gives_exactly_zero(sizes, variant):
    model = UNet(UNetConfig(**sizes(**variant)))
    x, t, labels = batch(model)
    output = model(x, t, labels)
    assert output.shape == (3, model.config.out_channels, *x.shape[2:])
    assert (output == 0).all()
    # and its other layers are drawn at random
    assert all(
        len(p.unique()) > 1
        for n, p in model.named_parameters()
        if n.endswith(("conv1.weight", "qkv.weight"))
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_parameter_gets_a_finite_gradient(tiny, variant):
    model = tiny(**variant)
    model.train()
    x, t, labels = batch(model)
    if model.config.null_class:
        labels[0] = model.config.num_classes
    model(x, t, labels).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert (
            parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any()
        ), name


@pytest.mark.parametrize("variant", VARIANTS)
def test_images_of_a_batch_do_not_see_each_other(tiny, variant):
    model = tiny(**variant)
    x, t, labels = batch(model)
    with torch.no_grad():
        together = model(x, t, labels)
        for i in range(len(x)):
            close(
                model(x[i : i + 1], t[i : i + 1], None if labels is None else labels[i : i + 1]),
                together[i : i + 1],
            )


@pytest.mark.parametrize("scale_shift", [True, False])
def test_the_timestep_matters_and_may_be_an_integer_a_float_or_one_for_all(tiny, scale_shift):
    model = tiny(use_scale_shift_norm=scale_shift)
    x, _, _ = batch(model)
    t = torch.full((3,), 17)
    with torch.no_grad():
        output = model(x, t)
        close(model(x, t.double()), output)
        close(model(x, torch.tensor(17)), output)
        assert (model(x, t + 1) - output).abs().max() > 1e-4
        assert (model(x, t + 0.5) - output).abs().max() > 1e-4


def test_the_class_matters_and_null_is_the_last_row(tiny):
    model = tiny(num_classes=3, null_class=True)
    x, t, _ = batch(model)
    with torch.no_grad():
        outputs = [model(x, t, torch.full((3,), label)) for label in range(4)]
        assert torch.equal(model(x, t), outputs[3])
    assert all((outputs[i] - outputs[j]).abs().max() > 1e-3 for i in range(4) for j in range(i))


# ------------------------------------------------------------- the same function, however it is run
@pytest.mark.parametrize("variant", VARIANTS)
def test_eager_attention_equals_sdpa(tiny, variant):
    model = tiny(**variant)
    x, t, labels = batch(model)
    weights = torch.randn_like(model(x, t, labels))
    fused = output_and_gradients(model, x, t, labels, weights)
    model.set_attn_implementation("eager")
    assert_same(fused, output_and_gradients(model, x, t, labels, weights))


@pytest.mark.parametrize("variant", VARIANTS)
def test_channels_last_equals_contiguous(tiny, variant):
    model = tiny(**variant)
    x, t, labels = batch(model)
    weights = torch.randn_like(model(x, t, labels))
    plain = output_and_gradients(model, x, t, labels, weights)
    assert plain[0].is_contiguous()
    model = model.to(memory_format=torch.channels_last)
    last = output_and_gradients(model, x.to(memory_format=torch.channels_last), t, labels, weights)
    if model.config.in_channels > 1:
        assert last[0].is_contiguous(memory_format=torch.channels_last)
    assert_same(plain, last)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_gradient_checkpointing_changes_nothing(tiny, checkpoint_activations, variant, frozen):
    model = tiny(**variant, dropout=0.3).train().requires_grad_(not frozen)
    x, t, labels = batch(model)
    weights = torch.randn(len(x), model.config.out_channels, *x.shape[2:])
    torch.manual_seed(1)
    plain = output_and_gradients(model, x, t, labels, weights)
    checkpoint_activations(model)
    ran = []
    model.middle.residual1.register_forward_hook(lambda *_: ran.append(1))
    torch.manual_seed(1)
    assert_same(plain, output_and_gradients(model, x, t, labels, weights), 0)
    assert len(ran) == 2  # once more in the backward pass
    checkpoint_activations(model, False)
    torch.manual_seed(1)
    assert_same(plain, output_and_gradients(model, x, t, labels, weights), 0)
    assert len(ran) == 3


@pytest.mark.parametrize("checkpointing", [False, True])
def test_second_derivatives(tiny, checkpoint_activations, checkpointing):
    """d/dx of |d loss / dx|^2 against finite differences, in float64."""
    model = tiny().double().train()
    model.set_attn_implementation("eager")
    if checkpointing:
        checkpoint_activations(model)
    x, t, _ = batch(model, 1)
    x, direction = x.double().requires_grad_(), torch.randn_like(x).double()

    def penalty(x):
        return (
            torch.autograd.grad(model(x, t).square().sum(), x, create_graph=True)[0].square().sum()
        )

    slope = float((torch.autograd.grad(penalty(x), x)[0] * direction).sum())
    step = 1e-5 * direction
    numeric = float((penalty(x + step) - penalty(x - step)).detach()) / 2e-5
    assert abs(slope) > 1e-3 and slope == pytest.approx(numeric, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["eager", "aot_eager", "inductor"])
def test_compiled_in_one_graph_equals_eager(tiny, backend):
    model = tiny(channel_mult=(1,), attention_resolutions=(8,), num_classes=3, null_class=True)
    x, t, labels = batch(model)
    weights = torch.randn(len(x), model.config.out_channels, *x.shape[2:])
    plain = output_and_gradients(model, x, t, labels, weights)
    x = x.requires_grad_()
    output = torch.compile(model, fullgraph=True, backend=backend)(x, t, labels)
    gradients = torch.autograd.grad((output * weights).sum(), [x, *model.parameters()])
    assert_same(plain, [output.detach(), *gradients])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_weights(tiny, dtype):
    model = tiny(num_classes=3)
    x, t, labels = batch(model)
    with torch.no_grad():
        full = model(x, t, labels)
        half = model.to(dtype)(x, t, labels)
        assert half.dtype == torch.float32
        assert 0 < (half - full).abs().max() < 0.1 * full.abs().max()
        assert model(x.to(dtype), t, labels).dtype == dtype


# ------------------------------------------------------------------------------------- transformers
@pytest.mark.parametrize("variant", VARIANTS)
def test_save_and_load(tiny, tmp_path, variant):
    model = tiny(**variant)
    x, t, labels = batch(model)
    model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").exists()
    for loaded in (UNet.from_pretrained(tmp_path), AutoModel.from_pretrained(tmp_path)):
        assert type(loaded) is UNet and not loaded.training
        assert loaded.config.to_diff_dict() == model.config.to_diff_dict()
        with torch.no_grad():
            assert torch.equal(loaded(x, t, labels), model(x, t, labels))
    assert type(AutoConfig.from_pretrained(tmp_path)) is UNetConfig


def test_a_missing_or_superfluous_weight_is_refused(tiny, tmp_path):
    model = tiny()
    model.head.register_parameter("bias", None)
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"1 weights of UNet are missing, head.bias"):
        UNet.from_pretrained(tmp_path)
    loaded, info = UNet.from_pretrained(tmp_path, output_loading_info=True)
    assert info["missing_keys"] == {"head.bias"} and (loaded.head.bias == 0).all()
    model = tiny()
    model.more = torch.nn.Linear(2, 2)
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"2 weights of UNet are unexpected, more.bias"):
        UNet.from_pretrained(tmp_path)


def test_blocks_that_must_not_be_split_exist(tiny):
    model = tiny()
    found = {type(module).__name__ for module in model.modules()} & set(model._no_split_modules)
    assert found == {UNetBlock.__name__, MiddleBlock.__name__} == set(model._no_split_modules)


# --------------------------------------------------------------------------------------- bad inputs
@pytest.mark.parametrize(
    ("changes", "x", "t", "labels", "message"),
    [
        (
            {},
            torch.zeros(2, 3, 8, 8),
            torch.zeros(2),
            None,
            r"x has shape \(2, 3, 8, 8\); expected \(B, 2, H, W\), H and W multiples of .* = 2",
        ),
        ({}, torch.zeros(2, 2, 8, 15), torch.zeros(2), None, "x has shape"),
        ({}, torch.zeros(2, 2, 0, 8), torch.zeros(2), None, "x has shape"),
        ({}, torch.zeros(2, 8, 8), torch.zeros(2), None, "x has shape"),
        ({}, torch.zeros(2, 2, 8, 8, dtype=torch.uint8), torch.zeros(2), None, "x is torch.uint8"),
        ({}, torch.zeros(2, 2, 8, 8), torch.zeros(1), None, r"t has shape \(1,\); expected \(2,\)"),
        ({}, torch.zeros(2, 2, 8, 8), torch.zeros(2, 1), None, "t has shape"),
        ({}, torch.zeros(2, 2, 8, 8), torch.zeros(2), torch.tensor([0, 0]), "unconditional"),
        ({"num_classes": 3}, torch.zeros(2, 2, 8, 8), torch.zeros(2), None, "labels are None"),
        (
            {"num_classes": 3},
            torch.zeros(2, 2, 8, 8),
            torch.zeros(2),
            torch.tensor([0, 3]),
            r"from 0 to 3.*0\.\.2",
        ),
        (
            {"num_classes": 3},
            torch.zeros(2, 2, 8, 8),
            torch.zeros(2),
            torch.tensor([-1, 2]),
            "from -1 to 2",
        ),
        (
            {"num_classes": 3},
            torch.zeros(2, 2, 8, 8),
            torch.zeros(2),
            torch.tensor([1]),
            r"int64 \(1,\)",
        ),
        ({"num_classes": 3}, torch.zeros(2, 2, 8, 8), torch.zeros(2), torch.ones(2), "float32"),
        (
            {"num_classes": 3, "null_class": True},
            torch.zeros(2, 2, 8, 8),
            torch.zeros(2),
            torch.tensor([0, 4]),
            r"expected 0\.\.3",
        ),
    ],
)
def test_bad_inputs_are_refused(tiny, changes, x, t, labels, message):
    with pytest.raises(ValueError, match=message):
        tiny(**changes)(x, t, labels)
