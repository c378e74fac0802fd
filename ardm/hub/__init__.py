"""A model as a folder for the Hub: network, tokenizer or image format, card and pictures."""

from .adapters import add_adapters, load_adapters
from .cards import CardFigures, Evaluation, model_card
from .export import export_code
from .folder import DEMO_FOLDER, load_folder, loss_curve, save_folder
from .image_cards import ImageCardFigures, image_model_card
from .image_folder import load_image_classes, load_image_folder, save_image_folder

__all__ = [
    "DEMO_FOLDER",
    "CardFigures",
    "Evaluation",
    "ImageCardFigures",
    "add_adapters",
    "export_code",
    "image_model_card",
    "load_adapters",
    "load_folder",
    "load_image_classes",
    "load_image_folder",
    "loss_curve",
    "model_card",
    "save_folder",
    "save_image_folder",
]
