"""Files of arrays: .npy and .npz, by the names that people give to images and labels.

    images, labels   arr_0, arr_1   x, y   data, targets   x_train, y_train, x_test, y_test

No pickle is executed.
"""

import os
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ardm.training.splits import choose_splits, split_of

from .sources import ArrayImages, Part

_KINDS = {
    "image": ("images", "image", "imgs", "x", "data", "samples", "arr_0"),
    "label": ("labels", "label", "y", "targets", "target", "classes", "arr_1"),
}
_PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".heic")
_TABLES = (".parquet", ".arrow", ".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".feather")
_ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".xz", ".bz2", ".zst", ".7z", ".rar")
_CHANNELS = (1, 3, 4)


def array_file(
    path: Path,
    image_key: str | None = None,
    label_key: str | None = None,
    labelled: bool = True,
    to_validate: bool = False,
) -> tuple[dict[str, Part], list[str]]:
    """Reads images of one array, and labels of another.

    Args:
        path: a .npy file with images, or .npz with both.
        image_key: of the images in .npz; None = by its name.
        label_key: of the labels; None = by its name.
        labelled: False = no labels, whatever the file has.
        to_validate: whether the held-out part is wanted, if the file has parts.

    Returns:
        "train" and, if the names of the arrays say so, "validation"; and what is not used. With
        `to_validate` the images are "validation" alone.

    Raises:
        ValueError: if there is no such file, or not what is expected is in it.
    """
    arrays = _opened(path)
    if isinstance(arrays, np.ndarray):
        if image_key or label_key:
            raise ValueError(f"{path} is one array; expected no image_column and no label_column.")
        whole = Part(ArrayImages(_pixels(arrays, str(path)), str(path)))
        return {"validation" if to_validate else "train": whole}, []
    with arrays:
        chosen = _chosen(path, arrays.files, image_key, label_key, to_validate)
        parts = {}
        for part, keys in chosen.items():
            pixels = _pixels(_array(path, arrays, keys["image"]), f"{keys['image']!r} of {path}")
            labels = None
            if labelled and "label" in keys:
                array = _array(path, arrays, keys["label"])
                labels = _labels(array, pixels, f"{path} has {keys['label']!r}")
            parts[part] = Part(ArrayImages(pixels, str(path)), labels)
        used = {key for keys in chosen.values() for key in keys.values()}
        return parts, [f"array {key!r}" for key in arrays.files if key not in used]


def _opened(path: Path) -> Any:
    """The array of a .npy file, or an open .npz file."""
    if os.path.isdir(path):
        raise ValueError(f"{path} is a folder; expected a file, or a folder as train_dir.")
    try:
        with open(path, "rb") as file:
            start = file.read(6)
        zipped = start[:4] == b"PK\x03\x04" and _holds_arrays(path)
        if not zipped and start != b"\x93NUMPY":
            raise ValueError(f"it is {_kind(path, start)}")
        return np.load(path, mmap_mode=None if zipped else "r", allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        reason = _PICKLED if _is_of_objects(error) else error
        raise ValueError(
            f"{path} cannot be read as a .npy or .npz file of numbers: {reason}."
        ) from error


def _holds_arrays(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        return all(name.endswith(".npy") for name in archive.namelist())


def _is_of_objects(error: Exception) -> bool:
    return "pickle" in str(error) or "Python objects" in str(error)


_PICKLED = "it holds Python objects; save numbers or text, such as labels.astype(str)"


def _kind(path: Path, start: bytes) -> str:
    """What a file is that holds no arrays, and where it belongs."""
    suffix = path.suffix.lower()
    if not start:
        return "empty"
    if suffix in _PICTURES:
        return "a picture; put pictures in a folder, and name it by train_dir"
    if suffix in _TABLES:
        return "a table; put it in a folder, and name that by dataset_name"
    if suffix in _ARCHIVES or start[:2] in (b"PK", b"\x1f\x8b"):
        return "an archive; unpack it, and name the folder by train_dir"
    return "something else; save an array by numpy.save or numpy.savez"


def _array(path: Path, arrays: Any, key: str) -> np.ndarray:
    try:
        return arrays[key]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        reason = _PICKLED if _is_of_objects(error) else error
        raise ValueError(f"array {key!r} of {path} cannot be read: {reason}.") from error


# ------------------------------------------------------------------------------------ which arrays
def _chosen(
    path: Path,
    keys: Sequence[str],
    image_key: str | None,
    label_key: str | None,
    to_validate: bool = False,
) -> dict[str, dict[str, str]]:
    """The keys of "image" and perhaps "label", of "train" and perhaps "validation"."""
    for flag, key in (("image_column", image_key), ("label_column", label_key)):
        if key is not None and key not in keys:
            raise ValueError(f"{flag} is {key!r}; expected one of {sorted(keys)}, of {path}.")
    found = {name: _of_split(path, keys, name) for name in dict.fromkeys(map(_split, keys))}
    if image_key is not None:
        own = {**found[_split(image_key)], "image": image_key}
        own |= {} if label_key is None else {"label": label_key}
        return {"validation" if to_validate else "train": own}
    holding = [name for name, own in found.items() if "image" in own]
    if not holding:
        raise ValueError(
            f"{path} holds {sorted(keys)}; expected images or arr_0, and perhaps labels or arr_1,"
            " or an image_column and a label_column."
        )
    places = _places(path, holding, to_validate)
    if label_key is not None:
        for name in places.values():
            found[name]["label"] = _like(path, keys, label_key, name)
    return {part: found[name] for part, name in places.items()}


def _places(path: Path, holding: list[str], to_validate: bool) -> dict[str, str]:
    """Which names of parts that hold images are "train" and "validation"; "" = no such name."""
    held_out = next((name for name in ("validation", "test") if name in holding), None)
    if to_validate:
        return {"validation": held_out or holding[0]}
    train = "" if "" in holding else choose_splits(holding, str(path)).train
    return {"train": train} | ({} if held_out is None else {"validation": held_out})


def _like(path: Path, keys: Sequence[str], label_key: str, split: str) -> str:
    """The array that is called like another, but for the part: y_test like y_train."""
    if _split(label_key) == split:
        return label_key
    alike = [key for key in keys if _split(key) == split and _stem(key) == _stem(label_key)]
    if not alike:
        raise ValueError(
            f"{path} has no array like label_column {label_key!r} for its {split or 'other'} part;"
            " expected one, or the parts in files of their own, as train_file and validation_file."
        )
    return alike[0]


def _stem(key: str) -> str:
    return "_".join(word.casefold() for word in key.split("_") if not split_of(word))


def _split(key: str) -> str:
    """The part of the data that is in a name, such as "train" in x_train; "" = none."""
    return next((part for word in key.split("_") if (part := split_of(word))), "")


def _of_split(path: Path, keys: Sequence[str], split: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for key in keys:
        kind = next((kind for kind, names in _KINDS.items() if _stem(key) in names), None)
        if kind is None or _split(key) != split:
            continue
        if kind in found:
            raise ValueError(
                f"{path} has {found[kind]!r} and {key!r}; choose one by {kind}_column."
            )
        found[kind] = key
    return found


# ------------------------------------------------------------------------------- what is in them
def _pixels(array: np.ndarray, name: str) -> np.ndarray:
    """Images as uint8 (N, H, W[, C]); (N, C, H, W) is turned where it cannot be meant so."""
    if array.ndim == 4 and array.shape[1] in (1, 3):
        square = array.shape[1] == array.shape[2]
        if array.shape[-1] not in _CHANNELS or (array.shape[2] == array.shape[3] and not square):
            array = np.moveaxis(array, 1, -1)
    shaped = array.ndim == 3 or (array.ndim == 4 and array.shape[-1] in _CHANNELS)
    if array.dtype != np.uint8 or not shaped or 0 in array.shape:
        raise ValueError(
            f"{name} has {array.dtype} {array.shape};"
            f" expected uint8 (N, H, W) or (N, H, W, 1, 3 or 4){_advice(array)}."
        )
    return array


def _advice(array: np.ndarray) -> str:
    if array.dtype == np.uint8 or array.dtype.kind not in "biuf" or not array.size:
        return ""
    low = float(array.min())
    high = float(array.max())
    ways = {
        "np.round(x * 255)": low >= 0 and high <= 1,
        "np.round((x + 1) * 127.5)": low >= -1 and high <= 1,
        "np.round(x)": low >= 0 and high <= 255,
        "np.round(x / 257)": low >= 0 and high <= 65535,
    }
    way = next((way for way, fits in ways.items() if fits), None)
    return f"; numbers in [{low:g}, {high:g}]" + (f": save {way}.astype(np.uint8)" * bool(way))


def _labels(labels: np.ndarray, pixels: np.ndarray, what: str) -> list[Any]:
    if labels.shape == (len(pixels), 1):
        labels = labels[:, 0]
    if labels.shape != pixels.shape[:1]:
        one_hot = "; of one-hot rows save labels.argmax(1)" * (labels.ndim == 2)
        raise ValueError(
            f"{what} {labels.shape} for images {pixels.shape};"
            f" expected one label an image{one_hot}."
        )
    whole = labels.dtype.kind == "f" and (labels == labels.round()) & (abs(labels) < 2**53)
    if np.all(whole):
        labels = labels.astype(np.int64)
    return labels.tolist()
