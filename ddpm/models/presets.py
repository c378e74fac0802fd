"""The sizes of the released ADM networks, by file name.

(arXiv 2105.05233, tables 11 and 12.) The diffusion process that each was trained with: T = 1000
steps and a learned range of variances; the cosine schedule for "64x64_diffusion", the linear one
for all others. A classifier is for the process of the U-Net of its size.
"""

from typing import Any

# What a level's width is, in units of the base width, depends on the image's size alone.
CHANNEL_MULT = {
    64: (1, 2, 3, 4),
    128: (1, 1, 2, 3, 4),
    256: (1, 1, 2, 2, 4, 4),
    512: (0.5, 1, 1, 2, 2, 4, 4),
}
_UPSAMPLER_MULT = (1, 1, 2, 2, 4, 4)  # of both


def _network(image_size: int, **changes: Any) -> dict[str, Any]:
    """What all released networks have in common, for images of one size."""
    common = {
        "image_size": image_size,
        "in_channels": 3,
        "num_res_blocks": 2,
        "channel_mult": CHANNEL_MULT[image_size],
        "attention_resolutions": (32, 16, 8),
        "num_head_channels": 64,
        "attention_order": "legacy",
        "use_scale_shift_norm": True,
        "resblock_updown": True,
    }
    return common | changes


def _unet(image_size: int, **changes: Any) -> dict[str, Any]:
    common = {"model_channels": 256, "learn_sigma": True, "num_classes": 1000}
    return _network(image_size, **(common | changes))


def _upsampler(image_size: int, low_resolution: int, **changes: Any) -> dict[str, Any]:
    common = {"model_channels": 192, "channel_mult": _UPSAMPLER_MULT}
    return _unet(image_size, low_resolution=low_resolution, **(common | changes))


def _classifier(image_size: int, **changes: Any) -> dict[str, Any]:
    return _network(image_size, **({"model_channels": 128, "num_classes": 1000} | changes))


PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "ddpm_unet": {
        "64x64_diffusion": _unet(
            64, model_channels=192, num_res_blocks=3, attention_order="new", dropout=0.1
        ),
        "128x128_diffusion": _unet(128, num_heads=4, num_head_channels=None),
        "256x256_diffusion": _unet(256),
        "256x256_diffusion_uncond": _unet(256, num_classes=None),
        "512x512_diffusion": _unet(512),
        "lsun_bedroom": _unet(256, num_classes=None, dropout=0.1),
        "lsun_cat": _unet(256, num_classes=None, dropout=0.1),
        "lsun_horse": _unet(256, num_classes=None, dropout=0.1),
        "lsun_horse_nodropout": _unet(256, num_classes=None),
        "64_256_upsampler": _upsampler(256, 64, num_heads=4, num_head_channels=None),
        "128_512_upsampler": _upsampler(512, 128, attention_resolutions=(32, 16)),
    },
    "ddpm_classifier": {
        "64x64_classifier": _classifier(64, num_res_blocks=4),
        "128x128_classifier": _classifier(128),
        "256x256_classifier": _classifier(256),
        "512x512_classifier": _classifier(512),
    },
}
