"""Classes of a folder's pictures: by the folder that they lie in, by a table, by their names.

cat/1.png, dog/2.png                  the folder
metadata.csv, with file_name, label   the table
cat_1.png, dog_2.png                  the name, before its number: only if it is asked for
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from .folders import Place
from .metadata import read_metadata, table_key

LABELS = ("auto", "folder", "metadata", "filename")
# a separator and a number, or a number right after a letter
_NUMBERED = re.compile(r"(.+?)(?:[ _.\-]+\(?\d+\)?|(?<=[^\d _.\-])\d+)")


class Rule(NamedTuple):
    """How classes are found: the label of every picture of a place, None where it has none."""

    labels: Callable[[Place], list[Any]] | None  # None = there are no classes
    how: str  # for people
    notes: tuple[str, ...] = ()  # what else is to be told
    by_table: bool = False


NO_CLASSES = Rule(None, "not asked for")


def find_rule(
    place: Place, labels: str, image_column: str | None = None, label_column: str | None = None
) -> Rule:
    """How the classes of a folder's pictures are found.

    Args:
        place: the training pictures.
        labels: a name in `LABELS`; "auto" = by a table if there is one with classes, else by
            folders if there are two or more.
        image_column: the table's column of file names; None = by its name.
        label_column: the table's column of classes; None = by its name.

    Returns:
        The rule, also for other pictures.

    Raises:
        ValueError: if there are no classes where they are asked for.
    """
    if (image_column or label_column) and labels not in ("auto", "metadata"):
        raise ValueError(
            f"labels is {labels!r}, and a column is named; expected labels = 'metadata'."
        )
    if labels == "filename":
        _check_names(_by_name(place))
        return Rule(_by_name, "file name")
    notes: tuple[str, ...] = ()
    if labels != "folder":
        table = read_metadata(place.listing, image_column, label_column)
        if table is not None and table.classes is not None:
            read = partial(_by_table, image_column, label_column)
            return Rule(read, f"{table.label_column} in {table.file}", table.notes, by_table=True)
        if labels == "metadata" or image_column or label_column:
            raise ValueError(
                f"{place.listing.folder} has no metadata.csv or metadata.jsonl with a column of"
                " file names and one of classes."
            )
        if table is not None:
            notes = (f"{table.file} has no column of classes among {table.columns}",)
    level = _level(place)
    if level is not None:
        return Rule(partial(_by_folder, level), "folder", notes)
    if labels == "folder":
        raise ValueError(
            f"labels is 'folder', but {place.listing.folder} has no two sub-folders with images."
        )
    return Rule(None, _hint(place), notes)


def _by_table(image_column: str | None, label_column: str | None, place: Place) -> list[Any]:
    table = read_metadata(place.listing, image_column, label_column)
    classes = (table and table.classes) or {}
    return [classes.get(table_key(path)) for path in place.paths()]


# ------------------------------------------------------------------------------------ by folder
def _level(place: Place) -> int | None:
    """Which of the folders that a picture lies in is its class: -1 = the innermost.

    Where images lie at unequal depth, or folders of one name in several others, it is the first one
    that differs; None = there are no two.
    """
    found = {place.below(path) for path in place.paths()}
    common = 0
    while all(len(folders) > common for folders in found) and len({f[common] for f in found}) == 1:
        common += 1
    if len({folders[common] for folders in found if len(folders) > common}) < 2:
        return None
    depths = {len(folders) for folders in found if len(folders) > common}
    innermost = {folders[-1] for folders in found if len(folders) > common}
    loose = any(len(folders) == common for folders in found)
    return -1 if len(depths) == 1 and len(innermost) == len(found) - loose else common


def _by_folder(level: int, place: Place) -> list[Any]:
    folders = [place.below(path) for path in place.paths()]
    return [each[level] if -len(each) <= level < len(each) else None for each in folders]


# -------------------------------------------------------------------------------------- by name
def _by_name(place: Place) -> list[Any]:
    """What stands before the number at a name's end, else before its first underscore."""
    classes = []
    for path in place.paths():
        stem = path.rpartition("/")[2].rpartition(".")[0]
        numbered = _NUMBERED.fullmatch(stem)
        before, underscore, _ = stem.partition("_")
        classes.append(numbered[1] if numbered else before if underscore else None)
    return classes


def _check_names(classes: list[Any]) -> None:
    if len(set(classes)) > max(2, len(classes) / 2) or None in classes:
        raise ValueError(
            f"labels is 'filename', which makes {len(set(classes) - {None})} classes of"
            f" {len(classes)} images, and {classes.count(None)} have none; expected names like"
            " cat_01.jpg, several a class."
        )


def _hint(place: Place) -> str:
    classes = _by_name(place)
    try:
        _check_names(classes)
    except ValueError:
        return ""
    found = sorted(set(classes))
    if len(found) < 2:
        return ""
    return f"labels = 'filename' would find {len(found)}: {', '.join(found[:3])}"
