"""Every picture is decoded once before a training, so that none stops it in the middle.

Those that cannot be used are found, and what the others are like is told: digest, size, colour.
What was seen is remembered by a file's path, size and time of change, or by a row's content: a
large set is looked through once.
"""

import io
import json
import logging
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from ardm.training import fingerprint, progress_bar, write_text_atomically
from ardm.training.launching import num_cores

from .pixels import GREY_MODES, prepare_image, upright_size
from .sources import ColumnImages, FileImages, Look

logger = logging.getLogger(__name__)

_MOST_WORKERS = 16
_BLOCK = 1024  # pictures that are handed to the workers at once
_Seen = tuple[str, Look] | str  # stamp and look, or why the picture cannot be used


def survey(images: FileImages | ColumnImages) -> list[Look | str]:
    """Decodes all pictures, on several threads, but for those that are remembered.

    Args:
        images: N pictures.

    Returns:
        N times what the picture is like, or a text: why it cannot be used.
    """
    memory = _memory_of(images.place)
    known = _recalled(memory)
    seen: list[_Seen] = []
    try:
        with progress_bar(
            _all_seen(images, known), what="checking images", total=len(images), unit="image"
        ) as bar:
            seen.extend(bar)
    finally:
        # an interrupted survey goes on where it was
        fresh = dict(each for each in seen if not isinstance(each, str))
        if fresh.keys() - known.keys():
            _remember(memory, fresh if len(seen) == len(images) else known | fresh)
    return [each if isinstance(each, str) else each[1] for each in seen]


def _all_seen(images: FileImages | ColumnImages, known: Mapping[str, Look]) -> Iterator[_Seen]:
    # threads: PIL decodes without Python's lock
    with ThreadPoolExecutor(min(num_cores(), _MOST_WORKERS)) as pool:
        for first in range(0, len(images), _BLOCK):
            block = range(first, min(first + _BLOCK, len(images)))
            yield from pool.map(partial(_see, images, known), block)


def _see(images: FileImages | ColumnImages, known: Mapping[str, Look], number: int) -> _Seen:
    from PIL import UnidentifiedImageError

    try:
        stamp = images.stamp(number)
        if stamp not in known:
            return stamp, _look(images.content(number))
        return stamp, known[stamp]
    except FileNotFoundError:
        return "there is no such file"
    except UnidentifiedImageError:  # its text names a buffer in memory
        return "it is no picture, whatever its name says"
    # decoders raise whatever they stumble over in a damaged file; the reason is kept and told
    except Exception as error:
        return " ".join(str(error).split()) or type(error).__name__


def _look(content: bytes) -> Look:
    from PIL import Image

    if not content:
        raise ValueError("the file is empty")
    with Image.open(io.BytesIO(content)) as image:
        size = upright_size(image)
        grey = image.mode in GREY_MODES
        prepare_image(image, 8, 3)  # the way that every image goes in training
        animated = getattr(image, "is_animated", False)
    return Look(fingerprint([content]), *size, grey, animated)


# --------------------------------------------------------------------------------------- memory
def _memory_of(place: str) -> Path:
    from datasets import config

    return Path(config.HF_DATASETS_CACHE, "surveys", f"{fingerprint([os.fsencode(place)])}.json")


def _recalled(memory: Path) -> dict[str, Look]:
    try:
        rows = json.loads(memory.read_text(encoding="utf-8"))
        return {stamp: Look(*row) for stamp, row in rows.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        logger.warning("%s cannot be read (%s): all images are checked again", memory, error)
        return {}


def _remember(memory: Path, seen: Mapping[str, Look]) -> None:
    try:
        write_text_atomically(memory, json.dumps(seen))
    except OSError as error:
        logger.warning("%s cannot be written (%s): the next run checks again", memory, error)
