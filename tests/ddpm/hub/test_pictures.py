"""Grids hold the very pixels, files the very arrays; a failed write leaves the old file."""

import math
import os

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm.denoisers import to_model_range
from ddpm.hub.pictures import (
    comparison_grid,
    image_grid,
    pictures_of,
    to_nhwc,
    write_gif,
    write_images,
    write_npz,
    write_png,
)


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


@pytest.mark.parametrize("channels", [1, 3])
def test_image_files_are_numbered_and_exact(tmp_path, channels):
    pixels, images = random_images(channels=channels)
    paths = write_images(tmp_path / "new", images, first_index=98)
    names = [f"{number:06d}.png" for number in range(98, 103)]
    assert [path.name for path in paths] == names
    for path, expected in zip(paths, pixels, strict=True):
        with Image.open(path) as picture:
            assert np.array_equal(
                np.asarray(picture).reshape(4, 6, channels), expected.permute(1, 2, 0)
            )
    with pytest.raises(ValueError, match="first_index"):
        write_images(tmp_path, images, -1)


@pytest.mark.parametrize("labels", [None, torch.arange(5)])
def test_npz_is_what_the_evaluator_reads(tmp_path, labels):
    pixels, images = random_images()
    write_npz(tmp_path / "samples", images, labels)  # numpy would append .npz to a name
    with np.load(tmp_path / "samples") as content:
        assert content.files == ["arr_0", "arr_1"][: 1 if labels is None else 2]
        assert content["arr_0"].dtype == np.uint8 and np.array_equal(
            content["arr_0"], pixels.permute(0, 2, 3, 1)
        )
        assert labels is None or np.array_equal(content["arr_1"], labels)
    with pytest.raises(ValueError, match="one an image"):
        write_npz(tmp_path / "samples", images, torch.arange(3))


@pytest.mark.parametrize("channels", [1, 3])
def test_gif_shows_every_frame(tmp_path, channels):
    frames = [
        image_grid(torch.full((1, channels, 2, 2), value), scale=2)
        for value in (-1.0, 0.0, 1.0, 1.0)
    ]
    write_gif(tmp_path / "x.gif", iter(frames), milliseconds=50, hold_milliseconds=700)
    with Image.open(tmp_path / "x.gif") as gif:
        durations = []
        values = []
        for number in range(gif.n_frames):
            gif.seek(number)
            durations.append(gif.info["duration"])
            values.append(gif.convert("L").getpixel((5, 5)))
        assert gif.info["loop"] == 0
    assert values[:3] == pytest.approx([0, 128, 255], abs=1) and sum(durations) == 3 * 50 + 700


@pytest.mark.parametrize("frames", [[], [Image.new("L", (2, 2)), Image.new("L", (3, 2))]])
def test_gif_of_no_or_unequal_frames_is_refused(tmp_path, frames):
    with pytest.raises(ValueError, match="of one size"):
        write_gif(tmp_path / "x.gif", frames)
    assert os.listdir(tmp_path) == []


class Broken:
    def save(self, file, format):
        file.write(b"half")
        raise OSError("no space left")


def test_a_failed_write_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match="no space"):
        write_png(path, Broken())
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["x.png"]


def test_pixels_are_rounded_not_cut_off():
    values = torch.tensor([0.0, -0.999]).view(2, 1, 1, 1)
    assert to_nhwc(values).flatten().tolist() == [128, 0]
