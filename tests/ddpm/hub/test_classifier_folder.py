"""A saved classifier comes back as it was; another model's folder is refused by name."""

import json

import pytest
import torch
from PIL import Image

from ddpm.classification import AccuracyByNoise
from ddpm.diffusion import GaussianDiffusion
from ddpm.forward_process import ForwardProcess
from ddpm.hub import (
    CardFigures,
    ClassifierFigures,
    accuracy_curve,
    load_classifier,
    load_diffusion,
    load_folder,
    save_classifier,
    save_folder,
)
from ddpm.models.classifier import NoisyClassifier
from ddpm.models.configuration_classifier import ClassifierConfig
from ddpm.models.unet import UNet, UNetConfig
from ddpm.schedules import cosine_schedule, linear_schedule

SIZES = {"image_size": 8, "in_channels": 1, "model_channels": 8, "num_res_blocks": 1}
SIZES |= {"channel_mult": (1,), "attention_resolutions": (), "norm_num_groups": 4, "num_heads": 1}
NAMES = {0: "zero", 1: "one", 2: "two"}


@pytest.fixture(scope="module")
def classifier():
    torch.manual_seed(0)
    betas = linear_schedule(50).tolist()
    return NoisyClassifier(ClassifierConfig(**SIZES, num_classes=3, id2label=NAMES, betas=betas))


@pytest.fixture(scope="module")
def diffusion_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("diffusion")
    diffusion = GaussianDiffusion(cosine_schedule(10), loss="vlb")
    save_folder(folder, UNet(UNetConfig(**SIZES)), diffusion, CardFigures())
    return folder


def test_a_classifier_comes_back_with_names_and_betas_bit_for_bit(classifier, tmp_path):
    history = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0, "eval_loss": 1.5}]
    save_classifier(tmp_path, classifier, ClassifierFigures(), history)
    found = load_classifier(tmp_path)
    assert not found.training and found.dtype == torch.float32
    x = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    t = torch.tensor([0, 3, 20, 49])
    with torch.no_grad():
        assert torch.equal(found(x, t), classifier.eval()(x, t))
    betas = torch.tensor(found.config.betas, dtype=torch.float64)
    assert torch.equal(betas, linear_schedule(50))
    assert torch.equal(ForwardProcess(betas).betas, linear_schedule(50))
    assert found.config.id2label == NAMES
    files = {path.name for path in tmp_path.iterdir() if path.suffix != ".py"}
    assert files == {"config.json", "model.safetensors", "README.md", "loss_curve.png"}


def test_weights_of_another_dtype_come_back_in_float32(classifier, tmp_path):
    half = NoisyClassifier(classifier.config)
    half.load_state_dict(classifier.state_dict())
    save_classifier(tmp_path, half.bfloat16(), ClassifierFigures())
    assert load_classifier(tmp_path).dtype == torch.float32


def test_the_folder_of_a_diffusion_is_no_classifiers(classifier, diffusion_folder, tmp_path):
    message = "type 'ddpm_unet', expected 'ddpm_classifier'; load it with ddpm.hub.load_folder"
    with pytest.raises(ValueError, match=message):
        load_classifier(diffusion_folder)
    save_classifier(tmp_path, classifier, ClassifierFigures())
    message = "type 'ddpm_classifier', expected 'ddpm_unet'; load it with ddpm.hub.load_classifier"
    for load in (load_folder, load_diffusion):
        with pytest.raises(ValueError, match=message):
            load(tmp_path)


def test_folders_that_hold_no_classifier_are_named(classifier, tmp_path):
    with pytest.raises(ValueError, match=r"no model can be loaded from .*/gone"):
        load_classifier(f"{tmp_path}/gone")
    with pytest.raises(ValueError, match=r"has no config\.json"):
        load_classifier(tmp_path)
    save_classifier(tmp_path, classifier, ClassifierFigures())
    file = tmp_path / "config.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"betas": [2.0]}))
    with pytest.raises(ValueError, match=r"no model can be loaded from .*betas"):
        load_classifier(tmp_path)
    file.write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is damaged"):
        load_classifier(tmp_path)
    file.write_text(json.dumps(content))
    damaged = NoisyClassifier(classifier.config)
    damaged.pool.out.bias.data[1] = torch.nan
    damaged.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"pool\.out\.bias are not finite"):
        load_classifier(tmp_path)


def test_a_diffusion_is_read_without_its_weights(diffusion_folder, monkeypatch):
    model, expected = load_folder(diffusion_folder)
    monkeypatch.setattr(UNet, "from_pretrained", None)
    config, diffusion = load_diffusion(diffusion_folder)
    assert config.to_diff_dict() == model.config.to_diff_dict()
    assert torch.equal(diffusion.betas, expected.betas) and diffusion.loss == "vlb"


@pytest.mark.parametrize("num_classes", [2, 10])
def test_the_curve_is_a_picture(num_classes, tmp_path):
    falling = [1 - place / 25 for place in range(20)]
    named = dict.fromkeys(("accuracy", "cross_entropy", "top5_accuracy"), falling)
    clean = {"clean_accuracy": 1.0, "clean_cross_entropy": 0.0, "clean_top5_accuracy": 1.0}
    counts = {"num_timesteps": 1000, "num_classes": num_classes, "num_images": 9}
    (tmp_path / "accuracy.png").write_bytes(
        accuracy_curve(AccuracyByNoise(**counts, **named, **clean))
    )
    with Image.open(tmp_path / "accuracy.png") as picture:
        assert picture.format == "PNG" and min(picture.size) > 400
