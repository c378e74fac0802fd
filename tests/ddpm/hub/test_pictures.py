"""Grids hold the very pixels, and tables of them their labels."""

import math

import numpy as np
import pytest
import torch

from ddpm.denoisers import to_model_range
from ddpm.hub.pictures import comparison_grid, image_grid, pictures_of


def random_images(count=5, channels=3, height=4, width=6):
    pixels = torch.randint(256, (count, channels, height, width), dtype=torch.uint8)
    return pixels, to_model_range(pixels)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("columns", "scale", "padding"), [(2, 3, 2), (5, 1, 0), (1, 2, 1), (7, 1, 3)]
)
def test_cells_of_a_grid_are_the_images(channels, columns, scale, padding):
    pixels, images = random_images(channels=channels)
    picture = image_grid(images, columns, scale, padding)
    assert picture.mode == ("L" if channels == 1 else "RGB")
    rows = math.ceil(5 / columns)
    assert picture.size == (
        columns * (6 * scale + padding) + padding,
        rows * (4 * scale + padding) + padding,
    )
    array = np.asarray(picture).reshape(picture.height, picture.width, channels)
    seen = np.zeros(array.shape[:2], dtype=bool)
    for number in range(5):
        top = padding + number // columns * (4 * scale + padding)
        left = padding + number % columns * (6 * scale + padding)
        for y in range(scale):
            for x in range(scale):
                cell = array[top + y : top + 4 * scale : scale, left + x : left + 6 * scale : scale]
                assert np.array_equal(cell, pixels[number].permute(1, 2, 0))
        seen[top : top + 4 * scale, left : left + 6 * scale] = True
    assert (array[~seen] == array[0, 0]).all() and 50 < array[0, 0, 0] < 205


def test_a_grid_is_square_and_legible_by_itself():
    assert image_grid(torch.zeros(9, 1, 8, 8)).size == (3 * 67 + 3,) * 2
    assert image_grid(torch.zeros(10, 1, 256, 256)).size == (4 * 259 + 3, 3 * 259 + 3)


@pytest.mark.parametrize("value", [-1.0, 1.0])
def test_black_and_white_images_do_not_run_into_each_other(value):
    row = np.asarray(image_grid(torch.full((2, 1, 8, 8), value), 2))[40].astype(int)
    shade = row[40]
    edges = np.flatnonzero(np.diff((row == shade).astype(int)))
    assert len(edges) == 4  # of two images, with a gap before, between and behind
    gaps = row[row != shade]
    assert len(gaps) >= 7 and np.abs(gaps - shade).min() > 50


@pytest.mark.parametrize("shape", [(1, 2, 4, 4), (3, 4, 4), (0, 3, 4, 4), (1, 4, 4, 3)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"expected \(N, C, H, W\)"):
        image_grid(torch.zeros(shape))


@pytest.mark.parametrize("numbers", [{"num_columns": 0}, {"scale": 0}, {"padding": -1}])
def test_numbers_of_a_grid_are_checked(numbers):
    with pytest.raises(ValueError, match="expected an integer of at least"):
        image_grid(torch.zeros(1, 1, 2, 2), **numbers)


def test_comparison_labels_rows_and_columns_once(monkeypatch):
    from matplotlib.figure import Figure

    drawn = []
    savefig = Figure.savefig

    def keep(figure, *args, **options):
        drawn.append(figure)
        savefig(figure, *args, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    rows = {
        "ddpm": {"10": torch.zeros(4, 1, 8, 8), "50": torch.ones(4, 1, 8, 8)},
        "ddim": {"50": torch.ones(1, 3, 8, 8)},
    }
    assert comparison_grid(rows, "title").startswith(b"\x89PNG")
    axes = drawn[0].axes
    cells = [(cell.get_ylabel(), cell.get_title(), len(cell.images)) for cell in axes]
    assert cells == [("ddpm", "10", 1), ("", "50", 1), ("ddim", "", 0), ("", "", 1)]
    assert drawn[0].get_suptitle() == "title"
    assert np.array_equal(
        axes[0].images[0].get_array(), np.asarray(image_grid(rows["ddpm"]["10"]).convert("RGB"))
    )
    with pytest.raises(ValueError, match="expected images under"):
        comparison_grid({"ddpm": {}})


@pytest.mark.parametrize(("num_rows", "columns"), [(4, 10), (4, 3), (3, 2)])
def test_pictures_of_a_model_are_its_samples_in_rows_and_a_comparison(num_rows, columns):
    _, samples = random_images(num_rows * columns)
    rows = {"ddim": {"5 steps": samples[:2], "10 steps": samples[2:4]}}
    pictures = pictures_of(samples.unflatten(0, (num_rows, columns)), rows)
    assert list(pictures) == ["samples.png", "steps.png"]
    expected = image_grid(samples, columns)
    assert np.array_equal(np.asarray(pictures["samples.png"]), np.asarray(expected))
    assert pictures["steps.png"] == comparison_grid(rows, "The same noise, by sampler and steps")
