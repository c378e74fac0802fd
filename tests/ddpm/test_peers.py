"""The twin in diffusers has as many parameters; test_unet_parity.py shows that it computes the same."""

import pytest

from ddpm.models.configuration_unet import UNetConfig
from ddpm.models.unet import UNet
from ddpm.peers import diffusers_twin

SMALL = {
    "image_size": 8,
    "in_channels": 1,
    "model_channels": 8,
    "channel_mult": (1, 2),
    "norm_num_groups": 4,
}


@pytest.mark.parametrize("updown", [True, False])
@pytest.mark.parametrize("attended", [(), (4,), (8, 4)])
@pytest.mark.parametrize("num_classes", [None, 3])
def test_as_many_parameters(updown, attended, num_classes):
    pytest.importorskip("diffusers")
    config = UNetConfig(**SMALL, num_head_channels=4, resblock_updown=updown, attention_resolutions=attended,
                        num_classes=num_classes)  # fmt: skip
    twin = diffusers_twin(config)
    assert (
        sum(parameter.numel() for parameter in twin.parameters()) == UNet(config).num_parameters()
    )
