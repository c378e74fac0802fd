"""The U-Net computes what diffusers' does, with the weights of either, through released files.

diffusers has the new attention order alone; files of the legacy order have the same rows in another
sequence.
"""

import pytest
import torch

from ddpm.models.configuration_unet import UNetConfig
from ddpm.models.diffusers_unet import diffusers_twin
from ddpm.models.unet import UNet

RESIDUAL = {"in_layers.0": "norm1", "in_layers.2": "conv1", "emb_layers.1": "time_emb_proj"}
RESIDUAL |= {"out_layers.0": "norm2", "out_layers.3": "conv2", "skip_connection": "conv_shortcut"}
EQUIVALENTS = {
    "scale-shift": {},
    "additive": {"use_scale_shift_norm": False, "learn_sigma": False},
    "plain resampling": {"resblock_updown": False},
    "classes": {"num_classes": 5},
    "fixed sigma": {"learn_sigma": False, "num_classes": 3},
    "three levels": {
        "image_size": 16,
        "channel_mult": (1, 2, 3),
        "attention_resolutions": (8, 4),
        "num_res_blocks": 2,
    },
    "attention everywhere": {"attention_resolutions": (8, 4), "in_channels": 3},
}


@pytest.fixture(scope="module")
def twin(randomise):
    """Sizes -> the same network in diffusers."""
    pytest.importorskip("diffusers")
    return lambda config: randomise(diffusers_twin(config), seed=1)


def twin_modules(config):
    """Released name of every module -> its name in diffusers; attention apart."""
    levels = len(config.widths)
    depth = config.num_res_blocks
    modules = {"time_embed.0": "time_embedding.linear_1", "time_embed.2": "time_embedding.linear_2"}
    modules |= {"label_emb": "class_embedding", "input_blocks.0.0": "conv_in"}
    modules |= {"out.0": "conv_norm_out", "out.2": "conv_out"}
    residuals = {"middle_block.0": "mid_block.resnets.0", "middle_block.2": "mid_block.resnets.1"}
    attentions = {}
    attentions["middle_block.1"] = "mid_block.attentions.0"
    number = 1
    for level in range(levels):
        for block in range(depth):
            residuals[f"input_blocks.{number}.0"] = f"down_blocks.{level}.resnets.{block}"
            attentions[f"input_blocks.{number}.1"] = f"down_blocks.{level}.attentions.{block}"
            number += 1
        residuals[f"input_blocks.{number}.0"] = f"down_blocks.{level}.downsamplers.0"
        modules[f"input_blocks.{number}.0.op"] = f"down_blocks.{level}.downsamplers.0.conv"
        number += 1
    for level in range(levels):
        for block in range(depth + 1):
            name = f"output_blocks.{level * (depth + 1) + block}"
            residuals[f"{name}.0"] = f"up_blocks.{level}.resnets.{block}"
            attentions[f"{name}.1"] = f"up_blocks.{level}.attentions.{block}"
        attention = config.resolutions[levels - 1 - level] in config.attention_resolutions
        residuals[f"{name}.{1 + attention}"] = f"up_blocks.{level}.upsamplers.0"
        modules[f"{name}.{1 + attention}.conv"] = f"up_blocks.{level}.upsamplers.0.conv"
    for released, theirs in residuals.items():
        modules |= {f"{released}.{layer}": f"{theirs}.{name}" for layer, name in RESIDUAL.items()}
    for released, theirs in attentions.items():
        modules[f"{released}.norm"] = f"{theirs}.group_norm"
    return modules, attentions


def to_twin(state, config):
    """A released state dict of the new order -> diffusers' names."""
    modules, attentions = twin_modules(config)
    result = {}
    for name, tensor in state.items():
        module, _, kind = name.rpartition(".")
        block, _, layer = module.rpartition(".")
        if layer == "qkv":
            matrix = tensor.squeeze(-1) if kind == "weight" else tensor
            for part, rows in zip("qkv", matrix.chunk(3), strict=True):
                result[f"{attentions[block]}.to_{part}.{kind}"] = rows
        elif layer == "proj_out":
            result[f"{attentions[block]}.to_out.0.{kind}"] = (
                tensor.squeeze(-1) if kind == "weight" else tensor
            )
        else:
            result[f"{modules[module]}.{kind}"] = tensor
    return result


def from_twin(state, config, like):
    """diffusers' state dict -> released names, in the new order."""
    modules, attentions = twin_modules(config)
    result = {}
    for name, tensor_like in like.items():
        module, _, kind = name.rpartition(".")
        block, _, layer = module.rpartition(".")
        if layer == "qkv":
            tensor = torch.cat([state[f"{attentions[block]}.to_{part}.{kind}"] for part in "qkv"])
        elif layer == "proj_out":
            tensor = state[f"{attentions[block]}.to_out.0.{kind}"]
        else:
            tensor = state[f"{modules[module]}.{kind}"]
        result[name] = tensor.reshape(tensor_like.shape)
    return result


def legacy_rows(state, config):
    """The rows of query-key-value layers: (q/k/v, head, channel) -> (head, q/k/v, channel)."""
    result = dict(state)
    for name, tensor in state.items():
        if ".qkv." in name:
            rows = tensor.unflatten(0, (3, -1, config.num_head_channels))
            result[name] = rows.transpose(0, 1).reshape(tensor.shape)
    return result


@pytest.fixture(scope="module")
def parity_config(sizes):
    def make(variant, **changes):
        return UNetConfig(**sizes(num_head_channels=4, **EQUIVALENTS[variant], **changes))

    return make


@torch.no_grad()
def outputs(ours, theirs, size=None):
    config = ours.config
    x = torch.randn(3, config.in_channels, *(size or (config.image_size, config.image_size)))
    t = torch.tensor([0, 37, 999])
    labels = None if config.num_classes is None else torch.arange(3) % config.num_classes
    return ours(x, t, labels), theirs(x, t, class_labels=labels).sample


@pytest.mark.parametrize("updown", [True, False])
@pytest.mark.parametrize("attended", [(), (4,), (8, 4)])
@pytest.mark.parametrize("num_classes", [None, 3])
def test_the_twin_has_as_many_parameters(sizes, twin, updown, attended, num_classes):
    config = UNetConfig(
        **sizes(num_head_channels=4, resblock_updown=updown, attention_resolutions=attended),
        num_classes=num_classes,
    )
    count = sum(parameter.numel() for parameter in twin(config).parameters())
    assert count == UNet(config).num_parameters()


@pytest.mark.parametrize("size", [None, (12, 20)])
@pytest.mark.parametrize("variant", EQUIVALENTS)
def test_diffusers_computes_the_same_with_our_weights(
    randomise, twin, parity_config, variant, size
):
    config = parity_config(variant)
    ours = randomise(UNet(config))
    theirs = twin(config)
    theirs.load_state_dict(to_twin(ours.to_guided_diffusion(), config))
    first, second = outputs(ours, theirs, size)
    assert first.std() > 0.1
    torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("order", ["new", "legacy"])
@pytest.mark.parametrize("variant", EQUIVALENTS)
def test_we_compute_the_same_with_weights_of_diffusers(
    twin, parity_config, tmp_path, variant, order
):
    config = parity_config(variant, attention_order=order)
    theirs = twin(config)
    state = from_twin(theirs.state_dict(), config, UNet(config).to_guided_diffusion())
    torch.save(state if order == "new" else legacy_rows(state, config), tmp_path / "model.pt")
    first, second = outputs(UNet.from_guided_diffusion(tmp_path / "model.pt", config), theirs)
    assert first.std() > 0.1
    torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-5)


def test_the_wrong_attention_order_gives_other_images(randomise, parity_config, tmp_path):
    """Why the order is never guessed: the same file loads without complaint either way."""
    legacy = randomise(UNet(parity_config("three levels", attention_order="legacy")))
    state = legacy.to_guided_diffusion(tmp_path / "model.pt")
    new = UNet.from_guided_diffusion(
        tmp_path / "model.pt", parity_config("three levels", attention_order="new")
    )
    x = torch.randn(2, 2, 16, 16)
    t = torch.tensor([5, 500])
    with torch.no_grad():
        assert (legacy(x, t) - new(x, t)).abs().max() > 1e-2
    assert all(
        torch.equal(tensor, state[name]) for name, tensor in new.to_guided_diffusion().items()
    )
