"""The block of the transformer: short convolution, attention, gated MLP, rotary positions.

    h = h + W_o attention(norm(h));    h = h + W_down (act(W_gate u) * W_up u),  u = conv(norm(h))

Shapes: B batch, L length, C width, H heads, D head size, k taps.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .configuration_ardm import ARDMConfig
from .networks import select_positions


def rotary_angles(
    config: ARDMConfig, position_ids: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """cos and sin of position * theta^(-2i/D), rotary positions (arXiv 2104.09864, equation 34).

    Along several axes (`position_shape`) the pairs are shared out: each axis turns its own by its
    coordinate (arXiv 2403.13298, section 3.2, axial).

    Args:
        config: gives theta, D and the axes.
        position_ids: int64 (B or 1, L).
        dtype: of the result; the angles are float32 whatever it is, as bfloat16 cannot tell
            positions beyond 256 apart.

    Returns:
        Two tensors (B or 1, 1, L, D).
    """
    head_size = config.hidden_size // config.num_attention_heads
    coordinates = _coordinates(position_ids, config.position_shape or ())
    parts = []
    for axis, coordinate in enumerate(coordinates):
        # pairs (i, i + D/2) of this axis: every axis has as many, the first ones one more
        size = 2 * len(range(axis, head_size // 2, len(coordinates)))
        pairs = torch.arange(0, size, 2, device=position_ids.device, dtype=torch.float32)
        exponents = pairs / size
        parts.append(coordinate[:, None, :, None].float() * config.rope_theta**-exponents)
    angles = torch.cat((*parts, *parts), dim=-1)
    return angles.cos().to(dtype), angles.sin().to(dtype)


def _coordinates(position_ids: Tensor, shape: Sequence[int]) -> list[Tensor]:
    """Of each position along each axis, the last one fastest; beyond the end the first one goes on.

    Axes of size 1 behind the first say nothing and get no pairs.
    """
    coordinates: list[Tensor] = []
    rest = position_ids
    for size in reversed(shape[1:]):
        if size > 1:
            coordinates.insert(0, rest % size)
        rest = rest // size
    return [rest, *coordinates]


def apply_rotary(states_BHLD: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turns each pair (i, i + D/2) by its position's angle; cos and sin are (B or 1, 1, L, D)."""
    first, second = states_BHLD.chunk(2, dim=-1)
    return states_BHLD * cos + torch.cat((-second, first), dim=-1) * sin


class ARDMRMSNorm(nn.RMSNorm):
    """Root mean square norm (arXiv 1910.07467), with its weight in the dtype of what it norms.

    Under autocast projections give bfloat16 and weights stay float32; torch's fused kernel takes
    one dtype alone, and would give way to a slow one.
    """

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


class ARDMShortConv(nn.Module):
    """Depthwise convolution over the k nearest positions.

        y_p = sum_j w_j * x_(p + j - k//2)    per channel

    Random taps matter: started as the identity it gains little in the first minutes of training,
    started at random every channel looks at the neighbourhood in its own way from the first step.
    """

    def __init__(self, config: ARDMConfig):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(config.conv_kernel_size, config.hidden_size))

    def forward(self, hidden_states: Tensor, real_BL1: Tensor | None) -> Tensor:
        # padding must read as zeros, as beyond the ends, or its side would matter
        if real_BL1 is not None:
            hidden_states = hidden_states * real_BL1
        taps = len(self.weight)
        length = hidden_states.shape[1]
        padded = F.pad(hidden_states, (0, 0, taps // 2, taps // 2))
        # Shifted sums in the (B, L, C) layout: a third faster than conv1d, which transposes there
        # and back.
        output = padded[:, :length] * self.weight[0]
        for tap in range(1, taps):
            output = torch.addcmul(output, padded[:, tap : tap + length], self.weight[tap])
        return output


def eager_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs: object,
) -> tuple[Tensor, Tensor]:
    """Softmax attention written out, for `output_attentions`; transformers has other kernels."""
    scores = query @ key.transpose(2, 3) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = scores.softmax(-1, dtype=torch.float32).to(query.dtype)
    weights = F.dropout(weights, p=dropout, training=module.training)
    return (weights @ value).transpose(1, 2).contiguous(), weights


class ARDMOutputProjection(nn.Linear):
    """A linear map without bias that starts at 0: what it feeds begins as if it were not there."""

    def __init__(self, in_features: int, out_features: int):
        super().__init__(in_features, out_features, bias=False)


class ARDMAttention(nn.Module):
    """Bidirectional multi-head attention with normalised queries and keys (arXiv 2302.05442)."""

    def __init__(self, config: ARDMConfig):
        super().__init__()
        self.config = config
        self.is_causal = False
        self.head_size = config.hidden_size // config.num_attention_heads
        self.q_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.o_proj = ARDMOutputProjection(config.hidden_size, config.hidden_size)
        self.q_norm = ARDMRMSNorm(self.head_size, eps=config.rms_norm_eps)
        self.k_norm = ARDMRMSNorm(self.head_size, eps=config.rms_norm_eps)

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None,
        rotary: tuple[Tensor, Tensor],
        **kwargs: object,
    ) -> tuple[Tensor, Tensor | None]:
        heads_shape = (*hidden_states.shape[:-1], self.config.num_attention_heads, self.head_size)
        query = self.q_norm(self.q_proj(hidden_states).view(heads_shape)).transpose(1, 2)
        query = apply_rotary(query, *rotary)
        key = self.k_norm(self.k_proj(hidden_states).view(heads_shape)).transpose(1, 2)
        key = apply_rotary(key, *rotary)
        value = self.v_proj(hidden_states).view(heads_shape).transpose(1, 2)
        # autocast promotes what the float32 angles touch; the kernels want one dtype
        query = query.to(value.dtype)
        key = key.to(value.dtype)
        attend: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention
        )
        output, weights = attend(
            self,
            query,
            key,
            value,
            attention_mask,
            dropout=self.config.attention_dropout if self.training else 0.0,
            scaling=self.head_size**-0.5,
            **kwargs,
        )
        return self.o_proj(output.reshape(hidden_states.shape)), weights


class ARDMMLP(nn.Module):
    """Gated MLP: W_down (act(W_gate x) * W_up x) (arXiv 2002.05202)."""

    def __init__(self, config: ARDMConfig):
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = ARDMOutputProjection(config.intermediate_size, config.hidden_size)
        self.act = ACT2FN[config.hidden_act]

    def forward(self, hidden_states: Tensor) -> Tensor:
        return self.down_proj(self.act(self.gate_proj(hidden_states)) * self.up_proj(hidden_states))


class ARDMLayer(GradientCheckpointingLayer):
    """Attention, then an MLP on the locally mixed stream, each added back to it."""

    def __init__(self, config: ARDMConfig):
        super().__init__()
        self.attn_norm = ARDMRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.attn = ARDMAttention(config)
        self.mlp_norm = ARDMRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.conv = ARDMShortConv(config) if config.conv_kernel_size else None
        self.mlp = ARDMMLP(config)
        self.dropout = nn.Dropout(config.hidden_dropout)

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None,
        rotary: tuple[Tensor, Tensor],
        real_BL1: Tensor | None,
        positions: Tensor | None = None,
        **kwargs: object,
    ) -> Tensor:
        attended, _ = self.attn(self.attn_norm(hidden_states), attention_mask, rotary, **kwargs)
        hidden_states = hidden_states + self.dropout(attended)
        mixed = self.mlp_norm(hidden_states)
        if self.conv is not None:
            mixed = self.conv(mixed, real_BL1)
        # the last layer, asked for some positions: its MLP runs on those alone
        if positions is not None:
            hidden_states = select_positions(hidden_states, positions)
            mixed = select_positions(mixed, positions)
        return hidden_states + self.dropout(self.mlp(mixed))
