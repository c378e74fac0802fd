"""Samples are scored as files would be, by every sampler, against a fair part of the images."""

import numpy as np
import pytest
import torch

from ddpm.data import ImageDataset
from ddpm.data.finding import digits
from ddpm.diffusion import GaussianDiffusion
from ddpm.evaluation import sample_quality
from ddpm.evaluation.sample_quality import SAMPLERS, SampleEvaluation, extractor_of
from ddpm.metrics import FeatureExtractor
from ddpm.schedules import cosine_schedule

from .made import Net, dataset


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


def test_what_is_kept_of_many_images_is_a_fair_part_of_them(monkeypatch):
    monkeypatch.setattr(sample_quality, "_KEPT", 20)
    data = [{"images": torch.full((1, 4, 4), k // 20).byte()} for k in range(60)]  # class by class
    evaluation = SampleEvaluation(data, FeatureExtractor("moments", moments), 8)
    kept = evaluation.quality._reference.features[:, 0]
    assert len(kept) == 20 and len(kept.unique()) == 3
    quality = evaluation(Net(), GaussianDiffusion(cosine_schedule(40)), "ddim", 2)
    assert (quality.num_reference, quality.num_kept) == (60, 20)
