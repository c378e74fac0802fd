"""The card of an image model says what it is told, in Markdown and YAML that the Hub reads back."""

import ast
import math
import re
from dataclasses import fields, replace

import pytest
from huggingface_hub import ModelCard

import ddpm.hub
from ardm.training.card_parts import RunFigures
from ddpm.diffusion import GaussianDiffusion
from ddpm.hub.card_figures import (
    CardFigures,
    Likelihood,
    SampleQuality,
    model_facts,
    quality_facts,
)
from ddpm.hub.cards import model_card
from ddpm.metrics import ImageQuality
from ddpm.models.unet import UNet, UNetConfig
from ddpm.schedules import cosine_schedule

FULL = CardFigures(
    model_name="me/digits",
    num_parameters=1_234_567,
    image_size=8,
    num_channels=1,
    training_data="scikit-learn digits",
    datasets=["me/data"],
    class_names=["zero", "one|two", "<three>"],
    num_images=1618,
    diffusion={"schedule": "cosine", "variance": "learned_range"},
    hyperparameters={"learning_rate": 0.0003, "a|b": "c\nd"},
    command="accelerate launch recipes/train_ddpm.py",
    seed=0,
    machine="2 CPU cores",
    date="2022-04-25",
    wall_clock_seconds=150.2,
    likelihood=Likelihood(
        dataset="held-out digits", num_images=179, bits_per_dim=3.14159, standard_error=0.0123
    ),
    quality=[
        SampleQuality(sampler="ddpm", steps=250, fid=3.4567, recall=0.5),
        SampleQuality(sampler="ddim", steps=50, fid=2.9, recall=None),
    ],
    num_generated=5000,
    num_real=1618,
    extractor="digits-cnn",
    quality_seed=0,
    pictures=["samples.png", "steps.png"],
    loss_curve="loss_curve.png",
    limitations="Small and grey.",
)


TOLD = [
    "# me/digits",
    "Parameters: 1,234,567",
    "8 x 8 pixels, grey",
    "Classes: 3",
    "scikit-learn digits",
    "1,618 images.",
    "| 1 | one\\|two |",
    "| 2 | &lt;three> |",
    "| schedule | cosine |",
    "| learning_rate | 0.0003 |",
    "| a\\|b | c d |",
    "recipes/train_ddpm.py",
    "Seed: 0",
    "Machine: 2 CPU cores",
    "Date: 2022-04-25",
    "Wall-clock: 2 min 30 s",
    "**3.1416 ± 0.0123**",
    "179 images of held-out digits",
    "| Sampler | Steps | FID | recall |",
    "| ddpm | 250 | 3.457 | 0.5 |",
    "| ddim | 50 | 2.9 |  |",
    "Generated images: 5,000 a row",
    "Real images: 1,618",
    "Features: digits-cnn",
    "Seed of the samples: 0",
    "](samples.png)",
    "](steps.png)",
    "](loss_curve.png)",
    "Small and grey.",
    "arxiv.org/abs/2105.05233",
    "dhariwal2021diffusion",
    "- torch: ",
    'load_folder("me/digits")',
    "(16, 1, 8, 8)",
    'AutoModel.from_pretrained("me/digits", trust_remote_code=True)',
    'model.sample(16, sampler="ddim", steps=50, labels=labels)',
    "labels=labels",
    "% 3",
]


def test_front_matter_is_read_back():
    data = ModelCard(model_card(FULL)).data
    assert (data.library_name, data.license) == ("transformers", "apache-2.0")
    assert data.pipeline_tag == "unconditional-image-generation"
    tags = ["ddpm", "diffusion", "image-generation", "class-conditional", "custom_code"]
    assert data.tags == tags
    assert data.datasets == ["me/data"]
    assert [(r.metric_type, r.metric_value) for r in data.eval_results] == [
        ("bits_per_dim", 3.14159),
        ("fid", 2.9),
    ]
    assert data.eval_results[0].metric_args == {"standard_error": 0.0123}
    assert ModelCard(model_card(replace(FULL, class_names=None))).data.tags == [
        "ddpm",
        "diffusion",
        "image-generation",
        "custom_code",
    ]


def test_card_says_all_it_was_told():
    card = model_card(FULL)
    for told in TOLD:
        assert told in card, told
    assert "KID" not in card and "precision" not in card


def test_card_that_knows_nothing_invents_nothing():
    card = model_card(CardFigures())
    assert ModelCard(card).data.eval_results is None
    for absent in (
        "None",
        "Seed",
        "Parameters",
        "## Training",
        "## Evaluation",
        "## Limitations",
        "![",
        "±",
        "labels",
    ):
        assert absent not in card, absent


@pytest.mark.parametrize(
    "figures", [FULL, CardFigures(), CardFigures(image_size=64, num_channels=3)]
)
def test_code_of_the_card_is_python(figures):
    code, alone = re.findall(r"```python\n(.*?)```", model_card(figures), re.DOTALL)
    imported = {
        alias.name
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == {"sample", "load_folder", "image_grid"}
    assert "from ddpm.hub import image_grid, load_folder\n" in code
    assert {"image_grid", "load_folder"} <= set(ddpm.hub.__all__)
    assert "ddpm" not in alone and "trust_remote_code=True" in alone
    ast.parse(alone)


def test_labels_that_were_dropped_are_told_and_what_they_are_for():
    card = model_card(replace(FULL, null_class=True, label_dropout=0.15))
    assert "Labels dropped in training, at random: 15 %." in card
    assert "from ddpm import classifier_free_guidance, sample\n" in card
    assert "guidance = classifier_free_guidance(2.0)\n" in card and "guidance=guidance)" in card
    assert "dropped" not in model_card(FULL) and "guidance" not in model_card(FULL)


@pytest.mark.parametrize(("count", "folded"), [(20, False), (21, True)])
def test_many_classes_are_folded_away(count, folded):
    card = model_card(CardFigures(class_names=[f"class {k}" for k in range(count)]))
    assert ("<details>" in card) is folded and f"| {count - 1} | class {count - 1} |" in card


def test_every_row_of_a_table_has_the_columns_of_its_head():
    for block in re.findall(r"(?:^\|.*\n)+", model_card(FULL), re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1


def test_what_every_card_says_is_said_by_this_one():
    assert issubclass(CardFigures, RunFigures)
    assert not CardFigures.__annotations__.keys() & {field.name for field in fields(RunFigures)}


def test_a_likelihood_is_what_the_evaluation_found():
    found = {"eval_loss": 0.5, "bits_per_dim": 3.5, "bits_per_dim_standard_error": 0.25}
    expected = Likelihood(dataset="x", num_images=7, bits_per_dim=3.5, standard_error=0.25)
    assert Likelihood.of("x", 7, found) == expected
    assert Likelihood.of("/home/me/x", 7, found) == expected


def test_an_unknown_error_is_not_explained():
    told = Likelihood(dataset="x", num_images=1, bits_per_dim=3.5, standard_error=math.nan)
    assert "± is one standard error" in model_card(FULL)
    card = model_card(replace(FULL, likelihood=told))
    assert "of a single sample" in card and "standard error" not in card


def quality(**changes):
    figures = {"fid": 1.5, "kid": 0.25, "precision": 0.5, "recall": None, "kid_standard_error": 0.1}
    about = {"num_images": 12, "num_reference": 30, "num_kept": None, "extractor": "f", "seed": 4}
    return ImageQuality(**(figures | about | {"inception_score": None} | changes))


def test_facts_of_the_quality_are_those_of_the_evaluation():
    facts = quality_facts([("ddim", "ddim5", quality()), ("heun", 10, quality(fid=math.pi))])
    rows = facts.pop("quality")
    assert [(row.sampler, row.steps, row.fid) for row in rows] == [
        ("ddim", "ddim5", 1.5),
        ("heun", 10, math.pi),
    ]
    assert (rows[0].kid, rows[0].precision, rows[0].recall) == (0.25, 0.5, None)
    card = model_card(CardFigures(quality=rows))
    assert "| ddim | ddim5 | 1.5 | 0.25 ± 0.1 | 0.5 |" in card and "± is one standard" in card
    assert facts == {"num_generated": 12, "num_real": 30, "extractor": "f", "quality_seed": 4}
    CardFigures(quality=rows, **facts)
    assert quality_facts([]) == {}


def test_facts_of_the_model_are_its_own():
    sizes = {"image_size": 8, "in_channels": 1, "model_channels": 8, "num_res_blocks": 1}
    levels = {"channel_mult": (1,), "attention_resolutions": (), "norm_num_groups": 4}
    network = UNet(UNetConfig(**sizes, **levels, num_heads=1))
    diffusion = GaussianDiffusion(cosine_schedule(30), variance="fixed_small")
    facts = model_facts(network, diffusion, ["a", "b"])
    assert facts["num_parameters"] == sum(parameter.numel() for parameter in network.parameters())
    assert (facts["image_size"], facts["num_channels"]) == (8, 1)
    assert facts["class_names"] == ["a", "b"]
    chosen = {name: facts["diffusion"][name] for name in ("num_timesteps", "variance")}
    assert chosen == {"num_timesteps": 30, "variance": "fixed_small"}
    CardFigures(**facts)
