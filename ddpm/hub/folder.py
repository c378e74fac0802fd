"""A saved image model: network, diffusion, card and pictures, in one folder for the Hub.

config.json, model.safetensors    the network, as transformers saves it
diffusion_config.json             the diffusion, and the names of classes
*.py                              the code that both need where this package is not
README.md, *.png, *.gif           for people
"""

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ardm.training import loss_curve as draw_loss_curve
from ardm.training import write_repository
from ardm.training.card_parts import picture_files
from ardm.training.model_folders import find_model, loading, read_json

from ..diffusion import GaussianDiffusion
from ..models.configuration_unet import UNetConfig
from ..models.pretrained_unet import UNetPreTrainedModel
from ..models.saved_diffusion import (
    DIFFUSION_FILE,
    SavedDiffusion,
    diffusion_file,
    read_diffusion,
)
from ..models.unet import UNet
from .card_figures import CardFigures
from .cards import model_card

if TYPE_CHECKING:
    from PIL.Image import Image

DEMO_FOLDER = "runs/ddpm"  # where recipes/train_ddpm.py leaves its model
# of saved models that are taken for a diffusion, or the other way round, by type
_LOADERS = {
    "ardm": "ardm.hub.load_folder, as recipes/watch_generation.py does",
    "ddpm_unet": "ddpm.hub.load_folder, as recipes/sample_ddpm.py --model_name_or_path does",
    "ddpm_classifier": "ddpm.hub.load_classifier, as recipes/sample_ddpm.py --classifier does",
}
Network = TypeVar("Network", bound=UNetPreTrainedModel)


# ----------------------------------------------------------------------------------------- save
def save_folder(
    folder: str | os.PathLike[str],
    model: UNet,
    diffusion: GaussianDiffusion,
    figures: CardFigures,
    history: Sequence[Mapping[str, float]] = (),
    pictures: "Mapping[str, bytes | Image] | None" = None,
) -> None:
    """Writes all of a model's repository: weights, configurations, card, loss curve, pictures.

    Everything is made aside, then file by file renamed into place: nothing changes if it fails, and
    other files in the folder stay.

    Args:
        folder: where to; made if needed.
        model: the network.
        diffusion: what it was trained with, not respaced.
        figures: for the card; its pictures and its loss curve are filled in here.
        history: as for [`loss_curve`]; empty = no curve.
        pictures: PNG or GIF content or PIL images, by file name.

    Raises:
        ValueError: if the diffusion is respaced, or a picture's name has a folder in it.
    """
    described = diffusion_file(diffusion, figures.class_names)
    curve = partial(loss_curve, history) if history else None
    figures, contents = picture_files(figures, pictures or {}, curve)
    contents[DIFFUSION_FILE] = described
    contents["README.md"] = model_card(figures).encode()
    write_repository(folder, contents, model.save_pretrained)


def loss_curve(history: Sequence[Mapping[str, float]]) -> bytes:
    """Draws the training loss, raw and smoothed, and the evaluations.

    Args:
        history: rows with "step" and any of "loss" and "eval_loss".

    Returns:
        A PNG file's content.

    Raises:
        ImportError: if matplotlib is not installed.
        ValueError: if no row has a finite loss above 0.
    """
    return draw_loss_curve(history, unit="loss per dimension", log=True)


# ----------------------------------------------------------------------------------------- load
def load_folder(name_or_path: str | os.PathLike[str]) -> tuple[UNet, GaussianDiffusion]:
    """Reads what [`save_folder`] wrote, from a folder or the Hub.

    Args:
        name_or_path: the folder, or "user/name" on the Hub; recipes default to [`DEMO_FOLDER`].

    Returns:
        The network in evaluation mode, and its diffusion.

    Raises:
        ValueError: if there is no such model, one of its files is missing or damaged, or weights
            are missing or not finite.
    """
    name = str(name_or_path)
    if name == DEMO_FOLDER and not Path(name).exists():
        raise ValueError(
            f"there is no {name}; make it with train_ddpm.py or `python -m ddpm train`,"
            " or name a --model_name_or_path."
        )
    find_model(name)
    with loading(name):
        check_kind(name, UNet)
        diffusion = _saved_diffusion(name).diffusion
        return read_network(name, UNet).eval(), diffusion


def load_diffusion(name_or_path: str | os.PathLike[str]) -> tuple[UNetConfig, GaussianDiffusion]:
    """Reads the network's sizes and the diffusion of a saved model, without its weights.

    Args:
        name_or_path: as for [`load_folder`].

    Returns:
        Both.

    Raises:
        ValueError: as [`load_folder`].
    """
    name = find_model(name_or_path)
    with loading(name):
        check_kind(name, UNet)
        return UNetConfig.from_pretrained(name), _saved_diffusion(name).diffusion


def check_kind(name: str, model_class: type[UNetPreTrainedModel]) -> None:
    """Finds out whether a saved model is of a class, before its weights are read.

    Args:
        name: of the folder or on the Hub.
        model_class: that is expected.

    Raises:
        ValueError: if it is another, as a text model.
    """
    from transformers.utils import cached_file

    path = cached_file(name, "config.json")
    assert path is not None
    kind = read_json(path).get("model_type")
    expected = model_class.config_class.model_type
    if kind != expected:
        loader = _LOADERS.get(str(kind))
        hint = f"; load it with {loader}" if loader else ""
        raise ValueError(f"it is a model of type {kind!r}, expected {expected!r}{hint}")


def read_network(name: str, model_class: type[Network]) -> Network:
    """Reads a network's weights.

    Args:
        name: of the folder or on the Hub.
        model_class: of the network.

    Returns:
        The network.

    Raises:
        ValueError: if weights are missing or not finite.
    """
    model = model_class.from_pretrained(name)
    for key, weight in model.named_parameters():
        if not weight.isfinite().all():
            raise ValueError(f"the weights of {key} are not finite")
    return model


def load_class_names(name_or_path: str | os.PathLike[str]) -> list[str] | None:
    """What the labels of a saved model are called, label k at k; None if it has none.

    Args:
        name_or_path: as for [`load_folder`].

    Returns:
        The names.

    Raises:
        ValueError: as [`load_folder`].
    """
    name = find_model(name_or_path, DIFFUSION_FILE)
    with loading(name):
        return _saved_diffusion(name).class_names


def _saved_diffusion(name: str) -> SavedDiffusion:
    found = read_diffusion(name)
    if found is None:
        raise ValueError(f"it has no {DIFFUSION_FILE}, which `save_folder` writes")
    return found
