"""The end of a corpus, held out where the data has no part for it; data sets, counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .columns import text_column_of
from .pieces import documents_of
from .reports import TextReport
from .storage import Spool

if TYPE_CHECKING:  # datasets takes a second to import
    from datasets import Dataset, IterableDataset

_ROWS_AT_ONCE = 1000


def split_spool(spool: Spool, fraction: float, report: TextReport) -> tuple[Dataset, Dataset]:
    """Documents to train on, and the last ones: of a single document the last characters.

    Args:
        spool: of documents.
        fraction: the part held out.
        report: told what it is.

    Returns:
        Both data sets.

    Raises:
        ValueError: if there are less than two characters.
    """
    if len(spool) == 1:
        held_out = _num_held_out(spool.num_characters, fraction, "characters", report)
        return spool.cut_within(spool.num_characters - held_out)
    held_out = _num_held_out(len(spool), fraction, "documents", report)
    return spool.cut(len(spool) - held_out)


def split_rows(
    rows: Dataset | IterableDataset, fraction: float, report: TextReport
) -> tuple[Dataset | IterableDataset, Dataset | IterableDataset]:
    """Rows to train on, and the last ones: of a single row the last characters.

    Args:
        rows: with the one column `text`; of a stream the number of rows must be known.
        fraction: the part held out.
        report: told what it is.

    Returns:
        Both data sets.

    Raises:
        ValueError: if there are less than two characters, or the number of rows is not known.
    """
    from datasets import Dataset

    if not isinstance(rows, Dataset):
        num_rows = _known_length(rows)
        num_train = num_rows - _num_held_out(num_rows, fraction, "rows", report)
        return rows.take(num_train), rows.skip(num_train)
    if len(rows) == 1:
        with Spool() as spool:
            for document in documents_of(rows, "text"):
                spool.add(document)
            held_out = _num_held_out(spool.num_characters, fraction, "characters", report)
            return spool.cut_within(spool.num_characters - held_out)
    num_train = len(rows) - _num_held_out(len(rows), fraction, "rows", report)
    return rows.select(range(num_train)), rows.select(range(num_train, len(rows)))


def _num_held_out(total: int, fraction: float, unit: str, report: TextReport) -> int:
    if total < 2:
        raise ValueError(
            f"the text to train on has {total} {unit[:-1] if total == 1 else unit}; expected at"
            " least 2 to hold some out: give more text, or a validation_file."
        )
    number = max(1, round(total * fraction))
    last = f"the last {number:,} {unit}" if number > 1 else f"the last of {total:,} {unit}"
    report.notes.append(f"held out: {last}")
    return number


def _known_length(rows: IterableDataset) -> int:
    split = (rows.info.splits or {}).get("train")
    if split is None or not split.num_examples:
        raise ValueError(
            "this stream has no validation split and no known length;"
            " give validation_file or do not stream"
        )
    return split.num_examples


def only_text(
    rows: Dataset | IterableDataset, text_column: str | None
) -> Dataset | IterableDataset:
    """The column of the texts alone, called `text`.

    Args:
        rows: a data set.
        text_column: as for [`text_column_of`].

    Returns:
        The data set.
    """
    column = text_column_of(rows, text_column)
    rows = rows.select_columns([column])
    return rows if column == "text" else rows.rename_column(column, "text")


def count_spool(spool: Spool, report: TextReport) -> None:
    """Counts documents and characters of a spool.

    Args:
        spool: of documents.
        report: where they are counted.
    """
    report.num_documents = len(spool)
    report.num_characters = spool.num_characters


def count_rows(rows: Dataset | IterableDataset, report: TextReport) -> None:
    """Counts documents and characters, and the rows that have none; a stream is not counted.

    Args:
        rows: with the one column `text`.
        report: where they are counted.
    """
    from datasets import Dataset

    if not isinstance(rows, Dataset):
        report.num_documents = None
        report.num_characters = None
        return
    import pyarrow.compute as pc

    num_characters = 0
    missing = 0
    empty = 0
    for table in rows.with_format("arrow").iter(_ROWS_AT_ONCE):
        for chunk in table.column("text").chunks:
            lengths = pc.utf8_length(chunk)
            num_characters += pc.sum(lengths).as_py() or 0
            missing += chunk.null_count
            empty += pc.sum(pc.equal(lengths, 0)).as_py() or 0
    report.num_documents = len(rows) - missing - empty
    report.num_characters = num_characters
    for reason, number in (("row without a text", missing), ("empty document", empty)):
        if number:
            report.left_out[reason] += number
