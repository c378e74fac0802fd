"""A saved image model: the network, what its outputs mean, its card and its pictures, in one folder
for the Hub.

config.json, model.safetensors    the network, as transformers saves it
diffusion_config.json             betas (float64s survive JSON bit for bit), settings of GaussianDiffusion, class names
README.md, *.png                  for people
"""

import io
import json
import math
import os
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..diffusion import GaussianDiffusion
from ..files import replacing
from ..models.unet import UNet
from .cards import CardFigures, model_card

DIFFUSION_FILE = "diffusion_config.json"
_SETTINGS = ("prediction", "variance", "loss", "min_snr_gamma")
_CURVE = "loss_curve.png"


def save_folder(
    folder: str | os.PathLike[str],
    model: Any,
    diffusion: GaussianDiffusion,
    figures: CardFigures,
    history: Sequence[Mapping[str, float]] = (),
    pictures: Mapping[str, Any] | None = None,
) -> None:
    """Writes all of a model's repository, every file aside and then into place; other files there
    stay.

    Args:
        folder: where to; made if needed.
        model: the network, with `save_pretrained`.
        diffusion: what it was trained with, not respaced.
        figures: for the card; its pictures, loss curve and class names are filled in here.
        history: as for [`loss_curve`]; empty = no curve.
        pictures: PNG or GIF content (bytes) or PIL images, by file name.

    Raises:
        ValueError: if the diffusion is respaced, or a picture's name has a folder in it.
    """
    if not torch.equal(diffusion.timesteps.cpu(), torch.arange(diffusion.num_timesteps)):
        raise ValueError(
            "the diffusion is respaced; expected the one that the model was trained with."
        )
    contents = {name: _encoded(name, picture) for name, picture in (pictures or {}).items()}
    if history:
        try:
            contents[_CURVE] = loss_curve(history)
        except (ImportError, ValueError) as error:  # a missing picture must not cost the model
            warnings.warn(f"the model is saved without its loss curve: {error}", stacklevel=2)
    shown = [name for name in contents if name != _CURVE]
    figures = replace(figures, pictures=shown, loss_curve=_CURVE if _CURVE in contents else None)
    settings = diffusion_settings(diffusion) | {
        "class_names": figures.class_names and list(figures.class_names)
    }
    contents[DIFFUSION_FILE] = (json.dumps(settings, indent=1) + "\n").encode()
    contents["README.md"] = model_card(figures).encode()
    _write_all(Path(folder), model, contents)


def _write_all(folder: Path, model: Any, contents: Mapping[str, bytes]) -> None:
    """Nothing in the folder changes before all is made."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=folder) as aside:
        model.save_pretrained(aside)
        for file in sorted(Path(aside).iterdir()):
            file.replace(folder / file.name)
    for name, content in contents.items():
        with replacing(folder / name) as target:
            target.write(content)


def _encoded(name: str, picture: Any) -> bytes:
    if Path(name).name != name:
        raise ValueError(f"a picture is called {name!r}; expected a file name without folders.")
    if isinstance(picture, bytes):
        return picture
    content = io.BytesIO()
    picture.save(content, format="png")
    return content.getvalue()


def diffusion_settings(diffusion: GaussianDiffusion) -> dict[str, Any]:
    """What makes the same diffusion again.

    Args:
        diffusion: not respaced.

    Returns:
        betas as a list, prediction, variance, loss and min_snr_gamma.
    """
    return {"betas": diffusion.betas.tolist()} | {
        name: getattr(diffusion, name) for name in _SETTINGS
    }


def load_folder(name_or_path: str | os.PathLike[str]) -> tuple[UNet, GaussianDiffusion]:
    """Reads what [`save_folder`] wrote.

    Args:
        name_or_path: the folder, or "user/name" on the Hub.

    Returns:
        The network in evaluation mode, and its diffusion.

    Raises:
        ValueError: if there is no such model, or its files are damaged.
    """
    diffusion, _ = _read_diffusion(str(name_or_path))
    try:
        return UNet.from_pretrained(str(name_or_path)).eval(), diffusion
    except (
        Exception
    ) as error:  # safetensors, strict configurations and the Hub have no common base of errors
        raise ValueError(f"no network can be loaded from {str(name_or_path)!r}: {error}") from error


def load_class_names(name_or_path: str | os.PathLike[str]) -> list[str] | None:
    """What the labels of a saved model are called, label k at k; None if it has none.

    Args:
        name_or_path: as for [`load_folder`].

    Returns:
        The names.

    Raises:
        ValueError: as [`load_folder`].
    """
    return _read_diffusion(str(name_or_path))[1]


def _read_diffusion(name: str) -> tuple[GaussianDiffusion, list[str] | None]:
    from transformers.utils import cached_file

    try:
        path = cached_file(name, DIFFUSION_FILE)
        assert path is not None
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = f"the folder has no {DIFFUSION_FILE}" if Path(name).is_dir() else error
        raise ValueError(
            f"there is no model in {name!r} that `save_folder` wrote: {reason}"
        ) from error
    try:
        settings = json.loads(text)
        betas = torch.tensor(settings["betas"], dtype=torch.float64)
        chosen = {key: settings[key] for key in _SETTINGS}
        return GaussianDiffusion(betas, **chosen), settings.get("class_names")
    except KeyError as error:
        raise ValueError(f"{path} is damaged: it has no {error}.") from error
    except (TypeError, ValueError, RuntimeError) as error:  # json's errors are ValueErrors
        raise ValueError(f"{path} is damaged: {error}") from error


def loss_curve(history: Sequence[Mapping[str, float]]) -> bytes:
    """Draws the training loss, as it is and smoothed, and the evaluations.

    Args:
        history: rows with "step" and any of "loss" and "eval_loss".

    Returns:
        A PNG file's content.

    Raises:
        ImportError: if matplotlib is not installed.
        ValueError: if no row has a finite loss.
    """
    train = _points(history, "loss")
    validation = _points(history, "eval_loss")
    if len(train) + len(validation) == 0:
        raise ValueError(
            f"none of the history's {len(history)} rows has a finite loss; expected one to draw."
        )
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("a loss curve needs matplotlib: pip install 'ardm[plots]'") from error
    figure = Figure(figsize=(7.2, 4.2), dpi=160, layout="constrained")
    axes = figure.add_subplot(xlabel="optimiser step", ylabel="loss per dimension", yscale="log")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", which="both", color="0.93", linewidth=0.6)
    axes.plot(*train.T, color="#c7c7e8", linewidth=0.7, label="training")
    axes.plot(
        train[:, 0],
        smoothed(train[:, 1]),
        color="#4b3f9e",
        linewidth=1.7,
        label="training, smoothed",
    )
    axes.plot(*validation.T, "o-", color="#d1495b", markersize=4, linewidth=1, label="validation")
    axes.legend(handles=[line for line in axes.lines if np.size(line.get_xdata())], frameon=False)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def _points(history: Sequence[Mapping[str, float]], key: str) -> np.ndarray:
    """(N, 2): step and value where the value is there and a positive number, as a log scale needs."""
    points = [
        (row["step"], row[key])
        for row in history
        if key in row and math.isfinite(row[key]) and row[key] > 0
    ]
    return np.array(points, dtype=np.float64).reshape(-1, 2)


def smoothed(values_N: np.ndarray) -> np.ndarray:
    """Means over windows of about a thirtieth of the curve, centred so that they do not lag,
    shorter at the ends.

    Args:
        values_N: (N,).

    Returns:
        (N,).
    """
    window = np.ones(2 * max(len(values_N) // 60, 1) + 1)
    if not len(values_N):
        return values_N
    middle = slice(len(window) // 2, len(window) // 2 + len(values_N))
    sums, counts = (np.convolve(row, window)[middle] for row in (values_N, np.ones_like(values_N)))
    return sums / counts
