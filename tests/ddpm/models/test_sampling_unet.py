"""A network that knows its diffusion draws what `ddpm.sample` draws, bit for bit."""

import pytest
import torch

import ddpm
from ddpm import GaussianDiffusion, NoisyClassifier, UNet, UNetConfig, linear_schedule
from ddpm.models import ClassifierConfig

OPTIONS = {"sampler": "ddim", "steps": 4, "seed": 3}


@pytest.fixture(scope="module")
def made(sizes, randomise):
    """Changes -> a network with random weights that knows a diffusion."""

    def make(**changes):
        network = randomise(UNet(UNetConfig(**sizes(**changes))))
        network.diffusion = GaussianDiffusion(linear_schedule(50))
        return network

    return make


@pytest.fixture(scope="module")
def classifier(sizes, randomise):
    config = ClassifierConfig(**sizes(num_classes=3), betas=linear_schedule(50).tolist())
    return randomise(NoisyClassifier(config))


def test_images_are_those_of_sample(made):
    model = made()
    expected = ddpm.sample(model, (3, 2, 8, 8), model.diffusion, **OPTIONS)
    assert torch.equal(model.sample(3, **OPTIONS), expected)
    single = ddpm.sample(model, (1, 2, 8, 8), model.diffusion, **OPTIONS)
    assert torch.equal(model.sample(**OPTIONS), single)
    assert expected.abs().max() <= 1
    other = GaussianDiffusion(linear_schedule(60))
    expected = ddpm.sample(model, (3, 2, 8, 8), other, **OPTIONS)
    assert torch.equal(model.sample(3, diffusion=other, **OPTIONS), expected)


def test_labels_in_every_form(made):
    model = made(num_classes=3, null_class=True)
    labels = torch.tensor([2, 0, 2])
    expected = ddpm.sample(model, (3, 2, 8, 8), model.diffusion, labels=labels, **OPTIONS)
    for given in (labels, [2, 0, 2], (2, 0, 2)):
        assert torch.equal(model.sample(labels=given, **OPTIONS), expected)
    assert torch.equal(model.sample(3, labels=[2, 0, 2], **OPTIONS), expected)
    assert torch.equal(model.sample(2, labels=2, **OPTIONS), model.sample(labels=[2, 2], **OPTIONS))
    assert not torch.equal(model.sample(3, **OPTIONS), expected)  # of the null class


def test_guides_are_those_of_sample(made, classifier):
    model = made(num_classes=3, null_class=True)
    labels = torch.tensor([2, 0])
    guides = [ddpm.classifier_free_guidance(2.0), ddpm.classifier_guidance(classifier, labels, 3.0)]
    given = {"labels": labels, **OPTIONS}

    def drawn(guidance):
        return ddpm.sample(model, (2, 2, 8, 8), model.diffusion, guidance=guidance, **given)

    steered = {"classifier": classifier, "classifier_scale": 3.0}
    assert torch.equal(model.sample(guidance_scale=2.0, **given), drawn(guides[0]))
    assert torch.equal(model.sample(**steered, **given), drawn(guides[1]))
    assert torch.equal(model.sample(guidance_scale=2.0, **steered, **given), drawn(guides))
    both = model.sample(guidance=guides[0], **steered, **given)
    assert torch.equal(both, drawn(guides))
    assert torch.equal(model.sample(guidance=guides, **given), drawn(guides))


def test_a_classifier_steers_a_network_without_classes(made, classifier):
    model = made()
    guide = ddpm.classifier_guidance(classifier, torch.tensor([1, 2]))
    expected = ddpm.sample(model, (2, 2, 8, 8), model.diffusion, guidance=guide, **OPTIONS)
    assert torch.equal(model.sample(labels=[1, 2], classifier=classifier, **OPTIONS), expected)


def test_a_network_that_enlarges_draws_what_upsample_draws(made):
    model = made(low_resolution=4, noise_augmentation=True)
    small = torch.rand(2, 2, 4, 4) * 2 - 1
    expected = ddpm.upsample(model, small, model.diffusion, noise_level=5, **OPTIONS)
    assert torch.equal(model.sample(low_res=small, noise_level=5, **OPTIONS), expected)
    with pytest.raises(ValueError, match=r"low_res is None; expected small images \(B, C, 4, 4\)"):
        model.sample(2, **OPTIONS)
    with pytest.raises(ValueError, match="num_images is 3; expected 2"):
        model.sample(3, low_res=small, **OPTIONS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": [0, 1]}, "unconditional|classes"),
        ({"labels": "cat"}, "labels are 'cat'; expected int64"),
        ({"guidance_scale": 2.0}, "labels"),
        ({"low_res": torch.zeros(1, 2, 4, 4)}, "low_res is a Tensor; expected None"),
        ({"sampler": "dimm"}, "sampler is 'dimm'; expected"),
        ({"num_images": 0}, "expected an integer of at least 1"),
    ],
)
def test_what_does_not_fit_is_refused(made, options, message):
    with pytest.raises(ValueError, match=message):
        made().sample(**{"num_images": 2} | options)


def test_labels_are_one_an_image(made):
    with pytest.raises(ValueError, match=r"labels are .* expected int64 \(3,\)"):
        made(num_classes=3).sample(3, labels=[0, 1])


def test_labels_are_asked_for_before_the_network_is(made):
    told = r"labels are None; expected classes in 0\.\.2, as labels=2 for all images, or a list"
    with pytest.raises(ValueError, match=told) as error:
        made(num_classes=3).sample(4, sampler="ddim", steps=5)
    assert len(error.traceback) == 3  # this test, sample, its check


@pytest.mark.parametrize(
    ("option", "meant"),
    [("label", "labels"), ("num_inference_steps", "steps"), ("sede", "seed")],
)
def test_an_unknown_option_is_refused_with_the_one_that_was_meant(made, option, meant):
    with pytest.raises(ValueError, match=rf"no option {option} \(did you mean {meant}\?\);"):
        made().sample(2, **{option: 3})


def test_the_options_of_enlarging_are_for_networks_that_do(made):
    with pytest.raises(ValueError, match="no option noise_level;"):
        made().sample(2, noise_level=3)


def test_a_network_without_its_diffusion_says_so(made):
    model = made()
    model.diffusion = None
    with pytest.raises(ValueError, match=r"no diffusion, as there was no diffusion_config\.json"):
        model.sample()


def test_the_diffusion_is_saved_and_loaded_with_the_weights(made, tmp_path):
    model = made()
    model.class_names = ["a"]
    model.save_pretrained(tmp_path / "net")
    loaded = UNet.from_pretrained(tmp_path / "net")
    assert torch.equal(loaded.sample(2, **OPTIONS), model.sample(2, **OPTIONS))
    assert loaded.class_names == ["a"]
    again, info = UNet.from_pretrained(tmp_path, subfolder="net", output_loading_info=True)
    assert again.class_names == ["a"] and not info["missing_keys"]
    model.diffusion = None
    model.save_pretrained(tmp_path / "bare")
    assert UNet.from_pretrained(tmp_path / "bare").diffusion is None


def test_a_respaced_diffusion_is_not_saved(made, tmp_path):
    model = made()
    model.diffusion = model.diffusion.respace(10)
    with pytest.raises(ValueError, match="respaced"):
        model.save_pretrained(tmp_path / "x")
