"""NoisyClassifier: p(y | x_t, t), the encoder half of the U-Net with attention pooling.

    z = [mean_n h_n, h_1, ..., h_N] + positions
    logits = W_o attention(query of z_0, keys and values of all z)

(arXiv 2105.05233, section 4.)
Shapes: B batch, C channels, N = S * S positions at the lowest resolution, H heads, D channels of a
head, K classes.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import initialization as init

from .configuration_unet import ClassifierConfig
from .layers_unet import GroupNorm, MiddleBlock, TimestepEmbedding, attend
from .unet import Encoder, UNetPreTrainedModel, check_labels


class AttentionPool(nn.Module):
    """One attention query, of the mean over all positions, as in arXiv 2103.00020.

    (B, C, S, S) -> (B, K).
    """

    is_causal = False

    def __init__(self, config: ClassifierConfig):
        super().__init__()
        width = config.widths[-1]
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


class NoisyClassifier(UNetPreTrainedModel):
    """A classifier of noisy images, whose gradient guides a diffusion.

    Args:
        config: sizes of the network.

    Raises:
        ValueError: if `num_labels` was changed beside `num_classes`.
    """

    config: ClassifierConfig
    config_class = ClassifierConfig

    def __init__(self, config: ClassifierConfig):
        if config.num_labels != config.num_classes:
            raise ValueError(
                f"num_labels is {config.num_labels} and num_classes {config.num_classes}; expected"
                " the same number: change num_classes."
            )
        super().__init__(config)
        self.time_embedding = TimestepEmbedding(config)
        self.encoder = Encoder(config, config.in_channels)
        self.middle = MiddleBlock(config)
        self.norm = GroupNorm(config.norm_num_groups, config.widths[-1])
        self.pool = AttentionPool(config)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, AttentionPool):
            init.normal_(module.positional_embedding, 0.0, len(module.positional_embedding) ** -0.5)

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits of the classes.

        Args:
            x: float (B, C, H, W), noisy images.
            t: int64 or float (B,) or (), timesteps.
            labels: int64 (B,) or None: checked and otherwise ignored, so that a classifier is
                called as a U-Net is.

        Returns:
            (B, K), of x's dtype.

        Raises:
            ValueError: if shapes do not fit the network, or labels are (on a CPU) out of range.
        """
        t = self._check_images(x, t)
        if labels is not None:
            check_labels(labels, t, self.config.num_classes)
        silu_e = F.silu(self.time_embedding(t))
        h = self.encoder(x.to(self.encoder.stem.weight.dtype), silu_e)[-1]
        h = self.middle(h, silu_e)
        return self.pool(F.silu(self.norm(h))).to(x.dtype)
