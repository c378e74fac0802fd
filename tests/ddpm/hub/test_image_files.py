"""Files hold the very pixels and arrays; a failed write leaves the old file."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm.denoisers import to_model_range
from ddpm.hub import gif, image_grid, write_gif, write_images, write_npz, write_png
from ddpm.hub.image_files import to_nhwc


def random_images(count=5, channels=3, height=4, width=6):
    pixels = torch.randint(256, (count, channels, height, width), dtype=torch.uint8)
    return pixels, to_model_range(pixels)


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
    content = gif(frames, 50, 700)
    assert content == (tmp_path / "x.gif").read_bytes() and content.endswith(b";")  # its last byte
    with Image.open(tmp_path / "x.gif") as film:
        durations = []
        values = []
        for number in range(film.n_frames):
            film.seek(number)
            durations.append(film.info["duration"])
            values.append(film.convert("L").getpixel((5, 5)))
        assert film.info["loop"] == 0
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
