"""Pixels: from any picture to a square of 8-bit numbers, and from these to the range that models
see.

    x = v / 127.5 - 1,    v = round(127.5 (x + 1)),    v = 0..255, x in [-1, 1]       (arXiv 2006.11239, section 3.3)

A picture is never distorted: it is shrunk or enlarged until its shorter side fits, and the middle
    is cut out.
Shapes: C channels, S image size.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

GRAY_MODES = ("1", "L", "LA", "La", "I;16", "I;16L", "I;16B", "I;16N")
_UNSCALED_MODES = ("I", "F")  # 32-bit numbers: nothing says which of them is white
_ORIENTATION = 0x0112  # EXIF tag; its values 5..8 lay a picture on its side


def to_model_range(images: Tensor) -> Tensor:
    """From pixels to what models are trained on.

    Args:
        images: uint8, any shape.

    Returns:
        float32 in [-1, 1], the same shape.

    Raises:
        ValueError: if the images are not uint8.
    """
    if images.dtype != torch.uint8:
        raise ValueError(f"images are {images.dtype}; expected torch.uint8, 0..255.")
    return images.float() / 127.5 - 1


def to_uint8(images: Tensor) -> Tensor:
    """From a model's range to pixels, the inverse of [`to_model_range`] on all 256 values.

    Args:
        images: floats, any shape; what lies outside [-1, 1] is clamped.

    Returns:
        uint8, the same shape.

    Raises:
        ValueError: if the images are not floats, or not all finite.
    """
    if not images.is_floating_point():
        raise ValueError(f"images are {images.dtype}; expected floats in [-1, 1].")
    if not images.isfinite().all():
        raise ValueError("images hold values that are not finite; expected floats in [-1, 1].")
    return ((images.detach().float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def upright_size(image: Any) -> tuple[int, int]:
    """Width and height of a PIL image as it is to be looked at; of a file only the header is read."""
    width, height = image.size
    return (height, width) if image.getexif().get(_ORIENTATION, 1) >= 5 else (width, height)


def prepare_image(image: Any, image_size: int, num_channels: int) -> Tensor:
    """Makes a square of a picture: upright, over white, in gray or RGB, its shorter side resized,
    its middle cut out.

    Args:
        image: a PIL image of any 8- or 16-bit mode.
        image_size: S, pixels.
        num_channels: C, 1 (gray) or 3 (RGB).

    Returns:
        uint8 (C, S, S).

    Raises:
        ValueError: if the image has 32-bit numbers.
    """
    from PIL import ImageOps

    image = ImageOps.exif_transpose(image) if _ORIENTATION in image.getexif() else image
    image = _centre(
        _resized(_converted(image, "L" if num_channels == 1 else "RGB"), image_size), image_size
    )
    pixels_SSC = np.array(image, dtype=np.uint8).reshape(image_size, image_size, num_channels)
    return torch.from_numpy(pixels_SSC).permute(2, 0, 1).contiguous()


def _converted(image: Any, mode: str) -> Any:
    from PIL import Image

    if image.mode == mode and not image.has_transparency_data:
        return image
    if image.mode in _UNSCALED_MODES:
        raise ValueError(
            f"the image has 32-bit numbers (mode {image.mode!r}); expected 8 or 16 bits a channel."
        )
    if image.mode.startswith("I;16"):  # PIL's own conversion would cut off all above 255
        image = Image.fromarray(((np.array(image).astype(np.uint32) + 128) // 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)


def _resized(image: Any, image_size: int) -> Any:
    """The shorter side becomes `image_size`: means over boxes for powers of two, bicubic for the
    rest.
    """
    from PIL import Image

    halvings = (min(image.size) // image_size).bit_length() - 1
    if halvings > 0:
        image = image.reduce(2**halvings)
    scale = image_size / min(image.size)
    size = tuple(round(side * scale) for side in image.size)
    return image if size == image.size else image.resize(size, Image.Resampling.BICUBIC)


def _centre(image: Any, image_size: int) -> Any:
    left, top = ((side - image_size) // 2 for side in image.size)
    return image.crop((left, top, left + image_size, top + image_size))
