"""A trained folder tells no local path, whichever flag held it."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm.diffusion import GaussianDiffusion
from ddpm.hub import CardFigures, folder, save_folder
from ddpm.metrics.inception import FIDInception
from ddpm.models.unet import UNet, UNetConfig
from ddpm.schedules import cosine_schedule

from .command_line import recipe as load

ROOT = Path(__file__).parent.parent
NETWORK = {"image_size": 8, "in_channels": 1, "model_channels": 8, "num_res_blocks": 1}
NETWORK |= {"channel_mult": (1,), "attention_resolutions": (), "norm_num_groups": 4}
STEPS = "--max_train_steps 2 --per_device_train_batch_size 2 --checkpointing_steps 1"
FIGURES = "--max_eval_images 2 --num_quality_images 4 --quality_steps 2 --validation_fraction 0.5"

# what a flag with a text may hold: a place on this machine, or words
PLACES = {
    "dataset_name",
    "train_dir",
    "validation_dir",
    "train_file",
    "validation_file",
    "output_dir",
    "resume_from_checkpoint",
    "model_name_or_path",
    "inception_weights",
}
WORDS = {
    "dataset_config_name",
    "image_column",
    "label_column",
    "preset",
    "lr_scheduler_type",
    "mixed_precision",
    "report_to",
    "quality_steps",
    "hub_model_id",
    "license",
    "language",
    "tracker_project_name",
    "run_name",
}


@pytest.fixture(scope="module")
def recipe():
    return load("train_ddpm")


def features(model, images):
    return images.flatten(1)[:, :4].float(), torch.full((len(images), 2), 0.5)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with data, weights and a model, deep below names that nobody is to read."""
    home = tmp_path_factory.mktemp("kept-to-oneself") / "of-one-person" / "work-of-today"
    pixels = np.random.default_rng(0).integers(256, size=(12, 8, 8), dtype=np.uint8)
    labels = np.arange(12) % 2
    for number, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        sketches = home / "train_dir-place" / "sketches" / str(label)
        sketches.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(sketches / f"{number}.png")
    for name in ("train_file", "validation_file"):
        (home / f"{name}-place").mkdir()
        np.savez(home / f"{name}-place" / "pixels.npz", images=pixels, labels=labels)
    shutil.copytree(home / "train_dir-place", home / "validation_dir-place")
    save_table(home / "dataset_name-place" / "drawings", home / "train_dir-place" / "sketches")
    (home / "inception_weights-place").mkdir()
    torch.save(FIDInception().state_dict(), home / "inception_weights-place" / "weights.pth")
    model = UNet(UNetConfig(**NETWORK, num_classes=2))
    diffusion = GaussianDiffusion(cosine_schedule(10))
    save_folder(home / "model_name_or_path-place" / "first", model, diffusion, CardFigures())
    return home


def save_table(place, images):
    from datasets import ClassLabel, Dataset, Features
    from datasets import Image as ImageFeature

    paths = sorted(images.rglob("*.png"))
    columns = {
        "picture": [str(path) for path in paths],
        "kind": [int(path.parent.name) for path in paths],
    }
    types = Features({"picture": ImageFeature(), "kind": ClassLabel(names=["0", "1"])})
    Dataset.from_dict(columns, features=types).save_to_disk(place)


DATA = [
    {"train_dir": "train_dir-place/sketches", "validation_dir": "validation_dir-place/sketches"},
    {
        "train_file": "train_file-place/pixels.npz",
        "validation_file": "validation_file-place/pixels.npz",
    },
    {"dataset_name": "dataset_name-place/drawings"},
]
EVERYWHERE = {
    "output_dir": "output_dir-place/run",
    "model_name_or_path": "model_name_or_path-place/first",
    "inception_weights": "inception_weights-place/weights.pth",
}
AGAIN = "output_dir-place/run/checkpoints/step-00000001"


def test_every_flag_with_a_text_is_one_or_the_other(recipe):
    args = vars(recipe.parse_args([]))
    free = {name for name, value in args.items() if value is None or isinstance(value, (str, list))}
    numbers = {"image_size", "channels", "channel_mult", "attention_resolutions", "num_heads"}
    numbers |= {"min_snr_gamma"}
    choices = {
        "labels",
        "attention_order",
        "schedule",
        "prediction",
        "variance",
        "loss",
        "timestep_sampler",
        "quality_samplers",
    }
    others = {"class_conditional", "command_words"}
    assert free - numbers - choices - others == PLACES | WORDS


@pytest.mark.slow
@pytest.mark.parametrize("data", DATA, ids=lambda data: next(iter(data)))
def test_no_file_tells_where_things_lie(recipe, home, tmp_path, monkeypatch, data):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(FIDInception, "forward", features)
    monkeypatch.setattr(recipe, "sample_grids", lambda *args, **options: ())
    monkeypatch.setattr(recipe, "pictures_of", dict)
    monkeypatch.setattr(folder, "loss_curve", lambda history: b"")
    shutil.rmtree(home / "output_dir-place", ignore_errors=True)  # of the data before
    told_to(recipe, home, monkeypatch, data, separator=" ")
    told_to(recipe, home, monkeypatch, data | {"resume_from_checkpoint": AGAIN}, separator="=")


def told_to(recipe, home, monkeypatch, places, separator):
    """Runs the recipe as a program, and reads all texts that it saves."""
    flags = {f"--{name}": home / place for name, place in (places | EVERYWHERE).items()}
    words = [word for pair in flags.items() for word in separator.join(map(str, pair)).split()]
    settings = f"{STEPS} {FIGURES} --quality_samplers ddim".split()
    monkeypatch.setattr(sys, "argv", [recipe.__file__, *settings, *words])
    recipe.main()
    run = home / EVERYWHERE["output_dir"]
    texts = {path.name: path.read_text() for path in (*run.glob("*.md"), *run.glob("*.json"))}
    assert {"README.md", "config.json", "diffusion_config.json"} <= set(texts)
    hidden = {*home.parts[1:], str(ROOT), *(f"{name}-place" for name in PLACES)}
    assert [(name, part) for name in texts for part in hidden if part in texts[name]] == []
    for flag, path in flags.items():  # but what was typed can be typed again
        assert f"{flag} {path.name}" in texts["README.md"]
