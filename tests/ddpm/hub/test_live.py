"""What is watched is what `draw_images` gives, whoever else is served at the same time."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import ddpm
from ddpm.drawing import chosen_labels, draw_images, gathered
from ddpm.hub import SavedModels, can_be_steered, image_grid, watch_drawing

NAMES = ["cat", "dog", "owl"]
SIZES = {"image_size": 4, "in_channels": 1, "model_channels": 8, "num_res_blocks": 1}
SIZES |= {"channel_mult": (1,), "attention_resolutions": (), "norm_num_groups": 4, "num_heads": 1}
SIZES |= {"learn_sigma": True}


def saved(num_classes=3, **changes):
    network = ddpm.UNet(ddpm.UNetConfig(**(SIZES | {"num_classes": num_classes} | changes))).eval()
    for weight in network.parameters():  # a fresh network answers nothing but zeros
        torch.nn.init.normal_(weight, std=0.2)
    diffusion = ddpm.GaussianDiffusion(ddpm.cosine_schedule(40), variance="learned_range")
    return SavedModels(network, diffusion, NAMES if num_classes else None, None, None, None)


def pixels(image):
    return np.asarray(image)


@pytest.mark.parametrize("class_name", [None, "dog"])
@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_at_last_it_is_what_is_drawn(class_name, scale):
    models = saved(null_class=True)
    options = {"sampler": "ddim", "steps": 6, "seed": 3}
    *before, last = watch_drawing(
        models, 5, class_name=class_name, guidance_scale=scale, num_columns=5, **options
    )
    guide = None if scale == 1 else lambda numbers: ddpm.classifier_free_guidance(scale)
    labels = chosen_labels(5, NAMES, class_name)
    drawn = draw_images(
        models.model,
        models.diffusion,
        5,
        (1, 4, 4),
        labels=labels,
        guidance_for=guide,
        progress=False,
        **options,
    )
    assert np.array_equal(pixels(last), pixels(image_grid(gathered(drawn, (1, 4, 4)), 5)))
    assert before and all(image.size == last.size for image in before)


def test_visitors_do_not_disturb_each_other():
    models = saved(None)

    def draw(seed):
        *_, last = watch_drawing(models, 3, seed=seed, sampler="ddpm", steps=8)
        return pixels(last).tobytes()

    alone = [draw(seed) for seed in range(3)]
    with ThreadPoolExecutor(3) as pool:
        assert [*pool.map(draw, range(3))] == alone
    assert len({*alone}) == 3


@pytest.mark.parametrize(
    ("changes", "wrong", "named"),
    [
        ({}, {"num_images": 65}, "num_images is 65"),
        ({}, {"num_images": 0}, "num_images"),
        ({}, {"class_name": "yak"}, "class_name is 'yak'"),
        ({}, {"guidance_scale": 2.0}, "null class"),
        ({"num_classes": None}, {"guidance_scale": 2.0}, "labels"),
        ({}, {"sampler": "best"}, "sampler"),
        ({}, {"steps": 1000}, "steps"),
        ({"low_resolution": 2}, {}, "enlarges images"),
    ],
)
def test_a_mistake_is_told(changes, wrong, named):
    with pytest.raises(ValueError, match=named):
        [*watch_drawing(saved(**changes), **({"num_images": 2} | wrong))]


def test_only_a_network_with_a_null_class_can_be_steered():
    assert can_be_steered(saved(null_class=True))
    assert not can_be_steered(saved()) and not can_be_steered(saved(None))
