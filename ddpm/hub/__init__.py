"""An image model as a folder for the Hub: weights, diffusion, card and pictures, saved whole and
loaded checked.
"""

from .cards import CardFigures, Likelihood, SampleQuality, model_card
from .folder import load_class_names, load_folder, save_folder
from .pictures import comparison_grid, image_grid, write_gif, write_images, write_npz, write_png

__all__ = [
    "CardFigures",
    "Likelihood",
    "SampleQuality",
    "comparison_grid",
    "image_grid",
    "load_class_names",
    "load_folder",
    "model_card",
    "save_folder",
    "write_gif",
    "write_images",
    "write_npz",
    "write_png",
]
