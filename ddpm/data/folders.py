"""Folders of pictures: what lies in them, and which part of it is held out.

Everything below a folder is looked at, through links too; what is no picture is counted.
"""

import os
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

from ardm.training.litter import is_litter
from ardm.training.splits import choose_splits, like_splits, split_of, splits_in

_TABLES = ("metadata", "labels")
_HELD_OUT = {"validation", "test"}
# of PIL's formats those that need another program to be decoded
_STUBS = ("BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF")


@dataclass
class Listing:
    """What lies below a folder; paths are relative to it, with "/", in sorted order.

    Args:
        folder: the folder.
        pictures: files that PIL knows by their suffix.
        tables: files that tell classes: metadata.csv and the like.
        others: of all other files that are not hidden.
        hidden: number of hidden files and folders, which are not looked into.
        empty: folders without any file.
        loops: links to a folder that they lie in, which are not followed.
    """

    folder: Path
    pictures: list[str] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    hidden: int = 0
    empty: list[str] = field(default_factory=list)
    loops: list[str] = field(default_factory=list)

    def left_out(self) -> list[str]:
        """What is not read, with counts, for people."""
        suffixes = Counter(os.path.splitext(path)[1].lower() or "no suffix" for path in self.others)
        kinds = ", ".join(name for name, _ in suffixes.most_common(4))
        told = {
            f"other file(s) ({kinds})": len(self.others),
            "hidden file(s)": self.hidden,
            f"empty folder(s) ({', '.join(self.empty[:3])})": len(self.empty),
            f"link(s) in a circle ({', '.join(self.loops[:3])})": len(self.loops),
        }
        return [f"{count} {what}" for what, count in told.items() if count]


def list_folder(folder: Path) -> Listing:
    """Looks through a folder.

    Args:
        folder: where pictures are.

    Returns:
        What is there.

    Raises:
        ValueError: if there is no such folder, it cannot be read, or no picture is in it.
    """
    if not os.path.isdir(folder):
        other = " but a file: give arrays by train_file" if os.path.exists(folder) else ""
        raise ValueError(
            f"{folder} is not a folder{other}; expected one with images, or with a sub-folder of"
            " images a class."
        )
    listing = Listing(folder)
    try:
        _visit(listing, "", (os.path.realpath(folder),))
    except OSError as error:
        raise ValueError(f"the folder {folder} cannot be looked through: {error}") from error
    if not listing.pictures:
        found = "; ".join(listing.left_out()) or "nothing"
        raise ValueError(
            f"no images in {folder}, but {found}. Expected pictures such as .png or .jpg: unpack"
            " archives, convert .heic and .svg files, and name tables (.parquet) as dataset_name."
        )
    for paths in (listing.pictures, listing.tables, listing.others):
        paths.sort()
    return listing


def _visit(listing: Listing, below: str, chain: tuple[str, ...]) -> None:
    """Lists one folder; `chain` are the real places of all that it lies in."""
    entries = sorted(os.scandir(listing.folder / below), key=lambda entry: entry.name)
    for entry in entries:
        path = below + entry.name
        if entry.name.startswith(".") or is_litter(entry.name):
            listing.hidden += 1
        elif os.path.isdir(entry.path):
            real = os.path.realpath(entry.path)
            if real in chain:
                listing.loops.append(path)
            else:
                _visit(listing, f"{path}/", (*chain, real))
        elif os.path.splitext(path)[1].lower() in _suffixes() and _may_be_read(entry):
            listing.pictures.append(path)
        else:
            (listing.tables if _is_table(path) else listing.others).append(path)
    if not entries:
        listing.empty.append(below.rstrip("/"))


def _may_be_read(entry: os.DirEntry[str]) -> bool:
    """Whether it is a file, or a link that leads nowhere: no pipe, whose reader would wait."""
    return os.path.isfile(entry.path) or not os.path.exists(entry.path)


def _is_table(path: str) -> bool:
    stem, suffix = os.path.splitext(os.path.basename(path).lower())
    return stem in _TABLES and suffix in (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")


@cache
def _suffixes() -> frozenset[str]:
    """Of the pictures that PIL can open."""
    from PIL import Image

    formats = Image.registered_extensions().items()
    return frozenset(
        suffix for suffix, name in formats if name in Image.OPEN and name not in _STUBS
    )


# ---------------------------------------------------------------------------------------- parts
class Place(NamedTuple):
    """A part of a folder: the pictures whose paths begin with `base`."""

    listing: Listing
    base: str = ""

    def paths(self) -> list[str]:
        """Of its pictures, from the listing's folder on."""
        return [path for path in self.listing.pictures if path.startswith(self.base)]

    def below(self, path: str) -> tuple[str, ...]:
        """The folders that a picture lies in, from the base on."""
        return tuple(path[len(self.base) :].split("/")[:-1])

    def names(self) -> Counter[str]:
        """The folders right below that hold pictures, and how many; "" = its own pictures."""
        return Counter((*self.below(path), "")[0] for path in self.paths())


def split_folder(listing: Listing, are_classes: bool = False) -> tuple[dict[str, Place], list[str]]:
    """Finds `train` and `val` folders, and their like: `Training`, `val2017`, `test_set`.

    Args:
        listing: of the folder.
        are_classes: whether folders with such a word in their names are classes for sure.

    Returns:
        The places of "train" and, if there is one, of "validation"; and what is not used. Without
        such folders everything is "train".

    Raises:
        ValueError: if it cannot be told what is to be trained on.
    """
    place = _innermost(listing)
    names = place.names()
    where = str(listing.folder / place.base)
    parts = {name: split_of(name) for name in names}
    strangers = [name or "images" for name, part in parts.items() if part is None]
    if not _HELD_OUT & set(parts.values()) or (strangers and "train" not in parts.values()):
        parts = {} if are_classes else {**splits_in(names)}
        if not parts:
            _check_no_parts(place, are_classes)
            return {"train": place}, []
    elif strangers:
        raise ValueError(_doubt(where, strangers, [name for name in parts if parts[name]]))
    chosen = choose_splits(names, where, parts.get)
    places = {"train": Place(listing, f"{place.base}{chosen.train}/")}
    if chosen.held_out is not None:
        places["validation"] = Place(listing, f"{place.base}{chosen.held_out}/")
    return places, [f"{names[name]} image(s) of {name}" for name in chosen.unused]


def _innermost(listing: Listing) -> Place:
    """The first folder that holds pictures, or more than one folder with some."""
    place = Place(listing)
    while len(names := place.names()) == 1 and (only := next(iter(names))):
        if split_of(only) in _HELD_OUT:
            break
        place = Place(listing, f"{place.base}{only}/")
    return place


def _check_no_parts(place: Place, are_classes: bool) -> None:
    """That what is taken for classes cannot be meant as parts of the data."""
    where = place.listing.folder / place.base
    names = [name for name in place.names() if name]
    inner = {name: Place(place.listing, f"{place.base}{name}/").names() for name in names}
    for name, below in inner.items():
        parts = {split_of(each) for each in below}
        if None not in parts and {"train"} < parts:
            raise ValueError(
                f"{where} has {sorted(below)} in {name!r}, as in a class of its own; expected a"
                " folder for each of these, with the classes in it."
            )
    if are_classes:
        return
    trains = [name for name in names if split_of(name) == "train" and any(inner[name])]
    alike = like_splits(names) or (trains if len(place.names()) > 1 else [])
    if alike:
        others = [name or "images" for name in place.names() if name not in alike]
        raise ValueError(_doubt(str(where), others, alike))


def _doubt(where: str, others: list[str], alike: list[str]) -> str:
    beside = [", ".join(some[:4]) for some in (others, alike) if some]
    return (
        f"{where} has {' beside '.join(beside)}: are these parts of the data, or classes? Name the"
        " parts by train_dir and validation_dir, move what does not belong there, or say that they"
        " are classes, by labels = 'folder' (--labels folder)."
    )
