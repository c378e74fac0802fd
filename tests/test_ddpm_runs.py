"""A run of images is itself: other data, settings or weights are refused, and nothing is lost."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ddpm.hub.folder
from ddpm.hub import load_folder

from .command_line import recipe as load
from .command_line import words

ROOT = Path(__file__).parent.parent
NETWORK = "--model_channels 8 --num_res_blocks 1 --norm_num_groups 4 --num_head_channels 8"
NETWORK += " --num_timesteps 10"
STEPS = "--max_train_steps 2 --per_device_train_batch_size 4 --logging_steps 2 --eval_steps 0"
STEPS += " --max_eval_images 8 --num_quality_images 0"


def recipe():
    """The module of the recipe, which draws no pictures."""
    module = load("train_ddpm")
    module.sample_grids = lambda *args, **options: ()
    module.pictures_of = dict
    return module


@pytest.fixture(autouse=True, scope="module")
def quick(tmp_path_factory):
    import datasets

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
        patch.setattr(ddpm.hub.folder, "loss_curve", lambda history: b"")
        yield


def train(folder, *more):
    recipe().main(words(NETWORK, STEPS, "--output_dir", folder, *more))


def go_on(folder, model, *more):
    """Trains a saved model, which has its own network and diffusion."""
    recipe().main(words(STEPS, "--model_name_or_path", model, "--output_dir", folder, *more))


@pytest.fixture(scope="module")
def trained(tmp_path_factory, quick):
    """A run on the digits; to be copied before it is changed."""
    folder = tmp_path_factory.mktemp("digits") / "run"
    train(folder)
    return folder


UNFIT = {
    "size": ({"images": np.zeros((20, 16, 16), np.uint8)}, "makes images of 8 pixels"),
    "channels": ({"images": np.zeros((20, 8, 8, 3), np.uint8)}, "and 1 channel.*have 8 and 3"),
    "no classes": (
        {"images": np.zeros((20, 8, 8), np.uint8)},
        "has the classes.*and the data None",
    ),
    "other classes": (
        {"images": np.zeros((20, 8, 8), np.uint8), "labels": np.arange(20) % 3},
        r"has the classes \['0', '1'.*and the data \['0', '1', '2'\]",
    ),
    "other names": (
        {"images": np.zeros((20, 8, 8), np.uint8), "labels": np.arange(20) % 10 + 1},
        "and the data .*'10'",
    ),
}


@pytest.mark.parametrize("case", UNFIT)
def test_the_model_must_fit_the_images(trained, tmp_path, case):
    arrays, message = UNFIT[case]
    np.savez(tmp_path / "images.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        go_on(tmp_path / "run", trained, "--train_file", tmp_path / "images.npz")


@pytest.mark.parametrize(
    "flags",
    ["--schedule cosine", "--model_channels 512 --loss vlb", "--channel_mult", "--preset 64x64"],
)
def test_flags_that_a_saved_model_overrules_are_refused(trained, tmp_path, flags):
    with pytest.raises(ValueError, match=f"got {flags.split()[0]}.*model_name_or_path.*its own"):
        go_on(tmp_path / "run", trained, flags)


def test_labels_of_a_saved_model_are_dropped_if_it_has_a_null_class(trained, tmp_path):
    with pytest.raises(ValueError, match="the network has no null class"):
        go_on(tmp_path / "run", trained, "--label_dropout 0.2")
    train(tmp_path / "first", "--label_dropout 0.2")
    go_on(tmp_path / "more", tmp_path / "first", "--label_dropout 0.1")
    model, _ = load_folder(tmp_path / "more")
    assert model.config.null_class and model.class_embedding.num_embeddings == 11
    card = (tmp_path / "more" / "README.md").read_text()
    assert "at random: 10 %" in card and "guidance=guidance" in card


def test_a_saved_model_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no model can be loaded from './gone'"):
        go_on(tmp_path / "run", "./gone")


def test_sizes_that_a_preset_overrules_are_refused(tmp_path):
    with pytest.raises(ValueError, match="got --dropout and a preset, which has its own"):
        recipe().parse_args(["--preset", "64x64_diffusion", "--dropout", "0.1"])


OTHER_RUNS = {
    "schedule": "--schedule cosine_zero_snr --prediction v_prediction",
    "prediction": "--prediction v_prediction",
    "variance": "--variance fixed_small",
    "loss": "--loss vlb",
    "weights": "--min_snr_gamma 5",
    "rescaled": "--rescale_timesteps",
    "flips": "--random_flip",
    "timesteps": "--timestep_sampler loss_second_moment",
    "labels": "--no-class_conditional",
    "dropped labels": "--label_dropout 0.1",
    "share": "--validation_fraction 0.2",
    "size": "--image_size 16",
    "network": "--num_head_channels 4",
}


@pytest.mark.parametrize("what", OTHER_RUNS)
def test_a_finished_run_is_not_told_of_as_another_one(trained, tmp_path, what):
    folder = shutil.copytree(trained, tmp_path / "run")
    card = (folder / "README.md").read_text()
    with pytest.raises(ValueError, match="output_dir"):
        train(folder, OTHER_RUNS[what])
    assert (folder / "README.md").read_text() == card


def test_other_images_of_one_shape_are_another_run(tmp_path):
    generator = np.random.default_rng(0)
    for name in "AB":
        images = generator.integers(256, size=(20, 8, 8), dtype=np.uint8)
        np.savez(tmp_path / f"{name}.npz", images=images)
    train(tmp_path / "run", "--train_file", tmp_path / "A.npz")
    card = (tmp_path / "run" / "README.md").read_text()
    with pytest.raises(ValueError, match=r"data[\s\S]*output_dir"):
        train(tmp_path / "run", "--train_file", tmp_path / "B.npz")
    assert (tmp_path / "run" / "README.md").read_text() == card
    copied_file = tmp_path / "elsewhere.npz"
    shutil.copy(tmp_path / "A.npz", copied_file)
    train(tmp_path / "run", "--train_file", copied_file)  # the same images


def test_a_run_goes_on_after_a_damaged_picture_was_removed(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    generator = np.random.default_rng(0)
    for number in range(12):
        pixels = generator.integers(256, size=(64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(photos / f"{number}.jpg")
    damaged = photos / "5.jpg"
    damaged.write_bytes(damaged.read_bytes()[:300])
    flags = ("--train_dir", photos, "--image_size 8")
    train(tmp_path / "run", *flags)
    damaged.unlink()
    train(tmp_path / "run", *flags, "--max_train_steps 4")
    assert (tmp_path / "run" / "checkpoints" / "step-00000004").is_dir()


def test_trackers_get_the_settings_and_samples(tmp_path, monkeypatch):
    given = {}
    module = recipe()

    def keep(model, *args, settings, samples_fn, **kwargs):
        given.update(settings, samples=samples_fn(model)["samples"])
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "train", keep)
    with pytest.raises(KeyboardInterrupt):
        module.main(words(NETWORK, STEPS, "--output_dir", tmp_path / "run"))
    assert given["training_data"] == "scikit-learn digits" and given["num_images"] == 1618
    assert {"image_size", "num_channels", "num_classes", "num_parameters"} <= given.keys()
    assert {"schedule", "loss", "model_channels", "learning_rate", "seed"} <= given.keys()
    assert isinstance(given["samples"], Image.Image) and given["samples"].width > 300
