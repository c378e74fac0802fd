"""The FID network against its definition layer by layer, and what its weight files may be."""

import hashlib
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from ddpm.metrics.features import FeatureExtractor
from ddpm.metrics.inception import FIDInception, load_inception


@pytest.fixture(scope="module")
def model():
    """All weights and statistics are random: zero means and unit gains would hide their use."""
    generator = torch.Generator().manual_seed(0)
    made = FIDInception().eval().requires_grad_(False)
    for name, value in made.state_dict().items():
        if name.endswith("conv.weight") or name == "fc.weight":
            value.normal_(0, (2 / value[0].numel()) ** 0.5, generator=generator)
        elif name.endswith("running_var") or name.endswith("bn.weight"):
            value.uniform_(0.5, 1.5, generator=generator)
        elif not name.endswith("tracked"):
            value.normal_(0, 0.3, generator=generator)
    return made


# ------------------------------------------------------- the definition, from the names of the file
def reference(weights, images):
    """(features, probabilities), from a state dict alone."""

    def conv(x, name, stride=1, padding=0):
        x = F.conv2d(x, weights[f"{name}.conv.weight"], stride=stride, padding=padding)
        mean = weights[f"{name}.bn.running_mean"]
        variance = weights[f"{name}.bn.running_var"]
        return F.batch_norm(
            x, mean, variance, weights[f"{name}.bn.weight"], weights[f"{name}.bn.bias"], eps=1e-3
        ).relu()

    def average(x):
        ones = F.avg_pool2d(torch.ones_like(x), 3, 1, 1)
        return F.avg_pool2d(x, 3, 1, 1) / ones  # without the padding

    def a(x, b):
        five = conv(conv(x, f"{b}.branch5x5_1"), f"{b}.branch5x5_2", padding=2)
        double = conv(conv(x, f"{b}.branch3x3dbl_1"), f"{b}.branch3x3dbl_2", padding=1)
        double = conv(double, f"{b}.branch3x3dbl_3", padding=1)
        return torch.cat(
            (conv(x, f"{b}.branch1x1"), five, double, conv(average(x), f"{b}.branch_pool")), 1
        )

    def c(x, b):
        seven = conv(conv(x, f"{b}.branch7x7_1"), f"{b}.branch7x7_2", padding=(0, 3))
        seven = conv(seven, f"{b}.branch7x7_3", padding=(3, 0))
        double = conv(conv(x, f"{b}.branch7x7dbl_1"), f"{b}.branch7x7dbl_2", padding=(3, 0))
        double = conv(
            conv(double, f"{b}.branch7x7dbl_3", padding=(0, 3)),
            f"{b}.branch7x7dbl_4",
            padding=(3, 0),
        )
        double = conv(double, f"{b}.branch7x7dbl_5", padding=(0, 3))
        return torch.cat(
            (conv(x, f"{b}.branch1x1"), seven, double, conv(average(x), f"{b}.branch_pool")), 1
        )

    def e(x, b, pooled):
        three = conv(x, f"{b}.branch3x3_1")
        double = conv(conv(x, f"{b}.branch3x3dbl_1"), f"{b}.branch3x3dbl_2", padding=1)
        forks = [
            conv(y, f"{b}.{name}{side}", padding=(0, 1) if side == "a" else (1, 0))
            for y, name in ((three, "branch3x3_2"), (double, "branch3x3dbl_3"))
            for side in "ab"
        ]
        return torch.cat((conv(x, f"{b}.branch1x1"), *forks, conv(pooled, f"{b}.branch_pool")), 1)

    x = F.interpolate(images, (299, 299), mode="bilinear")
    x = conv(conv(conv(x, "Conv2d_1a_3x3", 2), "Conv2d_2a_3x3"), "Conv2d_2b_3x3", padding=1)
    x = conv(conv(F.max_pool2d(x, 3, 2), "Conv2d_3b_1x1"), "Conv2d_4a_3x3")
    x = a(a(a(F.max_pool2d(x, 3, 2), "Mixed_5b"), "Mixed_5c"), "Mixed_5d")
    double = conv(conv(x, "Mixed_6a.branch3x3dbl_1"), "Mixed_6a.branch3x3dbl_2", padding=1)
    double = conv(double, "Mixed_6a.branch3x3dbl_3", 2)
    x = torch.cat((conv(x, "Mixed_6a.branch3x3", 2), double, F.max_pool2d(x, 3, 2)), 1)
    x = c(c(c(c(x, "Mixed_6b"), "Mixed_6c"), "Mixed_6d"), "Mixed_6e")
    assert x.shape[1:] == (768, 17, 17)
    three = conv(conv(x, "Mixed_7a.branch3x3_1"), "Mixed_7a.branch3x3_2", 2)
    seven = conv(conv(x, "Mixed_7a.branch7x7x3_1"), "Mixed_7a.branch7x7x3_2", padding=(0, 3))
    seven = conv(conv(seven, "Mixed_7a.branch7x7x3_3", padding=(3, 0)), "Mixed_7a.branch7x7x3_4", 2)
    x = torch.cat((three, seven, F.max_pool2d(x, 3, 2)), 1)
    x = e(x, "Mixed_7b", average(x))
    x = e(x, "Mixed_7c", F.max_pool2d(x, 3, 1, 1))
    assert x.shape[1:] == (2048, 8, 8)
    features = x.mean((2, 3))
    return features, (features @ weights["fc.weight"].T).softmax(1)


@pytest.mark.slow
def test_network_is_its_definition_for_colour_and_grey(model):
    images = torch.rand(1, 3, 40, 31) * 2 - 1
    for batch in (images, images[:, :1]):
        features, probabilities = model(batch)
        expected = reference(model.state_dict(), batch.expand(-1, 3, -1, -1))
        assert features.shape == (1, 2048) and probabilities.shape == (1, 1008)
        assert features.std() > 1e-3
        torch.testing.assert_close(features, expected[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(probabilities, expected[1], rtol=1e-4, atol=1e-7)


def test_sizes_and_names_are_torchvisions_without_the_auxiliary_head(model):
    # of 1000 classes, and 8 more
    assert sum(p.numel() for p in model.parameters()) == 23_834_568 + 8 * 2049
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert len(shapes) == 94 * 6 + 2  # 94 convolutions, each with five of its normalisation
    assert shapes["Mixed_6b.branch7x7dbl_5.conv.weight"] == (192, 128, 1, 7)
    assert shapes["Mixed_7c.branch3x3dbl_3b.bn.running_var"] == (384,) and shapes["fc.bias"] == (
        1008,
    )


def test_bad_images_are_refused(model):
    with pytest.raises(ValueError, match="images have 2 channels; expected 1 or 3"):
        model(torch.zeros(1, 2, 8, 8))
    with pytest.raises(ValueError, match="rescale"):
        model(torch.full((1, 3, 8, 8), 255.0))


# -------------------------------------------------------------------------------------------- files
@pytest.mark.parametrize(("kind", "counted"), [("pth", False), ("safetensors", True)])
def test_weights_are_read_with_or_without_counters_and_named(model, tmp_path, kind, counted):
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    if not counted:  # as the circulating file may be
        weights = {name: value for name, value in weights.items() if "tracked" not in name}
    path = tmp_path / f"weights.{kind}"
    (save_file if kind == "safetensors" else torch.save)(weights, path)
    extract = load_inception(str(path))
    assert isinstance(extract, FeatureExtractor) and not extract.function.training
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    assert extract.name == f"weights (InceptionV3, sha256 {digest})"
    read = extract.function.state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(read[name], value), name


class Trap:
    def __reduce__(self):
        return (exec, ("raise SystemExit('executed')",))


def test_files_that_are_not_these_weights_are_refused_and_not_executed(model, tmp_path):
    path = tmp_path / "weights.pth"
    with pytest.raises(ValueError, match="there is no file"):
        load_inception(path)
    # of the right shapes, but one number each: small files
    weights = {
        name: torch.zeros((), dtype=value.dtype).expand(value.shape)
        for name, value in model.state_dict().items()
    }
    lacking = {name: value for name, value in weights.items() if name != "fc.weight"}
    thousand = {name: weights[name][:1000] for name in ("fc.weight", "fc.bias")}
    for wrong, message in (
        (lacking, "fc.weight"),
        (weights | thousand, "size mismatch for fc.weight"),
        (weights | {"AuxLogits.fc.bias": torch.zeros(1)}, "AuxLogits.fc.bias"),
        ([1, 2], "holds no weights"),
        (Trap(), "holds no weights"),
    ):
        torch.save(wrong, path)
        with pytest.raises(ValueError, match=message):
            load_inception(path)
    for content in (b"", b"not weights", pickle.dumps(Trap())):
        for name in ("weights.pth", "weights.safetensors"):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(ValueError, match="holds no weights"):
                load_inception(tmp_path / name)
