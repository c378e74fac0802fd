"""What is of another diffusion, size or classes is refused by its folder's own words."""

import pytest
import torch

import ddpm
from ddpm.hub import (
    CardFigures,
    ClassifierFigures,
    load_folder,
    load_guides,
    load_together,
    load_upsampler,
    save_classifier,
    save_folder,
)

NAMES = ["cat", "dog", "owl"]
SIZES = {"image_size": 4, "in_channels": 1, "model_channels": 8, "num_res_blocks": 1}
SIZES |= {"channel_mult": (1,), "attention_resolutions": (), "norm_num_groups": 4, "num_heads": 1}
BETAS = ddpm.cosine_schedule(30)


def save_model(folder, names=NAMES, betas=BETAS, prediction="epsilon", told=False, **changes):
    num_classes = None if names is None else len(names)
    config = ddpm.UNetConfig(**(SIZES | {"num_classes": num_classes} | changes))
    diffusion = ddpm.GaussianDiffusion(betas, prediction=prediction, rescale_timesteps=told)
    save_folder(folder, ddpm.UNet(config), diffusion, CardFigures(class_names=names))
    return str(folder)


def save_critic(folder, names=NAMES, num_classes=3, betas=BETAS):
    labels = {} if names is None else {"id2label": dict(enumerate(names))}
    config = ddpm.ClassifierConfig(**SIZES, num_classes=num_classes, **labels)
    config.betas = None if betas is None else betas.tolist()
    save_classifier(folder, ddpm.NoisyClassifier(config), ClassifierFigures())
    return str(folder)


@pytest.fixture
def model(tmp_path):
    return save_model(tmp_path / "model")


def test_what_goes_with_a_model_is_read(model, tmp_path):
    found = load_folder(model)
    critic, weaker = load_guides(model, *found)
    assert critic is None and weaker is None
    names = {"classifier": save_critic(tmp_path / "c"), "weaker": save_model(tmp_path / "w")}
    critic, weaker = load_guides(model, *found, **names)
    assert isinstance(critic, ddpm.NoisyClassifier) and isinstance(weaker, ddpm.UNet)
    assert not critic.training and not weaker.training
    # classes without names, and models without classes, are taken at their word
    load_guides(model, *found, classifier=save_critic(tmp_path / "unnamed", names=None))
    free = save_model(tmp_path / "free", names=None)
    load_guides(free, *load_folder(free), classifier=names["classifier"])


@pytest.mark.parametrize("names", [NAMES[::-1], [*NAMES, "yak"]])
def test_a_classifier_of_other_classes_is_refused(model, tmp_path, names):
    critic = save_critic(tmp_path / "c", names, len(names))
    with pytest.raises(ValueError, match=r"c has the classes .*and .*model \['cat', 'dog', 'owl'"):
        load_guides(model, *load_folder(model), classifier=critic)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"names": NAMES[::-1]}, r"w has the classes \['owl'"),
        ({"image_size": 8}, "w has image_size 8 and .*model 4"),
        ({"in_channels": 3}, "w has in_channels 3 and .*model 1"),
        ({"names": None}, "w has num_classes None and .*model 3"),
        ({"low_resolution": 2}, "w has low_resolution 2 and .*model None"),
        ({"betas": ddpm.cosine_schedule(12)}, "w has num_timesteps 12 and .*model 30"),
        ({"prediction": "v_prediction"}, "w has prediction v_prediction and .*model epsilon"),
        ({"told": True}, "w has rescale_timesteps True and .*model False"),
        ({"betas": ddpm.linear_schedule(30)}, "w was trained on another noise schedule than"),
    ],
)
def test_a_weaker_model_of_another_diffusion_is_refused(model, tmp_path, changes, message):
    weaker = save_model(tmp_path / "w", **changes)
    with pytest.raises(ValueError, match=message):
        load_guides(model, *load_folder(model), weaker=weaker)


def test_a_classifier_of_unknown_noise_is_warned_of(model, tmp_path, caplog):
    load_guides(model, *load_folder(model), classifier=save_critic(tmp_path / "known"))
    assert not caplog.text
    load_guides(model, *load_folder(model), classifier=save_critic(tmp_path / "c", betas=None))
    assert "c does not say on which noise it was trained" in caplog.text


def test_all_of_them_together(model, tmp_path):
    large = {"image_size": 8, "low_resolution": 4}
    beside = {"classifier": save_critic(tmp_path / "c"), "weaker": save_model(tmp_path / "w")}
    beside |= {"upsampler": save_model(tmp_path / "up", **large), "variance": "fixed_small"}
    found = load_together(model, **beside).to(torch.device("cpu"))
    assert found.class_names == NAMES and found.diffusion.variance == "fixed_small"
    assert found.second[0].config.low_resolution == 4
    assert found.second[1].variance == "fixed_small"
    assert isinstance(found.classifier, ddpm.NoisyClassifier) and isinstance(
        found.weaker, ddpm.UNet
    )
    alone = load_together(model)
    assert alone.second is alone.classifier is alone.weaker is None
    # a model without classes is steered to those of the classifier
    free = save_model(tmp_path / "free", names=None)
    assert load_together(free, classifier=beside["classifier"]).class_names == NAMES
    assert load_together(free).class_names is None


def test_an_upsampler_of_other_classes_is_refused(model, tmp_path):
    large = {"image_size": 8, "low_resolution": 4}
    found, diffusion = load_upsampler(model, save_model(tmp_path / "up", **large))
    assert found.config.low_resolution == 4 and torch.equal(diffusion.betas, BETAS)
    other = save_model(tmp_path / "other", NAMES[::-1], **large)
    with pytest.raises(ValueError, match="other has the classes"):
        load_upsampler(model, other)
