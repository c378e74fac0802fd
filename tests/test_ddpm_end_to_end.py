"""Digits from noise: a model trained here, and its samplers in the order that the literature knows."""

import argparse

import pytest
import torch

from ardm.training.loop import TrainingConfig, train
from ddpm import DiffusionObjective, GaussianDiffusion, UNet, UNetConfig, cosine_schedule, sample
from ddpm.data.images import add_image_arguments, load_images
from ddpm.evaluation.evaluation import SAMPLERS, BoundEvaluation, SampleEvaluation, extractor_of


@pytest.mark.slow
def test_digits(tmp_path):
    torch.set_num_threads(2)
    parser = argparse.ArgumentParser()
    add_image_arguments(parser)
    images = load_images(parser.parse_args([]))
    torch.manual_seed(0)
    sizes = {
        "image_size": 8,
        "in_channels": 1,
        "model_channels": 32,
        "channel_mult": (1, 2),
        "num_res_blocks": 1,
    }
    model = UNet(UNetConfig(**sizes, attention_resolutions=(4,), num_classes=10, norm_num_groups=8))
    diffusion = GaussianDiffusion(cosine_schedule(1000))
    bound = BoundEvaluation(images["validation"], diffusion)
    config = TrainingConfig(
        str(tmp_path), 800, 64, learning_rate=2e-3, ema_decay=0.99, checkpointing_steps=0
    )
    before = bound(model)
    result = train(
        model, DiffusionObjective(diffusion), images["train"], config=config, eval_fn=bound
    )
    after = bound(model)
    assert (
        before["eval_loss"] > 0.9 and after["eval_loss"] < 0.2
    )  # a fresh network predicts 0, whose loss is about 1
    assert after["bits_per_dim"] < 5 < before["bits_per_dim"] and result.skipped_steps == 0

    extractor = extractor_of(images, "digits")
    evaluation = SampleEvaluation(images["train"], extractor, 300)
    fid = {
        (s, steps): evaluation(model, diffusion, s, steps).fid
        for s in SAMPLERS
        for steps in (10, 25)
    }
    others = [sampler for sampler in SAMPLERS if sampler != "ddpm, fixed_large"]
    for steps in (
        10,
        25,
    ):  # the noise that is too large is worst where it is added in few large steps
        assert all(
            fid["ddpm, fixed_large", steps] > 1.2 * fid[sampler, steps] for sampler in others
        )
    assert fid["ddpm, fixed_large", 25] < 0.6 * fid["ddpm, fixed_large", 10]
    deterministic = min(fid[sampler, 10] for sampler in ("ddim", "heun", "dpm_solver++"))
    assert (
        deterministic < fid["ddpm, fixed_small", 10]
        and deterministic < 0.4 * fid["ddpm, fixed_large", 10]
    )

    # an image shows the digit that was asked for, as far as the classifier can tell
    labels = torch.arange(200) % 10
    drawn = sample(
        model, (200, 1, 8, 8), diffusion, sampler="ddim", steps=25, labels=labels, seed=1
    )
    _, probabilities = extractor(drawn)
    assert float((probabilities.argmax(1) == labels).double().mean()) > 0.9
    torch.set_num_threads(1)
