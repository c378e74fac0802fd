"""What a noisy classifier ends in: from feature maps to the logits of K classes.

    attention     z = [mean_n h_n, h_1, ..., h_N] + positions
                  logits = W_o attention(query of z_0, keys and values of all z)
    adaptive      logits = W mean_n h_n
    spatial       logits = W_2 ReLU(W_1 f)
    spatial_v2    logits = W_2 SiLU(GroupNorm(W_1 f))

with h = SiLU(GroupNorm(output of the middle block)), and f the means over all positions of what the
stem, each encoder block and the middle block give, one after the other. (arXiv 2105.05233, section
4, has the first, as in arXiv 2103.00020; the others are in the code released with it.)

Shapes: B batch, C channels, N = S * S positions at the lowest resolution, H heads, D channels of a
head, F channels of all those outputs together, K classes.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from .configuration_classifier import SPATIAL_WIDTH, ClassifierConfig
from .layers_unet import GroupNorm, ZeroLinear, attend


class AttentionPool(nn.Module):
    """One attention query, of the mean over all positions, as in arXiv 2103.00020.

    (B, C, S, S) -> (B, K).
    """

    is_causal = False

    def __init__(self, config: ClassifierConfig, width: int):
        super().__init__()
        num_tokens = config.resolutions[-1] ** 2 + 1
        self.config = config
        self.num_heads = config.heads_of(width)
        self.head_channels = width // self.num_heads
        self.positional_embedding = nn.Parameter(torch.empty(width, num_tokens))
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, config.num_classes)

    def forward(self, h: Tensor) -> Tensor:
        positions_BNC = h.flatten(2).transpose(1, 2)
        tokens_BNC = torch.cat((positions_BNC.mean(1, keepdim=True), positions_BNC), dim=1)
        tokens_BNC = tokens_BNC + self.positional_embedding.T
        # the rows are always (q/k/v, head, channel), whatever the attention order of the blocks
        qkv = self.qkv(tokens_BNC).unflatten(2, (3, self.num_heads, self.head_channels))
        query, key, value = (part.transpose(1, 2) for part in qkv.unbind(2))
        mixed_B1HD = attend(self, query[:, :, :1], key, value)
        return self.out(mixed_B1HD.flatten(1))


class AdaptivePool(nn.Module):
    """A layer on the mean over all positions, which starts at 0: (B, C, S, S) -> (B, K)."""

    def __init__(self, config: ClassifierConfig, width: int):
        super().__init__()
        self.linear = ZeroLinear(width, config.num_classes)

    def forward(self, h: Tensor) -> Tensor:
        return self.linear(h.mean((2, 3)))


class SpatialPool(nn.Sequential):
    """Two layers on the means of all blocks: (B, F) -> (B, K)."""

    def __init__(self, config: ClassifierConfig, width: int):
        last = nn.Linear(SPATIAL_WIDTH, config.num_classes)
        super().__init__(nn.Linear(width, SPATIAL_WIDTH), nn.ReLU(), last)


class SpatialPoolV2(nn.Sequential):
    """The same with a group norm between them: (B, F) -> (B, K)."""

    def __init__(self, config: ClassifierConfig, width: int):
        norm = GroupNorm(config.norm_num_groups, SPATIAL_WIDTH)
        last = nn.Linear(SPATIAL_WIDTH, config.num_classes)
        super().__init__(nn.Linear(width, SPATIAL_WIDTH), norm, nn.SiLU(), last)


Pool = Callable[[ClassifierConfig, int], nn.Module]
# of the last map, C channels
MAP_POOLS: dict[str, Pool] = {"attention": AttentionPool, "adaptive": AdaptivePool}
# of the means of all maps, F channels
MEAN_POOLS: dict[str, Pool] = {"spatial": SpatialPool, "spatial_v2": SpatialPoolV2}
POOLS = MAP_POOLS | MEAN_POOLS


def spatial_means(maps: Sequence[Tensor]) -> Tensor:
    """The mean of each channel over its positions, of all maps one after the other.

    Args:
        maps: (B, C_i, H_i, W_i) each.

    Returns:
        (B, F), F = sum of the C_i.
    """
    return torch.cat([h.mean((2, 3)) for h in maps], dim=1)
