"""The networks of ADM: the U-Net, its encoder as a classifier of noisy images, and the released
files.
"""

from .classifier import NoisyClassifier
from .configuration_unet import ClassifierConfig, UNetConfig
from .unet import UNet

__all__ = ["ClassifierConfig", "NoisyClassifier", "UNet", "UNetConfig"]
