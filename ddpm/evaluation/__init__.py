"""What a run reports of an image model: its bound, how good its samples are, and the flags that say
what to run.
"""

from .arguments import add_model_arguments, new_diffusion, new_network, new_objective
from .evaluation import SAMPLERS, BoundEvaluation, SampleEvaluation, extractor_of
from .report import card_facts, draw_pictures, measure_quality

__all__ = [
    "SAMPLERS",
    "BoundEvaluation",
    "SampleEvaluation",
    "add_model_arguments",
    "card_facts",
    "draw_pictures",
    "extractor_of",
    "measure_quality",
    "new_diffusion",
    "new_network",
    "new_objective",
]
