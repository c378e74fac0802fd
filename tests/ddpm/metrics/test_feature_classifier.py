"""The classifier learns digits in seconds, the same each time, and says what it is."""

import re

import pytest
import torch

from ddpm.metrics import feature_classifier
from ddpm.metrics.feature_classifier import SmallClassifier, accuracy, train_feature_classifier
from ddpm.metrics.features import FeatureExtractor, as_extractor


def test_digits_are_learned_and_the_name_tells(digits, digits_classifier):
    images, labels = digits
    held_out = images[1437:], labels[1437:]
    model = digits_classifier
    features, probabilities = as_extractor(model)(held_out[0])
    share = float((probabilities.argmax(1) == held_out[1]).double().mean())
    assert share >= 0.95 and share == accuracy(model, *held_out)
    description = (
        f"1437 images, 64 features, 6 epochs, seed 0, held-out accuracy {100 * share:.2f} %"
    )
    assert model.name == f"SmallClassifier of digits ({description})"
    assert as_extractor(model).name == model.name and not model.training
    assert features.shape == (360, 64) and torch.linalg.matrix_rank(features.double().T.cov()) > 40
    # what FID is for: the same class is nearer than another
    means = torch.stack([features[held_out[1] == k].mean(0) for k in range(10)])
    assert (torch.cdist(features, means).argmin(1) == held_out[1]).double().mean() > 0.95


@pytest.mark.slow
def test_digits_are_learned_better_by_the_usual_number_of_epochs(digits):
    images, labels = digits
    model = train_feature_classifier(images[:1437], labels[:1437])
    assert accuracy(model, images[1437:], labels[1437:]) >= 0.97


def test_the_seed_alone_decides_and_the_global_one_is_untouched(digits):
    images, labels = (x[:150] for x in digits)
    weights = []
    for seed, around in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(around)
        before = torch.get_rng_state()
        model = train_feature_classifier(images, labels, seed=seed, epochs=2)
        assert torch.equal(torch.get_rng_state(), before)
        weights.append(
            torch.cat([value.flatten().double() for value in model.state_dict().values()])
        )
        assert re.fullmatch(
            rf"SmallClassifier of images \(.*2 epochs, seed {seed}, training accuracy .*\)",
            model.name,
        )
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize(("channels", "side"), [(1, 8), (3, 16), (2, 32)])
def test_any_small_image_has_features(channels, side):
    images = torch.rand(9, channels, side, side) * 2 - 1
    labels = torch.arange(9) % 4
    model = train_feature_classifier(images, labels, epochs=1, batch_size=4, num_features=24)
    features, probabilities = FeatureExtractor(model.name, model)(images)
    assert features.shape == (9, 24) and probabilities.shape == (9, 4) and (features >= 0).all()
    expected = model.head(features).double().softmax(1)
    torch.testing.assert_close(probabilities, expected, rtol=1e-5, atol=1e-7)


def test_training_images_are_moved_by_at_most_a_pixel_in_eight():
    from ddpm.metrics.feature_classifier import _shifted

    image = torch.zeros(1, 1, 16, 16)
    image[..., 8, 5] = 1
    places = _shifted(image.expand(4000, -1, -1, -1)).flatten(1).argmax(1)
    moves = torch.stack((places // 16 - 8, places % 16 - 5), 1)
    # each image on its own, both ways
    assert moves.abs().max() == 2 and len(moves.unique(dim=0)) == 25


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": torch.zeros(5, 8, 8)}, r"shape \(5, 8, 8\)"),
        ({"images": torch.full((5, 1, 8, 8), 16.0)}, "rescale"),
        ({"labels": torch.zeros(4).long()}, "images and labels are"),
        ({"labels": torch.zeros(5)}, "images and labels are"),
        ({"labels": torch.arange(5) - 1}, "images and labels are"),
        ({"held_out": (torch.zeros(3, 1, 8, 8), torch.zeros(2).long())}, "images and labels are"),
        ({"epochs": 0}, "epochs is 0"),
        ({"batch_size": 1}, "batch_size is 1"),
        ({"num_features": 0}, "num_features is 0"),
    ],
)
def test_bad_input_is_refused(changes, message):
    arguments = {"images": torch.zeros(5, 1, 8, 8), "labels": torch.zeros(5).long()} | changes
    with pytest.raises(ValueError, match=message):
        train_feature_classifier(**arguments)


def test_one_held_out_image_is_enough():
    images = torch.zeros(5, 1, 8, 8)
    labels = torch.zeros(5).long()
    held_out = (images[:1], labels[:1])
    model = train_feature_classifier(images, labels, held_out=held_out, epochs=1)
    assert "held-out accuracy 100.00 %" in model.name


def test_other_channels_are_refused():
    with pytest.raises(ValueError, match=r"expected \(B, 3, H, W\)"):
        SmallClassifier(3, 10)(torch.zeros(1, 1, 8, 8))


@pytest.mark.parametrize(("most", "epochs"), [(9, 1), (45, 2), (120_000, 30)])
def test_more_images_are_gone_through_less_often(monkeypatch, most, epochs):
    monkeypatch.setattr(feature_classifier, "_MOST_SEEN", most)
    images = torch.rand(20, 1, 8, 8)
    model = train_feature_classifier(images, torch.arange(20) % 2)
    assert f" {epochs} epochs" in model.name
