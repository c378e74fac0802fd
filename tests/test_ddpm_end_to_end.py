"""Digits from noise: a model trained here, and its samplers in the order the literature knows."""

import pytest
import torch

from ardm.training import TrainingConfig, train
from ddpm import DiffusionObjective, GaussianDiffusion, UNet, UNetConfig, cosine_schedule, sample
from ddpm.data import load_images
from ddpm.evaluation import COMPARED, BoundEvaluation, SampleEvaluation, extractor_of

SIZES = {"image_size": 8, "in_channels": 1, "model_channels": 32, "num_res_blocks": 1}
LEVELS = {"channel_mult": (1, 2), "attention_resolutions": (4,), "norm_num_groups": 8}


@pytest.mark.slow
def test_digits(tmp_path):
    images = load_images()
    torch.manual_seed(0)
    model = UNet(UNetConfig(**SIZES, **LEVELS, num_classes=10))
    diffusion = GaussianDiffusion(cosine_schedule(1000))
    bound = BoundEvaluation(images["validation"], diffusion)
    settings = {"learning_rate": 2e-3, "ema_decay": 0.99, "checkpointing_steps": 0}
    config = TrainingConfig(str(tmp_path), 600, 32, **settings)
    objective = DiffusionObjective(diffusion)
    before = bound(model)
    result = train(model, objective, images["train"], config=config, eval_fn=bound)
    after = result.history[-1]
    assert before["eval_loss"] > 0.9  # a fresh network predicts 0, whose loss is about 1
    assert after["eval_loss"] < 0.2 and result.skipped_steps == 0
    assert after["bits_per_dim"] < 5 < before["bits_per_dim"]

    extractor = extractor_of(images["train"], images["validation"], "digits")
    check_samplers(model, diffusion, SampleEvaluation(images["train"], extractor, 200))

    # an image shows the digit that was asked for, as far as the classifier can tell
    labels = torch.arange(200) % 10
    options = {"sampler": "ddim", "steps": 25, "labels": labels, "seed": 1}
    _, probabilities = extractor(sample(model, (200, 1, 8, 8), diffusion, **options))
    assert float((probabilities.argmax(1) == labels).double().mean()) > 0.9


def check_samplers(model, diffusion, evaluation):
    fid = {
        (sampler, steps): evaluation(model, diffusion, sampler, steps).fid
        for sampler in COMPARED
        for steps in (10, 25)
    }
    # the noise that is too large is worst where it is added in few large steps
    for steps in (10, 25):
        others = [fid[sampler, steps] for sampler in COMPARED if sampler != "ddpm, fixed_large"]
        assert all(fid["ddpm, fixed_large", steps] > 1.2 * other for other in others)
    assert fid["ddpm, fixed_large", 25] < 0.6 * fid["ddpm, fixed_large", 10]
    deterministic = min(fid[sampler, 10] for sampler in ("ddim", "heun", "dpm_solver++"))
    assert deterministic < fid["ddpm, fixed_small", 10]
    assert deterministic < 0.4 * fid["ddpm, fixed_large", 10]
