"""Pixels: from any picture to a square of 8-bit numbers.

A picture is never distorted: it is shrunk or enlarged until its shorter side fits, and the middle
is cut out. Shapes: C channels, S image size.
"""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

GREY_MODES = ("1", "L", "LA", "La", "I;16", "I;16L", "I;16B", "I;16N")
_UNSCALED_MODES = ("I", "F")  # 32-bit numbers: nothing says which of them is white
_ORIENTATION = 0x0112  # EXIF tag; its values 5..8 lay a picture on its side
_BITS = 258  # TIFF tags: bits a channel,
_PHOTOMETRIC = 262  # and 0 where 0 is white
_LONGEST = 8  # times its width: of a longer strip only the middle is looked at


def upright_size(image: "Image") -> tuple[int, int]:
    """Width and height of a PIL image as it is to be looked at; only a file's header is read."""
    width, height = image.size
    turn = image.getexif().get(_ORIENTATION)  # a file may hold anything there
    return (height, width) if isinstance(turn, int) and 5 <= turn <= 8 else (width, height)


def prepare_image(image: "Image", image_size: int, num_channels: int) -> Tensor:
    """Makes a square of a picture: upright, over white, in grey or RGB, the middle of it.

    Args:
        image: a PIL image of any 8- or 16-bit mode.
        image_size: S, pixels.
        num_channels: C, 1 (grey) or 3 (RGB).

    Returns:
        uint8 (C, S, S).

    Raises:
        ValueError: if the image has 32-bit numbers.
    """
    from PIL import ImageOps

    image = ImageOps.exif_transpose(image) if _ORIENTATION in image.getexif() else image
    image = _converted(image, "L" if num_channels == 1 else "RGB")
    image = _middle(_resized(image, image_size), image_size, image_size)
    pixels_SSC = np.array(image, dtype=np.uint8).reshape(image_size, image_size, num_channels)
    return torch.from_numpy(pixels_SSC).permute(2, 0, 1).contiguous()


def _converted(image: "Image", mode: str) -> "Image":
    from PIL import Image

    if image.mode == mode and not image.has_transparency_data:
        return image
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        image = _eight_bits(image)
    if image.mode in _UNSCALED_MODES:
        raise ValueError(
            f"the image has 32-bit numbers (mode {image.mode!r}); expected 8 or 16 bits a channel."
        )
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)


def _eight_bits(image: "Image") -> "Image":
    """Of 16-bit grey, which PIL would cut off at 255; also as its formats tell white otherwise."""
    from PIL import Image

    tags = getattr(image, "tag_v2", {})
    white = 2 ** int(tags.get(_BITS, (16,))[0]) - 1
    values = np.array(image).astype(np.uint32)
    grey = ((values * 255 + white // 2) // white).clip(max=255).astype(np.uint8)
    made = Image.fromarray(255 - grey if tags.get(_PHOTOMETRIC) == 0 else grey)
    hidden = image.info.get("transparency")
    if hidden is not None:
        made.putalpha(Image.fromarray(np.where(values == hidden, 0, 255).astype(np.uint8)))
    return made


def _resized(image: "Image", image_size: int) -> "Image":
    """The shorter side becomes `image_size`: means over boxes, then bicubic for the rest."""
    from PIL import Image

    longest = _LONGEST * min(image.size)
    if max(image.size) > longest:  # which would become pictures of gigabytes
        image = _middle(image, min(image.width, longest), min(image.height, longest))
    halvings = (min(image.size) // image_size).bit_length() - 1
    if halvings > 0:
        image = image.reduce(2**halvings)
    scale = image_size / min(image.size)
    size = (round(image.width * scale), round(image.height * scale))
    return image if size == image.size else image.resize(size, Image.Resampling.BICUBIC)


def _middle(image: "Image", width: int, height: int) -> "Image":
    left = (image.width - width) // 2
    top = (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))
