"""Strata cover all timesteps, the estimate is the bound, whoever shares in it."""

import math

import pytest
import torch

from ddpm.denoisers import to_model_range
from ddpm.diffusion import GaussianDiffusion
from ddpm.evaluation.bound import BoundEvaluation, timestep_strata
from ddpm.schedules import cosine_schedule, linear_schedule

from .made import Net, dataset


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
