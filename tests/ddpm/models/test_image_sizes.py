"""The U-Net on images of other sizes than its own, square or not."""

import pytest
import torch

from ddpm import GaussianDiffusion, cosine_schedule, sample
from ddpm.models.configuration_unet import UNetConfig
from ddpm.models.unet import UNet

VARIANTS = {
    "resampling blocks": {},
    "three levels": {"image_size": 16, "channel_mult": (1, 2, 2), "attention_resolutions": (8,)},
    "no attention but in the middle": {"attention_resolutions": ()},
    "legacy order": {"attention_order": "legacy", "learn_sigma": True, "num_classes": 3},
    "convolutions": {"resblock_updown": False},
    "plain resampling": {"resblock_updown": False, "conv_resample": False},
}
SIZES = [(4, 12), (24, 16), (8, 8)]


@pytest.fixture(scope="module")
def tiny(sizes, randomise):
    """Changes of the sizes -> a network with random weights."""
    return lambda **changes: randomise(UNet(UNetConfig(**sizes(**changes))))


def batch(model, size):
    config = model.config
    x = torch.randn(2, config.in_channels, *size)
    labels = None if config.num_classes is None else torch.arange(2) % config.num_classes
    return x, torch.tensor([3, 700]), labels


@torch.no_grad()
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_an_image_on_its_side_is_the_work_of_kernels_on_theirs(tiny, variant, size):
    model = tiny(**VARIANTS[variant])
    x, t, labels = batch(model, size)
    upright = model(x, t, labels)
    assert upright.shape == (2, model.config.out_channels, *size) and upright.std() > 0.1
    for layer in model.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.weight.copy_(layer.weight.transpose(2, 3).clone())
    torch.testing.assert_close(
        model(x.transpose(2, 3), t, labels).transpose(2, 3), upright, rtol=1e-5, atol=1e-5
    )


@torch.no_grad()
@pytest.mark.parametrize("size", SIZES)
def test_the_size_of_the_configuration_only_names_the_levels_with_attention(tiny, size):
    small = tiny()
    large = tiny(image_size=32, attention_resolutions=(16,))
    large.load_state_dict(small.state_dict())
    inputs = batch(small, size)
    assert torch.equal(small(*inputs), large(*inputs))


@torch.no_grad()
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_constant_image_stays_so_where_no_border_is_seen(tiny, variant):
    model = tiny(**VARIANTS[variant])
    config = model.config
    labels = None if config.num_classes is None else torch.tensor([0])
    output = model(torch.full((1, config.in_channels, 112, 96), 0.3), torch.tensor([9]), labels)
    inner = output[0, :, 44:-44, 44:-44]
    torch.testing.assert_close(inner, inner[:, :1, :1].expand_as(inner), rtol=1e-5, atol=1e-5)
    assert output.std() > 1e-2  # the borders show


@pytest.mark.parametrize("steps", [2, 3])
def test_sampling_at_another_size(tiny, steps):
    model = tiny(learn_sigma=True)
    diffusion = GaussianDiffusion(cosine_schedule(100))
    images = sample(model, (2, 2, 48, 32), diffusion, steps=steps, seed=0)
    assert images.shape == (2, 2, 48, 32)
    with pytest.raises(ValueError, match=r"\(2, 2, 48, 31\); expected \(B, 2, H, W\), H and W mul"):
        sample(model, (2, 2, 48, 31), diffusion, steps=steps, seed=0)


@pytest.mark.parametrize("size", [(2, 8), (8, 6), (8, 0), (9, 9), (8,), ()])
def test_what_cannot_be_halved_at_every_level_is_refused(tiny, size):
    model = tiny(image_size=16, channel_mult=(1, 2, 2), attention_resolutions=(8,))
    with pytest.raises(ValueError, match=r"H and W multiples of 2\^\(levels-1\) = 4"):
        model(torch.zeros(1, 2, *size), torch.zeros(1))
