"""Saved image networks predict and draw, bit for bit, where the package cannot be imported."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ddpm import GaussianDiffusion, NoisyClassifier, UNet, cosine_schedule, linear_schedule
from ddpm.hub import CardFigures, ClassifierFigures, load_folder, save_classifier, save_folder

from .ddpm import without_package
from .ddpm.models.conftest import TINY

PROGRAM = Path(without_package.__file__)
COMMIT = "0123456789abcdef0123456789abcdef01234567"
NETWORKS = {
    "unconditional": (UNet, {}),
    "fixed variance, v": (UNet, {"learn_sigma": False}),
    "with-classes 1.0": (UNet, {"num_classes": 3, "null_class": True}),
    "2_upsampler.of-4": (UNet, {"low_resolution": 4, "noise_augmentation": True}),
    "classifier": (NoisyClassifier, {"num_classes": 3, "betas": linear_schedule(50).tolist()}),
}


def network(model_class, changes):
    model = model_class(model_class.config_class(**TINY | changes)).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            scale = 0.3 if parameter.ndim == 1 else parameter[0].numel() ** -0.5
            parameter.normal_(0, scale, generator=generator)
    return model


def saved(folder, name):
    model = network(*NETWORKS[name])
    if isinstance(model, NoisyClassifier):
        save_classifier(folder, model, ClassifierFigures())
        return model
    v = {"prediction": "v_prediction", "variance": "fixed_large", "loss": "simple"}
    other = "fixed" in name
    betas = cosine_schedule(60) if other else linear_schedule(50)
    diffusion = GaussianDiffusion(betas, **(v if other else {}))
    save_folder(folder, model, diffusion, CardFigures())
    return load_folder(folder)[0]


def as_repository(folder, home, name):
    """Lays a folder into the Hub's cache, as if it had been downloaded."""
    place = home / "hub" / f"models--{name.replace('/', '--')}"
    shutil.copytree(folder, place / "snapshots" / COMMIT)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(COMMIT)


@pytest.mark.slow  # an interpreter
def test_networks_give_the_same_where_the_package_is_not(tmp_path):
    models = {name: saved(tmp_path / name, name) for name in NETWORKS}
    expected = {
        str(tmp_path / name): without_package.answers(model) for name, model in models.items()
    }
    as_repository(tmp_path / "with-classes 1.0", tmp_path / "home", "me/digits.v1")
    expected["me/digits.v1"] = expected[str(tmp_path / "with-classes 1.0")]
    names = list(expected)
    steered = without_package.answers(models["with-classes 1.0"], models["classifier"])
    (tmp_path / "answers.json").write_text(json.dumps(expected | {"steered": steered}))
    environment = os.environ | {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    environment |= {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    done = subprocess.run(
        [sys.executable, "-I", PROGRAM, tmp_path, *names],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split()[-1] == str(len(names))
