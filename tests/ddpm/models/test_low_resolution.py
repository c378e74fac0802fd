"""What an upsampler's network is given: the small image laid behind x, and how noisy it is."""

import pytest
import torch
from torch.nn import functional as F

from ddpm.models.configuration_unet import UNetConfig
from ddpm.models.unet import UNet

X = torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(0))
T = torch.tensor([0, 500, 999])


def small(size=4, seed=1):
    return torch.randn(3, 2, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def network(sizes, randomise):
    return lambda **changes: randomise(UNet(UNetConfig(**sizes(**changes))))


def bilinear(image, size):
    """By the definition: between the centres of pixels, the border's value beyond them."""
    height = image.shape[-1]
    centres = ((torch.arange(size) + 0.5) * height / size - 0.5).clamp(0, height - 1)
    below = centres.floor().long()
    above = (below + 1).clamp(max=height - 1)
    share = centres - below
    rows = image[..., below, :] * (1 - share)[:, None] + image[..., above, :] * share[:, None]
    return rows[..., below] * (1 - share) + rows[..., above] * share


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7])
def test_the_stem_sees_x_and_behind_it_the_enlarged_image(network, size):
    model = network(low_resolution=size)
    seen = []
    model.encoder.stem.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    low_res = small(size)
    model(X, T, low_res=low_res)
    assert torch.equal(seen[0][:, :2], X)
    options = {"mode": "bilinear", "align_corners": False}
    assert torch.equal(seen[0][:, 2:], F.interpolate(low_res, (8, 8), **options))
    torch.testing.assert_close(seen[0][:, 2:], bilinear(low_res, 8))


def test_without_weights_for_the_small_image_it_is_the_unconditional_network(network):
    model = network(low_resolution=4)
    plain = network()
    state = model.state_dict()
    stem = state["encoder.stem.weight"]
    stem[:, 2:] = 0
    plain.load_state_dict(state | {"encoder.stem.weight": stem[:, :2].clone()})
    assert torch.equal(model(X, T, low_res=small()), plain(X, T))


def test_a_row_depends_on_its_own_small_image(network):
    model = network(low_resolution=4)
    one, other = small(), small(seed=2)
    mixed = torch.stack((one[0], other[1], one[2]))
    before, after = (model(X, T, low_res=given) for given in (one, mixed))
    torch.testing.assert_close(before[[0, 2]], after[[0, 2]])
    assert not torch.allclose(before[1], after[1], atol=1e-3)


def test_the_noise_level_is_told_once_it_is_learned(sizes, network):
    config = UNetConfig(**sizes(low_resolution=4, noise_augmentation=True))
    fresh = UNet(config)
    assert not fresh.noise_level_embedding.linear2.weight.any()
    assert not fresh.noise_level_embedding.linear2.bias.any()
    model = network(low_resolution=4, noise_augmentation=True)
    outputs = [
        model(X, T, low_res=small(), noise_level=level)
        for level in (None, torch.tensor(0), torch.zeros(3).long(), torch.tensor([0, 0, 9]))
    ]
    assert torch.equal(outputs[0], outputs[1]) and torch.equal(outputs[0], outputs[2])
    torch.testing.assert_close(outputs[0][:2], outputs[3][:2])
    assert not torch.allclose(outputs[0][2], outputs[3][2], atol=1e-3)


def test_every_weight_learns(network):
    model = network(low_resolution=4, noise_augmentation=True, num_classes=3)
    level = torch.tensor([1, 2, 3])
    model(
        X, T, labels=torch.arange(3), low_res=small(), noise_level=level
    ).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_it_comes_back_from_a_folder(network, tmp_path):
    model = network(low_resolution=4, noise_augmentation=True)
    model.save_pretrained(tmp_path)
    again = UNet.from_pretrained(tmp_path)
    assert again.config.low_resolution == 4 and again.config.noise_augmentation
    given = {"low_res": small(), "noise_level": torch.tensor([0, 3, 9])}
    assert torch.equal(again(X, T, **given), model(X, T, **given))


@pytest.mark.parametrize(
    ("changes", "given", "message"),
    [
        ({}, {"low_res": small()}, "got low_res"),
        ({}, {"noise_level": T}, "got a noise_level"),
        ({"low_resolution": 4}, {}, r"low_res is missing; expected floats \(3, 2, 4, 4\)"),
        ({"low_resolution": 4}, {"low_res": 3}, "low_res is a int"),
        ({"low_resolution": 4}, {"low_res": small(5)}, r"\(3, 2, 5, 5\); expected floats"),
        ({"low_resolution": 4}, {"low_res": small()[:2]}, r"\(2, 2, 4, 4\); expected floats"),
        ({"low_resolution": 4}, {"low_res": small().long()}, "torch.int64"),
        ({"low_resolution": 4}, {"low_res": small(), "noise_level": T}, "got a noise_level"),
        (
            {"low_resolution": 4, "noise_augmentation": True},
            {"low_res": small(), "noise_level": T[:2]},
            r"expected a tensor \(3,\)",
        ),
    ],
)
def test_what_does_not_fit_is_named(network, changes, given, message):
    with pytest.raises(ValueError, match=message):
        network(**changes)(X, T, **given)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"low_resolution": 0}, r"low_resolution is 0; expected None or 1\.\.7"),
        ({"low_resolution": 8}, "low_resolution is 8"),
        ({"noise_augmentation": True}, "noise_augmentation is True"),
    ],
)
def test_sizes_that_do_not_fit_are_named(sizes, changes, message):
    with pytest.raises(ValueError, match=message):
        UNetConfig(**sizes(**changes))
