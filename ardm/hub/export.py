"""Export: the code of a model that was saved without, or by another version, beside its weights.

Models save their code by themselves (code_files.py); this is for the folders that are there.
"""

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

from ..code_files import CarriesCode, came_with_a_model, write_code
from ..pretrained_ardm import AUTO_MAP
from ..training import write_repository
from ..training.model_folders import loading, read_json

_CONFIG = "config.json"


def export_code(model_or_folder: CarriesCode | str | os.PathLike[str]) -> None:
    """Makes sure that a saved model has the code to run where this package is not installed.

    In a folder the code of this version takes the place of any other, and config.json says where
    it is (`auto_map`); weights and all other files stay.

    Of a model in memory nothing is written: `auto_map` of its configuration is set, as its next
    `save_pretrained` or `push_to_hub`, which writes the code anyway, would do by itself.

    Args:
        model_or_folder: a model of this package, or the folder of a saved one.

    Raises:
        ValueError: if it is no such model or folder.
    """
    if isinstance(model_or_folder, CarriesCode):
        model_or_folder.point_to_code()
        return
    if not isinstance(model_or_folder, (str, os.PathLike)):
        raise ValueError(
            f"got a {type(model_or_folder).__name__}; expected a model of this package, or the"
            " folder of a saved one."
        )
    folder = Path(model_or_folder)
    if not (folder / _CONFIG).is_file():
        raise ValueError(f"{folder} has no {_CONFIG}; expected the folder of a saved model.")
    with loading(str(folder)):
        content = read_json(folder / _CONFIG)
        auto_map = _auto_map(content, folder)
    content["auto_map"] = {**(content.get("auto_map") or {}), **auto_map}
    config = json.dumps(content, indent=2, sort_keys=True) + "\n"  # as transformers writes it
    write_repository(folder, {_CONFIG: config.encode()}, partial(write_code, auto_map=auto_map))


def _auto_map(config: dict[str, Any], folder: Path) -> dict[str, str]:
    """What the Auto classes load of this package; of other architectures, what they did before."""
    kind = config.get("model_type")
    if kind == "ardm":
        return AUTO_MAP
    references = {
        name: reference.rpartition("--")[2]  # "user/name--module.Class" of a model of the Hub
        for name, reference in (config.get("auto_map") or {}).items()
        if isinstance(reference, str)
    }
    ours = {name: each for name, each in references.items() if _is_ours(folder, each)}
    if not ours:
        raise ValueError(f"it is a model of type {kind!r}, expected 'ardm'")
    return ours


def _is_ours(folder: Path, reference: str) -> bool:
    file = folder / f"{reference.partition('.')[0]}.py"
    return file.is_file() and came_with_a_model(file.read_text(encoding="utf-8"))
