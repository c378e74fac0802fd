"""A text model as a folder for the Hub: network, tokenizer, card and pictures."""

from .cards import CardFigures, Evaluation, model_card
from .folder import DEMO_FOLDER, load_folder, loss_curve, save_folder

__all__ = [
    "DEMO_FOLDER",
    "CardFigures",
    "Evaluation",
    "load_folder",
    "loss_curve",
    "model_card",
    "save_folder",
]
