"""Settings become objects: defaults fit together, each setting reaches what it names."""

import json

import numpy as np
import pytest
import torch

from ddpm.data import ImageDataset
from ddpm.data.finding import digits
from ddpm.evaluation.assembly import (
    levels_for,
    new_diffusion,
    new_network,
    new_objective,
    new_sample_evaluation,
    run_identity,
)
from ddpm.timesteps import LossSecondMomentTimesteps, UniformTimesteps

SMALL = {"model_channels": 16, "num_res_blocks": 1, "num_head_channels": 16, "norm_num_groups": 8}


def network(*form, seed=0, learn_sigma=True, **settings):
    return new_network(*form, seed=seed, learn_sigma=learn_sigma, **(SMALL | settings))


def test_defaults_fit_together():
    diffusion = new_diffusion("cosine", 1000)
    model = network(8, 1, 10)
    images = torch.zeros(2, 1, 8, 8)
    loss = diffusion.losses(model, images, torch.tensor([3, 700]), labels=torch.tensor([0, 9]))
    assert bool(loss.isfinite().all())


def test_settings_reach_what_they_name():
    chosen = {"prediction": "v_prediction", "variance": "fixed_small", "loss": "simple"}
    diffusion = new_diffusion("linear_zero_snr", 50, **chosen, min_snr_gamma=5)
    assert {name: getattr(diffusion, name) for name in chosen} == chosen
    assert (diffusion.num_timesteps, diffusion.min_snr_gamma) == (50, 5)
    assert float(diffusion.betas[-1]) == 1
    model = network(8, 3, None, learn_sigma=False, channel_mult=[0.5, 1], dropout=0.1)
    assert (model.config.widths, model.config.out_channels) == ((8, 16), 3)
    assert (model.config.num_classes, model.config.dropout) == (None, 0.1)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("uniform", UniformTimesteps), ("loss_second_moment", LossSecondMomentTimesteps)],
)
def test_timesteps_are_those_of_the_diffusion(name, kind):
    diffusion = new_diffusion("linear", 50)
    settings = {"timestep_sampler": name, "seed": 3, "random_flip": True}
    objective = new_objective(diffusion, network(8, 1, 10).config, **settings)
    assert isinstance(objective.timesteps, kind) and objective.timesteps.num_timesteps == 50
    assert objective.seed == 3 and objective.random_flip


def test_dropped_labels_become_the_null_class_of_the_network():
    settings = {"timestep_sampler": "uniform", "seed": 0, "random_flip": False}
    diffusion = new_diffusion("linear", 50)
    with_null = network(8, 1, 10, null_class=True)
    assert with_null.class_embedding.num_embeddings == 11
    objective = new_objective(diffusion, with_null.config, **settings, label_dropout=0.25)
    assert (objective.label_dropout, objective.null_label) == (0.25, 10)
    with pytest.raises(ValueError, match=r"label_dropout is 0\.25, .* has no null class"):
        new_objective(diffusion, network(8, 1, 10).config, **settings, label_dropout=0.25)
    with pytest.raises(ValueError, match=r"there are none; expected images with classes"):
        network(8, 1, None, null_class=True)
    preset = network(64, 3, 10, preset="64x64_diffusion", null_class=True).config
    assert preset.null_class and preset.num_classes == 10


def test_the_seed_decides_the_weights():
    first, again, other = (network(8, 1, None, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.encoder.stem.weight, again.encoder.stem.weight)
    assert not torch.equal(first.encoder.stem.weight, other.encoder.stem.weight)


def test_a_preset_is_for_its_size():
    message = "64x64_diffusion' is for images of 64 pixels; these have 8"
    with pytest.raises(ValueError, match=message):
        network(8, 1, None, preset="64x64_diffusion")
    with pytest.raises(ValueError, match="expected one of 64x64_diffusion"):
        network(64, 3, None, preset="mine")


LEVELS = [
    (4, [1], []),
    (7, [1], []),
    (8, [1, 2], [4]),
    (16, [1, 2, 2], [8, 4]),
    (28, [1, 2, 2], [14, 7]),
    (32, [1, 2, 2, 2], [16, 8, 4]),
    (64, [1, 2, 2, 2], [16, 8]),
]


@pytest.mark.parametrize(("size", "factors", "attended"), LEVELS)
def test_levels_follow_the_images(size, factors, attended):
    assert levels_for(size) == {"channel_mult": factors, "attention_resolutions": attended}
    config = network(size, 3, None).config
    assert (list(config.channel_mult), list(config.attention_resolutions)) == (factors, attended)
    assert levels_for(size, [1.0, 1.5])["channel_mult"] == [1, 1.5]
    assert levels_for(size, None, [size])["attention_resolutions"] == [size]


def test_sizes_that_do_not_fit():
    with pytest.raises(ValueError, match="image_size"):
        network(9, 1, None, channel_mult=[1, 2])
    with pytest.raises(ValueError, match="num_timesteps"):
        new_diffusion("linear", 5)


def test_samples_are_evaluated_if_they_are_asked_for_and_something_tells_images_apart():
    train = ImageDataset(digits(), np.arange(60), 8, 1)
    unlabelled = [{"images": train[k]["images"]} for k in range(3)]
    diffusion = new_diffusion("cosine", 40)
    settings = {"steps": ["10", "ddim5"], "seed": 2}
    assert new_sample_evaluation(train, None, diffusion, num_images=0, steps=[]) is None
    assert new_sample_evaluation(unlabelled, None, diffusion, num_images=4, **settings) is None
    evaluation = new_sample_evaluation(
        train, None, diffusion, num_images=4, data_name="digits", **settings
    )
    assert (evaluation.num_images, evaluation.seed) == (4, 2)
    assert "digits (60 images" in evaluation.quality.extractor.name
    with pytest.raises(ValueError, match="gone"):
        new_sample_evaluation(
            train, None, diffusion, num_images=4, inception_weights="gone.pth", **settings
        )
    with pytest.raises(ValueError, match="41"):
        new_sample_evaluation(train, None, diffusion, num_images=4, steps=["41"])


def test_without_features_it_is_said_that_there_is_no_fid(caplog):
    unlabelled = [{"images": torch.zeros(1, 8, 8, dtype=torch.uint8)} for _ in range(3)]
    with caplog.at_level("INFO"):
        assert not new_sample_evaluation(
            unlabelled, None, new_diffusion("cosine", 40), num_images=4, steps=["10"]
        )
    assert "no FID will be measured" in caplog.text and "--inception_weights" in caplog.text


# ----------------------------------------------------------------------------------- what it is
def identity(num_images=60, process=None, fresh=True, **objective):
    data = ImageDataset(digits(), np.arange(num_images), 8, 1)
    settings = {"timestep_sampler": "uniform", "seed": 0, "random_flip": False} | objective
    diffusion = new_diffusion(**({"schedule": "cosine", "num_timesteps": 40} | (process or {})))
    model = network(8, 1, 10, null_class=True)
    return run_identity(
        data, model, new_objective(diffusion, model.config, **settings), fresh=fresh
    )


def test_a_run_is_the_same_again():
    assert identity() == identity() and json.loads(json.dumps(identity())) == identity()
    assert identity()["initial_weights"] == "fresh"
    assert "transformers_version" not in identity()["model"]


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("data", {"num_images": 59}),
        ("diffusion", {"process": {"schedule": "linear"}}),
        ("diffusion", {"process": {"prediction": "v_prediction"}}),
        ("diffusion", {"process": {"min_snr_gamma": 5.0}}),
        ("diffusion", {"process": {"num_timesteps": 41}}),
        ("diffusion", {"process": {"rescale_timesteps": True}}),
        ("objective", {"random_flip": True}),
        ("objective", {"timestep_sampler": "loss_second_moment"}),
        ("objective", {"seed": 1}),
        ("objective", {"label_dropout": 0.1}),
        ("initial_weights", {"fresh": False}),
    ],
)
def test_what_decides_a_result_makes_another_run(part, changes):
    one = identity()
    other = identity(**changes)
    assert {name for name in one if one[name] != other[name]} == {part}
    assert one.keys() == other.keys()


def test_saved_weights_are_told_by_their_content():
    weights = identity(fresh=False)["initial_weights"]
    assert weights == identity(fresh=False, num_images=9)["initial_weights"] != "fresh"
