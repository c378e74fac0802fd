"""Digits steered by a classifier: what guidance gives, and what it takes."""

import pytest
import torch

from ardm.training import TrainingConfig, train
from ddpm import (
    ClassifierConfig,
    DiffusionObjective,
    GaussianDiffusion,
    NoisyClassifier,
    UNet,
    UNetConfig,
    classifier_guidance,
    cosine_schedule,
)
from ddpm.classification import ClassificationObjective
from ddpm.data import load_images
from ddpm.evaluation import SampleEvaluation, extractor_of, guided_quality

SIZES = {"image_size": 8, "in_channels": 1, "model_channels": 32, "num_res_blocks": 1}
SIZES |= {"channel_mult": (1, 2), "attention_resolutions": (4,), "norm_num_groups": 8}
DIFFUSION = GaussianDiffusion(cosine_schedule(1000))


def trained(folder, model, objective, data, num_steps):
    settings = {"learning_rate": 2e-3, "ema_decay": 0.99, "checkpointing_steps": 0}
    train(model, objective, data, config=TrainingConfig(str(folder), num_steps, 64, **settings))
    return model.eval()


@pytest.mark.slow
def test_a_classifier_steers_a_model_without_classes(tmp_path):
    """The larger the scale, the more of the class and the less diversity; FID is best at some."""
    images = load_images()
    data = images["train"]
    torch.manual_seed(0)
    model = UNet(UNetConfig(**SIZES))
    objective = DiffusionObjective(DIFFUSION)
    unlabelled = [{"images": item["images"]} for item in data]
    trained(tmp_path / "model", model, objective, unlabelled, 500)
    betas = DIFFUSION.betas.tolist()
    classifier = NoisyClassifier(ClassifierConfig(**SIZES, num_classes=10, betas=betas))
    trained(tmp_path / "classifier", classifier, ClassificationObjective(DIFFUSION), data, 400)

    extractor = extractor_of(data, images["validation"], "digits")
    evaluation = SampleEvaluation(data, extractor, 500, seed=0)

    def network(x, t, labels):  # which are the classifier's alone
        return model(x, t)

    def measured(scale):
        guide = classifier_guidance(classifier, scale=scale)
        options = {"guidance": guide, "sampler": "ddim", "steps": 25}
        return guided_quality(evaluation, network, DIFFUSION, **options).as_dict()

    none, some, much = map(measured, (0.0, 2.0, 6.0))
    assert abs(none["accuracy"] - 0.1) < 0.06  # chance
    assert some["accuracy"] > 0.6 and much["accuracy"] > some["accuracy"] + 0.05
    assert none["precision"] + 0.05 < some["precision"] < much["precision"]
    assert none["recall"] > some["recall"] > much["recall"] + 0.02
    assert min(some["fid"], much["fid"]) < 0.7 * none["fid"]
