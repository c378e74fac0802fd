"""NoisyClassifier: p(y | x_t, t), the encoder half of the U-Net with a pool on top.

    maps = encoder(x, e), middle(last of them, e)
    logits = pool(SiLU(GroupNorm(last map)))    or    pool(means of all maps)

(arXiv 2105.05233, section 4.) The pools are in pools.py.
Shapes: B batch, C channels, K classes.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import initialization as init

from .configuration_classifier import ClassifierConfig
from .encoder_unet import Encoder
from .layers_unet import GroupNorm, MiddleBlock, TimestepEmbedding
from .pools import MAP_POOLS, POOLS, AttentionPool, spatial_means
from .pretrained_unet import UNetPreTrainedModel, check_labels


class NoisyClassifier(UNetPreTrainedModel):
    """A classifier of noisy images, whose gradient guides a diffusion.

    Args:
        config: sizes of the network.
    """

    config: ClassifierConfig
    config_class = ClassifierConfig

    def __init__(self, config: ClassifierConfig):
        super().__init__(config)
        self.time_embedding = TimestepEmbedding(config)
        self.encoder = Encoder(config, config.in_channels)
        self.middle = MiddleBlock(config)
        width = config.widths[-1]
        on_last = config.pool in MAP_POOLS
        self.norm = GroupNorm(config.norm_num_groups, width) if on_last else None
        num_features = width if on_last else sum(self.encoder.skip_widths) + width
        self.pool = POOLS[config.pool](config, num_features)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, AttentionPool):
            init.normal_(module.positional_embedding, 0.0, len(module.positional_embedding) ** -0.5)

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits of the classes.

        Args:
            x: float (B, C, H, W), noisy images; H = W = `image_size` for the attention pool, whose
                positions have weights of their own, and else multiples of 2^(levels - 1).
            t: int64 or float (B,) or (), timesteps.
            labels: int64 (B,) or None: checked and otherwise ignored, so that a classifier is
                called as a U-Net is.

        Returns:
            (B, K), of x's dtype.

        Raises:
            ValueError: if shapes do not fit the network, or labels are (on a CPU) out of range.
        """
        t = self._check_images(x, t, any_size=not isinstance(self.pool, AttentionPool))
        if labels is not None:
            check_labels(labels, t, self.config.num_classes)
        silu_e = F.silu(self.time_embedding(t))
        maps = self.encoder(x.to(self.encoder.stem.weight.dtype), silu_e)
        maps.append(self.middle(maps[-1], silu_e))
        pooled = spatial_means(maps) if self.norm is None else F.silu(self.norm(maps[-1]))
        return self.pool(pooled).to(x.dtype)
