"""Model folders: what is known of a saved model before it is read or written over; what failed.

A model is named by a folder, or by "user/name" on the Hub.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .hub_errors import hub_cause
from .hub_names import may_be_on_the_hub, meant_here
from .one_line import in_one_line

_CONFIG = "config.json"
_SECONDS = 10.0  # for the Hub to answer


def find_model(
    name_or_path: str | os.PathLike[str], file: str = _CONFIG, what: str = "model"
) -> str:
    """Makes sure that there is a saved model, at once: transformers asks a silent Hub for a minute.

    Args:
        name_or_path: a folder, or a name on the Hub.
        file: that each such model has.
        what: is looked for.

    Returns:
        The folder or the name, as transformers takes it.

    Raises:
        ValueError: if there is none, or the Hub cannot be asked.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

    name = os.fspath(name_or_path)
    if not os.path.lexists(name):
        name = os.path.expanduser(name)
    refused = f"no {what} can be loaded from {name!r}"
    if os.path.isdir(name):
        if not os.path.isfile(os.path.join(name, file)):
            raise ValueError(
                f"{refused}: the folder has no {file}; expected a folder that a training left."
            )
        return name
    expected = "expected a folder that exists, or user/name on the Hub"
    if not may_be_on_the_hub(name) or os.path.lexists(name):
        is_file = os.path.isfile(name)
        reason = "it is a file" if is_file else f"there is no such folder{meant_here(name)}"
        raise ValueError(f"{refused}: {reason}; {expected}.")
    try:
        if not isinstance(try_to_load_from_cache(name, file), str):
            get_hf_file_metadata(hf_hub_url(name, file), timeout=_SECONDS)
    # the Hub's library, and the one that it asks with, have no common base of errors
    except Exception as error:
        cause = hub_cause(error) or in_one_line(error)
        raise ValueError(
            f"{refused}: there is no such folder, and the Hub gives none of that name ({cause});"
            f" {expected}."
        ) from error
    return name


def model_type_of(name: str) -> str:
    """What the configuration of a saved model says that it is, before anything else is read.

    Args:
        name: as [`find_model`] gives it.

    Returns:
        The `model_type` of its config.json; "None" if there is none.
    """
    return str(read_model_json(name).get("model_type"))


def read_model_json(name: str, file: str = _CONFIG) -> dict[str, Any]:
    """The content of a JSON file of a saved model.

    Args:
        name: as [`find_model`] gives it; from the Hub, the file is downloaded.
        file: its name there.

    Returns:
        A dictionary.

    Raises:
        ValueError: if the file cannot be read or holds anything else.
    """
    from huggingface_hub import hf_hub_download

    folder = Path(name)
    return read_json(folder / file if folder.is_dir() else hf_hub_download(name, file))


@contextmanager
def loading(name: str, what: str = "model") -> Iterator[None]:
    """Whatever is wrong with a saved model becomes a ValueError of one line that names it.

    Args:
        name: of the folder or on the Hub.
        what: is to be loaded.

    Raises:
        ValueError: if reading it raises anything.
    """
    try:
        yield
    # safetensors, strict configurations, tokenizers and the Hub have no common base of errors
    except Exception as error:
        cause = hub_cause(error) or in_one_line(error)
        raise ValueError(f"no {what} can be loaded from {name!r}: {cause}") from error


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The content of a model's JSON file.

    Args:
        path: the file.

    Returns:
        A dictionary.

    Raises:
        ValueError: if the file cannot be read or holds anything else.
    """
    name = Path(path).name
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{name} is damaged ({in_one_line(error)})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{name} holds a {type(content).__name__}, expected an object")
    return content


def check_not_replacing(
    output_dir: str | os.PathLike[str], resume_from_checkpoint: str = "latest"
) -> None:
    """Makes sure that a run does not write over a model that it does not go on from.

    Args:
        output_dir: of the run.
        resume_from_checkpoint: of the run; "none" = what is there may be replaced.

    Raises:
        ValueError: if the folder holds a model and no checkpoints, by which a run would know it.
    """
    folder = Path(output_dir)
    checkpoints = folder / "checkpoints"
    has_model = os.path.isdir(folder) and any(folder.glob("*.safetensors"))
    if not has_model or resume_from_checkpoint == "none":
        return
    if not checkpoints.is_dir() or not any(checkpoints.glob("step-*")):
        raise ValueError(
            f"{output_dir} holds a model without checkpoints, which this run would write over;"
            " expected another output_dir, or resume_from_checkpoint='none' to replace it."
        )
