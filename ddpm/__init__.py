"""Gaussian diffusion of images (DDPM, Improved DDPM, ADM) on the Hugging Face stack.

`import ddpm` makes its networks known to transformers' Auto classes.
"""

from transformers import AutoConfig, AutoModel

from ardm.version import __version__

from .classification import ClassificationObjective
from .conditioning import Conditioned
from .denoisers import to_model_range, to_uint8
from .diffusion import BitsPerDim, GaussianDiffusion, Reverse
from .drawing import draw_images
from .editing import ddim_invert, image_to_image, inpaint, interpolate
from .guidance import autoguidance, classifier_free_guidance, classifier_guidance
from .hub import export_code, load_classifier, load_folder, save_folder
from .metrics import ImageQualityEvaluation
from .models import ClassifierConfig, DiffusersUNet, NoisyClassifier, UNet, UNetConfig
from .objective import DiffusionObjective
from .samplers import SamplingState, sample
from .schedules import cosine_schedule, linear_schedule, zero_terminal_snr
from .timesteps import LossSecondMomentTimesteps, UniformTimesteps
from .upsampling import cascade, upsample

__all__ = [
    "BitsPerDim",
    "ClassificationObjective",
    "ClassifierConfig",
    "Conditioned",
    "DiffusersUNet",
    "DiffusionObjective",
    "GaussianDiffusion",
    "ImageQualityEvaluation",
    "LossSecondMomentTimesteps",
    "NoisyClassifier",
    "Reverse",
    "SamplingState",
    "UNet",
    "UNetConfig",
    "UniformTimesteps",
    "__version__",
    "autoguidance",
    "classifier_free_guidance",
    "classifier_guidance",
    "cascade",
    "cosine_schedule",
    "ddim_invert",
    "draw_images",
    "export_code",
    "image_to_image",
    "inpaint",
    "interpolate",
    "linear_schedule",
    "load_classifier",
    "load_folder",
    "sample",
    "save_folder",
    "to_model_range",
    "to_uint8",
    "upsample",
    "zero_terminal_snr",
]

for _config, _model in ((UNetConfig, UNet), (ClassifierConfig, NoisyClassifier)):
    AutoConfig.register(_config.model_type, _config, exist_ok=True)
    AutoModel.register(_config, _model, exist_ok=True)
