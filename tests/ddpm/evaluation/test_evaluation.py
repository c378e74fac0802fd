"""Strata cover all timesteps, the estimate is the bound, samples are scored as files would be."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from ddpm.data import ImageDataset
from ddpm.data.finding import digits
from ddpm.denoisers import to_model_range
from ddpm.diffusion import GaussianDiffusion
from ddpm.evaluation.evaluation import (
    SAMPLERS,
    BoundEvaluation,
    SampleEvaluation,
    extractor_of,
    stacked,
    timestep_strata,
)
from ddpm.metrics import FeatureExtractor
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
        self.scale = nn.Parameter(torch.tensor(0.6))
        self.dropout = nn.Dropout(0.5)
        self.labels = []

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
    diffusion = GaussianDiffusion(linear_schedule(60), loss=loss)
    model = Net()
    data = dataset(1, labels=False)
    image = to_model_range(data[0]["images"])
    exact = diffusion.bits_per_dim(model, image.expand(3000, 1, 4, 4), clip=False)
    evaluation = BoundEvaluation(data * 1500, diffusion)  # every copy has noise of its own
    with torch.no_grad():
        figures = evaluation._figures(model.eval(), torch.arange(1500), torch.device("cpu"))
    loss, bits = figures.unbind(1)
    error = (bits.var() / 1500 + exact.total.var() / 15000).sqrt()
    assert abs(bits.mean() - exact.total.mean()) < 4 * error and error < 0.05 * bits.mean()
    every = torch.arange(60).repeat(100)
    losses = diffusion.losses(model, image.expand(6000, 1, 4, 4), every).detach()
    error = (loss.var() / 1500 + losses.view(100, 60).mean(1).var() / 100).sqrt()
    assert abs(loss.mean() - losses.mean()) < 4 * error and error < 0.05 * loss.mean()


def test_figures_do_not_depend_on_batches_and_leave_the_model_in_training():
    diffusion = GaussianDiffusion(cosine_schedule(40))
    model = Net().train()
    data = dataset(10)
    whole = BoundEvaluation(data, diffusion, seed=3)(model)
    parts = BoundEvaluation(data, diffusion, batch_size=3, seed=3)(model)
    assert whole == pytest.approx(parts) and model.training
    assert all(len(labels) in (1, 3, 10) for labels in model.labels)
    fewer = BoundEvaluation(data, diffusion, max_images=4, seed=3)
    assert len(fewer) == 4 and fewer(model)["bits_per_dim"] != whole["bits_per_dim"]
    single = BoundEvaluation(data, diffusion, max_images=1)(model)
    assert math.isnan(single["bits_per_dim_standard_error"])


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


def moments(images):
    return images.flatten(1)[:, :3] + 1


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samples_are_scored_by_every_sampler(sampler):
    data = dataset(30)
    model = Net()
    diffusion = GaussianDiffusion(cosine_schedule(40))
    evaluation = SampleEvaluation(
        data, FeatureExtractor("moments", moments), 12, batch_size=5, seed=1
    )
    quality = evaluation(model, diffusion, sampler, 4)
    assert (quality.num_images, quality.num_reference) == (12, 30)
    assert (quality.extractor, quality.seed) == ("moments", 1)
    assert quality.fid > 0
    again = evaluation(model, diffusion, sampler, 4)
    assert again.fid == pytest.approx(quality.fid)  # samples of before are forgotten
    assert model.labels[0].tolist() == [0, 1, 2, 0, 1]
    if sampler.startswith("ddpm"):
        others = [
            evaluation(model, diffusion, name, 4).fid
            for name in SAMPLERS
            if name.startswith("ddpm")
        ]
        assert len({round(fid, 6) for fid in others}) == 3  # the variance counts


@pytest.mark.parametrize(("num_real", "num_images"), [(3, 8), (8, 3)])
def test_too_few_images_for_the_figures_are_refused_before_any_is_drawn(num_real, num_images):
    pixels = FeatureExtractor("moments", moments)
    message = f"{num_images} samples and {num_real} reference images; expected at least 4"
    with pytest.raises(ValueError, match=message):
        SampleEvaluation(dataset(num_real), pixels, num_images)


def test_an_extractor_is_trained_where_there_are_labels():
    source = digits()
    train = ImageDataset(source, np.arange(100), 8, 1)
    held_out = ImageDataset(source, np.arange(100, 140), 8, 1)
    extractor = extractor_of(train, held_out, "digits")
    assert "digits (100 images" in extractor.name and "held-out" in extractor.name
    unlabelled = dataset(5, labels=False)
    assert extractor_of(unlabelled, None, "x") is None
    assert extractor_of(unlabelled, train, "x") is None


def test_stacked():
    images, labels = stacked(dataset(5), 3)
    assert images.shape == (3, 1, 4, 4) and images.dtype == torch.uint8
    assert labels.tolist() == [0, 1, 2]
    assert stacked(dataset(5, labels=False))[1] is None
    for data, count in (([], None), (dataset(3), 0)):
        with pytest.raises(ValueError, match="expected at least 1"):
            stacked(data, count)
