"""The recipe of guided samples as a user runs it, what it measures, and the page that it writes."""

import itertools
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

import ddpm
from ddpm.evaluation import SampleEvaluation, guided_grids, guided_quality, quality_by_scale
from ddpm.hub import CardFigures, ClassifierFigures, load_folder, save_classifier, save_folder
from ddpm.hub.guidance_report import guidance_curves, guidance_report, guidance_table
from ddpm.metrics import FeatureExtractor

from .command_line import recipe

pytestmark = pytest.mark.usefixtures("data_cache")

SIZES = {"image_size": 8, "in_channels": 1, "model_channels": 8, "num_res_blocks": 1}
SIZES |= {"channel_mult": (1, 2), "attention_resolutions": (4,), "norm_num_groups": 4}
SIZES |= {"num_head_channels": 8, "num_classes": 3}
DIFFUSION = ddpm.GaussianDiffusion(ddpm.cosine_schedule(20))
FIGURES = {"fid": 1.0, "precision": 0.5, "recall": 0.25, "accuracy": 0.75}
CURVES = {
    "classifier": {0.0: FIGURES, 1.0: FIGURES | {"fid": 0.5}, 10.0: FIGURES | {"fid": 2.0}},
    "auto": {1.0: FIGURES | {"fid": 0.125}},
}


def network(seed=0, **changes):
    torch.manual_seed(seed)
    model = ddpm.UNet(ddpm.UNetConfig(**(SIZES | {"null_class": True} | changes)))
    for parameter in model.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, 0.0, 0.05)
    return model


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A model, a weaker one, a classifier, and 60 digits of three classes."""
    top = tmp_path_factory.mktemp("guided")
    names = ["0", "1", "2"]
    for number, name in enumerate(("model", "weaker")):
        save_folder(top / name, network(number), DIFFUSION, CardFigures(class_names=names))
    betas = DIFFUSION.betas.tolist()
    config = ddpm.ClassifierConfig(**SIZES, betas=betas, id2label=dict(enumerate(names)))
    save_classifier(top / "classifier", ddpm.NoisyClassifier(config), ClassifierFigures())
    digits = load_digits(n_class=3)
    pixels = (digits.images[:60] * 15.9).astype(np.uint8)
    np.savez(top / "digits.npz", images=pixels, labels=digits.target[:60])
    return top


class Digits(list):
    """Images of three classes that differ in brightness, as a data set gives them."""

    def __init__(self, count):
        pixels = torch.arange(count) % 3
        images = (pixels * 100).to(torch.uint8).view(-1, 1, 1, 1).expand(count, 1, 8, 8)
        noise = torch.randint(0, 40, images.shape, generator=torch.Generator().manual_seed(0))
        images = images + noise.to(torch.uint8)
        super().__init__(
            {"images": image, "labels": label} for image, label in zip(images, pixels, strict=True)
        )


def by_brightness(images):
    """Features, and the class that an image's mean says."""
    means = images.flatten(1).mean(1, keepdim=True)
    centres = torch.tensor([[20, 120, 220]]) / 127.5 - 1
    return torch.cat((means, means**2), 1), (-50 * (means - centres) ** 2).softmax(1)


def test_quality_and_accuracy_are_of_the_samples_that_sample_draws():
    extractor = FeatureExtractor("brightness", by_brightness)
    evaluation = SampleEvaluation(Digits(30), extractor, 24, batch_size=10, seed=3)
    model = network()
    guide = ddpm.classifier_free_guidance(3.0)
    options = {"sampler": "ddim", "steps": 4}
    found = guided_quality(evaluation, model, DIFFUSION, guide, **options)
    labels = torch.arange(24) % 3
    images = ddpm.sample(
        model, (24, 1, 8, 8), DIFFUSION, labels=labels, guidance=guide, seed=3, **options
    )
    hits = by_brightness(images)[1].argmax(1) == labels
    assert found.accuracy == pytest.approx(float(hits.double().mean()), abs=1 / 24)
    assert found.quality.num_images == 24
    plain = guided_quality(evaluation, model, DIFFUSION, None, **options)
    assert plain.quality.fid != found.quality.fid
    assert found.as_dict().keys() == {"fid", "precision", "recall", "accuracy"}


def test_what_has_no_classes_is_refused():
    evaluation = SampleEvaluation(
        Digits(30), FeatureExtractor("means", lambda x: x.mean((2, 3))), 12
    )
    with pytest.raises(ValueError, match="the extractor has no classes"):
        guided_quality(evaluation, network(), DIFFUSION, None, steps=2)
    evaluation.labels = None
    with pytest.raises(ValueError, match="no labels"):
        guided_quality(evaluation, network(), DIFFUSION, None, steps=2)


def test_curves_ask_for_every_scale_of_every_guide():
    asked = []

    def measure(guidance):
        asked.append(guidance)
        return type("Found", (), {"as_dict": lambda self: FIGURES})()

    guides = {"a": lambda scale: ("a", scale), "b": lambda scale: scale}
    assert quality_by_scale(measure, guides, {"a": (0.0, 2.0), "b": (1.0,)}) == {
        "a": {0.0: FIGURES, 2.0: FIGURES},
        "b": {1.0: FIGURES},
    }
    assert asked == [("a", 0.0), ("a", 2.0), 1.0]


def test_grids_are_of_the_same_noise_class_by_class():
    guides = {"off": ddpm.classifier_free_guidance(1.0), "on": ddpm.classifier_free_guidance(4.0)}
    grids = guided_grids(network(), DIFFUSION, guides, each=2, seed=1)
    assert len(grids) == 2
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    for (name, cells), (sampler, steps) in zip(
        grids.items(), (("ddpm", 20), ("ddim", 20)), strict=True
    ):
        options = {"sampler": sampler, "steps": steps, "seed": 1, "labels": labels}
        expected = ddpm.sample(network(), (6, 1, 8, 8), DIFFUSION, **options)
        assert torch.equal(cells["off"], expected), name
        assert not torch.equal(cells["on"], expected)


def test_the_page_holds_every_figure_and_marks_each_best_fid():
    table = guidance_table(CURVES)
    assert table.count("**") == 4 and "**0.5**" in table and "**0.125**" in table
    page = guidance_report(CURVES, {"Seed": 7}, ["scales.png", "curves.png"])
    assert table in page and "](scales.png)" in page and "Seed" in page and "7" in page
    content = guidance_curves(CURVES)
    assert content.startswith(b"\x89PNG")
    for nothing in ({}, {"classifier": {}}):
        with pytest.raises(ValueError, match="the curves are"):
            guidance_curves(nothing)


def test_the_recipe_writes_pictures_and_a_page(folders, tmp_path, capsys, monkeypatch):
    module = recipe("guided_samples")
    monkeypatch.setattr(module, "SHOWN", (0.0, 2.0))
    scales = {"classifier": (0.0, 2.0), "classifier-free": (0.0, 1.0), "auto": (1.0, 2.0)}
    monkeypatch.setattr(module, "SCALES", scales)
    names = itertools.chain.from_iterable(
        (f"--{name}_name_or_path", str(folders / name))
        for name in ("model", "classifier", "weaker")
    )
    flags = ["--train_file", str(folders / "digits.npz"), "--output_dir", str(tmp_path)]
    module.main([*names, *flags, "--num_images", "12", "--steps", "3"])
    assert "Saved in" in capsys.readouterr().out
    page = (tmp_path / "README.md").read_text()
    for name, wanted in scales.items():
        for scale in wanted:
            assert f"| {name} | {scale:g} |" in page
    for picture in ("scales.png", "function.png", "curves.png"):
        assert picture in page
        with Image.open(tmp_path / picture) as opened:
            assert min(opened.size) > 300
    # scale 0 and the null class alone are the network without labels, whatever steers
    rows = {
        tuple(row.split("|")[1:3]): row.split("|")[3:] for row in page.splitlines() if "|" in row
    }
    plain = {key: [cell.strip(" *") for cell in row] for key, row in rows.items()}
    assert plain[" classifier ", " 0 "] == plain[" classifier-free ", " 0 "]
    assert plain[" classifier-free ", " 1 "] == plain[" auto ", " 1 "]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--steps foo", "foo"),
        ("--steps 500", "500"),
        ("--num_images 0", "num_images"),
        ("--num_images -3", "num_images"),
        ("--num_images 3", "num_images is 3; expected an integer of at least 4"),
    ],
)
def test_wrong_flags_are_found_before_anything_is_trained_or_drawn(
    folders, tmp_path, monkeypatch, flags, message
):
    module = recipe("guided_samples")
    monkeypatch.setattr(module, "guided_grids", lambda *args, **options: pytest.fail("drawn"))
    monkeypatch.setattr(module.subprocess, "run", lambda *args, **options: pytest.fail("trained"))
    place = ["--output_dir", str(tmp_path)]
    if flags != "--steps 500":  # which digits have
        with pytest.raises(ValueError, match=message):
            module.main([*flags.split(), *place])
    names = [
        word
        for name in ("model", "classifier", "weaker")
        for word in (f"--{name}_name_or_path", str(folders / name))
    ]
    data = ["--train_file", str(folders / "digits.npz")]
    with pytest.raises(ValueError, match=message):
        module.main([*names, *data, *flags.split(), *place])


def test_some_of_the_models_are_not_enough(folders, tmp_path):
    place = ["--output_dir", str(tmp_path)]
    model = ["--model_name_or_path", str(folders / "model")]
    for flags in (model, ["--train_file", "x.npz"], ["--image_size", "4"], ["--channels", "3"]):
        with pytest.raises(ValueError, match="got some of model, classifier"):
            recipe("guided_samples").main([*flags, *place])


def test_models_of_digits_are_trained_once(tmp_path, monkeypatch):
    module = recipe("guided_samples")
    run = []

    def fake(command, check):
        run.append([str(word) for word in command[1:]])
        folder = Path(run[-1][run[-1].index("--output_dir") + 1])
        folder.mkdir(parents=True)
        (folder / "model.safetensors").touch()

    monkeypatch.setattr(module.subprocess, "run", fake)
    args = module.parse_args(["--output_dir", str(tmp_path / "guided")])
    names = module.names_of_models(args)
    assert [Path(name).name for name in names] == ["model", "classifier", "weaker"]
    recipes = [Path(words[0]).name for words in run]
    assert recipes == ["train_ddpm.py", "train_ddpm.py", "train_classifier.py"]
    assert names[0] in run[2]  # the classifier's noise is the model's
    assert module.names_of_models(args) == names and len(run) == 3
    # what it runs exists, with these flags
    for words in run:
        other = recipe(Path(words[0]).stem)
        assert other.parse_args(words[1:]).output_dir.startswith(str(tmp_path))


def test_the_guide_that_is_no_classifier_sets_the_mean(folders):
    model, diffusion = load_folder(folders / "model")
    labels = torch.arange(6) % 3
    draw = partial(ddpm.sample, model, (6, 1, 8, 8), diffusion, labels=labels, seed=0)
    means = [
        float(draw(guidance=recipe("guided_samples").by_mean(mean)).mean())
        for mean in (-0.5, 0.0, 0.5)
    ]
    assert means[0] < means[1] - 0.1 < means[2] - 0.2
