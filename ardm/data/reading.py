"""Files of texts, found and read: from what a user gives to documents in a spool, all counted."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from .characters import why_no_text
from .columns import NoTexts
from .compression import DataFile, shown
from .folders import Parts, parts_of, without_dataset_files
from .formats import Reading, is_binary_table, is_table, is_text
from .held_out import count_spool
from .named import download
from .paths import Choice, files_at, is_address, local_path, matching, unpacked
from .reports import TextReport
from .storage import Spool

PathLike = str | os.PathLike[str]


def find_files(given: Sequence[PathLike], choice: Choice, report: TextReport) -> Parts:
    """The files that are meant, by part.

    Args:
        given: paths, patterns and addresses.
        choice: which files of folders.
        report: where those are counted that are not read.

    Returns:
        The files; of several folders with parts, the parts together.

    Raises:
        ValueError: if there are no such files.
    """
    found = [_parts_at(each, choice, report) for each in given]
    seen: set[object] = set()
    train = [file for each in found for file in each.train if not _again(file, seen, report)]
    held_out = [file for each in found for file in each.held_out if not _again(file, seen, report)]
    return Parts(train, held_out, next((each.name for each in found if each.name), None))


def _parts_at(given: PathLike, choice: Choice, report: TextReport) -> Parts:
    if is_address(os.fspath(given)):
        files = unpacked(download(os.fspath(given)), report)
    else:
        files = _files_of(matching(given, report), report)
    files = choice.of(without_dataset_files(files, report), report)
    return parts_of(files, shown(given), report)


def _files_of(paths: list[Path], report: TextReport) -> list[DataFile]:
    """The files at paths; those of several as if the folder that has them all was given."""
    if len(paths) == 1:
        return files_at(paths[0], report)
    base = os.path.commonpath([path.parent for path in paths])
    files = []
    for path in paths:
        place = path if path.is_dir() else path.parent
        for file in files_at(path, report):
            inner = path.name if file.name == str(path) else file.name
            files.append(replace(file, name=os.path.join(os.path.relpath(place, base), inner)))
    return [replace(file, name=os.path.normpath(file.name)) for file in files]


def _again(file: DataFile, seen: set[object], report: TextReport) -> bool:
    """Whether paths or patterns that overlap have named the file before."""
    identity = _identity(file)
    if identity not in seen:
        seen.add(identity)
        return False
    report.skip("file named twice", file.shown)
    return True


def _identity(file: DataFile) -> tuple[int, int, str | None]:
    status = file.path.stat()
    return status.st_dev, status.st_ino, file.member


def note_overlap(
    train: Sequence[DataFile], held_out: Sequence[DataFile], report: TextReport
) -> None:
    """Says in a report how many files are trained on and validated on.

    Args:
        train: files to train on.
        held_out: files to validate on.
        report: of the latter.
    """
    trained = set(map(_identity, train))
    both = sum(_identity(file) in trained for file in held_out)
    if both:
        report.notes.append(f"trained on, too: {both:,} of the files")


def _is_single_file(given: Sequence[PathLike], files: Sequence[DataFile]) -> bool:
    """Whether one file is named itself."""
    if len(given) != 1 or len(files) != 1 or files[0].member is not None:
        return False
    return is_address(os.fspath(given[0])) or files[0].path == local_path(given[0])


def spool_files(
    spool: Spool,
    files: Sequence[DataFile],
    reading: Reading,
    report: TextReport,
    given: Sequence[PathLike],
    part: str | None = None,
) -> None:
    """Reads files into a spool.

    Args:
        spool: where the documents go.
        files: of texts; those that hold none are skipped and counted.
        reading: what is a document.
        report: where all is counted.
        given: what the user named: a single file must hold texts.
        part: what the files are called if they are held out.

    Raises:
        ValueError: if a file cannot be read, or no document is found.
    """
    sole = _is_single_file(given, files)
    for file in files:
        reason = None if is_binary_table(file) else why_no_text(file)
        if reason and sole:
            verb = "is empty" if reason == "empty file" else f"is a {reason}"
            raise ValueError(f"{file.shown} {verb}, expected text")
        if reason:
            report.skip(reason, file.shown)
        else:
            _spool_file(spool, file, reading, sole, report)
    count_spool(spool, report)
    if not len(spool):
        where = ", ".join(shown(each) for each in given)
        held_out = f"the held-out part {part!r} of " if part else ""
        raise ValueError(f"{held_out}{where}: no documents; expected at least one ({report}).")


def check_settings(reading: Reading, files: Sequence[DataFile]) -> None:
    """Makes sure that some file is read as it is asked for.

    Args:
        reading: as it is asked for.
        files: all that are read with it.

    Raises:
        ValueError: for lines without a text, and for a column without a table.
    """
    if reading.line_by_line and files and not any(map(is_text, files)):
        raise ValueError(
            f"line_by_line is for texts, and {files[0].shown} is a table, FASTA or FASTQ, whose"
            " rows are documents; leave it out."
        )
    if reading.text_column is not None and files and not any(map(is_table, files)):
        raise ValueError(
            f"text_column={reading.text_column!r} is for tables, and {files[0].shown} is none;"
            " leave it out, or give the file a suffix that says what it is, such as .csv."
        )


def _spool_file(
    spool: Spool, file: DataFile, reading: Reading, sole: bool, report: TextReport
) -> None:
    try:
        for document in reading.documents(file):
            if document is None:
                report.left_out["row without a text"] += 1
            elif not spool.add(document):
                report.left_out["empty document"] += 1
    except NoTexts:
        if sole:
            raise
        report.skip("table without texts", file.shown)
    else:
        report.num_files = (report.num_files or 0) + 1
