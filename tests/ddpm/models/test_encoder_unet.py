"""The encoder: what each of its blocks gives, and that widths and sizes are those it says."""

import pytest
import torch

from ddpm import UNetConfig
from ddpm.models import ClassifierConfig
from ddpm.models.encoder_unet import Encoder


@pytest.mark.parametrize("config_class", [UNetConfig, ClassifierConfig])
def test_every_output_has_the_width_that_is_told(sizes, config_class):
    config = config_class(**sizes(num_res_blocks=2, channel_mult=(1, 2, 2)))
    encoder = Encoder(config, config.in_channels)
    embedding = torch.randn(3, 4 * config.model_channels)
    outputs = encoder(torch.randn(3, config.in_channels, 8, 8), embedding)
    assert [output.shape[1] for output in outputs] == encoder.skip_widths
    # the stem, two blocks a level, and one that halves between levels
    assert [output.shape[-1] for output in outputs] == [8, 8, 8, 4, 4, 4, 2, 2, 2]
    assert len(encoder.blocks) == len(outputs) - 1
