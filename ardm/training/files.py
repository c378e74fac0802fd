"""Files that are whole: written aside, flushed to the disk and renamed into place."""

import json
import math
import os
from pathlib import Path
from typing import Any


def write_json_atomically(path: str | os.PathLike[str], content: Any) -> None:
    """Writes a JSON file, all of it or none; a number that is not finite, which JSON has no word
    for, is null.
    """
    write_text_atomically(path, json.dumps(_finite_or_null(content), indent=1) + "\n")


def write_text_atomically(path: str | os.PathLike[str], text: str) -> None:
    """Writes a UTF-8 file so that, whatever happens, `path` holds all of the old text or all of the
    new.
    """
    write_atomically(path, text.encode())


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Writes a file so that, whatever happens, `path` holds all of the old content or all of the
    new.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(partial, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _finite_or_null(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _finite_or_null(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite_or_null(item) for item in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
