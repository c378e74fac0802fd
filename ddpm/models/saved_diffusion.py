"""diffusion_config.json: the diffusion of a saved network, beside its weights.

    {"betas": [...], "prediction": "epsilon", "variance": ..., "loss": ..., "class_names": [...]}

float64 betas survive JSON bit for bit. The settings are those of [`GaussianDiffusion`]; one that
this version does not know may change what the network's output means, and is refused.
"""

import json
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from transformers.utils import cached_file

from ardm.training.model_folders import read_json

from ..diffusion import GaussianDiffusion

DIFFUSION_FILE = "diffusion_config.json"
_SETTINGS = ("prediction", "variance", "loss", "min_snr_gamma")
_ADDED = {"rescale_timesteps": False}  # settings that older files do not have: as they were then
_KNOWN = {"betas", "class_names", *_SETTINGS, *_ADDED}


class SavedDiffusion(NamedTuple):
    """What the file holds: the diffusion, and what label k is called, at k; None = nobody said."""

    diffusion: GaussianDiffusion
    class_names: list[str] | None


def diffusion_file(diffusion: GaussianDiffusion, class_names: Sequence[str] | None) -> bytes:
    """The file's content.

    Args:
        diffusion: that the network was trained with.
        class_names: what label k is called, at k, or None.

    Returns:
        JSON.

    Raises:
        ValueError: if the diffusion is respaced.
    """
    if not torch.equal(diffusion.timesteps.cpu(), torch.arange(diffusion.num_timesteps)):
        raise ValueError(
            "the diffusion is respaced; expected the one that the model was trained with."
        )
    content: dict[str, Any] = {"betas": diffusion.betas.tolist()}
    content |= {name: getattr(diffusion, name) for name in (*_SETTINGS, *_ADDED)}
    content["class_names"] = None if class_names is None else list(class_names)
    return (json.dumps(content, indent=1) + "\n").encode()


def read_diffusion(name_or_path: str | os.PathLike[str], **hub: Any) -> SavedDiffusion | None:
    """Reads it, from a folder or the Hub.

    Args:
        name_or_path: the folder, or "user/name" on the Hub.
        **hub: of transformers' `cached_file`, such as `revision` and `subfolder`.

    Returns:
        [`SavedDiffusion`]; None if there is no such file.

    Raises:
        ValueError: if the file is damaged, or of another version.
    """
    path = cached_file(
        name_or_path, DIFFUSION_FILE, _raise_exceptions_for_missing_entries=False, **hub
    )
    if path is None:
        return None
    settings = read_json(path)
    unknown = sorted(set(settings) - _KNOWN)
    if unknown:
        raise ValueError(
            f"{DIFFUSION_FILE} has settings that this version does not know, {', '.join(unknown)};"
            f" expected {', '.join(sorted(_KNOWN))}."
        )
    try:
        betas = torch.tensor(settings["betas"], dtype=torch.float64)
        chosen = {key: settings[key] for key in _SETTINGS}
        chosen |= {key: settings.get(key, value) for key, value in _ADDED.items()}
        names = _checked_names(settings.get("class_names"))
        return SavedDiffusion(GaussianDiffusion(betas, **chosen), names)
    except KeyError as error:
        raise ValueError(f"{DIFFUSION_FILE} is damaged: it has no {error}") from error
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{DIFFUSION_FILE} is damaged, or of a newer version: {error}") from error


def _checked_names(found: Any) -> list[str] | None:
    texts = isinstance(found, list) and all(isinstance(name, str) for name in found)
    if found is not None and not texts:
        raise ValueError(f"class_names are {found!r}, expected text or null")
    return found
