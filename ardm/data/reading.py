"""Files of texts, found and read: from what a user gives to documents in a spool, all counted."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from .characters import why_no_text
from .columns import NoTexts
from .compression import DataFile, shown
from .folders import Parts, parts_of
from .formats import Reading, is_binary_table, is_text
from .held_out import count_spool
from .named import download
from .paths import Choice, files_at, is_address, local_path, matching
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
    found = [part for each in given for part in _parts_at(each, choice, report)]
    seen: set[object] = set()
    train = [file for each in found for file in each.train if not _again(file, seen, report)]
    held_out = [file for each in found for file in each.held_out if not _again(file, seen, report)]
    return Parts(train, held_out, next((each.name for each in found if each.name), None))


def _parts_at(given: PathLike, choice: Choice, report: TextReport) -> Iterator[Parts]:
    if is_address(os.fspath(given)):
        yield Parts([download(os.fspath(given))], [])
        return
    for path in matching(given, report):
        files = choice.of(files_at(path, report), report)
        yield parts_of(files, shown(path), report) if path.is_dir() else Parts(files, [])


def _again(file: DataFile, seen: set[object], report: TextReport) -> bool:
    """Whether paths or patterns that overlap have named the file before."""
    status = file.path.stat()
    identity = (status.st_dev, status.st_ino, file.member)
    if identity not in seen:
        seen.add(identity)
        return False
    report.skip("file named twice", file.shown)
    return True


def _is_single_file(given: Sequence[PathLike]) -> bool:
    """Whether one file is named itself."""
    if len(given) != 1 or is_address(os.fspath(given[0])):
        return len(given) == 1
    path = local_path(given[0])
    return os.path.lexists(path) and not path.is_dir() and path.suffix.lower() != ".zip"


def spool_files(
    spool: Spool,
    files: Sequence[DataFile],
    reading: Reading,
    report: TextReport,
    given: Sequence[PathLike],
) -> None:
    """Reads files into a spool.

    Args:
        spool: where the documents go.
        files: of texts; those that hold none are skipped and counted.
        reading: what is a document.
        report: where all is counted.
        given: what the user named: a single file must hold texts.

    Raises:
        ValueError: if a file cannot be read, or no document is found.
    """
    if reading.line_by_line and not any(map(is_text, files)):
        raise ValueError(
            f"line_by_line is for texts, and {files[0].shown} is a table or FASTA, whose rows are"
            " documents; leave it out."
        )
    sole = _is_single_file(given)
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
        raise ValueError(f"{where}: no documents; expected at least one ({report}).")


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
