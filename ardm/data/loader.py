"""The loader: from what a user gives to data sets to train and to validate on.

Validation texts are a part of the data that has a name for it, or else the end of the data.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..training.splits import choose_splits
from .compression import DataFile, shown
from .folders import note_held_out
from .formats import Reading
from .held_out import count_rows, count_spool, only_text, split_rows, split_spool
from .named import Rows, declares_configurations, is_saved, repository_rows, saved_rows
from .paths import Choice, local_path
from .reading import check_settings, find_files, note_overlap, spool_files
from .reports import TextReport
from .storage import Spool

if TYPE_CHECKING:  # datasets takes a second to import
    from datasets import Dataset, IterableDataset

PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class Loader:
    """Reads texts, and tells how in its reports.

    Args:
        reading: what is a document.
        choice: which files of folders are read.
        reports: of "train" and "validation", as far as these are read.
        files: to train on, as far as there are such.
    """

    reading: Reading
    choice: Choice
    reports: dict[str, TextReport] = field(default_factory=dict)
    files: list[DataFile] = field(default_factory=list)

    def of_text(self, text: str, fraction: float | None) -> Rows:
        """A single document.

        Args:
            text: the document.
            fraction: of it that is held out; None = nothing is.

        Returns:
            "train" and, if it is asked for, "validation".
        """
        report = self._report("train")
        with Spool() as spool:
            spool.add([text])
            count_spool(spool, report)
            return _held_out_of(spool, fraction, report)

    def of_paths(
        self, given: list[PathLike], config_name: str | None, fraction: float | None
    ) -> Rows:
        """Files, folders, patterns and addresses.

        Args:
            given: as the user wrote them.
            config_name: which configuration of a repository of data.
            fraction: of the documents that is held out if no part is there for it; None = nothing.

        Returns:
            "train" and, if it is asked for, "validation".
        """
        if (tables := self._tables(given, config_name)) is not None:
            return self.of_rows(tables, shown(given[0]), fraction)
        report = self._report("train")
        parts = find_files(given, self.choice, report)
        self.files.extend(parts.train)
        if fraction is not None:  # or the validation texts are to be found, too
            check_settings(self.reading, [*parts.train, *parts.held_out])
        with Spool() as spool:
            spool_files(spool, parts.train, self.reading, report, given)
            if parts.name is None:
                return _held_out_of(spool, fraction, report)
            train = spool.rows()
        if fraction is None:
            report.notes.append(f"not used: {parts.name}")
            return {"train": train}
        note_held_out(parts.name, report)
        return {"train": train, "validation": self._rows(parts.held_out, given, parts.name)}

    def of_rows(self, tables: Rows, where: str, fraction: float | None) -> Rows:
        """Data sets of `datasets`.

        Args:
            tables: by the names of the parts.
            where: what has them, for messages.
            fraction: of the rows that is held out if no part is there for it; None = nothing.

        Returns:
            "train" and, if it is asked for, "validation".
        """
        self._check_no_files(where)
        report = self._report("train")
        chosen = choose_splits(list(tables), where)
        train = self._counted(tables[chosen.train], report)
        unused = list(chosen.unused)
        if fraction is None and chosen.held_out is not None:
            unused.append(chosen.held_out)
        if unused:
            report.notes.append(f"not used: {', '.join(unused)}")
        if fraction is None:
            return {"train": train}
        if chosen.held_out is None:
            train, validation = split_rows(train, fraction, report)
            return {"train": train, "validation": validation}
        note_held_out(chosen.held_out, report)
        held_out = self._counted(tables[chosen.held_out], self._report("validation"))
        return {"train": train, "validation": held_out}

    def validation(self, given: list[PathLike]) -> Dataset | IterableDataset:
        """Texts to validate on: of what has parts, the one that would be held out.

        Args:
            given: as the user wrote them.

        Returns:
            The texts.
        """
        if (tables := self._tables(given, None)) is not None:
            self._check_no_files(shown(given[0]))
            chosen = choose_splits(list(tables), shown(given[0]))
            name = chosen.held_out or chosen.train
            return self._counted(tables[name], self._report("validation"))
        report = self._report("validation")
        parts = find_files(given, self.choice, report)
        files = parts.held_out or parts.train
        if self.files or "train" not in self.reports:  # and no rows of a table
            check_settings(self.reading, [*self.files, *files])
        note_overlap(self.files, files, report)
        return self._rows(files, given)

    def _report(self, name: str) -> TextReport:
        return self.reports.setdefault(name, TextReport())

    def _rows(
        self, files: list[DataFile], given: list[PathLike], part: str | None = None
    ) -> Dataset:
        with Spool() as spool:
            spool_files(spool, files, self.reading, self._report("validation"), given, part)
            return spool.rows()

    def _counted(
        self, rows: Dataset | IterableDataset, report: TextReport
    ) -> Dataset | IterableDataset:
        rows = only_text(rows, self.reading.text_column)
        count_rows(rows, report)
        return rows

    def _tables(self, given: list[PathLike], config_name: str | None) -> Rows | None:
        """The tables of a folder that `datasets` wrote, or that is a repository for it."""
        folder = local_path(given[0])
        if len(given) == 1 and folder.is_dir():
            if is_saved(folder):
                return saved_rows(folder)
            if config_name is not None or declares_configurations(folder):
                return repository_rows(folder, config_name)
        if config_name is not None:
            raise ValueError(
                f"got dataset_config_name={config_name!r} for {shown(given[0])}; expected it for a"
                " data set with configurations alone."
            )
        return None

    def _check_no_files(self, where: str) -> None:
        asked = {
            "line_by_line": self.reading.line_by_line,
            "include": self.choice.include,
            "exclude": self.choice.exclude,
        }
        if unfit := [name for name, value in asked.items() if value]:
            raise ValueError(
                f"got {unfit[0]} for {where}, whose rows are documents; expected it for files."
            )


def _held_out_of(spool: Spool, fraction: float | None, report: TextReport) -> Rows:
    if fraction is None:
        return {"train": spool.rows()}
    train, validation = split_spool(spool, fraction, report)
    return {"train": train, "validation": validation}
