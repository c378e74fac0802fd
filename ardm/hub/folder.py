"""What a run shows of its model and where that goes: the loss curve, whole files, the upload to the
Hub.

Losses arrive in nats per token and are shown in bits: bits = nats / ln 2.
"""

import filecmp
import io
import json
import math
import os
import shutil
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HTTPError  # the base of refusals and of failed connections
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from ..modeling_ardm import ARDMForMaskedLM
from ..training.files import write_atomically
from .cards import CardFigures, Evaluation, model_card

__all__ = [
    "CardFigures",
    "DEMO_FOLDER",
    "Evaluation",
    "model_card",
    "check_upload",
    "load_folder",
    "load_saved",
    "plot_loss_curve",
    "save_folder",
    "upload_folder",
]

DEMO_FOLDER = "runs/ardm"  # where `make demo` leaves its model
_WRITING = ".writing-"
_NOT_UPLOADED = [
    "checkpoint*",
    "logs/*",
    "*hparams.yml",
    "*events.out.*",
    ".*",
    "*.tmp",
]  # `*` matches across folders too


# --------------------------------------------------------------------------------------- loss curve
def plot_loss_curve(history: Sequence[Mapping[str, float]], path: str | os.PathLike[str]) -> None:
    """Draws the training loss, raw and smoothed, and the validation points with their standard
    errors.

    Args:
        history: rows with "step" and any of "nats_per_token" (or "loss"), "eval_loss" and
            "eval_standard_error", in nats per token.
        path: the PNG file, replaced atomically.

    Raises:
        ImportError: if matplotlib is not installed.
        ValueError: if no row has a finite loss.
    """
    try:
        from matplotlib.figure import Figure  # not pyplot: no global state, no display
    except ImportError as error:
        raise ImportError(
            "plot_loss_curve needs matplotlib; install it with: pip install 'ardm[plots]'"
        ) from error
    # the unweighted loss where it was logged; it is no bound either while a curriculum caps the
    # mask ratio
    train = _bits(
        history, "nats_per_token" if any("nats_per_token" in row for row in history) else "loss"
    )
    validation = _bits(history, "eval_loss", "eval_standard_error")
    if not len(train) and not len(validation):
        raise ValueError(
            f"history has {len(history)} rows and no finite loss; expected at least one to draw."
        )
    figure = Figure(figsize=(7.2, 4.2), dpi=160, layout="constrained")
    axes = figure.add_subplot(xlabel="optimiser step", ylabel="bits per token")
    axes.grid(axis="y", color="0.92")
    axes.spines[["top", "right"]].set_visible(False)
    capped = [row["step"] for row in history if row.get("max_ratio", 1.0) < 1]
    if capped:
        axes.axvspan(0, max(capped), color="0.95")
        note: dict[str, Any] = {
            "transform": axes.get_xaxis_transform(),
            "ha": "center",
            "color": "0.4",
            "fontsize": 8,
        }
        axes.text(
            max(capped) / 2,
            0.02,
            "mask ratio capped by the curriculum: training loss below the bound",
            **note,
        )
    if len(train):
        steps, losses, _ = train.T
        smooth = running_mean(losses, half_width=max(len(losses) // 60, 1))
        axes.plot(steps, losses, color="#9ecae1", linewidth=0.6, label="training loss")
        axes.plot(
            steps, smooth, color="#08519c", linewidth=1.6, label="training loss, running mean"
        )
    if len(validation):
        steps, losses, errors = validation.T
        bars = axes.errorbar(
            steps, losses, errors, fmt="o", markersize=4, capsize=3, color="#d94801", zorder=3
        )
        bars.set_label("validation (± 1 standard error)")
    axes.legend(frameon=False)
    png = io.BytesIO()
    figure.savefig(png, format="png")
    write_atomically(path, png.getvalue())


def _bits(history: Sequence[Mapping[str, float]], key: str, error_key: str = "") -> np.ndarray:
    """float64 (N, 3): step, bits and the error's bits (0 if not given) of the rows where `key` is
    finite.
    """
    rows = [row for row in history if row.get(key) is not None and math.isfinite(row[key])]
    columns = [
        (row["step"], row[key] / math.log(2), (row.get(error_key) or 0) / math.log(2))
        for row in rows
    ]
    return np.array(columns, dtype=np.float64).reshape(-1, 3)


def running_mean(values_N: np.ndarray, half_width: int) -> np.ndarray:
    """Centred mean, which does not lag: over 2 * half_width + 1 values, at the ends over those that
    exist.

    Args:
        values_N: (N,) values.
        half_width: values averaged on each side.

    Returns:
        (N,) means.
    """
    sums = np.cumsum(np.insert(values_N, 0, 0.0))
    places = np.arange(len(values_N))
    first = np.maximum(places - half_width, 0)
    last = np.minimum(places + half_width + 1, len(values_N))
    return (sums[last] - sums[first]) / (last - first)


# -------------------------------------------------------------------------------- folder and upload
def save_folder(
    folder: str | os.PathLike[str],
    model: Any,
    tokenizer: Any,
    figures: CardFigures,
    history: Sequence[Mapping[str, float]] = (),
) -> None:
    """Writes all of a model's repository: weights, configurations, tokenizer, model card, loss
    curve.

    Every file is written aside and renamed into place, so that an older model in the folder is
    replaced file by file, never by half a file. Per-step losses that were measured on these very
    weights stay in its `generation_config.json`; those of other weights are dropped, with a
    warning.

    Args:
        folder: where to; made if needed, other files in it stay.
        model: has `save_pretrained`.
        tokenizer: has `save_pretrained`.
        figures: for the card; its `loss_curve` is filled in here.
        history: as for [`plot_loss_curve`]; empty = no curve.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for unfinished in folder.glob(f"{_WRITING}*"):  # of a save that was killed
        shutil.rmtree(unfinished)
    with tempfile.TemporaryDirectory(prefix=_WRITING, dir=folder) as aside:
        model.save_pretrained(aside)
        _keep_step_losses(Path(aside), folder)
        tokenizer.save_pretrained(aside)
        if history:
            try:
                plot_loss_curve(history, Path(aside) / "loss_curve.png")
                figures = replace(figures, loss_curve="loss_curve.png")
            except (ImportError, ValueError) as error:  # a missing picture must not cost the model
                warnings.warn(f"the model is saved without its loss curve: {error}", stacklevel=2)
        (Path(aside) / "README.md").write_text(model_card(figures), encoding="utf-8")
        for file in Path(aside).iterdir():
            os.replace(file, folder / file.name)


def _keep_step_losses(new: Path, old: Path) -> None:
    """Carries measured per-step losses over from a folder whose weights are the same."""
    name = "generation_config.json"
    weights = "model.safetensors"
    losses = (
        json.loads((old / name).read_text()).get("per_step_losses")
        if (old / name).is_file()
        else None
    )
    if losses is None:
        return
    if not (old / weights).is_file() or not filecmp.cmp(
        old / weights, new / weights, shallow=False
    ):
        warnings.warn(
            f"{old} had per_step_losses of other weights: measure them again (plan_steps.py).",
            stacklevel=3,
        )
        return
    settings = json.loads((new / name).read_text())
    (new / name).write_text(
        json.dumps({**settings, "per_step_losses": losses}, indent=2, sort_keys=True) + "\n"
    )


def load_folder(
    name_or_path: str | None, sequence_length: int = 0
) -> tuple[ARDMForMaskedLM | None, PreTrainedTokenizerBase | None]:
    """Reads what [`save_folder`] wrote, from a folder or the Hub.

    Args:
        name_or_path: the folder, or "user/name" on the Hub; None = there is no model yet.
        sequence_length: the longest sequence that the model must take.

    Returns:
        The model and its tokenizer, or two times None.

    Raises:
        ValueError: if there is no such model, or its vocabulary or its positions are too few.
    """
    if name_or_path is None:
        return None, None
    try:
        model = ARDMForMaskedLM.from_pretrained(name_or_path)
        tokenizer = AutoTokenizer.from_pretrained(name_or_path)
    except OSError as error:
        raise ValueError(f"no model can be loaded from {name_or_path!r}: {error}") from error
    if len(tokenizer) > model.config.vocab_size:
        raise ValueError(
            f"the tokenizer has {len(tokenizer)} tokens; expected at most"
            f" {model.config.vocab_size}."
        )
    longest = model.config.max_position_embeddings
    if sequence_length > longest:
        raise ValueError(
            f"sequence_length is {sequence_length}; expected at most the model's"
            f" max_position_embeddings={longest}."
        )
    return model, tokenizer


def load_saved(name_or_path: str) -> tuple[ARDMForMaskedLM, PreTrainedTokenizerBase]:
    """Reads a saved model that must be there, for use.

    Args:
        name_or_path: the folder, or "user/name" on the Hub; recipes default to [`DEMO_FOLDER`].

    Returns:
        The model, in evaluation mode, and its tokenizer.

    Raises:
        ValueError: if there is no such model, or its vocabulary is too small for the tokenizer.
    """
    if name_or_path == DEMO_FOLDER and not Path(DEMO_FOLDER).exists():
        raise ValueError(
            f"there is no {DEMO_FOLDER}; make it with `make demo`, or name a --model_name_or_path."
        )
    model, tokenizer = load_folder(name_or_path)
    assert model is not None and tokenizer is not None
    return model.eval(), tokenizer


def check_upload(repo_id: str | None) -> None:
    """Finds out before the training what would make the upload fail after it.

    Args:
        repo_id: "user/name" on the Hub.

    Raises:
        ValueError: if there is no name, or no Hub token.
    """
    if not repo_id:
        raise ValueError("hub_model_id is missing; expected user/name, where to upload to.")
    if get_token() is None:
        raise ValueError(
            "no Hub token found; log in with `hf auth login` or set HF_TOKEN to one with write"
            " access."
        )


def upload_folder(folder: str | os.PathLike[str], repo_id: str, private: bool | None = None) -> str:
    """Uploads a saved model to the Hub, without checkpoints and logs; makes the repository if
    needed.

    Args:
        folder: what `save_pretrained` wrote, with the model card.
        repo_id: "user/name" on the Hub.
        private: whether a new repository is private; None = the account's default.

    Returns:
        The address of the repository.

    Raises:
        ValueError: if the folder holds no model, `repo_id` is not a repository's name, or nobody is
            logged in.
        RuntimeError: if the Hub refuses or cannot be reached.
    """
    if not (Path(folder) / "config.json").is_file():
        raise ValueError(
            f"{folder} has no config.json; expected a folder written by save_pretrained."
        )
    check_upload(repo_id)
    api = HfApi()
    try:
        url = api.create_repo(repo_id, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=url.repo_id, folder_path=Path(folder), ignore_patterns=_NOT_UPLOADED
        )
    except (HTTPError, ConnectionError) as error:
        raise RuntimeError(f"the upload to {repo_id} failed: {error}") from error
    return str(url)
