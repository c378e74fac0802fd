"""What the recipe for pixels refuses before it trains, and the base that it takes by itself."""

import argparse

import pytest
import torch

from ardm.data.images import ImageFormat, ImageTokens
from ardm.evaluation.image_training import (
    add_image_model_arguments,
    check_images,
    check_same_images,
    image_identity,
    new_image_model,
    parse_image_training,
)


def parsed(line):
    parser = argparse.ArgumentParser()
    add_image_model_arguments(parser, num_stages=2)
    parser.add_argument("--seed", type=int)
    for name in ("train_dir", "train_file", "dataset_name"):
        parser.add_argument(f"--{name}")
    return parse_image_training(parser, line.split())


def test_the_base_follows_the_number_of_values():
    assert (parsed("").num_values, parsed("").branching_factor) == (17, 5)
    own = parsed("--train_dir photos")
    assert (own.num_values, own.branching_factor) == (256, 16)
    assert parsed("--train_dir photos --num_values 32 --num_stages 5").branching_factor == 2
    assert parsed("--branching_factor 17").branching_factor == 17


def test_grey_levels_that_are_no_pixels_are_refused():
    levels = torch.arange(17, dtype=torch.uint8).view(1, 1, 1, 17)
    with pytest.raises(ValueError, match=r"brightest value of all images is 16;.*by 15\)"):
        check_images(parsed(""), levels, None)
    check_images(parsed(""), levels * 15, None)
    with pytest.raises(ValueError, match="is 1; expected"):
        check_images(parsed("--num_values 2"), levels[..., :2], None)


def test_guidance_without_classes_is_refused():
    images = torch.full((1, 1, 1, 1), 255, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"guidance_scale is 2\.0 and the images have no classes"):
        check_images(parsed("--guidance_scale 2"), images, None)
    check_images(parsed("--guidance_scale 2"), images, ["cat", "dog"])


def test_a_saved_model_goes_on_with_images_like_its_own_alone():
    saved, names = ImageFormat((1, 2, 2), 4, 2), ["cat", "dog"]
    check_same_images(saved, names, saved, names)
    with pytest.raises(ValueError, match=r"images are \(3, 2, 2\).*expected \(1, 2, 2\)"):
        check_same_images(saved, names, ImageFormat((3, 2, 2), 4, 2), names)
    for others in (["cat"], ["dog", "cat"], None):
        with pytest.raises(ValueError, match="images' classes are"):
            check_same_images(saved, names, saved, others)


def test_a_training_is_known_by_its_images_network_weights_and_objective():
    form = ImageFormat((1, 2, 2), 4)
    small = "--hidden_size 8 --num_hidden_layers 1 --num_attention_heads 2 --intermediate_size 8"

    def identity(line=small, pixel=0, objective=1, weight=0.0, fresh=True):
        rows = ImageTokens(torch.tensor([[pixel, 1, 2, 3]]), form)
        model = new_image_model(form, parsed(line + " --seed 3"))
        model.lm_head.weight.data.add_(weight)
        return image_identity(rows, model, {"prompt_dropout": objective}, fresh=fresh)

    assert identity() == identity() and identity(fresh=False) == identity(fresh=False)
    assert identity(weight=1.0) == identity()  # the seed alone tells of fresh weights
    others = [
        identity(pixel=1),
        identity(objective=0),
        identity(small + " --num_stages 1"),
        identity(fresh=False),
        identity(fresh=False, weight=1.0),
    ]
    assert all(other != identity() for other in others)
    assert others[-1] != others[-2]
