"""Pictures of images: grids, and tables of grids that compare samplers, steps or scales.

    cell (r, c) of a grid shows image r * num_columns + c, every pixel of it as scale x scale pixels

Images are floats in [-1, 1], (N, C, H, W) with C = 1 or 3.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from ardm.training import check_integer, new_figure, png

from .image_files import to_nhwc

if TYPE_CHECKING:
    from PIL.Image import Image

_PADDING = 3  # pixels around each cell
_LEGIBLE = 64  # pixels a side that a cell has at least, if nothing else is asked
_BACKGROUND = 160  # neither black nor white, in which images would run into each other


def image_grid(
    images: Tensor,
    num_columns: int | None = None,
    scale: int | None = None,
    padding: int = _PADDING,
) -> "Image":
    """Lays images out in rows; pixels are enlarged, never smoothed.

    Args:
        images: floats in [-1, 1], (N, C, H, W), C = 1 or 3.
        num_columns: images a row; None = as square a grid as can be.
        scale: how many times larger a pixel is drawn; None = so that a cell has about 64 pixels a
            side.
        padding: grey pixels around each image.

    Returns:
        A PIL image, "L" or "RGB".

    Raises:
        ValueError: if there is no image, it has another number of channels, or a number is out of
            range.
    """
    from PIL import Image

    images_NHWC = to_nhwc(images)
    count, height, width, channels = images_NHWC.shape
    num_columns = int(np.ceil(np.sqrt(count))) if num_columns is None else num_columns
    scale = max(_LEGIBLE // max(height, width), 1) if scale is None else scale
    num_columns = check_integer("num_columns", num_columns, 1)
    scale = check_integer("scale", scale, 1)
    padding = check_integer("padding", padding, 0)
    images_NHWC = images_NHWC.repeat(scale, axis=1).repeat(scale, axis=2)
    row_step = height * scale + padding
    column_step = width * scale + padding
    num_rows = -(-count // num_columns)
    size = (num_rows * row_step + padding, num_columns * column_step + padding, channels)
    canvas = np.full(size, _BACKGROUND, dtype=np.uint8)
    for number, image in enumerate(images_NHWC):
        top = padding + number // num_columns * row_step
        left = padding + number % num_columns * column_step
        canvas[top : top + height * scale, left : left + width * scale] = image
    return Image.fromarray(canvas[..., 0] if channels == 1 else canvas)


def comparison_grid(
    rows: Mapping[str, Mapping[str, Tensor]],
    title: str = "",
    num_columns: int | None = None,
    cell_inches: float = 2.1,
    row_names: Sequence[str] = (),
) -> bytes:
    """Draws a table of grids, such as samplers (rows) by numbers of steps (columns).

    Args:
        rows: row label -> column label -> images as for [`image_grid`]; a missing column is left
            empty.
        title: above all.
        num_columns: images a row of each grid, as for [`image_grid`].
        cell_inches: width and height of a cell; smaller where it shows one image.
        row_names: what the rows of each grid show, such as classes; written beside the first.

    Returns:
        A PNG file's content.

    Raises:
        ImportError: if matplotlib is not installed.
        ValueError: if there are no images.
    """
    columns = list(dict.fromkeys(column for cells in rows.values() for column in cells))
    if not columns:
        raise ValueError(
            f"rows are {dict(rows)}; expected images under a row label and a column label."
        )
    counts = [len(cell) for cells in rows.values() for cell in cells.values()]
    least = 1.0 if len(counts) > 1 else 0.0  # rows of figures have one height
    height = cell_inches * max(least, *(_aspect(count, num_columns) for count in counts))
    figure = new_figure((1.0 + cell_inches * len(columns), 0.7 + height * len(rows)))
    figure.suptitle(title, fontsize=11)
    all_axes = figure.subplots(len(rows), len(columns), squeeze=False)
    for column, axes in zip(columns, all_axes[0], strict=True):
        axes.set_title(column, fontsize=10)
    for (row, cells), row_axes in zip(rows.items(), all_axes, strict=True):
        row_axes[0].set_ylabel(row, fontsize=10)
        for column, axes in zip(columns, row_axes, strict=True):
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            if column in cells:
                grid = np.asarray(image_grid(cells[column], num_columns).convert("RGB"))
                axes.imshow(grid, interpolation="nearest")
        if row_names:
            bottom, top = row_axes[0].get_ylim()
            step = (bottom - top) / len(row_names)
            middles = [top + step * (number + 0.5) for number in range(len(row_names))]
            row_axes[0].set_yticks(middles, row_names, fontsize=8)
            row_axes[0].tick_params(length=0)
    return png(figure)


def _aspect(count: int, num_columns: int | None) -> float:
    """Height over width of a grid of square images."""
    num_columns = num_columns or int(np.ceil(np.sqrt(count)))
    return -(-count // num_columns) / num_columns


def pictures_of(
    samples: Tensor, comparison: Mapping[str, Mapping[str, Tensor]]
) -> "dict[str, bytes | Image]":
    """Draws what a saved model shows of itself.

    Args:
        samples: as for [`image_grid`], but in rows and columns: (rows, columns, C, H, W).
        comparison: samples from the same noise, by sampler and number of steps, as for
            [`comparison_grid`].

    Returns:
        "samples.png", a PIL image, and "steps.png", a PNG file's content.
    """
    return {
        "samples.png": image_grid(samples.flatten(0, 1), samples.shape[1]),
        "steps.png": comparison_grid(comparison, "The same noise, by sampler and steps"),
    }
