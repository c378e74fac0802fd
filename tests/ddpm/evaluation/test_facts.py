"""Cards and trackers are told what was followed, and no folder of this machine."""

import json

import numpy as np
import pytest

from ardm.training import TrainingResult, add_training_arguments, recipe_parser
from ddpm.data import ImageDataset
from ddpm.data.finding import digits
from ddpm.evaluation import arguments, run_facts, tracked_settings
from ddpm.models.unet import UNet, UNetConfig

SIZES = {"image_size": 8, "in_channels": 1, "model_channels": 8, "channel_mult": (1,)}
SIZES |= {"attention_resolutions": (), "norm_num_groups": 4, "num_classes": 10}


def parsed(*words):
    parser = recipe_parser(None)
    arguments.add_image_arguments(parser)
    arguments.add_model_arguments(parser)
    add_training_arguments(parser, output_dir="runs/x")
    arguments.add_evaluation_arguments(parser)
    return arguments.parse(parser, words)


def few_digits():
    return ImageDataset(digits(), np.arange(30), 8, 1)


def told(args):
    data = few_digits()
    model = UNet(UNetConfig(**SIZES))
    return run_facts(args, data, TrainingResult(seconds=2.5)), tracked_settings(args, data, model)


def test_what_was_followed_is_told():
    facts, settings = told(parsed("--seed", "7", "--schedule", "linear", "--dropout", "0.2"))
    assert (facts["seed"], facts["wall_clock_seconds"]) == (7, 2.5)
    for each in (facts["hyperparameters"], settings):
        assert (each["schedule"], each["dropout"], each["seed"]) == ("linear", 0.2, 7)
    assert facts["num_images"] == settings["num_images"] == 30
    assert (settings["image_size"], settings["num_classes"]) == (8, 10)
    assert facts["training_data"] == settings["training_data"] == "scikit-learn digits"
    assert settings["num_parameters"] > 1000
    json.dumps(settings)


@pytest.mark.parametrize("flag", ["train_dir", "train_file", "dataset_name"])
def test_no_folder_is_told(tmp_path, flag):
    (tmp_path / "photos").mkdir()
    for each in told(parsed(f"--{flag}", str(tmp_path / "photos"), "--output_dir", str(tmp_path))):
        assert each["training_data"] == "photos" and str(tmp_path) not in json.dumps(each)


@pytest.mark.parametrize(
    ("words", "silent", "spoken"),
    [
        (
            ["--model_name_or_path", "saved"],
            {"model_channels", "preset", "schedule", "loss"},
            set(),
        ),
        (["--preset", "64x64_diffusion"], {"model_channels", "dropout"}, {"preset", "schedule"}),
    ],
)
def test_what_was_overruled_is_not_told(words, silent, spoken):
    for each in told(parsed(*words)):
        names = each.get("hyperparameters", each).keys()
        assert not silent & names and spoken <= names and "random_flip" in names


def test_flags_that_would_be_overruled_are_refused_even_with_their_default():
    for words in (["--schedule", "cosine"], ["--channel_mult"], ["--num_timesteps", "1000"]):
        with pytest.raises(ValueError, match=f"got {words[0]} and a model_name_or_path"):
            parsed("--model_name_or_path", "saved", *words)
    with pytest.raises(ValueError, match="got --model_channels and a preset"):
        parsed("--preset", "64x64_diffusion", "--model_channels", "32")
    assert parsed("--preset", "64x64_diffusion", "--schedule", "linear").schedule == "linear"


@pytest.mark.parametrize("used", ["no", "bf16"])
def test_the_precision_is_what_was_trained_in(used):
    result = TrainingResult(mixed_precision=used)
    facts = run_facts(parsed("--mixed_precision", "bf16"), few_digits(), result)
    assert facts["hyperparameters"]["mixed_precision"] == used
