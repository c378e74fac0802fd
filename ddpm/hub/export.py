"""export_code: a saved network gets the code that it needs where this package is not.

`save_pretrained` always does so; this is for folders that were saved before it did.
"""

import json
import os
from pathlib import Path
from typing import Any

from ardm.training import write_repository
from ardm.training.model_folders import read_json

from ..models.classifier import NoisyClassifier
from ..models.code_files import auto_map, code_files
from ..models.pretrained_unet import UNetPreTrainedModel
from ..models.unet import UNet

_CONFIG = "config.json"


def export_code(model_or_folder: UNetPreTrainedModel | str | os.PathLike[str]) -> None:
    """Puts a saved network's code beside it, and tells its configuration where that is.

    The folder, or a repository with the same files, then also loads by
    `AutoModel.from_pretrained(folder, trust_remote_code=True)` where this package is not installed.
    Weights, card and diffusion stay as they are.

    Of a network in memory nothing is written: `auto_map` of its configuration is set, as its next
    `save_pretrained` or `push_to_hub`, which writes the code anyway, would do by itself.

    Args:
        model_or_folder: a `UNet` or a `NoisyClassifier`, or the folder of a saved one.

    Raises:
        ValueError: if it is no such network or folder.
    """
    if isinstance(model_or_folder, UNetPreTrainedModel):
        config: Any = model_or_folder.config
        config.auto_map = auto_map(type(model_or_folder)) or config.auto_map
        return
    if not isinstance(model_or_folder, (str, os.PathLike)):
        raise ValueError(
            f"got a {type(model_or_folder).__name__}; expected a network of this package, or the"
            " folder of a saved one."
        )
    folder = model_or_folder
    path = Path(folder) / _CONFIG
    if not path.is_file():
        raise ValueError(f"{folder} has no {_CONFIG}; expected a folder with a saved network.")
    settings = read_json(path)
    classes: dict[str, type[UNetPreTrainedModel]] = {
        each.config_class.model_type: each for each in (UNet, NoisyClassifier)
    }
    kind = settings.get("model_type")
    if kind not in classes:
        raise ValueError(
            f"{folder} holds a model of type {kind!r}; expected one of {', '.join(classes)}."
        )
    settings["auto_map"] = auto_map(classes[kind])
    written = json.dumps(dict(sorted(settings.items())), indent=2) + "\n"  # as transformers does
    write_repository(folder, {**code_files(classes[kind]), _CONFIG: written.encode()})
