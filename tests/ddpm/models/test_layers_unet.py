"""The layers of the U-Net against their formulas, and what they are before they are trained."""

import json
import math

import pytest
import torch
from torch.nn import functional as F

from ddpm.models.classifier import NoisyClassifier
from ddpm.models.configuration_classifier import ClassifierConfig
from ddpm.models.configuration_unet import UNetConfig
from ddpm.models.layers_unet import (
    AttentionBlock,
    GroupNorm,
    MiddleBlock,
    ResidualBlock,
    UNetBlock,
    timestep_embedding,
)
from ddpm.models.unet import UNet


def close(first, second, tolerance=1e-5):
    torch.testing.assert_close(first, second, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("width", [2, 8, 64])
def test_timestep_embedding_is_the_formula(width):
    t = torch.tensor([0.0, 1.0, 37.5, 999.0])
    half = width // 2
    expected = [
        [f(step * 10_000 ** (-i / half)) for f in (math.cos, math.sin) for i in range(half)]
        for step in t.tolist()
    ]
    close(timestep_embedding(t, width), torch.tensor(expected), 1e-4)  # an angle of 999 in float32
    assert timestep_embedding(t.long(), width).dtype == torch.float32


@pytest.mark.parametrize("order", ["new", "legacy"])
@pytest.mark.parametrize("num_heads", [1, 2, 3])
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_attention_is_softmax_head_by_head(sizes, randomise, order, num_heads, implementation):
    config = UNetConfig(**sizes(model_channels=12, num_heads=num_heads, attention_order=order))
    config._attn_implementation = implementation
    block = randomise(AttentionBlock(config, 12))
    channels = 12 // num_heads
    h = torch.randn(2, 12, 3, 5)
    normed = F.group_norm(h, 4, block.norm.weight, block.norm.bias, 1e-5).flatten(2)
    rows = block.qkv.weight @ normed + block.qkv.bias[:, None]
    mixed = []
    for head in range(num_heads):
        starts = [
            (head * 3 + i if order == "legacy" else i * num_heads + head) * channels
            for i in range(3)
        ]
        query, key, value = (rows[:, start : start + channels] for start in starts)
        weights = torch.einsum("bcn,bcm->bnm", query, key).div(channels**0.5).softmax(-1)
        mixed.append(torch.einsum("bnm,bcm->bcn", weights, value))
    expected = h + (block.out.weight @ torch.cat(mixed, 1) + block.out.bias[:, None]).view(h.shape)
    close(block(h), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_group_norm_of_half_precision_is_float32_inside(randomise, dtype):
    norm = randomise(GroupNorm(2, 6)).to(dtype)
    h = (torch.randn(2, 6, 5, 5) * 100 + 300).to(dtype)
    expected = F.group_norm(h.float(), 2, norm.weight.float(), norm.bias.float(), norm.eps).to(
        dtype
    )
    assert torch.equal(norm(h), expected)


def test_dropout_only_while_training(sizes, randomise):
    config = UNetConfig(**sizes(dropout=0.5))
    block = randomise(ResidualBlock(config, 8, 8))
    h = torch.randn(2, 8, 4, 4)
    e = torch.randn(2, 32)
    assert torch.equal(block(h, e), block(h, e))
    block.train()
    assert not torch.equal(block(h, e), block(h, e))


@pytest.mark.parametrize("rescale", [False, True])
@pytest.mark.parametrize("scale_shift", [True, False])
@pytest.mark.parametrize("resample", [None, "down", "up"])
def test_residual_block_is_the_formula(sizes, randomise, scale_shift, resample, rescale):
    config = UNetConfig(**sizes(use_scale_shift_norm=scale_shift, rescale_residual=rescale))
    block = randomise(
        UNetBlock(config, 8, 8, resample=resample, residual=False)
        if resample
        else UNetBlock(config, 8, 12)
    )
    block = block.resample if resample else block.residual
    h = torch.randn(2, 8, 4, 6)
    e = torch.randn(2, 32)

    def resampled(h):
        if resample == "down":
            return (
                h[..., ::2, ::2] + h[..., 1::2, ::2] + h[..., ::2, 1::2] + h[..., 1::2, 1::2]
            ) / 4
        return h.repeat_interleave(2, 2).repeat_interleave(2, 3) if resample else h

    def activated(h):
        return h * h.sigmoid()

    injected = (e @ block.embedding.weight.T + block.embedding.bias)[..., None, None]
    branch = block.conv1(resampled(activated(block.norm1(h))))
    if scale_shift:
        scale = injected[:, : branch.shape[1]]
        shift = injected[:, branch.shape[1] :]
        branch = block.norm2(branch) * (1 + scale) + shift
    else:
        branch = block.norm2(branch + injected)
    skip = resampled(h) if resample else block.skip(h)
    total = skip + block.conv2(activated(branch))
    close(block(h, e), total / 2**0.5 if rescale else total)


def test_rescaling_reaches_every_residual_block_of_unet_and_classifier(sizes):
    """Fresh branches are 0: each block then halves the square of what goes through."""
    for config_class, model_class in ((UNetConfig, UNet), (ClassifierConfig, NoisyClassifier)):
        model = model_class(config_class(**sizes(rescale_residual=True)))
        blocks = [module for module in model.modules() if isinstance(module, ResidualBlock)]
        e = torch.randn(2, 32)
        for block in blocks:
            h = torch.randn(2, block.conv1.in_channels, 4, 4)
            skip = h if block.skip is None else block.skip(h)
            skip = skip if block.resample is None else block.resample(skip)
            close(block(h, e), skip / 2**0.5)


def test_a_saved_network_without_the_setting_is_not_rescaled(sizes, tmp_path):
    UNet(UNetConfig(**sizes(rescale_residual=True))).save_pretrained(tmp_path)
    assert UNetConfig.from_pretrained(tmp_path).rescale_residual is True
    path = tmp_path / "config.json"
    settings = json.loads(path.read_text())
    assert settings.pop("rescale_residual") is True
    path.write_text(json.dumps(settings))
    assert UNetConfig.from_pretrained(tmp_path).rescale_residual is False


def test_a_fresh_block_is_the_identity(sizes):
    model = UNet(UNetConfig(**sizes()))
    seen = []

    def compare(module, args, output):
        seen.append(type(module))
        assert torch.equal(output, args[0])

    for module in model.modules():
        if isinstance(module, (AttentionBlock, MiddleBlock)) or (
            isinstance(module, ResidualBlock) and module.skip is None and module.resample is None
        ):
            module.register_forward_hook(compare)
    model(torch.randn(2, 2, 8, 8), torch.tensor([3, 900]))
    assert set(seen) == {AttentionBlock, MiddleBlock, ResidualBlock}
