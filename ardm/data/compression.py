"""Files as bytes: packed ones (`.gz`, `.bz2`, `.xz`, `.zst`) unpacked while they are read.

A `.zip` is a folder of files, each read on its own; other archives have to be unpacked first.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from ..training.hub_names import meant_here


def _open_zstandard(path: Path) -> Any:
    import pyarrow  # brings its own zstandard

    return pyarrow.CompressedInputStream(pyarrow.OSFile(str(path)), "zstd")


_OPENERS: dict[str, Callable[[Path], Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".lzma": lzma.open,
    ".zst": _open_zstandard,
}
_ARCHIVES = (".7z", ".rar", ".tar", ".tgz", ".tbz2", ".txz")
# what the unpackers raise for a file that is not theirs, or cut off
_DAMAGE = (OSError, EOFError, lzma.LZMAError, zlib.error, zipfile.BadZipFile, NotImplementedError)


@dataclass(frozen=True)
class DataFile:
    """One file to read, on the disk or in a zip.

    Args:
        path: of the file that lies on the disk.
        name: for messages and patterns: the path within the folder that was given, or the path.
        member: the file's name in the zip at `path`.
        address: where it was downloaded from.
    """

    path: Path
    name: str
    member: str | None = None
    address: str | None = None

    @property
    def suffix(self) -> str:
        """What says the format: the last suffix, in small letters, that is not a packer's."""
        suffixes = PurePosixPath(self.member or self.address or self.path.name).suffixes
        kept = [suffix.lower() for suffix in suffixes if suffix.lower() not in _OPENERS]
        return kept[-1] if kept else ""

    @property
    def is_zip(self) -> bool:
        """Whether it is a zip on the disk, by its name."""
        name = PurePosixPath(self.address or self.path.name)
        return self.member is None and name.suffix.lower() == ".zip"

    @property
    def shown(self) -> str:
        """The name as it can be printed, whatever bytes it is made of."""
        return shown(self.name)

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Opens the file, unpacked.

        Yields:
            The content.

        Raises:
            ValueError: if there is no such file, it may not be read, or it is damaged.
        """
        try:
            with self._opened() as stream:
                yield stream
        except FileNotFoundError:
            raise ValueError(f"{self.shown} does not exist; expected a file of texts.") from None
        except PermissionError as error:
            raise ValueError(
                f"{self.shown} may not be read ({error.strerror}); change its permissions, or leave"
                " it out (--exclude in a folder)."
            ) from error
        except _DAMAGE as error:
            raise ValueError(f"{self.shown} cannot be read, is it corrupt? ({error})") from error
        except RuntimeError as error:  # zipfile's, for a password
            raise ValueError(f"{self.shown} cannot be read: {error}") from error

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        packed = self.member or self.address or self.path.name
        opener = _OPENERS.get(PurePosixPath(packed).suffix.lower())
        if self.member is None:
            with opener(self.path) if opener else open(self.path, "rb") as stream:
                yield stream
            return
        with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as inner:
            if opener is None:
                yield inner
            elif opener is _open_zstandard:
                raise ValueError(f"{self.shown} is packed twice; unpack {shown(self.path)} first.")
            else:
                with opener(inner) as stream:  # type: ignore[arg-type]  # all take a file, too
                    yield stream


def shown(path: str | os.PathLike[str]) -> str:
    """A path as it can be printed: bytes that are no UTF-8 as escapes."""
    return os.fspath(path).encode("utf-8", "backslashreplace").decode("utf-8")


def check_readable(path: Path) -> None:
    """Makes sure that a path names a file whose format may be looked at.

    Args:
        path: what was asked for.

    Raises:
        ValueError: if there is nothing, or a pipe, a device or an archive.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        reason = f"does not exist{meant_here(str(path))}" if missing else f"({error.strerror})"
        raise ValueError(
            f"{shown(path)} {reason}; expected a file of texts, a folder of them or one of"
            " save_to_disk."
        ) from None
    if not stat.S_ISREG(mode):
        raise ValueError(
            f"{shown(path)} is a pipe or a device; expected a file: write the text to one first."
        )
    check_no_archive(path.name, shown(path))


def check_no_archive(name: str, told: str) -> None:
    """Makes sure that a name is not that of an archive.

    Args:
        name: whose suffixes tell.
        told: what to call it.

    Raises:
        ValueError: if it is.
    """
    if is_archive(name):
        raise ValueError(
            f"{told} is an archive; expected files of texts: unpack it, and give the folder."
        )


def is_archive(name: str) -> bool:
    """Whether a name is that of an archive that has to be unpacked first."""
    suffixes = [each.lower() for each in PurePosixPath(name).suffixes]
    return ".tar" in suffixes or (bool(suffixes) and suffixes[-1] in _ARCHIVES)


def zip_members(path: Path, name: str) -> list[DataFile]:
    """The files in a zip, in the order of their names.

    Args:
        path: the zip.
        name: what to call it.

    Returns:
        The files, folders left out.

    Raises:
        ValueError: if it is no zip.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = sorted(each.filename for each in archive.infolist() if not each.is_dir())
    except _DAMAGE as error:
        raise ValueError(f"{shown(name)} cannot be read, is it corrupt? ({error})") from error
    return [DataFile(path, f"{name}/{member}", member=member) for member in members]
