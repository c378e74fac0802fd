"""The same network in diffusers, to be compared with: layer by layer what `UNet` is, for the new
order of attention.
"""

from typing import Any

from .models.configuration_unet import UNetConfig


def diffusers_twin(config: UNetConfig) -> Any:
    """A fresh `UNet2DModel` with the layers of a [`UNet`].

    Args:
        config: of the network; its heads are given by `num_head_channels`.

    Returns:
        A `diffusers.UNet2DModel`, with as many parameters.

    Raises:
        ImportError: if diffusers is not installed.
    """
    from diffusers import UNet2DModel

    down, up = ("ResnetDownsample", "ResnetUpsample") if config.resblock_updown else ("Down", "Up")
    attended = [resolution in config.attention_resolutions for resolution in config.resolutions]
    resampling = "resnet" if config.resblock_updown else "conv"
    return UNet2DModel(
        sample_size=config.image_size,
        in_channels=config.in_channels,
        out_channels=config.out_channels,
        block_out_channels=config.widths,
        layers_per_block=config.num_res_blocks,
        down_block_types=tuple(
            "AttnDownBlock2D" if attention else f"{down}Block2D" for attention in attended
        ),
        up_block_types=tuple(
            "AttnUpBlock2D" if attention else f"{up}Block2D" for attention in attended[::-1]
        ),
        downsample_type=resampling,
        upsample_type=resampling,
        resnet_time_scale_shift="scale_shift" if config.use_scale_shift_norm else "default",
        norm_num_groups=config.norm_num_groups,
        attn_norm_num_groups=config.norm_num_groups,
        attention_head_dim=config.num_head_channels,
        num_class_embeds=config.num_classes,
    )
