"""Where images come from: arrays, folders and data sets, each a numbered row of pictures.

A [`Source`] is a sequence of PIL images, opened one at a time, with a label each or none. Labels
are what the data calls the classes, in `class_names` sorted or in the data's own order.
"""

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .pixels import GREY_MODES, upright_size

if TYPE_CHECKING:
    from datasets import Dataset
    from PIL.Image import Image

Splits = dict[str, "Source"]  # "train", and "validation" if the data has it


class ArrayImages:
    """Images of one array.

    Args:
        array: uint8 (N, H, W) or (N, H, W, C) with C = 1, 3 or 4 (RGBA).
        name: for messages.
    """

    def __init__(self, array: np.ndarray, name: str):
        shaped = array.ndim == 3 or (array.ndim == 4 and array.shape[-1] in (1, 3, 4))
        if array.dtype != np.uint8 or not shaped or 0 in array.shape:
            raise ValueError(
                f"{name} has {array.dtype} {array.shape};"
                " expected uint8 (N, H, W) or (N, H, W, 1, 3 or 4)."
            )
        self.file = name
        self.array = array[..., 0] if array.ndim == 4 and array.shape[-1] == 1 else array

    def __len__(self) -> int:
        return len(self.array)

    def open(self, number: int) -> "Image":
        """The PIL image of that number."""
        from PIL import Image

        return Image.fromarray(self.array[number])

    def name(self, number: int) -> str:
        """What to call the image in a message."""
        return f"image {number} of {self.file}"


class ColumnImages:
    """Images of a column of a `datasets.Dataset`, decoded when they are asked for.

    Args:
        rows: the data set.
        column: the column, of a type that `datasets.Image` can be made of.
    """

    def __init__(self, rows: "Dataset", column: str):
        from datasets import Image

        self.rows = rows.select_columns(column).cast_column(column, Image(decode=False))
        self.column = column

    def __len__(self) -> int:
        return len(self.rows)

    def open(self, number: int) -> "Image":
        """The PIL image of that number, of which only the header is read yet."""
        from PIL import Image

        entry = self.rows[number][self.column]
        if entry is None:
            raise ValueError(
                f"row {number} has no image in column {self.column!r}; remove the row."
            )
        file = entry["path"] if entry["bytes"] is None else io.BytesIO(entry["bytes"])
        try:
            return Image.open(file)
        except (OSError, SyntaxError) as error:
            raise ValueError(
                f"{self.name(number)} is not an image that can be read: {error}"
            ) from error

    def name(self, number: int) -> str:
        """What to call the image in a message."""
        entry = self.rows[number][self.column]
        return (entry and entry["path"]) or f"image {number} of column {self.column!r}"


@dataclass(frozen=True)
class Source:
    """Images and, if the data has them, their labels: int64 (N,) numbers of `class_names`."""

    images: ArrayImages | ColumnImages
    labels: np.ndarray | None = None
    class_names: list[str] | None = None

    def form(self) -> tuple[set[tuple[int, int]], bool]:
        """Sizes (width, height) that occur, and whether all are grey; reads every file's header."""
        seen = set()
        for number in range(len(self.images)):
            with self.images.open(number) as image:
                seen.add((upright_size(image), image.mode in GREY_MODES))
        return {size for size, _ in seen}, all(grey for _, grey in seen)


def digits() -> Source:
    """Scikit-learn's digits: 1797 grey images of 8 x 8 pixels, values 0..16 stretched to 0..255."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            "the digits need scikit-learn; install it with: pip install 'ardm[images]'"
        ) from error
    bunch = load_digits()
    images = ArrayImages(np.round(bunch.images * 255 / 16).astype(np.uint8), "digits")
    return Source(images, bunch.target.astype(np.int64), [str(name) for name in bunch.target_names])


def array_file(path: Path, names: list[str] | None = None) -> Source:
    """Reads `.npy` (images) or `.npz` (images or arr_0, labels or arr_1); executes no pickle.

    Args:
        path: the file.
        names: the class names that labels must be of; None = those that occur, sorted.

    Returns:
        The images in memory.

    Raises:
        ValueError: if there is no such file, or not what is expected is in it.
    """
    try:
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            content = {"images": content}
        arrays = dict(content)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} cannot be read as a .npy or .npz file of numbers: {error}"
        ) from error
    images = arrays.get("images", arrays.get("arr_0"))
    labels = arrays.get("labels", arrays.get("arr_1"))
    if images is None:
        raise ValueError(
            f"{path} holds {sorted(arrays)}; expected images or arr_0, and perhaps labels or arr_1."
        )
    if labels is not None and labels.shape != images.shape[:1]:
        raise ValueError(
            f"{path} has labels {labels.shape} for images {images.shape};"
            " expected one label an image."
        )
    source = ArrayImages(images, str(path))
    if labels is None:
        return Source(source)
    return Source(source, *number_labels(labels.tolist(), names))


def number_labels(
    labels: list[Any], names: list[str] | None = None
) -> tuple[np.ndarray, list[str]]:
    """Gives every class a number: its place among the names that occur, sorted (numbers by size).

    Args:
        labels: strings or integers, one an image.
        names: the classes where they are known already.

    Returns:
        int64 (N,) numbers, and the names.

    Raises:
        ValueError: if a label is neither text nor a whole number, or not of `names`.
    """
    if not all(isinstance(label, (str, int)) for label in labels):
        raise ValueError(
            "labels are neither text nor whole numbers; expected one class name or number an image."
        )
    numeric = all(isinstance(label, int) for label in labels)
    found = [str(label) for label in sorted(set(labels), key=None if numeric else str)]
    names = found if names is None else names
    if not set(found) <= set(names):
        raise ValueError(
            f"labels {sorted(set(found) - set(names))} are not among the training classes {names}."
        )
    places = {name: place for place, name in enumerate(names)}
    return np.array([places[str(label)] for label in labels], dtype=np.int64), names


def image_folder(folder: Path) -> "dict[str, Dataset]":
    """A folder of image files through `datasets`; the names of several sub-folders are classes.

    Args:
        folder: holds images, or `train` and `validation` (or `test`) folders of them.

    Returns:
        A `datasets.Dataset` for each of them.

    Raises:
        ValueError: if there is no such folder, or no image in it.
    """
    from datasets import load_dataset
    from datasets.exceptions import DatasetGenerationError

    if not folder.is_dir():
        raise ValueError(
            f"{folder} is not a folder;"
            " expected one with images, or with a sub-folder of images a class."
        )
    # named one by one: by itself `datasets` takes a class called "train" or "test" for a split
    held_out = [name for name in ("validation", "test") if (folder / name).is_dir()]
    parts = {"train": folder}
    if (folder / "train").is_dir() and held_out:
        parts = {"train": folder / "train", "validation": folder / held_out[0]}
    files = {"train": "**"}
    try:
        return {
            name: load_dataset("imagefolder", data_dir=str(part), data_files=files, split="train")
            for name, part in parts.items()
        }
    except (OSError, ValueError, DatasetGenerationError) as error:
        raise ValueError(f"no images can be loaded from {folder}: {error}") from error


def named_data_set(name: str, config: str | None) -> "dict[str, Dataset]":
    """A data set of the Hub, or a local one, also as written by `save_to_disk`.

    Args:
        name: its name or folder.
        config: its configuration.

    Returns:
        `datasets.Dataset`s, "train" and, if there is one, "validation" (else "test" takes its
        place).

    Raises:
        ValueError: if it cannot be found or read, or has no training split.
    """
    from datasets import DatasetDict, load_dataset, load_from_disk
    from datasets.exceptions import DatasetGenerationError

    saved = any((Path(name) / file).is_file() for file in ("state.json", "dataset_dict.json"))
    try:
        loaded = load_from_disk(name) if saved else load_dataset(name, config)
    except (OSError, ValueError, RuntimeError, DatasetGenerationError) as error:
        raise ValueError(f"the data set {name!r} cannot be loaded: {error}") from error
    splits = dict(loaded) if isinstance(loaded, DatasetDict) else {"train": loaded}
    if "train" not in splits:
        raise ValueError(
            f"the data set {name!r} has splits {sorted(splits)}; expected train among them."
        )
    held_out = [splits[split] for split in ("validation", "test") if split in splits]
    return {"train": splits["train"]} | ({"validation": held_out[0]} if held_out else {})
