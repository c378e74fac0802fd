"""Numbered pictures, of an array, of files or of a table, each opened when it is asked for.

A [`Part`] is what was found, with the data's own labels; a [`Source`] is what of it can be used,
with labels that are numbers of its `class_names`.
"""

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ardm.training import fingerprint
from ardm.training.splits import part_within

if TYPE_CHECKING:
    from datasets import Dataset
    from PIL.Image import Image


class Look(NamedTuple):
    """What a picture is like: a digest of its content, and how it is to be looked at."""

    digest: str
    width: int
    height: int
    grey: bool
    animated: bool = False  # its first frame is the image


class ArrayImages:
    """Images of one array.

    Args:
        array: uint8 (N, H, W) or (N, H, W, C) with C = 1, 3 or 4 (RGBA).
        name: for messages.
    """

    def __init__(self, array: np.ndarray, name: str):
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

    @cached_property
    def looks(self) -> list[Look]:
        """What each image is like."""
        height, width = self.array.shape[1:3]
        grey = self.array.ndim == 3
        return [Look(fingerprint([each.tobytes()]), width, height, grey) for each in self.array]


class FileImages:
    """Images of a folder's files.

    Args:
        folder: where they lie.
        paths: of the files, from there on.
        part: of the folder, whose memory of what was seen is its own.
    """

    def __init__(self, folder: Path, paths: Sequence[str], part: str = ""):
        self.place = os.path.abspath(folder / part)
        self.part = part
        self.folder = folder
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def open(self, number: int) -> "Image":
        """The PIL image of that number, of which only the header is read yet."""
        from PIL import Image

        return Image.open(self.folder / self.paths[number])

    def name(self, number: int) -> str:
        """What to call the image in a message."""
        # a name that is not UTF-8 could not be printed
        return os.fsencode(self.folder / self.paths[number]).decode(errors="replace")

    def stamp(self, number: int) -> str:
        """What changes with the file, without its being read."""
        return _stamp(os.path.abspath(self.folder / self.paths[number]))

    def content(self, number: int) -> bytes:
        """The file's bytes."""
        return (self.folder / self.paths[number]).read_bytes()

    def subset(self, numbers: Sequence[int]) -> "FileImages":
        """Some of the images."""
        return FileImages(self.folder, [self.paths[number] for number in numbers], self.part)


class ColumnImages:
    """Images of a column of a `datasets.Dataset`, decoded when they are asked for.

    Args:
        rows: the data set.
        column: the column, of a type that `datasets.Image` can be made of.
        place: what to call the data set.
    """

    def __init__(self, rows: "Dataset", column: str, place: str):
        from datasets import Image

        self.rows = rows.select_columns(column).cast_column(column, Image(decode=False))
        self.column = column
        self.place = place

    def __len__(self) -> int:
        return len(self.rows)

    def open(self, number: int) -> "Image":
        """The PIL image of that number, of which only the header is read yet."""
        from PIL import Image

        return Image.open(io.BytesIO(self.content(number)))

    def name(self, number: int) -> str:
        """What to call the image in a message."""
        entry = self.rows[number][self.column]
        path = entry and entry["path"]
        return path if path and len(path) < 1000 else f"image {number} of column {self.column!r}"

    def stamp(self, number: int) -> str:
        """What changes with the content: a file's size and time, or a digest of its bytes."""
        entry = self.rows[number][self.column]
        if entry and entry["bytes"] is None and not _is_address(entry["path"]):
            return _stamp(entry["path"])
        return fingerprint([self.content(number)])

    def content(self, number: int) -> bytes:
        """The picture as a file holds it."""
        entry = self.rows[number][self.column]
        if entry is None:
            raise ValueError("the row holds no picture")
        if entry["bytes"] is not None:
            return entry["bytes"]
        return _content(entry["path"])

    def subset(self, numbers: Sequence[int]) -> "ColumnImages":
        """Some of the images."""
        return ColumnImages(self.rows.select(numbers), self.column, self.place)


Images = ArrayImages | FileImages | ColumnImages


def _is_address(path: str) -> bool:
    """Whether it leads into an archive or over a network, as `zip://cat/1.png::data/a.zip`."""
    return "://" in path or "::" in path


def _content(path: str) -> bytes:
    if not _is_address(path):
        return Path(path).read_bytes()
    from datasets.utils.file_utils import xopen

    with xopen(path, "rb") as file:
        return file.read()


def _stamp(path: str | os.PathLike[str]) -> str:
    """Differs after every write: the time of change cannot be set, as that of the content can."""
    status = os.stat(path)
    times = f"{status.st_mtime_ns}|{status.st_ctime_ns}"
    return f"{os.fspath(path)}|{status.st_size}|{times}|{status.st_ino}"


class Part(NamedTuple):
    """Images as they were found, each with a label as the data writes it, or none of them.

    Args:
        images: N of them.
        labels: text or whole numbers, None where one has no class; None = there are no labels.
        class_names: all classes in the data's own order; None = sorted.
    """

    images: Images
    labels: list[Any] | None = None
    class_names: list[str] | None = None


@dataclass
class Reading:
    """What was found at a place.

    Args:
        where: what was read.
        parts: "train" and, if the data has it, "validation".
        held_out: what the validation part is called there.
        how: where the labels come from, or why there are none.
        skipped: what was not read, with counts, for people.
        unused: what could have been read, with counts.
    """

    where: str
    parts: dict[str, Part]
    held_out: str = ""
    how: str = ""
    skipped: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)

    def without_unlabelled_test(self) -> "Reading":
        """A test part whose classes are kept secret cannot stand in for a validation part."""
        test = self.parts.get("validation")
        is_test = part_within(self.held_out.rpartition("/")[2]) == "test"
        if test and is_test and self.parts["train"].labels and set(test.labels or []) <= {None}:
            self.unused.append(f"{len(test.images)} image(s) of {self.held_out}, without classes")
            del self.parts["validation"]
        return self


@dataclass(frozen=True)
class Source:
    """Images that can be used and, if the data has them, their labels.

    Args:
        images: N of them.
        labels: int64 (N,), numbers of `class_names`.
        class_names: what label k is called, at k.
        looks: what each image is like, at least of those that must be decoded to know.
    """

    images: Images
    labels: np.ndarray | None = None
    class_names: list[str] | None = None
    looks: Sequence[Look] | None = None

    def seen(self) -> Sequence[Look]:
        """What each image is like."""
        if self.looks is not None:
            return self.looks
        assert isinstance(self.images, ArrayImages)
        return self.images.looks

    def form(self) -> tuple[set[tuple[int, int]], bool]:
        """Sizes (width, height) that occur, and whether all are grey."""
        looks = self.seen()
        return {(look.width, look.height) for look in looks}, all(look.grey for look in looks)


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
    told = labels if numeric else map(str, labels)
    found = [str(label) for label in sorted(set(told))]
    names = found if names is None else names
    if any("\udc80" <= sign <= "\udcff" for name in found for sign in name):
        raise ValueError(f"the class names {found!a} are not all UTF-8; rename the folders.")
    if not set(found) <= set(names):
        raise ValueError(
            f"labels {sorted(set(found) - set(names))} are not among the training classes {names}."
        )
    places = {name: place for place, name in enumerate(names)}
    return np.array([places[str(label)] for label in labels], dtype=np.int64), names
