"""What a run reports of an image model: bound, samples, and the flags that say what to run."""

from .arguments import add_image_arguments, add_model_arguments, data_name, image_settings
from .assembly import (
    check_fits,
    new_diffusion,
    new_network,
    new_objective,
    new_sample_evaluation,
    run_identity,
)
from .bound import BoundEvaluation
from .classification import ClassifierEvaluation
from .classifier_arguments import add_classifier_arguments
from .classifier_assembly import check_guides, classifier_identity, new_classifier, new_process
from .facts import run_facts, sweep_facts, tracked_settings, training_facts
from .guidance_sweep import (
    GuidedQuality,
    check_swept,
    guided_grids,
    guided_quality,
    quality_by_scale,
    swept_guides,
)
from .report import COMPARED, measure_quality, sample_grids
from .sample_quality import SAMPLERS, SampleEvaluation, extractor_of
from .upsampling import shown_images, upsampling_rows

__all__ = [
    "COMPARED",
    "SAMPLERS",
    "BoundEvaluation",
    "ClassifierEvaluation",
    "GuidedQuality",
    "SampleEvaluation",
    "add_classifier_arguments",
    "add_image_arguments",
    "add_model_arguments",
    "check_fits",
    "check_guides",
    "check_swept",
    "classifier_identity",
    "data_name",
    "extractor_of",
    "guided_grids",
    "guided_quality",
    "image_settings",
    "measure_quality",
    "new_classifier",
    "new_diffusion",
    "new_network",
    "new_objective",
    "new_process",
    "new_sample_evaluation",
    "quality_by_scale",
    "run_facts",
    "run_identity",
    "sample_grids",
    "shown_images",
    "sweep_facts",
    "swept_guides",
    "tracked_settings",
    "training_facts",
    "upsampling_rows",
]
