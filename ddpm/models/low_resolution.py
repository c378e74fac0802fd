"""What an upsampler's network is given beside x_t: small images, and how noisy they are.

    input = cat[x_t, resize(z)],    resize bilinear, from S x S to H x W pixels

(arXiv 2105.05233, section 4.4; arXiv 2106.15282.) Shapes: B batch, C channels, S pixels a side of
the small images z.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def resized(low_res: Tensor, x: Tensor) -> Tensor:
    """Small images at the size and in the dtype of others.

    Args:
        low_res: floats (B, C, S, S).
        x: (B, C, H, W).

    Returns:
        (B, C, H, W), bilinear between the centres of pixels.
    """
    return F.interpolate(low_res.to(x.dtype), x.shape[2:], mode="bilinear", align_corners=False)


def check_low_res(low_res: Any, x: Tensor, size: int | None) -> None:
    """Finds out whether a network is given the small images that it expects.

    Args:
        low_res: floats (B, C, S, S), or None.
        x: noisy images (B, C, H, W).
        size: S of the network; None = it expects no small images.

    Raises:
        ValueError: if they are missing, superfluous or of another shape.
    """
    if size is None:
        if low_res is not None:
            raise ValueError("got low_res; expected None, as the network enlarges no images.")
        return
    shape = (*x.shape[:2], size, size)
    if not isinstance(low_res, Tensor):
        kind = "missing" if low_res is None else f"a {type(low_res).__name__}"
        raise ValueError(
            f"low_res is {kind}; expected floats {shape}: the network enlarges small images, which"
            " `ddpm.upsample` gives it."
        )
    if low_res.shape != shape or not low_res.is_floating_point():
        raise ValueError(
            f"low_res is {low_res.dtype} {tuple(low_res.shape)}; expected floats {shape}."
        )


def levels_or_none(noise_level: Any, t: Tensor, *, told: bool) -> Tensor | None:
    """The noise level of each small image, for a network that is told.

    Args:
        noise_level: (B,) or (), steps of q that the small images have gone; None = 0.
        t: (B,), timesteps.
        told: whether the network is told.

    Returns:
        (B,); None if it is not told.

    Raises:
        ValueError: if the network is not told but there are levels, or their shape is another.
    """
    if not told:
        if noise_level is not None:
            raise ValueError(
                "got a noise_level; expected None, as the network is not told of noise in its small"
                " images (noise_augmentation is False)."
            )
        return None
    if noise_level is None:
        return torch.zeros_like(t)
    if not isinstance(noise_level, Tensor) or noise_level.shape not in (t.shape, ()):
        given = getattr(noise_level, "shape", type(noise_level).__name__)
        raise ValueError(f"noise_level is {given}; expected a tensor ({len(t)},), or ().")
    return noise_level.expand(len(t))
