"""A saved text model: network, tokenizer, card and pictures, in one folder for the Hub.

config.json, model.safetensors    the network, as transformers saves it
generation_config.json            how it generates, and its measured per-step losses
tokenizer.json, ...               the tokenizer, as transformers saves it
README.md, *.png                  for people
"""

import filecmp
import json
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from transformers import PreTrainedTokenizerBase

from ..training import loss_curve as draw_loss_curve
from ..training import write_repository
from ..training.card_parts import Picture, picture_files
from .adapters import load_whole
from .cards import CardFigures, model_card
from .use_cards import model_facts

DEMO_FOLDER = "runs/ardm"  # where `make demo` leaves its model
_CAPPED = "mask ratio capped by the curriculum: an easier task than the bound's"


class Saves(Protocol):
    """What writes itself into a folder, as models and tokenizers of transformers do."""

    def save_pretrained(self, save_directory: str | os.PathLike[str], /) -> object:
        """Writes all that `from_pretrained` needs."""


def save_folder(
    folder: str | os.PathLike[str],
    model: Saves,
    tokenizer: Saves,
    figures: CardFigures,
    history: Sequence[Mapping[str, float]] = (),
    pictures: Mapping[str, Picture] | None = None,
) -> None:
    """Writes all of a model's repository: weights, tokenizer, card, loss curve, pictures.

    Everything is made aside, then file by file renamed into place: nothing changes if it fails, and
    other files in the folder stay. Per-step losses that were measured on these very weights stay
    in `generation_config.json`; those of other weights are dropped, with a warning.

    Args:
        folder: where to; made if needed.
        model: the network.
        tokenizer: its tokenizer.
        figures: for the card; its pictures, its loss curve and what the model itself tells are
            filled in here.
        history: as for [`loss_curve`]; empty = no curve.
        pictures: PNG or GIF content or PIL images, or what draws one, by file name.

    Raises:
        ValueError: if a picture's name has a folder in it.
    """
    curve = partial(loss_curve, history) if history else None
    told = {name: fact for name, fact in model_facts(model).items() if not getattr(figures, name)}
    figures = replace(figures, **told)
    figures, contents = picture_files(figures, pictures or {}, curve)
    contents["README.md"] = model_card(figures).encode()
    kept = partial(keep_step_losses, folder)
    write_repository(folder, contents, model.save_pretrained, kept, tokenizer.save_pretrained)


def keep_step_losses(old: str | os.PathLike[str], new: Path) -> None:
    """Carries measured per-step losses over from a folder whose weights are the same.

    Those of other weights are dropped, with a warning.

    Args:
        old: the folder as it is, if there is one.
        new: where the network has been saved.
    """
    old = Path(old)
    settings = old / "generation_config.json"
    losses = json.loads(settings.read_text()).get("per_step_losses") if settings.is_file() else None
    if losses is None:
        return
    before = old / "model.safetensors"
    if not before.is_file() or not filecmp.cmp(before, new / before.name, shallow=False):
        warnings.warn(
            f"{old} had per_step_losses of other weights: measure them again (plan_steps.py).",
            stacklevel=4,
        )
        return
    settings = new / settings.name
    kept = {**json.loads(settings.read_text()), "per_step_losses": losses}
    settings.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n")


def load_folder(
    name_or_path: str | os.PathLike[str], *, trust_remote_code: bool = False
) -> tuple[Any, PreTrainedTokenizerBase]:
    """Reads what [`save_folder`] wrote, from a folder or the Hub, or adopts another's model.

    Args:
        name_or_path: the folder, or "user/name" on the Hub; recipes default to [`DEMO_FOLDER`].
        trust_remote_code: run code that comes with a model of someone else's.

    Returns:
        The model in evaluation mode, an `ARDMForMaskedLM` or what [`ardm.adopt`] makes of a masked
        or causal language model, and its tokenizer. Of adapters ([`ardm.hub.load_adapters`]) their
        model, with them in its weights.

    Raises:
        ImportError: if there are adapters, and peft is not installed.
        ValueError: if there is no such model, one of its files is missing or damaged, weights are
            missing or not finite, or the tokenizer is another model's.
    """
    name = str(name_or_path)
    if name == DEMO_FOLDER and not Path(name).exists():
        raise ValueError(
            f"there is no {DEMO_FOLDER}; make it with `make demo` or `python -m ardm train`,"
            " or name a --model_name_or_path."
        )
    return load_whole(name, trust_remote_code=trust_remote_code)


def loss_curve(history: Sequence[Mapping[str, float]], unit: str = "bits per token") -> bytes:
    """Draws the training loss, raw and smoothed, and the validation points with standard errors.

    The losses come in nats per token and are shown in bits: bits = nats / ln 2. Drawn is the
    unweighted training loss where it was logged; it is no bound either while a curriculum caps the
    mask ratio, a stretch that is shaded.

    Args:
        history: rows with "step" and any of "nats_per_token" (or "loss"), "eval_loss",
            "eval_standard_error" and "max_ratio".
        unit: what the bits are of.

    Returns:
        A PNG file's content.

    Raises:
        ImportError: if matplotlib is not installed.
        ValueError: if no row has a finite loss.
    """
    unweighted = any("nats_per_token" in row for row in history)
    capped = [row["step"] for row in history if row.get("max_ratio", 1.0) < 1]
    return draw_loss_curve(
        history,
        unit=unit,
        train_key="nats_per_token" if unweighted else "loss",
        scale=1 / math.log(2),
        shaded=(max(capped), _CAPPED) if capped else None,
    )
