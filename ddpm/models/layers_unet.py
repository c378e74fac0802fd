"""The layers of the ADM U-Net: timestep embedding, residual block, attention, resampling.

    residual:   h -> skip(h) + conv(SiLU(y_s * GroupNorm(conv(SiLU(GroupNorm(h)))) + y_b)),
                (y_s - 1, y_b) = W SiLU(e)
    attention:  h -> h + W_o softmax(q k^T / sqrt(D)) v,    (q, k, v) = W GroupNorm(h)

where e embeds the timestep (and class); arXiv 2105.05233, section 3. What ends a branch starts at
0, so that a fresh block is the identity (or its 1 x 1 skip) and a fresh U-Net gives 0. With
`rescale_residual` a residual block's sum is divided by sqrt(2), which keeps its variance where skip
and branch are independent and alike (arXiv 2011.13456).

Shapes: B batch, C channels, N = height * width positions, H heads, D channels of a head, E channels
of e.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .configuration_classifier import ClassifierConfig
from .configuration_unet import UNetConfig


def timestep_embedding(t: Tensor, width: int) -> Tensor:
    """cat[cos(t f_i), sin(t f_i)] with f_i = 10000^(-2i / width), i = 0 .. width/2 - 1.

    Args:
        t: (B,) timesteps, int64 or float.
        width: an even number.

    Returns:
        float32 (B, width).
    """
    half = width // 2
    exponents = torch.arange(half, device=t.device, dtype=torch.float32)
    angles = t.float()[:, None] * torch.exp(exponents * (-math.log(10_000) / half))
    return torch.cat((angles.cos(), angles.sin()), dim=-1)


class TimestepEmbedding(nn.Module):
    """Two linear layers on the sinusoidal embedding: (B,) -> (B, E).

    Args:
        config: gives the width.
        last: class of the second layer; [`ZeroLinear`] adds nothing at first.
    """

    def __init__(
        self, config: UNetConfig | ClassifierConfig, last: Callable[..., nn.Linear] = nn.Linear
    ):
        super().__init__()
        self.width = config.model_channels
        self.linear1 = nn.Linear(self.width, 4 * self.width)
        self.linear2 = last(4 * self.width, 4 * self.width)

    def forward(self, t: Tensor) -> Tensor:
        wave = timestep_embedding(t, self.width).to(self.linear1.weight.dtype)
        return self.linear2(F.silu(self.linear1(wave)))


class GroupNorm(nn.GroupNorm):
    """Group norm whose statistics and scaling are float32 when the weights are half-precision."""

    def forward(self, input: Tensor) -> Tensor:
        if input.dtype not in (torch.float16, torch.bfloat16):
            return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)
        weight = self.weight.float()
        bias = self.bias.float()
        return F.group_norm(input.float(), self.num_groups, weight, bias, self.eps).to(input.dtype)


class ZeroConv2d(nn.Conv2d):
    """A convolution that starts at 0."""


class ZeroLinear(nn.Linear):
    """A linear layer that starts at 0."""


def downsample(h: Tensor) -> Tensor:
    """Halves height and width by the mean of 2 x 2 pixels."""
    return F.avg_pool2d(h, 2)


def upsample(h: Tensor) -> Tensor:
    """Doubles height and width by repeating each pixel."""
    return F.interpolate(h, scale_factor=2.0, mode="nearest")


class ResidualBlock(nn.Module):
    """Two convolutions around an injection of the timestep; may change the width or the resolution.

    Args:
        config: gives groups, dropout, how the timestep comes in and whether the sum is rescaled.
        width: channels of the input.
        out_width: channels of the output.
        resample: [`downsample`] or [`upsample`], applied before the first convolution and to the
            skip; or None.
    """

    def __init__(
        self,
        config: UNetConfig | ClassifierConfig,
        width: int,
        out_width: int,
        resample: Callable[[Tensor], Tensor] | None = None,
    ):
        super().__init__()
        self.resample = resample
        self.dropout = config.dropout
        self.scale_shift = config.use_scale_shift_norm
        self.rescale = config.rescale_residual
        self.norm1 = GroupNorm(config.norm_num_groups, width)
        self.conv1 = nn.Conv2d(width, out_width, 3, padding=1)
        self.embedding = nn.Linear(
            4 * config.model_channels, out_width * (2 if self.scale_shift else 1)
        )
        self.norm2 = GroupNorm(config.norm_num_groups, out_width)
        self.conv2 = ZeroConv2d(out_width, out_width, 3, padding=1)
        self.skip = nn.Conv2d(width, out_width, 1) if width != out_width else None

    def forward(self, h: Tensor, silu_e: Tensor) -> Tensor:
        branch = F.silu(self.norm1(h))
        if self.resample is not None:
            branch = self.resample(branch)
            h = self.resample(h)
        branch = self.conv1(branch)
        injected = self.embedding(silu_e)[:, :, None, None]
        if self.scale_shift:
            scale, shift = injected.chunk(2, dim=1)
            branch = torch.addcmul(shift, self.norm2(branch), 1 + scale)
        else:
            branch = self.norm2(branch + injected)
        branch = F.silu(branch)
        if self.training and self.dropout:
            branch = F.dropout(branch, self.dropout)
        branch = self.conv2(branch)
        total = branch + (h if self.skip is None else self.skip(h))
        return total / math.sqrt(2) if self.rescale else total


class Downsample(nn.Module):
    """Halves height and width by a strided convolution, or by a mean."""

    def __init__(self, config: UNetConfig | ClassifierConfig, width: int):
        super().__init__()
        self.conv = (
            nn.Conv2d(width, width, 3, stride=2, padding=1) if config.conv_resample else None
        )

    def forward(self, h: Tensor, silu_e: Tensor) -> Tensor:
        return downsample(h) if self.conv is None else self.conv(h)


class Upsample(nn.Module):
    """Doubles height and width by repeating pixels, then a convolution if there is one."""

    def __init__(self, config: UNetConfig | ClassifierConfig, width: int):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1) if config.conv_resample else None

    def forward(self, h: Tensor, silu_e: Tensor) -> Tensor:
        return upsample(h) if self.conv is None else self.conv(upsample(h))


def eager_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: None,
    scaling: float,
    **kwargs: object,
) -> tuple[Tensor, Tensor]:
    """Softmax attention written out: fused kernels cannot be differentiated twice, this can."""
    dtype = torch.promote_types(query.dtype, torch.float32)
    weights = (query @ key.transpose(2, 3) * scaling).softmax(-1, dtype=dtype).to(query.dtype)
    return (weights @ value).transpose(1, 2), weights


def attend(module: nn.Module, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(D)) v by the kernel that `module.config` names.

    (B, H, N, D) each -> (B, N, H, D).
    """
    config: Any = module.config
    kernel: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(
        config._attn_implementation, eager_attention
    )
    return kernel(module, query, key, value, None, scaling=query.shape[-1] ** -0.5)[0]


class AttentionBlock(nn.Module):
    """Self-attention over all positions, added back.

    The queries, keys and values come from one linear layer, whose 3C rows have one of two orders;
    both are views of its output, so that none is copied.
    """

    is_causal = False

    def __init__(self, config: UNetConfig | ClassifierConfig, width: int):
        super().__init__()
        self.config = config
        self.num_heads = config.heads_of(width)
        self.head_channels = width // self.num_heads
        self.norm = GroupNorm(config.norm_num_groups, width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = ZeroLinear(width, width)

    def forward(self, h: Tensor) -> Tensor:
        tokens_BNC = self.norm(h).flatten(2).transpose(1, 2)
        query, key, value = self.split(self.qkv(tokens_BNC))
        mixed_BNHD = attend(self, query, key, value)
        return h + self.out(mixed_BNHD.flatten(2)).transpose(1, 2).unflatten(2, h.shape[2:])

    def split(self, qkv: Tensor) -> tuple[Tensor, ...]:
        """(B, N, 3C) -> queries, keys and values, (B, H, N, D) each."""
        if self.config.attention_order == "legacy":
            parts_BNHD = qkv.unflatten(2, (self.num_heads, 3, self.head_channels)).unbind(3)
        else:
            parts_BNHD = qkv.unflatten(2, (3, self.num_heads, self.head_channels)).unbind(2)
        return tuple(part.transpose(1, 2) for part in parts_BNHD)


class UNetBlock(GradientCheckpointingLayer):
    """One entry of the encoder or decoder: residual block, attention, resampling, each or none.

    The order in which children are registered is the order in which they run, and their index in
    released files.

    Args:
        config: sizes of the network.
        width: channels of the input, those of the skip included.
        out_width: channels of the output.
        attention: whether the residual block is followed by attention.
        resample: "down", "up" or None.
        residual: whether there is a residual block before; without one the widths are equal.
    """

    def __init__(
        self,
        config: UNetConfig | ClassifierConfig,
        width: int,
        out_width: int,
        attention: bool = False,
        resample: str | None = None,
        residual: bool = True,
    ):
        super().__init__()
        self.residual = ResidualBlock(config, width, out_width) if residual else None
        self.attention = AttentionBlock(config, out_width) if attention else None
        self.resample = _resampling_layer(config, out_width, resample) if resample else None

    def forward(self, h: Tensor, silu_e: Tensor, skip: Tensor | None = None) -> Tensor:
        if skip is not None:
            h = torch.cat((h, skip), dim=1)
        if self.residual is not None:
            h = self.residual(h, silu_e)
        if self.attention is not None:
            h = self.attention(h)
        return h if self.resample is None else self.resample(h, silu_e)


class MiddleBlock(GradientCheckpointingLayer):
    """Residual block, attention, residual block, at the lowest resolution."""

    def __init__(self, config: UNetConfig | ClassifierConfig):
        super().__init__()
        width = config.widths[-1]
        self.residual1 = ResidualBlock(config, width, width)
        self.attention = AttentionBlock(config, width)
        self.residual2 = ResidualBlock(config, width, width)

    def forward(self, h: Tensor, silu_e: Tensor) -> Tensor:
        return self.residual2(self.attention(self.residual1(h, silu_e)), silu_e)


def _resampling_layer(
    config: UNetConfig | ClassifierConfig, width: int, direction: str
) -> nn.Module:
    if config.resblock_updown:
        return ResidualBlock(config, width, width, {"down": downsample, "up": upsample}[direction])
    return {"down": Downsample, "up": Upsample}[direction](config, width)
