"""What a run shows: all samplers from the same noise, a row of figures for each."""

import numpy as np
import pytest
import torch

from ddpm.data import ImageDataset
from ddpm.data.finding import digits
from ddpm.diffusion import GaussianDiffusion
from ddpm.evaluation import COMPARED, SampleEvaluation, measure_quality, sample_grids
from ddpm.metrics import FeatureExtractor
from ddpm.schedules import cosine_schedule

DIFFUSION = GaussianDiffusion(cosine_schedule(30), variance="fixed_small")


def model(x, t, labels=None):
    return 0.5 * x if labels is None else 0.5 * x + labels.view(-1, 1, 1, 1) / 100


@pytest.mark.parametrize(("num_classes", "columns"), [(None, 8), (3, 3), (12, 10)])
def test_grids_show_every_sampler_from_the_same_noise(num_classes, columns):
    samples, rows = sample_grids(
        model, DIFFUSION, (1, 4, 4), num_classes, steps=(5, 10, 50), seed=2
    )
    assert samples.shape == (4, columns, 1, 4, 4)
    assert list(rows) == ["ddpm", "ddim", "heun", "dpm_solver++"]  # the model's own variance only
    for cells in rows.values():
        assert list(cells) == ["5 steps", "10 steps"]  # 50 is more than there are
        assert all(images.shape == (20, 1, 4, 4) for images in cells.values())
    ends = [rows["ddim"][name].flatten() for name in ("5 steps", "10 steps")]
    assert torch.corrcoef(torch.stack(ends))[0, 1] > 0.9


def test_a_short_diffusion_is_shown_whole():
    few = GaussianDiffusion(cosine_schedule(3), variance="fixed_small")
    _, rows = sample_grids(model, few, (1, 4, 4), None)
    assert list(rows["ddpm"]) == ["3 steps"]


def pixels(images):
    return images.flatten(1)[:, 20:24]


def test_a_row_for_every_sampler_and_number_of_steps(caplog):
    caplog.set_level("INFO")
    data = ImageDataset(digits(), np.arange(40), 8, 1)
    evaluation = SampleEvaluation(data, FeatureExtractor("pixels", pixels), 10)
    rows = measure_quality(evaluation, model, DIFFUSION, [3, "ddim5"])
    expected = [(sampler, steps) for sampler in COMPARED for steps in (3, "ddim5")]
    assert [(sampler, steps) for sampler, steps, _ in rows] == expected
    quality = rows[expected.index(("heun", 3))][2]
    assert quality == evaluation(model, DIFFUSION, "heun", 3)
    assert caplog.text.count("FID") == len(rows)
    assert measure_quality(None, model, DIFFUSION, [3]) == []
    ((sampler, steps, quality),) = measure_quality(
        evaluation, model, DIFFUSION, ["trailing4"], ["unipc3"]
    )
    assert (sampler, steps) == ("unipc3", "trailing4")
    assert quality == evaluation(model, DIFFUSION, "unipc3", "trailing4")
