"""What a run shows: pictures of all samplers from the same noise, a row of figures for each, facts as they are."""

import argparse

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm import report
from ddpm.data.images import ImageDataset
from ddpm.data.sources import digits
from ddpm.diffusion import GaussianDiffusion
from ddpm.evaluation.evaluation import SAMPLERS, SampleEvaluation
from ddpm.evaluation.report import card_facts, draw_pictures, measure_quality
from ddpm.metrics.features import FeatureExtractor
from ddpm.models.configuration_unet import UNetConfig
from ddpm.models.unet import UNet
from ddpm.schedules import cosine_schedule

DIFFUSION = GaussianDiffusion(cosine_schedule(30), variance="fixed_small")


def model(x, t, labels=None):
    return 0.5 * x if labels is None else 0.5 * x + labels.view(-1, 1, 1, 1) / 100


@pytest.mark.parametrize("num_classes", [None, 3])
def test_pictures_show_every_sampler_from_the_same_noise(monkeypatch, num_classes):
    shown = {}

    def keep(rows, title):
        shown.update(rows)
        return b"png"

    monkeypatch.setattr(report, "comparison_grid", keep)
    pictures = draw_pictures(model, DIFFUSION, (1, 4, 4), num_classes, steps=(5, 10, 50), seed=2)
    assert set(pictures) == {"samples.png", "steps.png"} and pictures["steps.png"] == b"png"
    assert isinstance(pictures["samples.png"], Image.Image)
    assert list(shown) == ["ddpm", "ddim", "heun", "dpm_solver++"]  # the model's own variance only
    assert all(
        list(cells) == ["5 steps", "10 steps"] for cells in shown.values()
    )  # 50 is more than there are
    ends = [shown["ddim"][name] for name in ("5 steps", "10 steps")]
    assert torch.corrcoef(torch.stack([end.flatten() for end in ends]))[0, 1] > 0.9
    few = GaussianDiffusion(cosine_schedule(3), variance="fixed_small")
    draw_pictures(model, few, (1, 4, 4), num_classes)
    assert list(shown["ddpm"]) == ["3 steps"]


def pixels(images):
    return images.flatten(1)[:, 20:24]


def test_a_row_for_every_sampler_and_number_of_steps(caplog):
    caplog.set_level("INFO")
    data = ImageDataset(digits(), np.arange(40), 8, 1)
    evaluation = SampleEvaluation(data, FeatureExtractor("pixels", pixels), 10)
    rows = measure_quality(evaluation, model, DIFFUSION, [3, "ddim5"])
    assert [(row.sampler, row.steps) for row in rows] == [
        (s, steps) for s in SAMPLERS for steps in (3, "ddim5")
    ]
    direct = evaluation(model, DIFFUSION, "heun", 3)
    (row,) = [row for row in rows if (row.sampler, row.steps) == ("heun", 3)]
    assert (row.fid, row.kid, row.precision, row.recall) == (
        direct.fid,
        direct.kid,
        direct.precision,
        direct.recall,
    )
    assert caplog.text.count("FID") == len(rows)


def test_facts_are_the_runs_own():
    data = ImageDataset(digits(), np.arange(40), 8, 1)
    network = UNet(UNetConfig(image_size=8, in_channels=1, model_channels=8, channel_mult=(1,), num_res_blocks=1,
                              attention_resolutions=(), num_heads=1, norm_num_groups=4))  # fmt: skip
    args = argparse.Namespace(hub_model_id="me/mine", seed=7, output_dir="/secret/place", learning_rate=0.5,
                              dataset_name=None, train_dir=None, train_file=None)  # fmt: skip
    facts = card_facts(args, network, DIFFUSION, data)
    assert facts["num_parameters"] == sum(parameter.numel() for parameter in network.parameters())
    assert (facts["model_name"], facts["seed"], facts["image_size"], facts["num_channels"]) == (
        "me/mine",
        7,
        8,
        1,
    )
    assert facts["class_names"] == [str(digit) for digit in range(10)]
    assert facts["hyperparameters"]["learning_rate"] == 0.5 and "/secret/place" not in str(facts)
    assert (
        facts["diffusion"]["variance"] == "fixed_small"
        and facts["diffusion"]["num_timesteps"] == 30
    )
