"""The table beside pictures, a row a file: metadata.csv, .tsv, .jsonl or .parquet.

As `datasets` has it, file names are relative to the table. Classes are the column that is asked
for, or called so.
"""

import csv
import io
import json
import posixpath
import re
import unicodedata
from collections.abc import Iterable, Sequence
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
    told: dict[str, str] = {}  # the column of classes of each table that has one
    columns: dict[str, None] = {}
    classes: dict[str, Any] = {}
    for path in listing.tables:
        rows = _rows(listing.folder / path)
        own = list(dict.fromkeys(name for row in rows for name in row))
        columns |= dict.fromkeys(own)
        column = _column(path, own, LABEL_NAMES, label_column, "label_column")
        if column is None:
            _check_names(path, own, listing)
            continue
        told[path] = column
        files = _column(path, own, _FILES, image_column, "image_column")
        if files is None:
            raise ValueError(
                f"{path} has no column of file names among {own}; name it by image_column."
            )
        _add_classes(classes, path, ((row.get(files), row.get(column)) for row in rows))
    if not told:
        return Metadata(", ".join(listing.tables), list(columns))
    where = ", ".join(told)
    absent = len(classes.keys() - {table_key(path) for path in listing.pictures})
    if absent == len(classes):
        raise ValueError(
            f"{where} of {listing.folder} names no file that is there, such as"
            f" {next(iter(classes), 'any')!r}; expected paths from its own folder on."
        )
    notes = (f"{absent} row(s) of {where} without a file",) if absent else ()
    called = " / ".join(sorted({*told.values()}))
    return Metadata(where, list(columns), called, _as_numbers(classes), notes)


def _check_names(path: str, columns: list[str], listing: Listing) -> None:
    """That a table without classes has names in its first row, and is no table that was misread."""
    pictures = {table_key(picture).rpartition("/")[2] for picture in listing.pictures}
    if not columns or any(table_key(name).rpartition("/")[2] in pictures for name in columns):
        raise ValueError(
            f"{path} has {columns or 'nothing'} in its first row; expected the names of columns,"
            " such as file_name and label, or no such file."
        )


def _add_classes(classes: dict[str, Any], path: str, rows: Iterable[tuple[Any, Any]]) -> None:
    for file, label in rows:
        key = table_key(posixpath.join(posixpath.dirname(path), str(file)))
        label = None if label != label else label  # JSON's and pandas' NaN
        if classes.setdefault(key, label) != label:
            raise ValueError(
                f"{path} calls {key} {classes[key]!r} and {label!r}; expected one class."
            )


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
    lines = text.lstrip("\r\n")
    if told := re.match(r"sep=(.)\r?\n", lines):  # as Excel has it
        separators = told[1]
        lines = lines[told.end() :]
    first, _, _ = lines.partition("\n")
    separator = max(separators, key=lambda each: (_names_files(first, each), first.count(each)))
    table = csv.reader(io.StringIO(lines, newline=""), delimiter=separator, strict=True)
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


def _names_files(first: str, separator: str) -> bool:
    """Whether a line of names, cut there, has one that files are usually called by."""
    return any(name.strip('" \r').casefold() in _FILES for name in first.split(separator))


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
