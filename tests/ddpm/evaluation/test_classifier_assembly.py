"""Flags become a classifier: each reaches what it names, what does not fit is refused."""

import argparse
import inspect
import json
from functools import partial

import numpy as np
import pytest
import torch

from ardm.training import Batch
from ddpm import GaussianDiffusion, classifier_guidance, sample
from ddpm.classification import ClassificationObjective
from ddpm.data import ImageDataset
from ddpm.data.finding import digits
from ddpm.evaluation import arguments, classifier_arguments
from ddpm.evaluation.classifier_assembly import (
    check_guides,
    classifier_identity,
    new_classifier,
    new_process,
)
from ddpm.evaluation.image_sets import stacked
from ddpm.models.configuration_classifier import ClassifierConfig
from ddpm.models.configuration_unet import UNetConfig
from ddpm.schedules import cosine_schedule

SMALL = {"model_channels": 16, "num_res_blocks": 1, "num_head_channels": 16, "norm_num_groups": 8}
DATA = ImageDataset(digits(), np.arange(60), 8, 1)
NAMES = [str(digit) for digit in range(10)]


def parsed(*words):
    parser = argparse.ArgumentParser()
    arguments.add_image_arguments(parser)
    classifier_arguments.add_classifier_arguments(parser)
    parser.add_argument("--seed", type=int, default=0)
    return arguments.parse(parser, words)


def classifier(seed=0, noised=True, **settings):
    process = new_process("cosine", 40)
    return new_classifier(DATA, process, seed=seed, noised=noised, **(SMALL | settings))


def test_settings_are_what_the_functions_take():
    args = parsed()
    new_process(**classifier_arguments.process_settings(args))
    names = set(inspect.signature(new_classifier).parameters)
    others = set(classifier_arguments.classifier_settings(args)) - names
    assert others <= set(ClassifierConfig().to_dict())
    settings = classifier_arguments.objective_settings(args)
    assert set(settings) < set(inspect.signature(ClassificationObjective).parameters)
    assert settings == {"seed": 0, "noised": True, "random_crop": False, "random_flip": False}
    used = {"weight_decay", "max_eval_images", "diffusion_name_or_path", "push_to_hub"}
    used |= {"hub_model_id", "license", "language"}
    used |= {*classifier_arguments.process_settings(args), *settings}
    used |= {*arguments.image_settings(args), *classifier_arguments.classifier_settings(args)}
    assert used | {"num_heads"} == set(vars(args))  # heads are by channels unless numbered


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--preset", "64x64_classifier", "--dropout", "0.1"], "got --dropout and a preset"),
        (
            ["--diffusion_name_or_path", "x", "--schedule", "cosine", "--num_timesteps", "9"],
            "got --schedule --num_timesteps and a diffusion_name_or_path",
        ),
        (["--push_to_hub"], "hub_model_id"),
    ],
)
def test_flags_without_effect_are_refused(words, message):
    with pytest.raises(ValueError, match=message):
        parsed(*words)


def test_flags_of_another_ones_noise_are_not_told():
    told = arguments.run_flags(parsed("--diffusion_name_or_path", "x"))
    own = {"schedule", "num_timesteps", "rescale_timesteps"}
    assert own | {"conv_resample"} == set(vars(parsed())) - set(told)


def test_a_pool_beside_a_preset_is_refused():
    with pytest.raises(ValueError, match="got --pool and a preset, which has its own"):
        parsed("--preset", "64x64_classifier", "--pool", "spatial")


def test_a_classifier_is_told_timesteps_as_its_diffusion_tells_them():
    """In training, in scoring, and when it guides; what is told otherwise is refused."""
    process = new_process("cosine", 40, rescale_timesteps=True)
    model = new_classifier(DATA, process, noised=True, seed=0, **SMALL)
    assert model.config.rescale_timesteps
    told = []
    images, labels = stacked(DATA, 8)
    batch = Batch({"images": images, "labels": labels}, torch.arange(8), 8, 0.0)

    def spy(x, t):
        told.append(t)
        return torch.zeros(len(x), 10)

    ClassificationObjective(process)(spy, batch)
    assert told[0].dtype == torch.float32 and (told[0] % 25 == 0).all() and told[0].max() > 40
    guide = classifier_guidance(model, 3)
    for rescale in (True, False):
        diffusion = GaussianDiffusion(
            process.betas, variance="fixed_small", rescale_timesteps=rescale
        )
        draw = partial(sample, lambda x, t: x, (2, 1, 8, 8), diffusion, steps=3, guidance=guide)
        if rescale:
            assert draw().isfinite().all()
        else:
            with pytest.raises(ValueError, match="rescale_timesteps True and the diffusion False"):
                draw()


def test_a_classifier_knows_its_data_and_its_noise():
    config = classifier().config
    assert (config.num_classes, config.num_labels, config.image_size) == (10, 10, 8)
    assert list(config.id2label.values()) == NAMES
    assert config.betas == tuple(cosine_schedule(40).tolist())
    assert classifier(noised=False).config.betas is None
    first, again, other = (classifier(seed=seed).pool.out.weight for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_a_preset_is_for_its_size():
    with pytest.raises(ValueError, match=r"64x64_classifier' is for images of 64 .* have 8"):
        classifier(preset="64x64_classifier")


@pytest.mark.parametrize(("names", "count"), [(None, "no"), (["cat"], "1")])
def test_there_must_be_classes_to_tell_apart(names, count):
    data = ImageDataset(digits(), np.arange(60), 8, 1)
    data.class_names = names
    with pytest.raises(ValueError, match=f"{count} classes; expected two or more"):
        new_classifier(data, new_process("linear", 40), seed=0, noised=True, **SMALL)


def test_a_diffusion_of_other_images_is_not_guided():
    sizes = {"image_size": 8, "in_channels": 1, "channel_mult": (1,), "attention_resolutions": ()}

    def check(names, **changes):
        check_guides(UNetConfig(**(sizes | changes)), names, DATA, "runs/ddpm")

    check(NAMES, num_classes=10)
    check(None, num_classes=10)
    check(None)  # without classes it may be guided to any
    with pytest.raises(ValueError, match=r"runs/ddpm makes images of 16 pixels .* have 8 and 1"):
        check(NAMES, num_classes=10, image_size=16)
    with pytest.raises(ValueError, match=r"and 3 channel.* have 8 and 1"):
        check(NAMES, num_classes=10, in_channels=3)
    with pytest.raises(ValueError, match="has the classes 9, and the data"):
        check(None, num_classes=9)
    with pytest.raises(ValueError, match=r"has the classes \['9', .*, and the data \['0'"):
        check(NAMES[::-1], num_classes=10)


def identity(data=DATA, schedule="cosine", model=None, name=None, **objective):
    process = new_process(schedule, 40)
    network = new_classifier(data, process, seed=0, noised=True, **(SMALL | (model or {})))
    return classifier_identity(data, network, ClassificationObjective(process, **objective), name)


def test_a_run_is_the_same_again():
    assert identity() == identity() and json.loads(json.dumps(identity())) == identity()


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("data", {"data": ImageDataset(digits(), np.arange(59), 8, 1)}),
        ("diffusion", {"schedule": "linear"}),
        ("diffusion", {"name": "user/model"}),
        ("model", {"model": {"num_res_blocks": 2}}),
        ("objective", {"seed": 1}),
        ("objective", {"noised": False}),
        ("objective", {"random_crop": True}),
        ("objective", {"random_flip": True}),
    ],
)
def test_what_decides_a_result_makes_another_run(part, changes):
    one = identity()
    other = identity(**changes)
    assert {name for name in one if one[name] != other[name]} == {part}
