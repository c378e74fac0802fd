"""The card of a classifier says what it is told, and how to guide with it."""

import ast
import re
from dataclasses import replace

import pytest
from huggingface_hub import ModelCard

import ddpm
import ddpm.hub
from ddpm.classification import AccuracyByNoise
from ddpm.forward_process import ForwardProcess
from ddpm.hub.classifier_cards import ClassifierFigures, classifier_card, classifier_facts
from ddpm.models.classifier import NoisyClassifier
from ddpm.models.configuration_classifier import ClassifierConfig
from ddpm.schedules import cosine_schedule

BY_NOISE = AccuracyByNoise(
    num_timesteps=1000,
    num_classes=6,
    num_images=179,
    accuracy=[0.9, 0.8, 0.5, 0.2],
    cross_entropy=[0.1, 0.2, 1.0, 1.5],
    top5_accuracy=[1.0, 0.9, 0.8, 0.7],
    clean_accuracy=0.95,
    clean_cross_entropy=0.05,
    clean_top5_accuracy=1.0,
)
FULL = ClassifierFigures(
    model_name="me/judge",
    num_parameters=12_345,
    image_size=8,
    num_channels=1,
    class_names=["zero", "one", "two", "three", "four", "five"],
    training_data="scikit-learn digits",
    num_images=1618,
    process={"num_timesteps": 1000},
    diffusion_name="/home/me/runs/ddpm",
    accuracy=BY_NOISE,
    held_out="held-out digits",
    hyperparameters={"weight_decay": 0.05},
    command="accelerate launch recipes/train_classifier.py",
    seed=0,
    wall_clock_seconds=100.0,
    pictures=["accuracy.png"],
    loss_curve="loss_curve.png",
    limitations="Small.",
)
TOLD = [
    "# me/judge",
    "Parameters: 12,345",
    "8 x 8 pixels, grey",
    "| 1 | one |",
    "1,618 images.",
    "| num_timesteps | 1000 |",
    "Made for the diffusion of `ddpm`.",
    "179 images of held-out digits, each noised at 4 timesteps",
    "| Noise | Accuracy | Among the first 5 | Cross-entropy, nats |",
    "| without noise | 95.0 % | 100.0 % | 0.0500 |",
    "| t in [0, 250) | 90.0 % | 100.0 % | 0.1000 |",
    "| t in [750, 1000) | 20.0 % | 70.0 % | 1.5000 |",
    "| all timesteps | 60.0 % | 85.0 % | 0.7000 |",
    "standard error is 1.6 %. Chance: 16.67 %, as there are 6 classes.",
    "| weight_decay | 0.05 |",
    "recipes/train_classifier.py",
    "Wall-clock: 1 min 40 s",
    "](accuracy.png)",
    "](loss_curve.png)",
    "Small.",
    "dhariwal2021diffusion",
    'load_classifier("me/judge")',
    "classifier_guidance(classifier, labels, scale=1.0)",
    'classifier = AutoModel.from_pretrained("me/judge", trust_remote_code=True)',
    "% 6",
]


def test_card_says_all_it_was_told():
    card = classifier_card(FULL)
    for told in TOLD:
        assert told in card, told
    assert "/home" not in card and "without noise: it can" not in card


def test_front_matter_is_read_back():
    data = ModelCard(classifier_card(FULL)).data
    assert (data.library_name, data.pipeline_tag) == ("transformers", "image-classification")
    assert "classifier-guidance" in data.tags
    assert [(r.metric_type, r.metric_value) for r in data.eval_results] == [("accuracy", 0.95)]


def test_card_that_knows_nothing_invents_nothing():
    card = classifier_card(ClassifierFigures())
    for absent in ("None", "## Noise", "## Evaluation", "## Training", "Chance", "!["):
        assert absent not in card, absent


def test_five_classes_have_no_column_of_the_first_five():
    card = classifier_card(replace(FULL, accuracy=replace(BY_NOISE, num_classes=5)))
    assert "| Noise | Accuracy | Cross-entropy, nats |" in card


def test_a_classifier_of_clean_images_is_told_as_one():
    assert "Trained on images without noise" in classifier_card(replace(FULL, noised=False))


@pytest.mark.parametrize("figures", [FULL, ClassifierFigures()])
def test_code_of_the_card_is_python_of_names_that_exist(figures):
    code, alone = re.findall(r"```python\n(.*?)```", classifier_card(figures), re.DOTALL)
    assert "from ddpm" not in alone and alone.count("trust_remote_code=True") == 2
    ast.parse(alone)
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom):
            module = {"ddpm": ddpm, "ddpm.hub": ddpm.hub}[node.module]
            assert {alias.name for alias in node.names} <= set(module.__all__)


def test_facts_are_the_classifiers_own():
    sizes = {"image_size": 8, "in_channels": 1, "model_channels": 8, "num_res_blocks": 1}
    levels = {"channel_mult": (1,), "attention_resolutions": (), "norm_num_groups": 4}
    config = ClassifierConfig(
        **sizes, **levels, num_heads=1, num_classes=2, id2label={0: "a", 1: "b"}
    )
    model = NoisyClassifier(config)
    facts = classifier_facts(model, ForwardProcess(cosine_schedule(30)), noised=False)
    assert facts["num_parameters"] == sum(each.numel() for each in model.parameters())
    assert (facts["image_size"], facts["num_channels"]) == (8, 1)
    assert (facts["class_names"], facts["noised"]) == (["a", "b"], False)
    assert facts["process"]["num_timesteps"] == 30
    ClassifierFigures(**facts)
