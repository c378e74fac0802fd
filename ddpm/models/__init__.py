"""The networks of ADM: the U-Net, the noisy classifier that is its encoder, the released files."""

from .classifier import NoisyClassifier
from .configuration_unet import ClassifierConfig, UNetConfig
from .unet import UNet

__all__ = ["ClassifierConfig", "NoisyClassifier", "UNet", "UNetConfig"]
