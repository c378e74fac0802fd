"""A saved classifier of noisy images: network, card and pictures, in one folder for the Hub.

config.json, model.safetensors    the network, as transformers saves it; the configuration has the
                                  classes' names (id2label) and the betas of the process whose noise
                                  it knows
*.py                              the code of the network, for where this package is not
README.md, *.png                  for people
"""

import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from ardm.training import loss_curve as draw_loss_curve
from ardm.training import write_repository
from ardm.training.card_parts import picture_files
from ardm.training.model_folders import find_model, loading

from ..models.classifier import NoisyClassifier
from .classifier_cards import ClassifierFigures, classifier_card
from .folder import check_kind, read_network

if TYPE_CHECKING:
    from PIL.Image import Image


def save_classifier(
    folder: str | os.PathLike[str],
    model: NoisyClassifier,
    figures: ClassifierFigures,
    history: Sequence[Mapping[str, float]] = (),
    pictures: "Mapping[str, bytes | Image] | None" = None,
) -> None:
    """Writes all of a classifier's repository: weights, configuration, card, curves.

    Everything is made aside, then file by file renamed into place: nothing changes if it fails, and
    other files in the folder stay.

    Args:
        folder: where to; made if needed.
        model: the classifier.
        figures: for the card; its pictures and its loss curve are filled in here.
        history: rows with "step" and any of "loss" and "eval_loss"; empty = no loss curve.
        pictures: PNG content or PIL images, by file name.

    Raises:
        ValueError: if a picture's name has a folder in it.
    """
    curve = partial(draw_loss_curve, history, unit="cross-entropy, nats") if history else None
    figures, contents = picture_files(figures, pictures or {}, curve)
    contents["README.md"] = classifier_card(figures).encode()
    write_repository(folder, contents, model.save_pretrained)


def load_classifier(name_or_path: str | os.PathLike[str]) -> NoisyClassifier:
    """Reads a classifier from a folder or the Hub.

    Args:
        name_or_path: the folder, or "user/name" on the Hub.

    Returns:
        The classifier in evaluation mode, in float32.

    Raises:
        ValueError: if there is no such classifier, as in the folder of a diffusion model, one of
            its files is missing or damaged, or weights are missing or not finite.
    """
    name = find_model(name_or_path)
    with loading(name):
        check_kind(name, NoisyClassifier)
        return read_network(name, NoisyClassifier).float().eval()
