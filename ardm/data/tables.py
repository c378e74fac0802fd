"""Tables of texts: json in its shapes, parquet and Arrow, a row at a time.

Which columns hold strings is said by the file (parquet, Arrow) or by its first rows (json).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, NamedTuple

from .characters import characters, lines
from .columns import NoTexts
from .compression import DataFile

_LOOK_ROWS = 1000
_ROWS_AT_ONCE = 1024
_PIECE = 2**20  # characters of a piece
_GAP = re.compile(r"[\s,]*")


class Table(NamedTuple):
    """Columns of a file: their names, those of strings, and the cells of one, None where empty."""

    columns: list[str]
    strings: list[str]
    cells: Callable[[str], Iterator[str | None]]


# ----------------------------------------------------------------------------------------- json
def json_table(file: DataFile, text_column: str | None) -> Table:
    """Reads json: one value a line, a list of values, or an object with a list of them.

    A value is an object, whose keys are the columns, or a string: the text itself. A null is a row
    without a text.

    Args:
        file: json, jsonl and the like.
        text_column: the column that is asked for.

    Returns:
        The table; its columns are those of the first thousand rows.

    Raises:
        ValueError: if the file is not json, or in no such shape.
        NoTexts: if it is a single object and none of a text, as settings are.
    """
    wanted = text_column or "text"
    look = [row for _, row in islice(_values(file, wanted), _LOOK_ROWS)]
    columns = dict.fromkeys(key for row in look for key in row)
    strings = [name for name in columns if _holds_strings(name, look, wanted)]

    def cells(column: str) -> Iterator[str | None]:
        for number, row in _values(file, wanted):
            cell = row.get(column)
            if cell is not None and not isinstance(cell, str):
                raise ValueError(
                    f"{file.shown}, row {number}: column {column!r} holds {str(cell)[:40]!r},"
                    f" a {type(cell).__name__}; expected a string."
                )
            yield cell

    return Table([*columns], strings, cells)


def _holds_strings(name: str, rows: list[dict[str, Any]], wanted: str) -> bool:
    cells = [row[name] for row in rows if row.get(name) is not None]
    return (bool(cells) or name == wanted) and all(isinstance(cell, str) for cell in cells)


def _values(file: DataFile, wanted: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows and their numbers from 1."""
    values = _by_line(file) if file.suffix != ".json" else _of_any_shape(file, wanted)
    for number, value in enumerate(values, 1):
        if value is None or isinstance(value, str):
            value = {wanted: value}
        if not isinstance(value, dict):
            raise ValueError(
                f"{file.shown}, row {number}: got {str(value)[:40]!r};"
                ' expected an object such as {"text": "..."}, or a string.'
            )
        yield number, value


def _by_line(file: DataFile) -> Iterator[Any]:
    for number, line in enumerate(lines(characters(file)), 1):
        if line.strip():
            with _told(file, f", line {number}"):
                value = json.loads(line)
            yield value


def _of_any_shape(file: DataFile, wanted: str) -> Iterator[Any]:
    all_lines = (line for line in lines(characters(file)) if line.strip())
    first = next(all_lines, "")
    if first.lstrip().startswith("["):
        yield from _elements(file)
    elif _is_whole(first) and next(all_lines, None) is not None:
        yield from _by_line(file)
    else:
        with _told(file):
            content = json.loads("".join(characters(file)))
        yield from _nested(content, wanted, file)


def _is_whole(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _nested(content: Any, wanted: str, file: DataFile) -> Iterable[Any]:
    """The rows in an object: the object itself, or the only list in it that can be of rows."""
    if not isinstance(content, dict):
        return [content]
    if isinstance(content.get(wanted), str):
        return [content]
    if _is_list_of(str, content.get(wanted)):
        return content[wanted]
    found = [name for name, value in content.items() if _is_list_of(dict, value)]
    if len(found) == 1:
        return content[found[0]]
    if len(found) > 1:
        raise ValueError(
            f"{file.shown} holds the lists {found}; expected one list of rows: write the one of the"
            " texts as jsonl, an object a line."
        )
    raise NoTexts(
        f"{file.shown} holds an object with {[*content]} and no {wanted!r} that is a text or a list"
        ' of texts; expected rows such as {"text": "..."}, one a line or in a list, or text_column.'
    )


def _is_list_of(kind: type, value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, kind) for each in value)


def _elements(file: DataFile) -> Iterator[Any]:
    """The elements of a list, each parsed by itself: the list may be longer than the memory."""
    decoder = json.JSONDecoder()
    pieces = characters(file)
    held = next(pieces, "")
    place = _next_value(held, held.find("[") + 1)
    while not held.startswith("]", place):
        try:
            value, end = decoder.raw_decode(held, place)
        except json.JSONDecodeError as error:  # wrong, or cut off where the piece ends
            # twice as much each time, or a long element would be parsed again and again
            more = "".join(islice(pieces, 1 + (len(held) - place) // _PIECE))
            if not more:
                raise _no_json(file, error) from error
            held = held[place:] + more
            end = 0
        except RecursionError:
            raise _too_deep(file) from None
        else:
            yield value
        place = _next_value(held, end)
    if held[place + 1 :].strip() or any(piece.strip() for piece in pieces):
        raise ValueError(
            f"{file.shown} goes on behind its list; expected one list of rows, or a row a line."
        )


def _next_value(text: str, place: int) -> int:
    return _GAP.match(text, place).end()  # type: ignore[union-attr]  # fits anywhere


@contextmanager
def _told(file: DataFile, where: str = "") -> Iterator[None]:
    try:
        yield
    except json.JSONDecodeError as error:
        raise _no_json(file, error, where) from error
    except RecursionError:
        raise _too_deep(file) from None


def _too_deep(file: DataFile) -> ValueError:
    return ValueError(f"{file.shown} is nested too deeply for json; expected rows of texts.")


def _no_json(file: DataFile, error: json.JSONDecodeError, where: str = "") -> ValueError:
    return ValueError(
        f"{file.shown}{where} cannot be read as json: {error.msg.removesuffix(' at')};"
        ' expected rows such as {"text": "..."}.'
    )


# ------------------------------------------------------------------------------ parquet and Arrow
def parquet_table(file: DataFile, text_column: str | None) -> Table:
    """Reads parquet.

    Args:
        file: the table.
        text_column: the column that is asked for.

    Returns:
        The table.
    """
    from pyarrow.parquet import ParquetFile

    def batches(stream: Any, columns: list[str] | None) -> tuple[Any, Iterator[Any]]:
        table = ParquetFile(stream)
        return table.schema_arrow, table.iter_batches(_ROWS_AT_ONCE, columns=columns)

    return _typed_table(file, batches)


def arrow_table(file: DataFile, text_column: str | None) -> Table:
    """Reads Arrow, as a stream (what `datasets` writes) or as a file.

    Args:
        file: the table.
        text_column: the column that is asked for.

    Returns:
        The table.
    """
    from pyarrow import ipc

    def batches(stream: Any, columns: list[str] | None) -> tuple[Any, Iterator[Any]]:
        start = stream.read(6)
        stream.seek(0)
        if start == b"ARROW1":
            table = ipc.open_file(stream)
            return table.schema, (table.get_batch(i) for i in range(table.num_record_batches))
        table = ipc.open_stream(stream)
        return table.schema, iter(table)

    return _typed_table(file, batches)


def _typed_table(
    file: DataFile, batches: Callable[[Any, list[str] | None], tuple[Any, Iterator[Any]]]
) -> Table:
    with _opened_table(file) as stream:
        schema, _ = batches(stream, None)

    def cells(column: str) -> Iterator[str | None]:
        with _opened_table(file) as stream:
            for batch in batches(stream, [column])[1]:
                for cell in batch.column(batch.schema.get_field_index(column)):
                    yield cell.as_py()

    return Table(schema.names, [each.name for each in schema if _is_string(each.type)], cells)


@contextmanager
def _opened_table(file: DataFile) -> Iterator[Any]:
    import pyarrow

    try:
        with file.open() as stream:
            yield stream
    except pyarrow.ArrowException as error:  # of which some are ValueErrors, too
        raise ValueError(
            f"{file.shown} cannot be read as {file.suffix[1:]}, is it corrupt? ({error})"
        ) from error


def _is_string(kind: Any) -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    checks = (types.is_string, types.is_large_string, types.is_string_view)
    return any(check(kind) for check in checks)
