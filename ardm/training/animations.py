"""Animations: pictures one after the other, as a GIF that plays wherever images are shown."""

import io
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image


def gif(frames: "Iterable[Image]", milliseconds: int = 60, hold_milliseconds: int = 1500) -> bytes:
    """Draws an endless animation, such as the grids of a sampling trajectory.

    Args:
        frames: PIL images of one size.
        milliseconds: each frame is shown, a multiple of 10.
        hold_milliseconds: the last one is shown.

    Returns:
        A GIF file's content.

    Raises:
        ValueError: if there is no frame, or sizes differ.
    """
    pictures = [_frame(frame) for frame in frames]
    sizes = {picture.size for picture in pictures}
    if len(sizes) != 1:
        raise ValueError(
            f"{len(pictures)} frames have sizes {sorted(sizes)};"
            " expected at least one frame, of one size."
        )
    content = io.BytesIO()
    pictures[0].save(
        content,
        format="gif",
        save_all=True,
        append_images=pictures[1:],
        duration=[milliseconds] * (len(pictures) - 1) + [hold_milliseconds],
        loop=0,
        disposal=1,
    )
    return content.getvalue()


def _frame(picture: "Image") -> "Image":
    """Grey fits a GIF's 256 colours as it is; of the others each frame chooses its own 256."""
    from PIL import Image

    if picture.mode in ("L", "P"):
        return picture
    return picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
