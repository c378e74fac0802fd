"""Tiny networks with random weights, for the tests of the U-Net, its layers and its classifier."""

import pytest
import torch

TINY = {
    "image_size": 8,
    "in_channels": 2,
    "model_channels": 8,
    "channel_mult": (1, 2),
    "num_res_blocks": 1,
    "attention_resolutions": (4,),
    "num_heads": 2,
    "norm_num_groups": 4,
}


@pytest.fixture(scope="session")
def sizes():
    """Changes -> the fields of a tiny configuration."""
    return lambda **changes: TINY | changes


@pytest.fixture(scope="session")
def randomise():
    """Draws every weight of a network at random, those that start at 0 too."""

    def draw(model, seed=0):
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in model.parameters():
                scale = 0.3 if parameter.ndim == 1 else parameter[0].numel() ** -0.5
                parameter.normal_(0, scale, generator=generator)
        return model.eval()

    return draw


@pytest.fixture(scope="session")
def checkpoint_activations():
    """Turns gradient checkpointing on or off; transformers 5.24 warns of the method's old name."""

    def switch(model, enable=True):
        word = "enable" if enable else "disable"
        name = f"activation_checkpointing_{word}"
        getattr(model, name if hasattr(model, name) else f"gradient_checkpointing_{word}")()

    return switch
