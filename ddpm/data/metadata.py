"""The table beside pictures, a row a file: metadata.csv, .tsv, .jsonl or .parquet.

As `datasets` has it, file names are relative to the table. Classes are the column that is asked
for, or called so.
"""

import csv
import io
import json
import posixpath
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .folders import Listing

_FILES = ("file_name", "filename", "file", "image", "image_path", "path", "img")
_SEPARATORS = {".csv": ",;\t|", ".tsv": "\t"}
LABEL_NAMES = ("label", "labels", "class", "class_name", "category", "target", "cls")


class Metadata(NamedTuple):
    """What a table tells.

    Args:
        file: the table, for messages.
        columns: all of them.
        label_column: the one with classes.
        classes: by [`table_key`] of each picture that is there; None = no column of classes.
        notes: what else is to be told.
    """

    file: str
    columns: list[str]
    label_column: str | None = None
    classes: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()


def table_key(path: str) -> str:
    """A path as it is looked up: one system writes accents in one sign, another in two."""
    return posixpath.normpath(unicodedata.normalize("NFC", path.replace("\\", "/").strip()))


def read_metadata(
    listing: Listing, image_column: str | None = None, label_column: str | None = None
) -> Metadata | None:
    """Reads the tables of a folder.

    Args:
        listing: of the folder.
        image_column: the column of file names; None = by its name.
        label_column: the column of classes; None = by its name.

    Returns:
        What they say; None if there is no table.

    Raises:
        ValueError: if a table cannot be read, has no such column, or contradicts itself.
    """
    if not listing.tables:
        return None
    told = ", ".join(listing.tables)
    columns: dict[str, None] = {}
    classes: dict[str, Any] = {}
    names = set()
    for path in listing.tables:
        rows = _rows(listing.folder / path)
        own = list(dict.fromkeys(name for row in rows for name in row))
        columns |= dict.fromkeys(own)
        column = _column(path, own, LABEL_NAMES, label_column, "label_column")
        if column is None:
            continue
        names.add(column)
        file_column = _column(path, own, _FILES, image_column, "image_column")
        if file_column is None:
            raise ValueError(
                f"{path} has no column of file names among {own}; name it by image_column."
            )
        for row in rows:
            key = table_key(posixpath.join(posixpath.dirname(path), str(row.get(file_column))))
            label = row.get(column)
            label = None if label != label else label  # JSON's and pandas' NaN
            if classes.setdefault(key, label) != label:
                raise ValueError(
                    f"{path} calls {key} {classes[key]!r} and {label!r}; expected one class."
                )
    if not names:
        return Metadata(told, list(columns))
    absent = len(classes.keys() - {table_key(path) for path in listing.pictures})
    if absent == len(classes):
        raise ValueError(
            f"{told} of {listing.folder} names no file that is there, such as"
            f" {next(iter(classes), 'any')!r}; expected paths from its own folder on."
        )
    notes = (f"{absent} row(s) of {told} without a file",) if absent else ()
    return Metadata(told, list(columns), " / ".join(sorted(names)), _as_numbers(classes), notes)


def _rows(file: Path) -> list[dict[str, Any]]:
    """Each row by column; what is empty is None."""
    try:
        if file.suffix.lower() == ".parquet":
            from pyarrow.parquet import read_table

            return read_table(file).to_pylist()
        text = file.read_text(encoding="utf-8-sig")  # without a byte order mark
        if file.suffix.lower() in _SEPARATORS:
            return _separated_rows(text, _SEPARATORS[file.suffix.lower()])
        rows = [json.loads(line) for line in text.split("\n") if line.strip()]
    except (OSError, ValueError, csv.Error) as error:  # of pyarrow, json and decoding, too
        raise ValueError(f"{file} cannot be read as a table: {error}") from error
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{file} is not one JSON object a line.")
    return rows


def _separated_rows(text: str, separators: str) -> list[dict[str, Any]]:
    first, _, _ = text.partition("\n")
    separator = max(separators, key=first.count)
    table = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    names = [name.strip() for name in next(table, [])]
    for name in filter(None, names):
        if names.count(name) > 1:
            raise ValueError(f"it has two columns {name!r}; expected names that differ.")
    rows = []
    for cells in table:
        if cells and len(cells) != len(names):
            raise ValueError(
                f"line {table.line_num} has {len(cells)} cells, the first {len(names)}; expected"
                f" quotes around a cell that holds {separator!r}."
            )
        if any(cells):
            rows.append(dict(zip(names, [cell.strip() or None for cell in cells], strict=True)))
    return rows


def _column(
    path: str, columns: list[str], usual: Sequence[str], wanted: str | None, flag: str
) -> str | None:
    """The column that is asked for, or the only one with a usual name."""
    if wanted is not None:
        if wanted not in columns:
            raise ValueError(f"{flag} is {wanted!r}; expected one of {columns}, of {path}.")
        return wanted
    found = [name for name in columns if name.strip().lower() in usual]
    if len(found) > 1:
        raise ValueError(f"{path} has the columns {found}; choose one by {flag}.")
    return found[0] if found else None


def _as_numbers(classes: dict[str, Any]) -> dict[str, Any]:
    """Text that is whole numbers alone, as a CSV file has them, sorts by size."""
    given = [label for label in classes.values() if label is not None]
    if all(str(label).isdecimal() and str(int(label)) == label for label in given):
        return {key: None if label is None else int(label) for key, label in classes.items()}
    return classes
