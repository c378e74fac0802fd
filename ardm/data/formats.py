"""From a file to its documents, by what the file is: a text, lines, sequences or a table.

A document is its text in pieces, so that none is ever held whole; None stands for a row of a table
that has no text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from .characters import characters, lines, without_line_end
from .columns import choose_column
from .compression import DataFile
from .separated import separated_table
from .tables import Table, arrow_table, json_table, parquet_table

Document = Iterable[str] | None

_TABLES: dict[str, Callable[[DataFile, str | None], Table]] = {
    ".csv": separated_table,
    ".tsv": separated_table,
    ".tab": separated_table,
    ".psv": separated_table,
    ".json": json_table,
    ".jsonl": json_table,
    ".jsonlines": json_table,
    ".ndjson": json_table,
    ".parquet": parquet_table,
    ".arrow": arrow_table,
}
_BINARY_TABLES = (".parquet", ".arrow")
_FASTA = (".fasta", ".fas", ".fa", ".faa", ".fna", ".ffn", ".frn", ".fsa", ".afa", ".a2m", ".a3m")
_FASTQ = (".fastq", ".fq")


@dataclass(frozen=True)
class Reading:
    """What is a document.

    Args:
        text_column: the column of the texts in tables; None = "text", or the only one of strings.
        line_by_line: of a text each line is a document, and not the whole.
    """

    text_column: str | None = None
    line_by_line: bool = False

    def documents(self, file: DataFile) -> Iterator[Document]:
        """The documents of a file.

        Args:
            file: of any format that is known by its suffix; a text otherwise.

        Yields:
            Documents; each has to be read before the next one.
        """
        if file.suffix in _TABLES:
            table = _TABLES[file.suffix](file, self.text_column)
            column = choose_column(table.strings, table.columns, self.text_column, file.shown)
            yield from (None if cell is None else (cell,) for cell in table.cells(column))
        elif file.suffix in _FASTA:
            yield from _sequences(file)
        elif file.suffix in _FASTQ:
            yield from _reads(file)
        elif self.line_by_line:
            yield from ((without_line_end(line),) for line in lines(characters(file)))
        else:
            yield characters(file)


def is_text(file: DataFile) -> bool:
    """Whether a file is a plain text, which may be read as one document or line by line."""
    return not is_table(file) and file.suffix not in (*_FASTA, *_FASTQ)


def is_table(file: DataFile) -> bool:
    """Whether a file has columns."""
    return file.suffix in _TABLES


def is_binary_table(file: DataFile) -> bool:
    """Whether a file is a table that is not written in characters."""
    return file.suffix in _BINARY_TABLES


def _sequences(file: DataFile) -> Iterator[Document]:
    """The sequences of a FASTA file, without their names (`>`) and comments (`;`)."""
    record: list[str] | None = None
    for number, line in enumerate(lines(characters(file)), 1):
        if line.startswith(">"):
            if record is not None:
                yield record
            record = []
        elif not line.startswith(";") and (residues := "".join(line.split())):
            if record is None:
                raise ValueError(
                    f"{file.shown}, line {number}: a sequence without a name; expected FASTA,"
                    " in which a line that begins with '>' names each, or another suffix."
                )
            record.append(residues)
    if record is None:
        raise ValueError(f"{file.shown} holds no sequences; expected FASTA, or another suffix.")
    yield record


def _reads(file: DataFile) -> Iterator[Document]:
    """The sequences of a FASTQ file, of four lines each, without their names and qualities."""
    all_lines = enumerate(map(without_line_end, lines(characters(file))), 1)
    for number, name in all_lines:
        if not name:  # between records, or at the end
            continue
        sequence, plus, quality = (next(all_lines, (0, ""))[1] for _ in range(3))
        whole = name.startswith("@") and plus.startswith("+") and len(sequence) == len(quality)
        if not whole:
            raise ValueError(
                f"{file.shown}, line {number}: no record of FASTQ; expected four lines:"
                " '@' and a name, the sequence, '+', and as many qualities; or another suffix."
            )
        yield (sequence,)
