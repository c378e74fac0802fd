"""DiffusersUNet: a `UNet` called as diffusers' `UNet2DModel` is, for pipelines of diffusers.

    forward(x, t, class_labels = y).sample = unet(x, t, y) = eps(x_t, t, y), or that and a variance

And the other way round, `diffusers_twin`: a `UNet2DModel` with the layers of a `UNet`. diffusers is
needed by the twin alone, and imported when one is made.
"""

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from .configuration_unet import UNetConfig
from .unet import UNet

if TYPE_CHECKING:
    from diffusers import UNet2DModel


class DiffusersOutput(NamedTuple):
    """What the network says: (B, C, H, W), or (B, 2C, H, W) with a variance."""

    sample: Tensor


class DiffusersUNetConfig(NamedTuple):
    """What pipelines read of a network: channels in and out, height and width in pixels."""

    in_channels: int
    out_channels: int
    sample_size: int


class DiffusersUNet(nn.Module):
    """A U-Net for diffusers' pipelines: `DDPMPipeline(unet=DiffusersUNet(unet), scheduler=...)`.

    The scheduler must be of the network's diffusion: its betas, prediction and, if the variance is
    learned, `DDPMScheduler(variance_type="learned_range")`, the one that reads it. Pipelines run it
    in the mode that it is in, so call `eval()` where there is dropout, and pass no class labels.

    Args:
        unet: the network, of which this is a view: its weights are shared.
        variance: whether a learned variance is left in the output. Schedulers that expect C
            channels, as DDIM's, need False.

    Attributes:
        unet: the network.
        config: what pipelines read.
    """

    def __init__(self, unet: UNet, variance: bool = True):
        super().__init__()
        sizes = unet.config
        channels = sizes.out_channels if variance else sizes.in_channels
        self.unet = unet
        self.config = DiffusersUNetConfig(sizes.in_channels, channels, sizes.image_size)

    @property
    def dtype(self) -> torch.dtype:
        """That of the weights."""
        return self.unet.dtype

    @property
    def device(self) -> torch.device:
        """That of the weights."""
        return self.unet.device

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        class_labels: Tensor | None = None,
        return_dict: bool = True,
    ) -> DiffusersOutput | tuple[Tensor]:
        """Predicts what the scheduler asks for.

        Args:
            sample: float (B, C, H, W), noisy images.
            timestep: a number, or a tensor () or (B,) on any device.
            class_labels: int64 (B,), as for the network.
            return_dict: whether to return an object with `.sample`, or a plain tuple.

        Returns:
            The prediction, (B, config.out_channels, H, W), in an object or a tuple.

        Raises:
            ValueError: if the network refuses something.
        """
        t = torch.as_tensor(timestep, device=sample.device)
        output = self.unet(sample, t, class_labels)[:, : self.config.out_channels]
        return DiffusersOutput(output) if return_dict else (output,)


def diffusers_twin(config: UNetConfig) -> "UNet2DModel":
    """A fresh `UNet2DModel` of diffusers with the layers of a `UNet`.

    The rows of its queries, keys and values are those of the new attention order.

    Args:
        config: sizes of the network.

    Returns:
        The model; its weights are diffusers' draws.

    Raises:
        ValueError: if diffusers has no such layers: heads by number, rescaled residuals, a
            small image to enlarge, or resampling by plain layers without a convolution.
    """
    if config.num_head_channels is None:
        raise ValueError("num_head_channels is None; expected channels, as diffusers counts heads.")
    if config.low_resolution is not None:
        raise ValueError(f"low_resolution is {config.low_resolution}; expected None.")
    if config.rescale_residual:
        raise ValueError("rescale_residual is True; expected False, as in diffusers' blocks.")
    if not (config.resblock_updown or config.conv_resample):
        raise ValueError("conv_resample is False; expected True, or resblock_updown.")
    from diffusers import UNet2DModel

    plain = "Resnet{}sampleBlock2D" if config.resblock_updown else "{}Block2D"
    attended = [side in config.attention_resolutions for side in config.resolutions]
    kinds = ["Attn{}Block2D" if attention else plain for attention in attended]
    resampling = "resnet" if config.resblock_updown else "conv"
    classes = config.num_classes
    return UNet2DModel(
        sample_size=config.image_size,
        in_channels=config.in_channels,
        out_channels=config.out_channels,
        block_out_channels=config.widths,
        layers_per_block=config.num_res_blocks,
        down_block_types=tuple(kind.format("Down") for kind in kinds),
        up_block_types=tuple(kind.format("Up") for kind in reversed(kinds)),
        downsample_type=resampling,
        upsample_type=resampling,
        resnet_time_scale_shift="scale_shift" if config.use_scale_shift_norm else "default",
        norm_num_groups=config.norm_num_groups,
        attn_norm_num_groups=config.norm_num_groups,
        attention_head_dim=config.num_head_channels,
        num_class_embeds=None if classes is None else classes + config.null_class,
        dropout=config.dropout,
    )
