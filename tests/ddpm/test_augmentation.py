"""Crops and flips are the squares and mirror images that the uniform numbers say, no others."""

import math

import pytest
import torch
from torch.nn import functional as F

from ddpm.augmentation import CROP_DRAWS, cropped, mirrored

IMAGES = torch.rand(6, 2, 10, 10, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_a_crop_is_a_square_of_the_image_brought_back_to_size():
    """Brute force: the crop of each image alone, by slicing."""
    uniforms = torch.rand(6, CROP_DRAWS, generator=torch.Generator().manual_seed(1))
    for image, (u, v, w), found in zip(IMAGES, uniforms, cropped(IMAGES, uniforms), strict=True):
        side = 8 + int(u * 3)
        top = int(v * (10 - side + 1))
        left = int(w * (10 - side + 1))
        square = image[None, :, top : top + side, left : left + side]
        expected = F.interpolate(square, (10, 10), mode="bilinear", antialias=True)[0]
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [4, 7, 8, 16, 33])
def test_crops_reach_all_sides_and_places_and_stay_inside(size):
    """A picture of its own coordinates: what comes back lies between the corners of the crop."""
    rows = torch.linspace(-1, 1, size).view(1, 1, size, 1).expand(400, 1, size, size)
    uniforms = torch.rand(400, CROP_DRAWS, generator=torch.Generator().manual_seed(2))
    found = cropped(rows, uniforms)
    assert float(found.abs().max()) <= 1 + 1e-6
    extents = found.amax((1, 2, 3)) - found.amin((1, 2, 3))
    least = math.ceil(0.8 * size)
    whole = 2 * (least - 1) / (size - 1)
    assert float(extents.min()) >= whole - 1e-5
    assert float(extents.max()) == pytest.approx(2)
    sides = {round(float(extent) * (size - 1) / 2) + 1 for extent in extents}
    assert sides == set(range(least, size + 1))


def test_the_whole_image_is_a_crop_that_changes_no_bit():
    assert torch.equal(cropped(IMAGES, torch.full((6, CROP_DRAWS), 0.999)), IMAGES)


def test_an_image_is_mirrored_or_left_alone():
    uniforms = torch.tensor([[0.0], [0.49], [0.5], [0.99], [0.1], [0.9]])
    found = mirrored(IMAGES, uniforms)
    for place, flipped in enumerate([True, True, False, False, True, False]):
        assert torch.equal(found[place], IMAGES[place].flip(-1) if flipped else IMAGES[place])
