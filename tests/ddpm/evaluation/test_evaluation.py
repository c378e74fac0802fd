"""Evaluation: strata cover all timesteps, the estimated bound is the bound, samples are scored as files would be."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from ddpm.data.images import ImageDataset
from ddpm.data.pixels import to_model_range
from ddpm.data.sources import digits
from ddpm.diffusion import GaussianDiffusion
from ddpm.evaluation.evaluation import (
    SAMPLERS,
    BoundEvaluation,
    SampleEvaluation,
    extractor_of,
    stacked,
    timestep_strata,
)
from ddpm.metrics.features import FeatureExtractor
from ddpm.schedules import cosine_schedule, linear_schedule


def dataset(count, labels=True, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (count, 1, 4, 4), generator=generator, dtype=torch.uint8)
    return [
        {"images": image} | ({"labels": torch.tensor(k % 3)} if labels else {})
        for k, image in enumerate(images)
    ]


class Net(nn.Module):
    """A denoiser of sorts, with dropout that must be off."""

    def __init__(self):
        super().__init__()
        self.scale, self.dropout, self.labels = nn.Parameter(torch.tensor(0.6)), nn.Dropout(0.5), []

    def forward(self, x, t, labels=None):
        self.labels.append(labels)
        return self.dropout(torch.cat((self.scale * x, 0.1 * x), dim=1))


@pytest.mark.parametrize("num_timesteps", [1, 2, 7, 100, 1000, 4000])
@pytest.mark.parametrize("ratio", [1.01, 1.25, 2.0])
def test_strata_cover_every_timestep_once(num_timesteps, ratio):
    strata = timestep_strata(num_timesteps, ratio)
    assert [t for stratum in strata for t in stratum] == list(range(num_timesteps))
    assert strata[0] == range(0, 1)
    assert all(len(stratum) <= max(1, (ratio - 1) * stratum.start) for stratum in strata)


@pytest.mark.parametrize("loss", ["hybrid", "vlb", "simple"])
def test_the_estimate_is_the_bound_and_the_training_loss(loss):
    diffusion, model = GaussianDiffusion(linear_schedule(60), loss=loss), Net()
    data = dataset(1, labels=False)
    exact = diffusion.bits_per_dim(
        model, to_model_range(data[0]["images"])[None].repeat(3000, 1, 1, 1), clip=False
    )
    estimates = [BoundEvaluation(data, diffusion, seed=seed)(model) for seed in range(200)]
    bits = torch.tensor([each["bits_per_dim"] for each in estimates])
    error = (bits.var() / 200 + exact.total.var() / 3000).sqrt()
    assert abs(bits.mean() - exact.total.mean()) < 4 * error and error < 0.05 * bits.mean()
    every = to_model_range(data[0]["images"])[None].repeat(6000, 1, 1, 1)
    losses = diffusion.losses(model.eval(), every, torch.arange(60).repeat(100)).detach()
    found = torch.tensor([each["eval_loss"] for each in estimates])
    error = (found.var() / 200 + losses.view(100, 60).mean(1).var() / 100).sqrt()
    assert abs(found.mean() - losses.mean()) < 4 * error


def test_figures_do_not_depend_on_batches_and_leave_the_model_in_training():
    diffusion, model, data = GaussianDiffusion(cosine_schedule(40)), Net().train(), dataset(10)
    whole = BoundEvaluation(data, diffusion, seed=3)(model)
    parts = BoundEvaluation(data, diffusion, batch_size=3, seed=3)(model)
    assert whole == pytest.approx(parts) and model.training
    assert all(len(labels) in (1, 3, 10) for labels in model.labels)
    fewer = BoundEvaluation(data, diffusion, max_images=4, seed=3)
    assert len(fewer) == 4 and fewer(model)["bits_per_dim"] != whole["bits_per_dim"]
    assert math.isnan(
        BoundEvaluation(data, diffusion, max_images=1)(model)["bits_per_dim_standard_error"]
    )


def test_the_standard_error_is_over_images(monkeypatch):
    known = torch.tensor([[0.1, 3.0], [0.2, 5.0], [0.3, 4.0], [0.4, 8.0]], dtype=torch.float64)
    evaluation = BoundEvaluation(dataset(4), GaussianDiffusion(cosine_schedule(40)), batch_size=3)
    monkeypatch.setattr(evaluation, "_figures", lambda model, numbers, device: known[numbers])
    assert evaluation(Net()) == pytest.approx(
        {
            "eval_loss": 0.25,
            "bits_per_dim": 5.0,
            "bits_per_dim_standard_error": float(known[:, 1].std()) / 2,
        }
    )
    likelihood = evaluation.likelihood(Net(), "noise")
    assert (likelihood.dataset, likelihood.num_images, likelihood.bits_per_dim) == ("noise", 4, 5.0)


def moments(images):
    return images.flatten(1)[:, :3] + 1


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samples_are_scored_by_every_sampler(sampler):
    data, model = dataset(30), Net()
    diffusion = GaussianDiffusion(cosine_schedule(40))
    evaluation = SampleEvaluation(
        data, FeatureExtractor("moments", moments), 12, batch_size=5, seed=1
    )
    quality = evaluation(model, diffusion, sampler, 4)
    assert (quality.num_images, quality.num_reference, quality.extractor, quality.seed) == (
        12,
        30,
        "moments",
        1,
    )
    assert quality.fid > 0
    again = evaluation(model, diffusion, sampler, 4)
    assert again.fid == pytest.approx(quality.fid)  # samples of before are forgotten
    assert evaluation.about() == {
        "num_generated": 12,
        "num_real": 30,
        "extractor": "moments",
        "quality_seed": 1,
    }
    assert model.labels[0].tolist() == [0, 1, 2, 0, 1]
    if sampler.startswith("ddpm"):
        others = [
            evaluation(model, diffusion, name, 4).fid
            for name in SAMPLERS
            if name.startswith("ddpm")
        ]
        assert len({round(fid, 6) for fid in others}) == 3  # the variance counts


def test_an_extractor_is_trained_where_there_are_labels():
    source = digits()
    part = {
        "train": ImageDataset(source, np.arange(300), 8, 1),
        "validation": ImageDataset(source, np.arange(300, 400), 8, 1),
    }
    extractor = extractor_of(part, "digits")
    assert "digits (300 images" in extractor.name and "held-out" in extractor.name
    assert extractor_of({"train": dataset(5, labels=False), "validation": None}, "x") is None


def test_stacked():
    images, labels = stacked(dataset(5), 3)
    assert (
        images.shape == (3, 1, 4, 4)
        and images.dtype == torch.uint8
        and labels.tolist() == [0, 1, 2]
    )
    assert stacked(dataset(5, labels=False))[1] is None
    for data, count in (([], None), (dataset(3), 0)):
        with pytest.raises(ValueError, match="expected at least 1"):
            stacked(data, count)
