"""UNet: the network eps(x_t, t, y) of ADM.

    e = SiLU(MLP(embed(t)) + class embedding(y));    skips = encoder(x, e)
    h = decoder(middle(skips[-1], e), skips, e);     output = conv(SiLU(GroupNorm(h)))

An upsampler (section 4.4) is given a small image z, which is enlarged bilinearly and laid behind x
as channels, and perhaps its noise level s (arXiv 2106.15282, section 4):

    skips = encoder(cat[x, resize(z)], e);    e = SiLU(... + MLP(embed(s)))

("Diffusion Models Beat GANs", arXiv 2105.05233, section 3; the U-Net of arXiv 2006.11239 with
attention at several resolutions, resampling residual blocks and adaptive group norm.)

Shapes: B batch, C channels of the image, H height, W width, E = 4 * model_channels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .configuration_unet import UNetConfig
from .encoder_unet import Encoder
from .layers_unet import (
    GroupNorm,
    MiddleBlock,
    TimestepEmbedding,
    UNetBlock,
    ZeroConv2d,
    ZeroLinear,
)
from .low_resolution import check_low_res, levels_or_none, resized
from .pretrained_unet import check_labels
from .sampling_unet import SamplingModel


def decoder_blocks(config: UNetConfig, skip_widths: list[int]) -> nn.ModuleList:
    """The blocks up to the full resolution; each is given an output of the encoder, last first."""
    width = config.widths[-1]
    skips = list(skip_widths)
    blocks = []
    for level in reversed(range(len(config.widths))):
        out_width = config.widths[level]
        attention = config.resolutions[level] in config.attention_resolutions
        for index in range(config.num_res_blocks + 1):
            resample = "up" if level > 0 and index == config.num_res_blocks else None
            blocks.append(UNetBlock(config, width + skips.pop(), out_width, attention, resample))
            width = out_width
    assert not skips
    return nn.ModuleList(blocks)


class UNet(SamplingModel):
    """The ADM U-Net: a noisy image and its timestep in, the prediction out.

    A fresh one predicts exactly 0. Images may have any height and width that can be halved at every
    level, also other ones than `config.image_size`: attention stays where the configuration has it.

    As with every transformers model, gradient checkpointing trades time for memory. Try
    `to(memory_format=torch.channels_last)` for speed: on a CPU activations are so anyway, and
    weights should follow. `set_attn_implementation("eager")` allows a second derivative, which
    fused attention does not.

    Args:
        config: sizes of the network.
    """

    config: UNetConfig
    config_class = UNetConfig

    def __init__(self, config: UNetConfig):
        super().__init__(config)
        embedding_width = 4 * config.model_channels
        self.time_embedding = TimestepEmbedding(config)
        self.class_embedding = None
        if config.num_classes is not None:
            self.class_embedding = nn.Embedding(
                config.num_classes + config.null_class, embedding_width
            )
        self.noise_level_embedding = None
        if config.noise_augmentation:
            # a network that learned without it begins as it was
            self.noise_level_embedding = TimestepEmbedding(config, last=ZeroLinear)
        self.encoder = Encoder(config, config.stem_channels)
        self.middle = MiddleBlock(config)
        self.decoder = decoder_blocks(config, self.encoder.skip_widths)
        self.norm = GroupNorm(config.norm_num_groups, config.widths[0])
        self.head = ZeroConv2d(config.widths[0], config.out_channels, 3, padding=1)
        self.post_init()

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        labels: Tensor | None = None,
        low_res: Tensor | None = None,
        noise_level: Tensor | None = None,
    ) -> Tensor:
        """Predicts the noise (or what else the diffusion says) of a batch.

        Args:
            x: float (B, C, H, W), noisy images; H and W are multiples of 2^(levels - 1).
            t: int64 or float (B,) or (), the timesteps as the network was trained with.
            labels: int64 (B,), classes; `num_classes` means none if the network has a null class,
                which is also what None means then.
            low_res: float (B, C, S, S), S = `low_resolution`, what to enlarge, in [-1, 1] but for
                added noise; None for a network without.
            noise_level: int64 or float (B,) or (), steps of q that `low_res` has gone; None = 0, as
                it is.

        Returns:
            (B, C, H, W), or (B, 2C, H, W) if the variance is learned: prediction first; of x's
            dtype.

        Raises:
            ValueError: if shapes do not fit the network, or labels, small images or their noise
                level are missing, superfluous or (labels on a CPU) out of range.
        """
        t = self._check_images(x, t, any_size=True)
        check_low_res(low_res, x, self.config.low_resolution)
        e = self.time_embedding(t)
        if self.class_embedding is not None:
            num_rows = self.class_embedding.num_embeddings
            e = e + self.class_embedding(self._labels_or_null(labels, t, num_rows))
        elif labels is not None:
            raise ValueError(
                "got labels; expected None, as the network is unconditional (num_classes is None)."
            )
        noise_level = levels_or_none(noise_level, t, told=self.config.noise_augmentation)
        if self.noise_level_embedding is not None:
            e = e + self.noise_level_embedding(noise_level)
        silu_e = F.silu(e)
        seen = x if low_res is None else torch.cat((x, resized(low_res, x)), dim=1)
        skips = self.encoder(seen.to(self.head.weight.dtype), silu_e)
        h = self.middle(skips[-1], silu_e)
        for block in self.decoder:
            h = block(h, silu_e, skips.pop())
        output = self.head(F.silu(self.norm(h))).to(x.dtype)
        return output.contiguous() if x.is_contiguous() else output

    def _labels_or_null(self, labels: Tensor | None, t: Tensor, num_rows: int) -> Tensor:
        if labels is not None:
            check_labels(labels, t, num_rows)
            return labels
        if not self.config.null_class:
            raise ValueError(f"labels are None; expected int64 (B,), classes in 0..{num_rows - 1}.")
        return torch.full_like(t, num_rows - 1, dtype=torch.int64)
