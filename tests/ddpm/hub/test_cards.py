"""The card of an image model says what it is told, in Markdown and YAML that the Hub reads back."""

import ast
import re
from argparse import Namespace
from dataclasses import replace

import pytest
from huggingface_hub import ModelCard

from ddpm.hub.cards import CardFigures, Likelihood, SampleQuality, model_card, run_flags

FULL = CardFigures(
    model_name="me/digits",
    num_parameters=1_234_567,
    image_size=8,
    num_channels=1,
    training_data="scikit-learn digits",
    datasets=["me/data"],
    class_names=["zero", "one|two", "<three>"],
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
    limitations="Small and gray.",
)


def test_front_matter_is_read_back():
    data = ModelCard(model_card(FULL)).data
    assert (data.library_name, data.license) == ("transformers", "apache-2.0")
    assert data.pipeline_tag == "unconditional-image-generation"
    assert data.tags == ["ddpm", "diffusion", "image-generation", "class-conditional"]
    assert data.datasets == ["me/data"]
    assert [(r.metric_type, r.metric_value) for r in data.eval_results] == [
        ("bits_per_dim", 3.14159),
        ("fid", 2.9),
    ]
    assert ModelCard(model_card(replace(FULL, class_names=None))).data.tags == [
        "ddpm",
        "diffusion",
        "image-generation",
    ]


def test_card_says_all_it_was_told():
    card = model_card(FULL)
    for told in (
        "# me/digits", "Parameters: 1,234,567", "8 x 8 pixels, gray", "Classes: 3", "scikit-learn digits",
        "| 1 | one\\|two |", "| 2 | &lt;three> |", "| schedule | cosine |", "| learning_rate | 0.0003 |",
        "| a\\|b | c d |", "recipes/train_ddpm.py", "Seed: 0", "Machine: 2 CPU cores", "Date: 2022-04-25", "2.5 min",
        "**3.1416 ± 0.0123**", "179 images of held-out digits", "| Sampler | Steps | FID | recall |",
        "| ddpm | 250 | 3.457 | 0.5 |", "| ddim | 50 | 2.9 |  |", "Generated images: 5,000 a row", "Real images: 1,618",
        "Features: digits-cnn", "Seed of the samples: 0", "](samples.png)", "](steps.png)", "](loss_curve.png)",
        "Small and gray.", "arxiv.org/abs/2105.05233", "dhariwal2021diffusion", "- torch: ",
        'load_folder("me/digits")', "(16, 1, 8, 8)", "labels=labels", "% 3",
    ):  # fmt: skip
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
    [code] = re.findall(r"```python\n(.*?)```", model_card(figures), re.DOTALL)
    imported = {
        alias.name
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == {"sample", "load_folder", "image_grid"}


@pytest.mark.parametrize(("count", "folded"), [(20, False), (21, True)])
def test_many_classes_are_folded_away(count, folded):
    card = model_card(CardFigures(class_names=[f"class {k}" for k in range(count)]))
    assert ("<details>" in card) is folded and f"| {count - 1} | class {count - 1} |" in card


def test_every_row_of_a_table_has_the_columns_of_its_head():
    for block in re.findall(r"(?:^\|.*\n)+", model_card(FULL), re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1


def test_flags_on_a_card_hold_no_paths():
    args = Namespace(
        learning_rate=1.0,
        output_dir="a",
        train_file="b",
        train_dir="c",
        image_size=None,
        random_flip=False,
    )
    assert run_flags(args) == {"learning_rate": 1.0, "random_flip": False}
