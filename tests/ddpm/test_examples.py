"""What an example gets depends on (seed, kind, number) alone, and no two kinds share a stream."""

import pytest
import torch

from ddpm.examples import (
    CROP,
    FLIP,
    LABEL,
    example_images,
    example_noise,
    example_uniforms,
    spread_uniforms,
)

IMAGES = torch.zeros(8, 1, 4, 4)


def test_noise_and_uniforms_are_those_of_the_number():
    numbers = list(range(40, 48))
    noise = example_noise(3, numbers, IMAGES)
    crops = example_uniforms(3, CROP, numbers, 3)
    for part in ([0], [5, 2], [7, 0, 3]):
        chosen = [numbers[place] for place in part]
        assert torch.equal(example_noise(3, chosen, IMAGES[part]), noise[part])
        assert torch.equal(example_uniforms(3, CROP, chosen, 3), crops[part])
    assert not torch.equal(example_noise(4, numbers, IMAGES), noise)
    drawn = [example_uniforms(3, kind, numbers) for kind in (CROP, FLIP, LABEL)]
    assert len({float(value) for values in drawn for value in values}) == 24


@pytest.mark.parametrize("size", [1, 3, 8])
def test_uniforms_of_a_step_are_one_in_each_part(size):
    for step in range(20):
        numbers = list(range(size * step, size * (step + 1)))
        uniforms = spread_uniforms(0, numbers, size)
        assert uniforms.dtype == torch.float64 and bool(((uniforms >= 0) & (uniforms < 1)).all())
        gaps = uniforms.sort().values.diff()
        torch.testing.assert_close(gaps, torch.full_like(gaps, 1 / size))
        parts = [spread_uniforms(0, [number], size) for number in numbers]
        assert torch.equal(torch.cat(parts), uniforms)


def test_images_become_what_models_see():
    pixels = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1)
    assert example_images(pixels, [0, 1]).flatten().tolist() == [-1, 1]
    assert example_images(IMAGES, [0] * 8) is IMAGES
    with pytest.raises(ValueError, match="empty"):
        example_images(IMAGES[:0], [])
