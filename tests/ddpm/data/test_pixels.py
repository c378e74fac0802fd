"""Pictures of every mode and size are made into squares of 8-bit numbers."""

import io
import struct
import tracemalloc

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm.data.pixels import prepare_image, upright_size


def test_an_image_that_fits_is_kept_to_the_bit():
    array = np.random.default_rng(0).integers(0, 256, (7, 7, 3), dtype=np.uint8)
    assert np.array_equal(prepare_image(Image.fromarray(array), 7, 3).permute(1, 2, 0), array)
    assert np.array_equal(prepare_image(Image.fromarray(array[..., 0]), 7, 1)[0], array[..., 0])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16"])
@pytest.mark.parametrize("channels", [1, 3])
def test_white_is_white_in_every_mode(mode, channels):
    white = Image.fromarray(np.full((9, 5), 65535, np.uint16)) if mode == "I;16" else None
    image = white or Image.new("RGB", (5, 9), "white").convert(mode)
    assert image.mode == mode
    made = prepare_image(image, 4, channels)
    assert made.shape == (channels, 4, 4) and made.dtype == torch.uint8 and (made == 255).all()


def test_sixteen_bits_are_rounded_to_eight():
    values = np.array([[0, 128], [129, 65535]], dtype=np.uint16)
    assert prepare_image(Image.fromarray(values), 2, 1).flatten().tolist() == [0, 0, 1, 255]
    middle = np.full((2, 2), 257 * 77, dtype=np.uint16)
    assert (prepare_image(Image.fromarray(middle), 2, 3) == 77).all()


@pytest.mark.parametrize(("bits", "zero_is_white"), [(12, False), (16, False), (16, True)])
def test_white_is_what_a_tiff_says(tmp_path, bits, zero_is_white):
    top = 2**bits - 1
    values = np.array([[0, top], [top, top // 2]], dtype=np.uint16)
    tags = {262: 0 if zero_is_white else 1}
    Image.fromarray(values).save(tmp_path / "a.tif", tiffinfo=tags)
    content = bytearray((tmp_path / "a.tif").read_bytes())
    if bits == 12:  # two numbers in three bytes
        place = content.index(struct.pack("<HHI", 258, 3, 1)) + 8
        content[place : place + 2] = struct.pack("<H", 12)
        packed = content.index(values.tobytes())
        rows = [struct.pack(">I", int(a) << 12 | int(b))[1:] for a, b in values]
        content[packed : packed + 6] = b"".join(rows)
    image = Image.open(io.BytesIO(content))
    made = prepare_image(image, 2, 1).flatten().tolist()
    expected = [0, 255, 255, 127]
    assert made == [255 - grey for grey in expected] if zero_is_white else made == expected


@pytest.mark.parametrize("maxval", [255, 1023, 65535])
def test_numbers_of_a_pgm_are_parts_of_its_largest(maxval):
    values = np.array([0, maxval, maxval // 2, maxval], dtype=">u2" if maxval > 255 else "u1")
    content = b"P5 2 2 %d\n" % maxval + values.tobytes()
    made = prepare_image(Image.open(io.BytesIO(content)), 2, 1)
    assert made.flatten().tolist() == [0, 255, 127, 255]


def test_the_transparent_grey_of_sixteen_bits_is_white():
    file = io.BytesIO()
    values = np.array([[0, 1000], [0, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(file, "png", transparency=1000)
    made = prepare_image(Image.open(file), 2, 1)
    assert made.flatten().tolist() == [0, 255, 0, 255]


@pytest.mark.parametrize("size", [(1, 50_000), (50_000, 1), (3, 4_000)])
def test_long_strips_take_little_memory(size):
    shades = np.arange(max(size), dtype=np.uint32)[:, None].repeat(min(size), 1)
    middle = abs(shades.astype(int) - max(size) // 2) <= 4 * min(size)
    pixels = np.where(middle, 200, 0).astype(np.uint8)
    image = Image.fromarray(pixels if size[0] < size[1] else pixels.T.copy())
    tracemalloc.start()
    made = prepare_image(image, 64, 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (made == 200).all() and peak < 2**20


@pytest.mark.parametrize(
    ("entry", "turn"),
    [
        (struct.pack(">HHI4s", 0x0112, 2, 4, b"abc\0"), "abc"),  # a text
        (struct.pack(">HHIHH", 0x0112, 3, 1, 0, 0), 0),
        (struct.pack(">HHIHH", 0x0112, 3, 1, 99, 0), 99),
    ],
)
def test_an_orientation_that_is_none_turns_nothing(entry, turn):
    exif = b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 1) + entry + bytes(4)
    file = io.BytesIO()
    Image.new("L", (4, 2)).save(file, "jpeg", exif=exif)
    image = Image.open(file)
    assert image.getexif()[0x0112] == turn and upright_size(image) == (4, 2)
    assert prepare_image(image, 2, 1).shape == (1, 2, 2)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_lies_over_white(mode):
    if mode == "P":
        image = Image.new("P", (2, 2), 0)
        image.putpalette([0, 0, 0])
        image.info["transparency"] = 0
    else:
        image = Image.new(mode, (2, 2), (0,) * len(mode))
    assert (prepare_image(image, 2, 3) == 255).all() and (prepare_image(image, 2, 1) == 255).all()


def test_half_transparent_red_is_pink():
    made = prepare_image(Image.new("RGBA", (2, 2), (255, 0, 0, 128)), 2, 3)
    assert made[:, 0, 0].tolist() == [255, 127, 127]


def test_32_bit_numbers_are_refused():
    with pytest.raises(ValueError, match="32-bit"):
        prepare_image(Image.fromarray(np.zeros((2, 2), np.float32)), 2, 1)


def test_shrinking_by_powers_of_two_is_the_mean_over_boxes():
    array = np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)
    boxes = array.reshape(4, 4, 4, 4).mean((1, 3))
    np.testing.assert_allclose(prepare_image(Image.fromarray(array), 4, 1)[0], boxes, atol=0.51)


@pytest.mark.parametrize("size", [(40, 20), (20, 40), (41, 20), (101, 67), (5, 9), (3, 3)])
def test_a_round_spot_stays_round_in_the_middle(size):
    """Its shape is measured by moments, so that a stretched image would show."""
    width, height = size
    y, x = np.mgrid[:height, :width]
    square_distance = (x - (width - 1) / 2) ** 2 + (y - (height - 1) / 2) ** 2
    inside = np.exp(-square_distance / 2 / (min(size) / 6) ** 2)
    made = (
        prepare_image(Image.fromarray((inside * 255).astype(np.uint8)), 32, 1)[0].double().numpy()
    )
    places = np.arange(32) - 15.5
    along_x = made.sum(0) / made.sum()
    along_y = made.sum(1) / made.sum()
    assert abs(along_x @ places) < 1.2 and abs(along_y @ places) < 1.2
    spread_x = along_x @ places**2
    spread_y = along_y @ places**2
    assert spread_x == pytest.approx(spread_y, rel=0.12)


def test_a_photo_on_its_side_is_put_upright():
    square = Image.new("L", (2, 2))
    square.putpixel((0, 0), 255)
    square.getexif()[0x0112] = (
        6  # to be turned clockwise: the top left corner becomes the top right one
    )
    assert prepare_image(square, 2, 1)[0].tolist() == [[0, 255], [0, 0]]
