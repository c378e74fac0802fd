"""Order-agnostic autoregressive diffusion models of discrete data (arXiv 2110.02037) on the Hugging
Face stack.
"""

from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM

from .collator import RandomRatioCollator
from .configuration_ardm import ARDMConfig
from .generation_ardm import ARDMGenerationMixin
from .generation_config_ardm import ARDMGenerationConfig, ARDMGenerationOutput
from .likelihood import NELBOOutput, nelbo
from .masking import random_ratio_mask
from .modeling_ardm import ARDMForMaskedLM, ARDMModel
from .path_likelihood import log_prob
from .plans import cosine_plan, optimal_plan, plan_cost, uniform_plan
from .step_losses import StepLosses, measure_step_losses, per_step_losses

__version__ = "0.1.0"
__all__ = [
    "ARDMConfig",
    "ARDMForMaskedLM",
    "ARDMGenerationConfig",
    "ARDMGenerationMixin",
    "ARDMGenerationOutput",
    "ARDMModel",
    "NELBOOutput",
    "RandomRatioCollator",
    "StepLosses",
    "cosine_plan",
    "log_prob",
    "measure_step_losses",
    "nelbo",
    "optimal_plan",
    "per_step_losses",
    "plan_cost",
    "random_ratio_mask",
    "uniform_plan",
]

AutoConfig.register("ardm", ARDMConfig, exist_ok=True)
AutoModel.register(ARDMConfig, ARDMModel, exist_ok=True)
AutoModelForMaskedLM.register(ARDMConfig, ARDMForMaskedLM, exist_ok=True)
