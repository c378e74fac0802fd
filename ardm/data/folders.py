"""Parts of a folder of texts: what is trained on and what is held out, by the names it has.

Either sub-folders are called `train` and `validation` (or `valid`, `val`, `dev`, `test`), or the
files of one kind all are: `train.txt` and `test.txt`, `wiki.train.tokens`, `train-00000-of-00002`.
What lies beside such sub-folders, or is of another kind than such files, belongs to no part.
"""

from __future__ import annotations

import re
from itertools import count
from pathlib import PurePosixPath
from typing import NamedTuple

from ..training.splits import choose_splits, split_of
from .compression import DataFile
from .reports import TextReport

_ROOT_FILE = "dataset_dict.json"
_DATASET_FILES = {"state.json", "dataset_info.json", _ROOT_FILE}

Named = dict[str, list[DataFile]]


class Parts(NamedTuple):
    """Files to train on, those held out, and what these are called; none = no such part."""

    train: list[DataFile]
    held_out: list[DataFile]
    name: str | None = None


def parts_of(files: list[DataFile], where: str, report: TextReport) -> Parts:
    """Sorts the files of a folder into its parts.

    Args:
        files: of a folder, with their paths in it as names.
        where: the folder, for messages.
        report: where the files are counted that belong to no part or to one that is not used.

    Returns:
        The files by part; all of them to train on if the names tell no parts.

    Raises:
        ValueError: if two names stand for the same part.
    """
    named = _by_folder(files) or _by_name(files)
    if not named:
        return Parts(files, [])
    strays = named.pop("", [])
    chosen = choose_splits(list(named), where)
    for file in strays:
        report.skip("file of no part", file.shown)
    for part in chosen.unused:
        for file in named[part]:
            report.skip(f"file of {part}", file.shown)
    assert chosen.held_out is not None  # or the names would tell no parts
    return Parts(named[chosen.train], named[chosen.held_out], chosen.held_out)


def without_dataset_files(files: list[DataFile], report: TextReport) -> list[DataFile]:
    """Passes over what `save_to_disk` writes beside the texts; elsewhere such a name may be a text.

    Args:
        files: with their paths as names.
        report: where those are counted that are passed over.

    Returns:
        The other files.
    """
    paths = [PurePosixPath(file.name) for file in files]
    saved = {path.parent for path in paths if path.match("*.arrow") or path.match(_ROOT_FILE)}
    kept = []
    for path, file in zip(paths, files, strict=True):
        if path.name in _DATASET_FILES and path.parent in saved:
            report.skip("file of `datasets`", file.shown)
        else:
            kept.append(file)
    return kept


def note_held_out(part: str, report: TextReport) -> None:
    """Says in a report that a part is held out, and of a test part, why."""
    missing = ", as there is no validation part" if split_of(part) == "test" else ""
    report.notes.append(f"held out: {part}{missing}")


def _tells_parts(names: set[str]) -> bool:
    parts = {split_of(name) for name in names}
    return "train" in parts and bool(parts & {"validation", "test"})


def _by_folder(files: list[DataFile]) -> Named:
    """Files by the part's folder, "" = beside these; empty if there are no such folders."""
    for depth in count():  # below 0 as in `data/train`, beside a card
        tops = {
            name: place[depth]
            for name, place in ((file.name, PurePosixPath(file.name).parts) for file in files)
            if len(place) > depth + 1
        }
        if _tells_parts(set(tops.values())):
            named: Named = {}
            for file in files:
                top = tops.get(file.name, "")
                named.setdefault(top if split_of(top) else "", []).append(file)
            return named
        if len({PurePosixPath(name).parts[: depth + 1] for name in tops}) != 1:
            return {}
    raise AssertionError("a path ends")


def _by_name(files: list[DataFile]) -> Named:
    """Files by the part in their own names, "" = of another kind; empty if not all tell one."""
    parts = {file.name: _part_in(file) for file in files}
    kinds = {file.suffix for file in files if parts[file.name] == "train"}
    of_kind = [file for file in files if file.suffix in kinds]
    told = {parts[file.name] or "" for file in of_kind}
    if len(kinds) != 1 or "" in told or not _tells_parts(told):
        return {}
    named: Named = {}
    for file in files:
        part = parts[file.name] if file.suffix in kinds else ""
        named.setdefault(part or "", []).append(file)
    return named


def _part_in(file: DataFile) -> str | None:
    """The one part that a file's name tells, as a word of it."""
    words = re.split(r"[^a-z]+", PurePosixPath(file.name).name.split("/")[-1].lower())
    parts = {part for word in words if (part := split_of(word))}
    return parts.pop() if len(parts) == 1 else None
