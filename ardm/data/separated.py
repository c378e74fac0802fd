"""Tables of separated values: `.csv` with commas, semicolons, tabs or bars, and `.tsv`.

Every cell is text as it is written, "NA" and "null" too; only an empty one is none. What separates,
and whether the first row names the columns, is read off the first rows. Where these do not say, it
is asked for: a row is never lost to a guess.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, Literal, NamedTuple

from .characters import characters, lines
from .columns import NoTexts
from .compression import DataFile
from .tables import Table

_SEPARATORS = {".csv": ",;\t|", ".tsv": "\t", ".tab": "\t", ".psv": "|"}
_LOOK_LINES = 1000
_NUMBER = re.compile(r"\s*[+-]?(\d[\d_, ]*)?[.,]?\d+([eE][+-]?\d+)?\s*%?\s*")
_NAME = re.compile(r"[^\W\d]\w*")
# what columns are called where texts are collected, which is no first line of a text
_COMMON_NAMES = re.compile(
    "abstract|answer|article|author|body|category|class|comment|completion|content|date|document|"
    "id|index|label|lang|language|line|messages?|name|paragraph|post|prompt|question|quote|rating|"
    "response|review|score|sentence|sentiment|sequence|source|story|summary|target|texts?|title|"
    r"topic|translation|tweet|url|[a-z]\w*_\w+",
    re.IGNORECASE,
)

csv.field_size_limit(2**31 - 1)  # a cell is a document, and may be long


_Quoting = Literal[0, 3]  # csv.QUOTE_MINIMAL, csv.QUOTE_NONE


class _Dialect(NamedTuple):
    separator: str
    quoting: _Quoting
    width: int | None  # of a row; None = that of the first one
    broken: bool = False  # in the last row of the look


def separated_table(file: DataFile, text_column: str | None) -> Table:
    """Reads separated values.

    Args:
        file: `.csv` or `.tsv`.
        text_column: the column that is asked for; of a table without a first row of names, its
            number from 0.

    Returns:
        The table. Columns in which all cells are numbers hold no strings, unless it is `text`.

    Raises:
        ValueError: if the rows have unequal numbers of cells, or if it cannot be told what
            separates them or what the first row is.
        NoTexts: if there are no rows.
    """
    dialect = _dialect(file)
    look = list(_rows(file, dialect, _LOOK_LINES))
    names = [cell.strip() for cell in look[0]]
    named = _is_of_names(names, look[1:], text_column, file)
    columns = names if named else [str(number) for number in range(len(names))]
    content = look[1:] if named else look
    texts = [
        name
        for place, name in enumerate(columns)
        if name == "text" or not all(_is_number(row[place]) for row in content) or not content
    ]

    def cells(column: str) -> Iterator[str | None]:
        place = columns.index(column)
        for row in islice(_rows(file, dialect), int(named), None):
            yield row[place] or None

    return Table(columns, texts, cells)


def _rows(file: DataFile, dialect: _Dialect, num_lines: int | None = None) -> Iterator[list[str]]:
    """Rows; an empty line is an empty cell of a single column, and nothing beside others."""
    reader = _reader(file, dialect.separator, dialect.quoting, num_lines)
    width = dialect.width
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            if reader.line_num == num_lines:
                return  # cut off
            raise ValueError(
                f"{file.shown}, line {reader.line_num} cannot be read as a table: {error};"
                " expected quotes around a cell that holds separators or quotes, and these doubled."
            ) from error
        if row is None:
            return
        width = width or len(row)
        if row and len(row) != width:
            raise _uneven(file, reader.line_num, len(row), width)
        if row or width == 1:
            yield row or [""]


def _reader(file: DataFile, separator: str, quoting: _Quoting, num_lines: int | None) -> Any:
    source = islice(lines(characters(file)), num_lines)
    return csv.reader(source, delimiter=separator, quoting=quoting, strict=True)


def _uneven(file: DataFile, line: int, got: int, expected: int) -> ValueError:
    return ValueError(
        f"{file.shown}, line {line}: a row of {got} cells, where others have {expected}; expected"
        " the same number in all, and quotes around a cell that holds separators. A text without"
        " columns is read as .txt, by --line_by_line a document a line."
    )


# -------------------------------------------------------------------------------- what separates
def _dialect(file: DataFile) -> _Dialect:
    """The only way of cutting the first rows that gives each the same number of cells, above 1."""
    fitting = [
        dialect
        for separator in _SEPARATORS[file.suffix]
        for quoting in _quotings(separator)
        if (dialect := _fitting(file, separator, quoting)) is not None
    ]
    separators = {each.separator for each in fitting if each.width != 1}
    if len(separators) > 1:
        raise ValueError(
            f"{file.shown} may be separated by any of {sorted(separators)}; expected one that"
            " gives all rows the same number of cells: quote the cells, or write it as jsonl."
        )
    separator = separators.pop() if separators else _SEPARATORS[file.suffix][0]
    chosen = [each for each in fitting if each.separator == separator]
    if not chosen:
        for _ in _rows(file, _Dialect(separator, csv.QUOTE_MINIMAL, None)):
            pass  # says which row it is
        raise NoTexts(f"{file.shown} holds no rows; expected a table with a column of texts.")
    # quotes that quote nothing, as .tsv has them, end in the middle of a row
    return min(chosen, key=lambda each: each.broken)


def _quotings(separator: str) -> tuple[_Quoting, ...]:
    return (csv.QUOTE_MINIMAL, csv.QUOTE_NONE) if separator == "\t" else (csv.QUOTE_MINIMAL,)


def _fitting(file: DataFile, separator: str, quoting: _Quoting) -> _Dialect | None:
    reader = _reader(file, separator, quoting, _LOOK_LINES)
    rows: list[list[str]] = []
    broken = False
    try:
        rows.extend(reader)
    except csv.Error:
        if reader.line_num < _LOOK_LINES:
            return None
        broken = True  # perhaps by the end of the look
    widths = {len(row) for row in rows if row}
    return _Dialect(separator, quoting, widths.pop(), broken) if len(widths) == 1 else None


# ------------------------------------------------------------------------- what the first row is
def _is_of_names(
    first: list[str], rows: list[list[str]], text_column: str | None, file: DataFile
) -> bool:
    """Whether the first row names the columns.

    It does if a cell is the name that is asked for, or one of the common ones, or heads numbers; it
    does not if a cell could be no name.

    Raises:
        ValueError: if that does not tell.
    """
    if first == [str(number) for number in range(len(first))]:  # as pandas names columns
        return True
    if text_column is not None and text_column.isdecimal() and int(text_column) < len(first):
        return False
    if text_column in first:
        return True
    if any(map(_COMMON_NAMES.fullmatch, first)):
        return True
    for place, cell in enumerate(first):
        below = [row[place] for row in rows if row[place]]
        if below and all(map(_is_number, below)) and _NAME.fullmatch(cell):
            return True
    if len(set(first)) < len(first) or any(map(_is_no_name, first)):
        return False
    raise ValueError(
        f"{file.shown}: does its first row, {first}, name the columns, or is it text? If it names"
        f" them, say text_column={first[0]!r} (or another); if it is text, give the column's number"
        " from 0, text_column='0' (--text_column 0)."
    )


def _is_no_name(cell: str) -> bool:
    return not cell or _is_number(cell) or len(cell) > 64 or bool(re.search(r"[.!?]", cell))


def _is_number(cell: str) -> bool:
    return not cell or _NUMBER.fullmatch(cell) is not None
