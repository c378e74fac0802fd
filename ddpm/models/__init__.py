"""The networks of ADM: the U-Net, the noisy classifier that is its encoder, the released files."""

from .classifier import NoisyClassifier
from .configuration_classifier import ClassifierConfig
from .configuration_unet import UNetConfig
from .diffusers_unet import DiffusersUNet, diffusers_twin
from .unet import UNet

__all__ = [
    "ClassifierConfig",
    "DiffusersUNet",
    "NoisyClassifier",
    "UNet",
    "UNetConfig",
    "diffusers_twin",
]
