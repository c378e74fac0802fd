"""The classifier's recipe as a user runs it, and that it knows less of more noise."""

import json
import re
import shutil
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoModel

import ddpm
from ddpm.hub import CardFigures, load_classifier, save_folder

from .command_line import recipe, words

pytestmark = pytest.mark.usefixtures("data_cache")

NETWORK = "--model_channels 8 --num_res_blocks 1 --norm_num_groups 4 --num_head_channels 8"
STEPS = "--max_train_steps 6 --per_device_train_batch_size 4 --logging_steps 2 --eval_steps 3"
STEPS += " --max_eval_images 12 --checkpointing_steps 2"
AUGMENTED = "--random_crop --random_flip"
PROCESS = "--schedule linear --num_timesteps 40"
SIZES = {"image_size": 8, "in_channels": 1, "model_channels": 8, "num_res_blocks": 1}
SIZES |= {"channel_mult": (1,), "attention_resolutions": (), "norm_num_groups": 4, "num_heads": 1}
NAMES = [str(digit) for digit in range(10)]


def train(folder, *more, process=PROCESS):
    recipe("train_classifier").main(words(NETWORK, STEPS, process, "--output_dir", folder, *more))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on the digits; to be copied before it is changed."""
    folder = tmp_path_factory.mktemp("digits") / "run"
    train(folder, AUGMENTED)
    return folder


@pytest.fixture(scope="module")
def diffusion(tmp_path_factory):
    """(changes of the network, class names) -> the folder of a diffusion model."""

    def save(names=NAMES, **changes):
        folder = tmp_path_factory.mktemp("diffusion")
        config = ddpm.UNetConfig(**(SIZES | {"num_classes": 10} | changes))
        process = ddpm.GaussianDiffusion(ddpm.cosine_schedule(30))
        save_folder(folder, ddpm.UNet(config), process, CardFigures(class_names=names))
        return folder

    return save


def test_it_leaves_a_classifier_with_its_card_and_curves(trained):
    there = {path.name for path in trained.iterdir() if not path.name.startswith(".")}
    there = {name for name in there if not name.endswith(".py")}  # the code, tested elsewhere
    pictures = {"accuracy.png", "loss_curve.png"}
    assert there == {"config.json", "model.safetensors", "README.md", "checkpoints", *pictures}
    classifier = load_classifier(trained)
    assert isinstance(AutoModel.from_pretrained(trained), ddpm.NoisyClassifier)
    betas = torch.tensor(classifier.config.betas, dtype=torch.float64)
    assert torch.equal(betas, ddpm.linear_schedule(40))
    assert list(classifier.config.id2label.values()) == NAMES
    card = (trained / "README.md").read_text()
    assert len(re.findall(r"^\| t in \[[\d., ]+\) \| [\d.]+ % \|", card, re.MULTILINE)) == 4
    assert "12 images of held-out part of scikit-learn digits" in card
    for name in pictures:
        assert f"]({name})" in card
        with Image.open(trained / name) as picture:
            assert min(picture.size) > 200
    last = json.loads((trained / "checkpoints" / "step-00000006" / "run.json").read_text())
    evaluated = [row for row in last["history"] if "eval_loss" in row]
    assert [row["step"] for row in evaluated] == [3, 6]
    assert all(f"eval_accuracy_q{quarter}" in evaluated[0] for quarter in (1, 2, 3, 4))


def test_the_saved_logits_are_those_of_the_averaged_weights(trained):
    average = load_file(trained / "checkpoints" / "step-00000006" / "average.safetensors")
    classifier = load_classifier(trained)
    again = ddpm.NoisyClassifier(classifier.config).eval()
    for place, weight in enumerate(again.parameters()):
        weight.data = average[str(place)]
    x = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([0, 20, 39])
    with torch.no_grad():
        assert torch.equal(classifier(x, t), again(x, t))


def test_a_run_resumed_in_the_middle_ends_with_the_same_bits(trained, tmp_path):
    resumed = shutil.copytree(trained, tmp_path / "resumed")
    shutil.rmtree(resumed / "checkpoints" / "step-00000006")
    train(resumed, AUGMENTED)
    for name in ("model.safetensors", "average.safetensors"):
        left, right = (
            load_file(folder / "checkpoints" / "step-00000006" / name)
            for folder in (trained, resumed)
        )
        assert all(torch.equal(left[key], right[key]) for key in left), name


@pytest.mark.parametrize(
    "other", ["--no-noised", "--no-random_crop", "--weight_decay 0.2", "--schedule cosine"]
)
def test_a_finished_run_is_not_told_of_as_another_one(trained, tmp_path, other):
    folder = shutil.copytree(trained, tmp_path / "run")
    with pytest.raises(ValueError, match="output_dir"):
        train(folder, AUGMENTED, other)


def test_it_learns_the_noise_of_a_diffusion_and_guides_it(diffusion, tmp_path):
    folder = diffusion()
    train(tmp_path / "run", "--diffusion_name_or_path", folder, process="")
    classifier = load_classifier(tmp_path / "run")
    model, process = ddpm.load_folder(folder)
    assert classifier.config.betas == tuple(process.betas.tolist())
    guidance = ddpm.classifier_guidance(classifier, torch.tensor([3, 4]), scale=2.0)
    options = {"labels": torch.tensor([3, 4]), "sampler": "ddim", "steps": 4, "seed": 0}
    guided, plain = (
        ddpm.sample(model, (2, 1, 8, 8), process, guidance=each, **options)
        for each in (guidance, None)
    )
    assert guided.isfinite().all() and not torch.equal(guided, plain)
    card = (tmp_path / "run" / "README.md").read_text()
    assert f'load_folder("{folder.name}")' in card and str(folder.parent) not in card
    assert "| schedule |" not in card  # a flag that was not followed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 16}, "makes images of 16 pixels and 1 channel.* have 8 and 1"),
        ({"in_channels": 3}, "makes images of 8 pixels and 3 channel.* have 8 and 1"),
        ({"num_classes": 3, "names": NAMES[:3]}, r"has the classes \['0', '1', '2'\], and the"),
        ({"names": NAMES[::-1]}, r"has the classes \['9', .* and the data \['0'"),
    ],
)
def test_a_diffusion_of_other_images_is_refused(diffusion, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        train(tmp_path / "run", "--diffusion_name_or_path", diffusion(**changes), process="")
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("--no-class_conditional", "the data has no classes"),
        ("--preset 64x64_classifier", "got .*--model_channels.* and a preset"),
        ("--diffusion_name_or_path ./gone", "got --schedule --num_timesteps and a diffusion_name"),
        ("--push_to_hub", "hub_model_id"),
        ("--max_eval_images 0", "max_images is 0"),
        ("--num_timesteps 1", "num_timesteps"),
    ],
)
def test_what_is_wrong_is_named_before_it_trains(tmp_path, monkeypatch, wrong, message):
    begun = []
    module = recipe("train_classifier")
    monkeypatch.setattr(module, "train", lambda *args, **kwargs: begun.append(1))
    with pytest.raises(ValueError, match=message):
        module.main(words(NETWORK, STEPS, PROCESS, "--output_dir", tmp_path / "run", wrong))
    assert not begun


def test_one_class_is_none_to_tell_apart(tmp_path):
    images = np.zeros((20, 8, 8), np.uint8)
    np.savez(tmp_path / "one.npz", images=images, labels=np.zeros(20, np.int64))
    with pytest.raises(ValueError, match="1 classes; expected two or more"):
        train(tmp_path / "run", "--train_file", tmp_path / "one.npz")


@pytest.mark.slow
def test_accuracy_falls_with_the_noise_to_chance(tmp_path):
    flags = "--model_channels 16 --num_res_blocks 1 --norm_num_groups 8 --num_head_channels 16"
    flags += " --max_train_steps 300 --learning_rate 2e-3 --eval_steps 300"
    recipe("train_classifier").main(words(flags, "--output_dir", tmp_path / "run"))
    run = json.loads((tmp_path / "run" / "checkpoints/step-00000300/run.json").read_text())
    found = run["history"][-1]
    quarters = [found[f"eval_accuracy_q{quarter}"] for quarter in (1, 2, 3, 4)]
    assert found["eval_accuracy_clean"] > 0.95 and quarters[0] > 0.93
    assert quarters == sorted(quarters, reverse=True)
    images = ddpm.data.load_images()["validation"]
    process = ddpm.forward_process.ForwardProcess(ddpm.cosine_schedule(1000))
    evaluation = ddpm.evaluation.ClassifierEvaluation(images, process, num_classes=10)
    curve = evaluation.by_noise(load_classifier(tmp_path / "run")).accuracy
    error = (0.1 * 0.9 / len(images)) ** 0.5
    assert abs(curve[-1] - 0.1) < 4 * error  # nothing of the image is left
    assert all(later < earlier + 3 * 0.04 for earlier, later in pairwise(curve))
