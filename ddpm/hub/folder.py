"""A saved image model: network, diffusion, card and pictures, in one folder for the Hub.

config.json, model.safetensors    the network, as transformers saves it
diffusion_config.json             betas (float64s survive JSON bit for bit), the settings of
                                  GaussianDiffusion, class names
README.md, *.png, *.gif           for people
"""

import json
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from ardm.training import loss_curve as draw_loss_curve
from ardm.training import write_repository
from ardm.training.card_parts import picture_files
from ardm.training.model_folders import find_model, loading, read_json

from ..diffusion import GaussianDiffusion
from ..models.configuration_unet import UNetConfig
from ..models.unet import UNet, UNetPreTrainedModel
from .card_figures import CardFigures
from .cards import model_card

if TYPE_CHECKING:
    from PIL.Image import Image

DEMO_FOLDER = "runs/ddpm"  # where recipes/train_ddpm.py leaves its model
DIFFUSION_FILE = "diffusion_config.json"
# of saved models that are taken for a diffusion, or the other way round, by type
_LOADERS = {
    "ardm": "ardm.hub.load_folder",
    "ddpm_unet": "ddpm.hub.load_folder",
    "ddpm_classifier": "ddpm.hub.load_classifier",
}
Network = TypeVar("Network", bound=UNetPreTrainedModel)
_SETTINGS = ("prediction", "variance", "loss", "min_snr_gamma")
_ADDED = {"rescale_timesteps": False}  # settings that older files do not have: as they were then


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
    if not torch.equal(diffusion.timesteps.cpu(), torch.arange(diffusion.num_timesteps)):
        raise ValueError(
            "the diffusion is respaced; expected the one that the model was trained with."
        )
    curve = partial(loss_curve, history) if history else None
    figures, contents = picture_files(figures, pictures or {}, curve)
    names = figures.class_names and list(figures.class_names)
    settings = _settings(diffusion) | {"class_names": names}
    contents[DIFFUSION_FILE] = (json.dumps(settings, indent=1) + "\n").encode()
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


def _settings(diffusion: GaussianDiffusion) -> dict[str, Any]:
    """What makes the same diffusion again."""
    chosen = {name: getattr(diffusion, name) for name in (*_SETTINGS, *_ADDED)}
    return {"betas": diffusion.betas.tolist()} | chosen


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
            f"there is no {name}; make it with train_ddpm.py, or name a --model_name_or_path."
        )
    find_model(name)
    with loading(name):
        check_kind(name, UNet)
        diffusion, _ = _read_diffusion(name)
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
        return UNetConfig.from_pretrained(name), _read_diffusion(name)[0]


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
        return _read_diffusion(name)[1]


def _read_diffusion(name: str) -> tuple[GaussianDiffusion, list[str] | None]:
    from transformers.utils import cached_file

    try:
        path = cached_file(name, DIFFUSION_FILE)
    except OSError as error:
        raise ValueError(f"it has no {DIFFUSION_FILE}, which `save_folder` writes") from error
    assert path is not None
    settings = read_json(path)
    try:
        betas = torch.tensor(settings["betas"], dtype=torch.float64)
        chosen = {key: settings[key] for key in _SETTINGS}
        chosen |= {key: settings.get(key, value) for key, value in _ADDED.items()}
        return GaussianDiffusion(betas, **chosen), _names(settings.get("class_names"))
    except KeyError as error:
        raise ValueError(f"{DIFFUSION_FILE} is damaged: it has no {error}") from error
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{DIFFUSION_FILE} is damaged: {error}") from error


def _names(found: Any) -> list[str] | None:
    texts = isinstance(found, list) and all(isinstance(name, str) for name in found)
    if found is not None and not texts:
        raise ValueError(f"class_names are {found!r}, expected text or null")
    return found
