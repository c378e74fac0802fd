"""What was read of a text, what was skipped and what was left out: counted, and told in a line."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # datasets takes a second to import
    from datasets import Dataset, IterableDataset

_NAMED = 2  # of the skipped files of a kind


@dataclass
class TextReport:
    """Counts of one reading.

    Args:
        num_documents: that were read.
        num_characters: in them; None = not counted, as for a stream.
        num_files: that were read; None = a data set that is not made of files here.
        skipped: names of the files that were not read, by the reason.
        left_out: number of documents that were not taken, by the reason.
        notes: what else was decided: what is held out, what is not used.
    """

    num_documents: int | None = 0
    num_characters: int | None = 0
    num_files: int | None = 0
    skipped: dict[str, list[str]] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def skip(self, reason: str, name: str) -> None:
        """Counts a file that is not read.

        Args:
            reason: in the singular, such as "empty file".
            name: the file's.
        """
        self.skipped.setdefault(reason, []).append(name)

    def told_skipped(self) -> str:
        """Which files were skipped, as a part of the line."""
        told = [_told(reason, names) for reason, names in sorted(self.skipped.items())]
        return f"skipped: {', '.join(told)}"

    def counts(self) -> dict[str, Any]:
        """The counts as plain values, for a card or a file."""
        return {
            "documents": self.num_documents,
            "characters": self.num_characters,
            "files": self.num_files,
            "skipped": {reason: len(names) for reason, names in self.skipped.items()},
            "left_out": dict(self.left_out),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        """One line, such as "read 143 documents (1.2M characters) from 145 files; skipped: ..."."""
        parts = [self._read(), *self.notes]
        if self.skipped:
            parts.append(self.told_skipped())
        if self.left_out:
            told = [_counted(number, reason) for reason, number in sorted(self.left_out.items())]
            parts.append(f"left out: {', '.join(told)}")
        return "; ".join(parts)

    def _read(self) -> str:
        if self.num_documents is None:
            return "documents are read while training, and not counted"
        characters = self.num_characters
        size = "" if characters is None else f" ({_rounded(characters)})"
        files = f" from {_counted(self.num_files, 'file')}" if self.num_files else ""
        return f"read {_counted(self.num_documents, 'document')}{size}{files}"


class Splits(dict[str, "Dataset | IterableDataset"]):
    """Data sets by name, "train" and "validation", and how they were read.

    Args:
        splits: the data sets.
        reports: of the data sets that were read; what is held out of the training text has none.
    """

    def __init__(
        self,
        splits: Mapping[str, Dataset | IterableDataset],
        reports: Mapping[str, TextReport],
    ) -> None:
        super().__init__(splits)
        self.reports = dict(reports)

    @property
    def report(self) -> str:
        """What was read, skipped and left out, in one line."""
        return " | ".join(f"{name}: {report}" for name, report in self.reports.items())


def _told(reason: str, names: list[str]) -> str:
    named = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
    return f"{_counted(len(names), reason)} ({named})"


def _counted(number: int | None, noun: str) -> str:
    """ "1 empty file", "2 empty files", "2 files not included"."""
    if number == 1:
        return f"1 {noun}"
    head = re.split(r" (?:not|named|that|to|without|of|for|in)\b", noun)[0]
    plural = f"{head[:-1]}ies" if head.endswith("y") else f"{head}s"
    return f"{number:,} {plural}{noun[len(head) :]}"


def _rounded(characters: int) -> str:
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if characters >= size and characters >= 10**4:
            return f"{characters / size:.1f}{unit} characters"
    return _counted(characters, "character")
