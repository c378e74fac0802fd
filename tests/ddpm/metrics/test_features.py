"""An extractor is checked at both ends, runs in evaluation mode, and changes no module."""

import pytest
import torch
from torch import nn

from ddpm.metrics.features import FeatureExtractor, as_extractor

IMAGES = torch.rand(5, 2, 4, 4) * 2 - 1


def flat(images):
    return images.flatten(1)


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(2)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(32, 3)
        self.norm.eval()  # frozen by its owner

    def forward(self, images):
        features = self.drop(self.norm(images)).flatten(1)
        return features, self.head(features).softmax(1)


def test_features_of_a_function_and_of_a_module():
    got = FeatureExtractor("pixels", flat)(IMAGES)
    assert torch.equal(got.features, IMAGES.flatten(1)) and got.probabilities is None
    features, probabilities = FeatureExtractor("network", Network())(IMAGES)
    assert (
        features.shape == (5, 32) and features.dtype == torch.float32 and not features.requires_grad
    )
    assert probabilities.shape == (5, 3) and probabilities.dtype == torch.float64


def test_a_module_runs_in_evaluation_mode_and_is_left_as_it_was():
    network = Network()
    modes = [m.training for m in network.modules()]
    state = {k: v.clone() for k, v in network.state_dict().items()}
    assert len(set(modes)) == 2
    extract = FeatureExtractor("network", network)
    assert torch.equal(extract(IMAGES).features, extract(IMAGES).features)  # dropout would differ
    assert [m.training for m in network.modules()] == modes
    assert all(torch.equal(state[name], value) for name, value in network.state_dict().items())
    with pytest.raises(RuntimeError):
        extract(IMAGES[:, :, :2])
    assert [m.training for m in network.modules()] == modes


def test_half_precision_features_are_widened():
    assert (
        FeatureExtractor("half", lambda x: flat(x).bfloat16())(IMAGES).features.dtype
        == torch.float32
    )
    assert (
        FeatureExtractor("double", lambda x: flat(x).double())(IMAGES).features.dtype
        == torch.float64
    )


def test_names():
    network = Network()
    extractor = FeatureExtractor("mine", flat)
    assert as_extractor(extractor) is extractor
    assert as_extractor(network).name == "Network" and as_extractor(network).function is network
    assert as_extractor(flat).name == "flat"
    network.name = "network of 32 features"
    assert as_extractor(network).name == "network of 32 features"
    with pytest.raises(ValueError, match="without a name"):
        as_extractor(lambda images: flat(images))
    with pytest.raises(ValueError, match="extractor is 3; expected"):
        as_extractor(3)
    with pytest.raises(ValueError, match="name is ''"):
        FeatureExtractor("", flat)
    with pytest.raises(ValueError, match="is a int; expected a callable"):
        FeatureExtractor("number", 3)


@pytest.mark.parametrize(
    "images",
    [[[0.0]], IMAGES.int(), IMAGES[0], IMAGES[:, :0], IMAGES[:0], IMAGES / 0, IMAGES * 127.5],
)
def test_what_is_no_image_in_the_range_is_refused(images):
    with pytest.raises(ValueError, match=r"images are|images hold|images lie|no image"):
        FeatureExtractor("pixels", flat)(images)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (torch.zeros(4, 3), r"returned features \(4, 3\)"),
        (torch.zeros(5, 3, 1, 1), r"returned features \(5, 3, 1, 1\)"),
        (torch.zeros(5, 0), r"returned features \(5, 0\)"),
        ([1], "returned features list"),
        (torch.zeros(5, 3) / 0, "not finite"),
        (torch.zeros(5, 3).int(), "not finite floats"),
        ((torch.zeros(5, 3), torch.zeros(5)), r"returned probabilities \(5,\)"),
        ((torch.zeros(5, 3), torch.zeros(5, 2)), "do not sum to 1"),
        ((torch.zeros(5, 3), torch.tensor([[2.0, -1]]).expand(5, 2)), "negative"),
    ],
)
def test_output_that_is_no_features_is_refused_by_name(output, message):
    with pytest.raises(ValueError, match=message) as caught:
        FeatureExtractor("broken", lambda images: output)(IMAGES)
    assert "'broken'" in str(caught.value)
