"""The image recipes as a user runs them: from pixels to a folder that loads, samples and scores."""

import functools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from transformers import AutoModel

import ddpm.hub.folder
from ardm.training.tensor_files import read_state
from ddpm.evaluation import sample_quality
from ddpm.hub import load_class_names, load_folder

from .command_line import recipe, words

ROOT = Path(__file__).parent.parent
NUM_TIMESTEPS = 10
NETWORK = "--model_channels 8 --num_res_blocks 1 --norm_num_groups 4 --num_head_channels 8"
STEPS = "--max_train_steps 6 --per_device_train_batch_size 4 --logging_steps 2 --eval_steps 0"
OTHERS = "--max_eval_images 8 --num_quality_images 0 --checkpointing_steps 2"
SMALL = f"{NETWORK} {STEPS} {OTHERS} --num_timesteps {NUM_TIMESTEPS}"
QUALITY = "--num_quality_images 8 --quality_steps ddim5"


@pytest.fixture(autouse=True, scope="module")
def short(tmp_path_factory):
    """Its own cache of data sets, and a classifier that is trained for one epoch."""
    import datasets

    once = functools.partial(sample_quality.train_feature_classifier, epochs=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
        patch.setattr(sample_quality, "train_feature_classifier", once)
        yield


def train(folder, *more, pictures=False):
    module = recipe("train_ddpm")
    with pytest.MonkeyPatch.context() as patch:
        if not pictures:
            patch.setattr(module, "sample_grids", lambda *args, **options: ())
            patch.setattr(module, "pictures_of", dict)
            patch.setattr(ddpm.hub.folder, "loss_curve", lambda history: b"")
        module.main(words(SMALL, "--output_dir", folder, *more))


def go_on(folder, model, *more):
    """Trains a saved model, which has its own network and diffusion."""
    module = recipe("train_ddpm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "sample_grids", lambda *args, **options: ())
        patch.setattr(module, "pictures_of", dict)
        patch.setattr(ddpm.hub.folder, "loss_curve", lambda history: b"")
        flags = (STEPS, OTHERS, "--model_name_or_path", model, "--output_dir", folder)
        module.main(words(*flags, *more))


def draw(model, folder, *more):
    places = ("--model_name_or_path", model, "--output_dir", folder)
    recipe("sample_ddpm").main(words(*places, "--steps 5", *more))
    return np.load(folder / "samples.npz")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on the digits, with a table of FID; to be copied before it is changed."""
    folder = tmp_path_factory.mktemp("digits") / "run"
    train(folder, QUALITY, pictures=True)
    return folder


def copied(trained, folder):
    shutil.copytree(trained, folder)
    return folder


# ---------------------------------------------------------------------------------------- training
def test_train_ddpm_leaves_a_model_with_its_card_and_pictures(trained):
    pictures = ["samples.png", "steps.png", "trajectory.gif", "loss_curve.png"]
    files = {"config.json", "model.safetensors", "diffusion_config.json", "README.md", *pictures}
    there = {path.name for path in trained.iterdir() if not path.name.startswith(".")}
    code = {name for name in there if name.endswith(".py")}  # goes with every saved model
    assert there - code == {*files, "checkpoints"} and "unet.py" in code
    model, diffusion = load_folder(trained)
    assert isinstance(AutoModel.from_pretrained(trained), ddpm.UNet) and not model.training
    assert torch.equal(diffusion.betas, ddpm.cosine_schedule(NUM_TIMESTEPS))
    assert diffusion.variance == "learned_range"
    assert load_class_names(trained) == [str(digit) for digit in range(10)]
    card = (trained / "README.md").read_text()
    rows = re.findall(r"\| (?:ddpm|ddim|heun|dpm_solver).* \| ddim5 \| [\d.]+ \|", card)
    assert len(rows) == 6 and "8 a row" in card
    assert re.search(r"upper bound: \*\*[\d.]+ ± [\d.]+\*\*", card)
    assert all(f"]({name})" in card for name in pictures)
    for name in pictures:
        with Image.open(trained / name) as picture:
            assert min(picture.size) > 200


def test_the_saved_weights_are_the_averaged_ones(trained):
    saved = load_file(trained / "model.safetensors")
    last = trained / "checkpoints" / "step-00000006"
    raw = load_file(last / "model.safetensors")
    average = load_file(last / "average.safetensors")
    names = [name for name, _ in load_folder(trained)[0].named_parameters()]
    assert all(torch.equal(saved[name], average[str(place)]) for place, name in enumerate(names))
    assert any(not torch.equal(saved[name], raw[name]) for name in raw)


def test_the_same_command_again_changes_nothing(trained, tmp_path):
    again = copied(trained, tmp_path / "run")
    train(again)
    before, after = (load_file(folder / "model.safetensors") for folder in (trained, again))
    assert all(torch.equal(before[name], after[name]) for name in before)


RESAMPLED = "--timestep_sampler loss_second_moment --loss vlb --dropout 0.2 --num_timesteps 3"


@pytest.mark.parametrize(
    "more", ["", pytest.param(RESAMPLED, marks=pytest.mark.slow)], ids=["uniform", "resampled"]
)
def test_a_run_resumed_in_the_middle_ends_with_the_same_bits(trained, tmp_path, more):
    whole = trained
    if more:  # so few timesteps that the history of each fills
        whole = tmp_path / "whole"
        train(whole, more)
    resumed = copied(whole, tmp_path / "resumed")
    shutil.rmtree(resumed / "checkpoints" / "step-00000006")
    train(resumed, more, "--resume_from_checkpoint", resumed / "checkpoints" / "step-00000004")
    ends = [folder / "checkpoints" / "step-00000006" for folder in (whole, resumed)]
    for name in ("model.safetensors", "average.safetensors"):
        left, right = (load_file(end / name) for end in ends)
        assert all(torch.equal(left[key], right[key]) for key in left), name
    logged = [json.loads((end / "run.json").read_text())["history"] for end in ends]
    assert logged[0] == logged[1]
    left, right = (read_state(end / "object_0.safetensors") for end in ends)
    assert set(left) == set(right) == ({"history", "counts"} if more else set())
    assert all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.slow
def test_a_folder_of_photographs_without_classes(tmp_path):
    generator = np.random.default_rng(0)
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(12):
        pixels = generator.integers(256, size=(9 + number, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(photos / f"{number}.png")
    flags = ["--train_dir", photos, "--image_size 8 --random_flip"]
    train(tmp_path / "run", *flags, pictures=True)
    model, _ = load_folder(tmp_path / "run")
    assert model.config.num_classes is None and model.config.in_channels == 3
    content = draw(tmp_path / "run", tmp_path / "drawn", "--num_images 2")
    assert content["arr_0"].shape == (2, 8, 8, 3)


@pytest.mark.slow
def test_classes_of_an_array_file(tmp_path):
    images = np.random.default_rng(0).integers(256, size=(20, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "data.npz", images=images, labels=np.arange(20) % 2)
    process = "--prediction v_prediction --schedule cosine_zero_snr --min_snr_gamma 5"
    quality = "--num_quality_images 6 --quality_steps 2"
    train(tmp_path / "run", "--train_file", tmp_path / "data.npz", process, quality)
    model, diffusion = load_folder(tmp_path / "run")
    assert model.config.num_classes == 2
    assert float(diffusion.betas[-1]) == 1 and diffusion.min_snr_gamma == 5


@pytest.mark.slow
def test_a_saved_model_goes_on_learning(trained, tmp_path):
    go_on(tmp_path / "more", trained)
    first, second = (
        load_file(folder / "model.safetensors") for folder in (trained, tmp_path / "more")
    )
    assert first.keys() == second.keys()
    assert any(not torch.equal(first[name], second[name]) for name in first)
    card = (tmp_path / "more" / "README.md").read_text()
    assert "model_channels" not in card and "num_timesteps | 1000" not in card


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("--image_size 9 --channel_mult 1 2", "image_size"),
        ("--train_dir gone", "gone"),
        ("--validation_dir gone", "validation_dir without train_dir"),
        ("--channels 2", "channels"),
        ("--num_timesteps 1", "num_timesteps"),
        ("--norm_num_groups 3", "norm_num_groups"),
        ("--max_train_steps 0", "max_train_steps"),
        ("--schedule cosine_zero_snr", "last beta is 1"),
        ("--num_quality_images 4 --quality_steps 5 --inception_weights gone.pth", "gone.pth"),
        ("--num_quality_images 4 --quality_steps 1", "number of steps is 1; expected"),
        ("--num_quality_images -1 --quality_steps 5", "num_images is -1"),
        ("--push_to_hub", "hub_model_id"),
        ("--validation_fraction 0.9", "validation_fraction"),
        ("--label_dropout 0.1 --no-class_conditional", "label_dropout.*images with classes"),
        ("--label_dropout 1", r"label_dropout is 1\.0; expected a share"),
    ],
)
def test_train_ddpm_names_what_is_wrong_before_it_trains(tmp_path, monkeypatch, wrong, message):
    begun = []
    module = recipe("train_ddpm")
    monkeypatch.setattr(module, "train", lambda *args, **kwargs: begun.append(1))
    with pytest.raises(ValueError, match=message):
        module.main(words(SMALL, "--output_dir", tmp_path / "run", wrong))
    assert not begun


# --------------------------------------------------------------------------- settings of accelerate
@pytest.mark.parametrize(
    "path", sorted((ROOT / "recipes" / "accelerate").glob("*.yaml")), ids=lambda path: path.stem
)
def test_accelerate_reads_its_configurations(path):
    from accelerate.commands.config import load_config_from_file

    config = load_config_from_file(str(path))  # a field that it does not know is an error
    kinds = {"one_gpu": "NO", "several_gpus": "MULTI_GPU", "fsdp": "FSDP"}
    assert config.distributed_type.value == kinds[path.stem] and config.mixed_precision == "bf16"
    assert (config.num_processes == 1) == (path.stem == "one_gpu")


def test_configurations_that_are_named_are_there():
    recipes = ROOT / "recipes"
    named = {
        name
        for text in (
            *(ROOT / "docs").glob("*.md"),
            *recipes.glob("*.py"),
            *recipes.glob("*/*.yaml"),
        )
        for name in re.findall(r"recipes/accelerate/\w+\.yaml", text.read_text())
    }
    assert named and all((ROOT / name).is_file() for name in named)


# -------------------------------------------------------------------------------- several processes
def launched(name, *flags):
    ranks = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    environment = {key: value for key, value in os.environ.items() if key not in ranks}
    settings = "--cpu --num_processes 2 --num_machines 1 --mixed_precision no --dynamo_backend no"
    launcher = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"]
    done = subprocess.run(
        words(*launcher, settings, ROOT / "recipes" / f"{name}.py", *flags),
        env=environment | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.mark.slow
def test_two_processes_train_and_score_as_one(tmp_path, monkeypatch):
    from ddpm.metrics.feature_classifier import train_feature_classifier

    monkeypatch.setattr(sample_quality, "train_feature_classifier", train_feature_classifier)
    digits = load_digits()
    pixels = (digits.images[:300] * 255 / 16).astype(np.uint8)  # few: the classifier learns quickly
    np.savez(tmp_path / "digits.npz", images=pixels, labels=digits.target[:300])
    quality = "--num_quality_images 9 --quality_steps 3"
    process = "--timestep_sampler loss_second_moment --num_timesteps 3 --loss hybrid"
    common = (SMALL, quality, process, "--train_file", tmp_path / "digits.npz", "--output_dir")
    folders = [tmp_path / "one", tmp_path / "two"]
    recipe("train_ddpm").main(words(*common, folders[0]))
    launched("train_ddpm", *common, folders[1], "--per_device_train_batch_size 2")
    one, two = (load_file(folder / "model.safetensors") for folder in folders)
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-3, atol=2e-5)
    ends = [folder / "checkpoints" / "step-00000006" for folder in folders]
    assert (ends[1] / "random_1.safetensors").is_file()  # there were two
    one, two = (read_state(end / "object_0.safetensors") for end in ends)
    assert torch.equal(one["counts"], two["counts"]) and int(one["counts"].sum()) == 24
    torch.testing.assert_close(one["history"], two["history"], rtol=1e-3, atol=1e-4)
    row = r"\| (?:dd|heun|dpm)[^|]*\| 3 \| ([\d.e-]+) \|"  # of the table of FID
    one, two = (
        [float(fid) for fid in re.findall(row, (folder / "README.md").read_text())]
        for folder in folders
    )
    assert len(one) == 6 and one == pytest.approx(two, rel=0.02)


@pytest.mark.slow
def test_two_processes_draw_the_images_of_one(trained, tmp_path):
    flags = "--num_images 7 --batch_size 2"
    one = draw(trained, tmp_path / "one", flags)
    folder = tmp_path / "two"
    places = ("--model_name_or_path", trained, "--output_dir", folder)
    launched("sample_ddpm", *places, "--steps 5", flags)
    two = np.load(folder / "samples.npz")
    assert two["arr_1"].tolist() == one["arr_1"].tolist()
    difference = np.abs(one["arr_0"].astype(int) - two["arr_0"].astype(int))
    assert difference.max() <= 1  # other batches round differently
    assert len(list(folder.glob("0*.png"))) == 7
