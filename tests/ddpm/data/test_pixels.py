"""Pictures of every mode and size are made into squares of 8-bit numbers."""

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm.data.pixels import prepare_image


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
