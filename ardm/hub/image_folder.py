"""A saved model of pixels: network, what its ids mean, card and pictures, in one folder.

config.json, model.safetensors    the network, as transformers saves it
generation_config.json            how it generates, and its measured per-step losses
images.json                       the images' shape, number of values, classes
README.md, *.png, *.gif           for people
"""

import json
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from ..data.images import ImageFormat
from ..modeling_ardm import ARDMForMaskedLM
from ..training import write_repository
from ..training.card_parts import Picture, picture_files
from ..training.model_folders import find_model, loading, read_json
from .folder import keep_step_losses, loss_curve
from .image_cards import ImageCardFigures, image_model_card
from .loading import load_network

_IMAGES = "images.json"


def save_image_folder(
    folder: str | os.PathLike[str],
    model: ARDMForMaskedLM,
    figures: ImageCardFigures,
    history: Sequence[Mapping[str, float]] = (),
    pictures: Mapping[str, Picture] | None = None,
) -> None:
    """Writes all of a model's repository, as `save_folder` does for one of text.

    Args:
        folder: where to; made if needed.
        model: the network.
        figures: for the card, and for images.json; pictures and loss curve are filled in here.
        history: as for `loss_curve`; empty = no curve.
        pictures: PNG or GIF content or PIL images, or what draws one, by file name.

    Raises:
        ValueError: if a picture's name has a folder in it.
    """
    curve = partial(loss_curve, history, unit="bits per dimension") if history else None
    figures, contents = picture_files(figures, pictures or {}, curve)
    contents["README.md"] = image_model_card(figures).encode()
    names = None if figures.class_names is None else list(figures.class_names)
    meaning = {
        "shape": list(figures.shape),
        "num_values": figures.num_values,
        "class_names": names,
    }
    contents[_IMAGES] = (json.dumps(meaning, indent=2) + "\n").encode()
    write_repository(folder, contents, model.save_pretrained, partial(keep_step_losses, folder))


def load_image_folder(
    name_or_path: str | os.PathLike[str],
) -> tuple[ARDMForMaskedLM, ImageFormat]:
    """Reads what [`save_image_folder`] wrote, from a folder or the Hub.

    Args:
        name_or_path: the folder, or "user/name" on the Hub.

    Returns:
        The model in evaluation mode, and how images are written as its tokens.

    Raises:
        ValueError: if there is no such model, one of its files is missing or damaged, or it is no
            model of images.
    """
    name = find_model(name_or_path)
    with loading(name, "model of images"):
        meaning = read_json(_images_file(name))
        model = load_network(name)
        num_classes = len(meaning["class_names"] or ())
        pixels = ImageFormat(tuple(meaning["shape"]), meaning["num_values"], num_classes)
    return model.eval(), pixels


def load_image_classes(name_or_path: str | os.PathLike[str]) -> list[str] | None:
    """What the classes of a saved model are called; None where it has none.

    Args:
        name_or_path: as for [`load_image_folder`].

    Returns:
        The names, that of class k at k.

    Raises:
        ValueError: as [`load_image_folder`].
    """
    name = find_model(name_or_path)
    with loading(name, "model of images"):
        return read_json(_images_file(name))["class_names"]


def _images_file(name: str) -> Path:
    path = Path(name) / _IMAGES
    if Path(name).is_dir():
        if not path.is_file():
            raise ValueError(f"the folder has no {_IMAGES}, expected that of a model of images")
        return path
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(name, _IMAGES))
