"""An image model as a folder for the Hub: weights, diffusion, card and pictures."""

from .card_figures import CardFigures, Likelihood, SampleQuality, model_facts, quality_facts
from .cards import model_card
from .folder import DEMO_FOLDER, load_class_names, load_folder, loss_curve, save_folder
from .pictures import (
    check_image_folder,
    comparison_grid,
    image_grid,
    pictures_of,
    write_gif,
    write_images,
    write_npz,
    write_png,
)
from .samples import tracked_samples, tracked_upsamples

__all__ = [
    "DEMO_FOLDER",
    "CardFigures",
    "Likelihood",
    "SampleQuality",
    "check_image_folder",
    "comparison_grid",
    "image_grid",
    "load_class_names",
    "load_folder",
    "loss_curve",
    "model_card",
    "model_facts",
    "pictures_of",
    "quality_facts",
    "save_folder",
    "tracked_samples",
    "tracked_upsamples",
    "write_gif",
    "write_images",
    "write_npz",
    "write_png",
]
