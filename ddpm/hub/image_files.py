"""Image files: numbered PNGs, what other programs evaluate (.npz), and animations (.gif).

    000000.png, 000001.png, ...; arr_0 uint8 (N, H, W, C), arr_1 labels; frames of one size

Images are floats in [-1, 1], (N, C, H, W) with C = 1 or 3. Every file is replaced whole or not at
all.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from ardm.training import check_integer, replacing
from ardm.training.animations import gif

from ..denoisers import to_uint8

if TYPE_CHECKING:
    from PIL.Image import Image


def write_png(path: str | os.PathLike[str], picture: "Image") -> None:
    """Writes a PIL image as PNG.

    Args:
        path: the file, replaced whole.
        picture: the image.
    """
    with replacing(path) as file:
        picture.save(file, format="png")


def write_images(
    folder: str | os.PathLike[str], images: Tensor, first_index: int = 0
) -> list[Path]:
    """Writes one PNG file an image: 000000.png, 000001.png, ...

    Args:
        folder: made if needed.
        images: floats in [-1, 1], (N, C, H, W), C = 1 or 3.
        first_index: the number of the first.

    Returns:
        The files.

    Raises:
        ValueError: if the images are none, or the index is negative.
    """
    from PIL import Image

    first_index = check_integer("first_index", first_index, 0)
    images_NHWC = to_nhwc(images)
    paths = [Path(folder) / f"{first_index + number:06d}.png" for number in range(len(images_NHWC))]
    for path, image in zip(paths, images_NHWC, strict=True):
        write_png(path, Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image))
    return paths


def check_image_folder(folder: str | os.PathLike[str], num_images: int) -> None:
    """Makes sure that no images would lie beside those of an earlier run, or in a model's folder.

    Args:
        folder: where [`write_images`] will write.
        num_images: how many.

    Raises:
        ValueError: if numbered images beyond them are there, or a saved model.
    """
    if (Path(folder) / "config.json").exists():
        raise ValueError(f"{folder} holds a saved model; expected another output_dir for images.")
    beyond = [
        path
        for path in Path(folder).glob("*.png")
        if path.stem.isdecimal() and int(path.stem) >= num_images
    ]
    if beyond:
        raise ValueError(
            f"{folder} holds {len(beyond)} images beyond {num_images}; expected another output_dir."
        )


def write_npz(path: str | os.PathLike[str], images: Tensor, labels: Tensor | None = None) -> None:
    """Writes what guided-diffusion's evaluator reads.

    That is arr_0, uint8 (N, H, W, C), and arr_1, the labels.

    Args:
        path: the file.
        images: floats in [-1, 1], (N, C, H, W), C = 1 or 3.
        labels: int64 (N,), or None.

    Raises:
        ValueError: if there is not one label an image.
    """
    arrays = [to_nhwc(images)]
    if labels is not None:
        if labels.shape != images.shape[:1]:
            raise ValueError(
                f"labels have shape {tuple(labels.shape)}; expected ({len(images)},), one an image."
            )
        arrays.append(labels.cpu().numpy())
    with replacing(path) as file:
        np.savez(file, *arrays)


def write_gif(
    path: str | os.PathLike[str],
    frames: "Iterable[Image]",
    milliseconds: int = 60,
    hold_milliseconds: int = 1500,
) -> None:
    """Writes what [`gif`] draws.

    Args:
        path: the file.
        frames: as for [`gif`].
        milliseconds: as for [`gif`].
        hold_milliseconds: as for [`gif`].

    Raises:
        ValueError: as [`gif`].
    """
    content = gif(frames, milliseconds, hold_milliseconds)
    with replacing(path) as file:
        file.write(content)


def to_nhwc(images: Tensor) -> np.ndarray:
    """Pixels in the order in which files hold them.

    Args:
        images: floats in [-1, 1], (N, C, H, W), C = 1 or 3.

    Returns:
        uint8 (N, H, W, C).

    Raises:
        ValueError: if the shape is another, or there is no image.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3) or images.numel() == 0:
        raise ValueError(
            f"images have shape {tuple(images.shape)}; expected (N, C, H, W), N > 0 and C = 1 or 3."
        )
    return to_uint8(images).cpu().permute(0, 2, 3, 1).contiguous().numpy()
