"""From what a user gives to the files it means: paths, patterns, folders, addresses.

A path that exists is itself, whatever characters it has. In others `*`, `?` and `**` stand for any
names; brackets are never more than brackets.
"""

from __future__ import annotations

import fnmatch
import glob
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit
from urllib.request import url2pathname

from ..training import hub_names
from ..training.litter import is_litter
from .compression import DataFile, check_readable, is_archive, shown, zip_members
from .reports import TextReport

_ADDRESS = re.compile(r"[a-z][\w+.-]+://", re.IGNORECASE)
_DATA_SUFFIXES = (
    r"\.(txt|text|md|jsonl?|jsonlines|ndjson|[ct]sv|parquet|arrow|fasta|gz|bz2|xz|zst|zip)"
)


@dataclass(frozen=True)
class Choice:
    """Which files of a folder are read: patterns of their paths in it, or of a part of these.

    Args:
        include: read these only; none = all.
        exclude: do not read these.
    """

    include: Sequence[str] = ()
    exclude: Sequence[str] = ()

    def of(self, files: list[DataFile], report: TextReport) -> list[DataFile]:
        """Those of the files that are chosen; the others are counted.

        Args:
            files: to choose from.
            report: where they are counted.

        Returns:
            The files, in the same order.

        Raises:
            ValueError: if there were files, and none is left.
        """
        kept = []
        for file in files:
            if self.include and not _matches(file.name, self.include):
                report.skip("file not included", file.shown)
            elif _matches(file.name, self.exclude):
                report.skip("excluded file", file.shown)
            else:
                kept.append(file)
        if files and not kept:
            raise ValueError(
                f"include={[*self.include]} and exclude={[*self.exclude]} leave none of"
                f" {len(files)} files, such as {files[0].shown}; expected patterns that leave some."
            )
        return kept


def _matches(name: str, patterns: Sequence[str]) -> bool:
    path = PurePosixPath(name)
    places = [path, *path.parents[:-1]]
    names = {str(place) for place in places} | {place.name for place in places}
    literal = [pattern.rstrip("/").replace("[", "[[]") for pattern in patterns]
    return any(fnmatch.fnmatchcase(each, pattern) for pattern in literal for each in names)


def is_address(given: str) -> bool:
    """Whether this is an address such as `https://...`, and no file of this machine."""
    return bool(_ADDRESS.match(given)) and not given.lower().startswith("file:")


def may_be_on_the_hub(name: str) -> bool:
    """Whether a name could be one of a data set on the Hub, and cannot but be a path."""
    looks_like_file = re.search(rf"{_DATA_SUFFIXES}$", name, re.IGNORECASE)
    return hub_names.may_be_on_the_hub(name) and not looks_like_file


def local_path(given: str | os.PathLike[str]) -> Path:
    """The path that is meant, also by `file://...` and `~/...`.

    Args:
        given: as the user wrote it.

    Returns:
        The path, which need not exist.

    Raises:
        ValueError: if nothing is given, or what can be no path.
    """
    text = os.fspath(given)
    if not text:
        raise ValueError("a path is ''; expected a file of texts or a folder of them.")
    path = _local_path(text)
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass  # those who read it say so
    except (OSError, ValueError) as error:  # too long, or with a null character
        reason = error.strerror if isinstance(error, OSError) else error
        raise ValueError(
            f"{text[:80]!r} is no path ({reason}); expected a file of texts."
        ) from None
    return path


def _local_path(text: str) -> Path:
    if text.lower().startswith("file:"):
        address = urlsplit(text.replace("#", "%23"))
        if address.netloc not in ("", "localhost"):
            raise ValueError(
                f"{text!r} names the machine {address.netloc!r}; expected a file of this one, such"
                f" as file:///{address.netloc}{address.path}."
            )
        return Path(url2pathname(address.path))
    path = Path(text)
    return path if os.path.lexists(path) else Path(os.path.expanduser(text))


def matching(given: str | os.PathLike[str], report: TextReport) -> list[Path]:
    """The paths that are meant: the one that exists, or all that fit a pattern.

    Args:
        given: as the user wrote it.
        report: where what fits a pattern is counted that is not to be read.

    Returns:
        At least one path, sorted; without a pattern it need not exist.

    Raises:
        ValueError: if it is a pattern that nothing fits.
    """
    path = local_path(given)
    if os.path.lexists(path) or not re.search(r"[*?]", str(path)):
        return [path]
    # what exists is meant as it is written: only behind it may the pattern begin
    base = Path(path.anchor)
    rest = list(path.parts[1:] if path.anchor else path.parts)
    while rest and os.path.lexists(base / rest[0]):
        base /= rest.pop(0)
    pattern = os.path.join(*rest).replace("[", "[[]")
    found = [base / each for each in glob.glob(pattern, root_dir=base, recursive=True)]
    if "**" in pattern:  # which fits the folders, too, and goes around in circles of links
        found = [each for each in found if not each.is_dir()]
        found.sort(key=lambda each: -len(each.parts))
        found = [*{os.path.realpath(each): each for each in found}.values()]
    kept = [
        each
        for each in sorted(found)
        if not _passed_over(each.name, shown(each), report)
        and (each.is_dir() or _is_file(each, str(each), report))
    ]
    if not kept:
        raise ValueError(
            f"{shown(path)} fits no file; expected a pattern of files of texts"
            + (f" ({report.told_skipped()})." if report.skipped else ".")
        )
    return kept


def files_at(path: Path, report: TextReport) -> list[DataFile]:
    """The files to read at a path: itself, what is in it, or in a zip.

    Args:
        path: a file or a folder.
        report: where those are counted that are not read.

    Returns:
        The files, sorted by path.

    Raises:
        ValueError: if there is no file, or it may not be looked at.
    """
    if path.is_dir():
        found = [file for each in _walked(path, report) for file in unpacked(each, report)]
        if not found:
            raise ValueError(
                f"the directory {shown(path)} holds no files of texts; expected some"
                + (f" ({report.told_skipped()})." if report.skipped else ".")
            )
        return found
    check_readable(path)
    name = path.name if path.suffix.lower() == ".zip" else str(path)
    return unpacked(DataFile(path, name), report)


def unpacked(file: DataFile, report: TextReport) -> list[DataFile]:
    """A file, or those in it if it is a zip.

    Args:
        file: on the disk.
        report: where those are counted that are not read.

    Returns:
        The files, sorted by path.

    Raises:
        ValueError: if the zip is damaged.
    """
    if not file.is_zip:
        return [file]
    members = zip_members(file.path, file.name)
    return [each for each in members if not _passed_over(each.member or "", each.shown, report)]


def _walked(folder: Path, report: TextReport) -> Iterator[DataFile]:
    seen = {_identity(folder)}
    found: list[Path] = []

    def refuse(error: OSError) -> None:
        raise ValueError(
            f"the directory {shown(str(error.filename))} cannot be read ({error.strerror});"
            " change its permissions, or leave it out of the folder."
        )

    for place, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        for name in sorted(folders):
            path = Path(place, name)
            told = shown(path.relative_to(folder).as_posix())
            if _passed_over(name, f"{told}/", report) or _again(path, told, seen, report):
                folders.remove(name)
        found += [Path(place, name) for name in names]
    for path in sorted(found):
        name = path.relative_to(folder).as_posix()
        if _passed_over(path.name, shown(name), report) or not _is_file(path, name, report):
            continue
        if not _again(path, shown(name), seen, report):
            yield DataFile(path, name)


def _passed_over(name: str, told: str, report: TextReport) -> bool:
    parts = PurePosixPath(name).parts
    if any(map(is_litter, parts)):
        report.skip("file of the system", told)
    elif any(part.startswith(".") for part in parts):
        report.skip("hidden folder" if told.endswith("/") else "hidden file", told)
    elif is_archive(name) and not told.endswith("/"):
        report.skip("archive", told)
    else:
        return False
    return True


def _is_file(path: Path, name: str, report: TextReport) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if not path.is_symlink():
            raise ValueError(f"{shown(path)} cannot be read ({error.strerror}).") from error
        report.skip("broken link", shown(name))
        return False
    if not stat.S_ISREG(mode):
        report.skip("pipe or device", shown(name))
    return stat.S_ISREG(mode)


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _again(path: Path, told: str, seen: set[tuple[int, int]], report: TextReport) -> bool:
    """Whether a link leads to what is read already, as one does that leads around in a circle."""
    identity = _identity(path)
    if identity in seen:
        report.skip("link to what is read anyway", told)
        return True
    seen.add(identity)
    return False
