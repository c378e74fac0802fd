"""Encoder: the half of the U-Net that the noisy classifier shares, from the image down.

    outputs[0] = conv(x);    outputs[n] = block_n(outputs[n - 1], e)

Shapes: B batch, C channels of the image, H height, W width, E = 4 * model_channels.
"""

import torch
from torch import Tensor, nn

from .configuration_classifier import ClassifierConfig
from .configuration_unet import UNetConfig
from .layers_unet import UNetBlock


class Encoder(nn.Module):
    """The stem and the blocks down to the lowest resolution.

    Args:
        config: sizes of the network.
        num_channels: of its input.

    Attributes:
        skip_widths: channels of every output, that of the stem first.
    """

    def __init__(self, config: UNetConfig | ClassifierConfig, num_channels: int):
        super().__init__()
        width = config.widths[0]
        self.stem = nn.Conv2d(num_channels, width, 3, padding=1)
        self.skip_widths = [width]
        blocks = []
        for level, (out_width, resolution) in enumerate(
            zip(config.widths, config.resolutions, strict=True)
        ):
            for _ in range(config.num_res_blocks):
                blocks.append(
                    UNetBlock(config, width, out_width, resolution in config.attention_resolutions)
                )
                width = out_width
                self.skip_widths.append(width)
            if level < len(config.widths) - 1:
                blocks.append(UNetBlock(config, width, width, resample="down", residual=False))
                self.skip_widths.append(width)
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor, silu_e: Tensor) -> list[Tensor]:
        """(B, C, H, W) and (B, E) -> the stem's output and every block's, the last goes on."""
        h = self.stem(x)
        # a tenth faster than planes of channels; on a GPU the caller's layout is kept
        if h.device.type == "cpu":
            h = h.contiguous(memory_format=torch.channels_last)
        outputs = [h]
        for block in self.blocks:
            outputs.append(block(outputs[-1], silu_e))
        return outputs
