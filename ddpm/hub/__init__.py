"""An image model as a folder for the Hub: weights, diffusion, card and pictures."""

from .accuracy_curves import accuracy_curve
from .card_figures import CardFigures, Likelihood, SampleQuality, model_facts, quality_facts
from .cards import model_card
from .classifier_cards import (
    ACCURACY_CURVE,
    ClassifierFigures,
    classifier_card,
    classifier_facts,
)
from .classifier_folder import load_classifier, save_classifier
from .companions import SavedModels, load_guides, load_together, load_upsampler
from .export import export_code
from .films import Film
from .folder import (
    DEMO_FOLDER,
    load_class_names,
    load_diffusion,
    load_folder,
    loss_curve,
    save_folder,
)
from .guidance_report import guidance_curves, guidance_report
from .image_files import (
    check_image_folder,
    gif,
    write_gif,
    write_images,
    write_npz,
    write_png,
)
from .live import can_be_steered, watch_drawing
from .pictures import comparison_grid, image_grid, pictures_of
from .samples import tracked_samples, tracked_upsamples

__all__ = [
    "ACCURACY_CURVE",
    "DEMO_FOLDER",
    "CardFigures",
    "ClassifierFigures",
    "Film",
    "Likelihood",
    "SampleQuality",
    "SavedModels",
    "accuracy_curve",
    "can_be_steered",
    "check_image_folder",
    "classifier_card",
    "classifier_facts",
    "comparison_grid",
    "export_code",
    "gif",
    "guidance_curves",
    "guidance_report",
    "image_grid",
    "load_class_names",
    "load_classifier",
    "load_diffusion",
    "load_folder",
    "load_guides",
    "load_together",
    "load_upsampler",
    "loss_curve",
    "model_card",
    "model_facts",
    "pictures_of",
    "quality_facts",
    "save_classifier",
    "save_folder",
    "tracked_samples",
    "tracked_upsamples",
    "watch_drawing",
    "write_gif",
    "write_images",
    "write_npz",
    "write_png",
]
