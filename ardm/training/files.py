"""Files that are whole: written aside, flushed to the disk and renamed into place.

What is at a path is all of the old content or all of the new, whatever happens meanwhile.
"""

import hashlib
import json
import math
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

_ASIDE = ".writing-"
_OLD_ASIDE = ".unfinished-"  # of earlier versions
_OPEN: set[str] = set()  # what this process is writing aside right now
_MADE: list[Path] = []  # folders that `check_writable` made


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Opens a file that takes the place of `path` when the block ends, and vanishes if it fails.

    Args:
        path: the file to replace; its folder is made if needed.

    Yields:
        The new file, open for writing.
    """
    target = Path(path)
    aside = target.with_name(f"{_ASIDE}{os.getpid()}-{target.name}")
    with _naming(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        _OPEN.add(aside.name)
        try:
            with open(aside, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())  # or a crash may leave the name on an empty file
            os.replace(aside, target)
        finally:
            aside.unlink(missing_ok=True)
            _OPEN.discard(aside.name)


@contextmanager
def _naming(target: Path) -> Iterator[None]:
    """Lets an error of the disk say what could not be written, which a full disk does not."""
    from safetensors import SafetensorError

    try:
        yield
    except SafetensorError as error:  # its own word for a disk that fails
        raise OSError(f"{target} cannot be written: {error}") from error
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(target)) from error


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Writes a file, all of it or none."""
    with replacing(path) as file:
        file.write(content)


def write_text_atomically(path: str | os.PathLike[str], text: str) -> None:
    """Writes a UTF-8 file, all of it or none."""
    write_atomically(path, text.encode())


def write_json_atomically(path: str | os.PathLike[str], content: Any) -> None:
    """Writes a JSON file, all of it or none; null stands for a number that is not finite."""
    write_text_atomically(path, json.dumps(_finite_or_null(content), indent=1) + "\n")


def _finite_or_null(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _finite_or_null(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite_or_null(item) for item in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


@contextmanager
def replacing_files(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """A folder to write into, whose files go to `folder` when the block ends, each whole.

    Nothing changes before all is made and can be placed. What a killed call left behind is removed,
    what another one is writing right now and all other files stay.

    Args:
        folder: where the files go, those of sub-folders too; made if needed.

    Yields:
        The folder to write into.

    Raises:
        ValueError: if a folder stands where a file is to go, or a file where a folder is.
    """
    target = Path(folder)
    with _naming(target):
        target.mkdir(parents=True, exist_ok=True)
        clear_unfinished(target)
        with tempfile.TemporaryDirectory(prefix=f"{_ASIDE}{os.getpid()}-", dir=target) as aside:
            name = Path(aside).name
            _OPEN.add(name)
            try:
                yield Path(aside)
                _place_all(Path(aside), target)
            finally:
                _OPEN.discard(name)


def write_repository(
    folder: str | os.PathLike[str],
    contents: Mapping[str, bytes],
    *writers: Callable[[Path], object],
) -> None:
    """Writes a saved model's folder, all of it or nothing; other files in it stay.

    Args:
        folder: where to; made if needed.
        contents: of files, by name.
        *writers: what else is written, each by a function of the folder, such as
            `model.save_pretrained`.
    """
    with replacing_files(folder) as aside:
        for write in writers:
            write(aside)
        for name, content in contents.items():
            (aside / name).write_bytes(content)


def clear_unfinished(folder: str | os.PathLike[str]) -> None:
    """Removes what killed calls left half-written in a folder, and nothing that goes on.

    Args:
        folder: which exists; what is below its sub-folders is left alone.
    """
    for prefix in (_ASIDE, _OLD_ASIDE):
        for unfinished in Path(folder).glob(f"{prefix}*"):
            if not _being_written(unfinished):
                remove(unfinished)


def _place_all(aside: Path, target: Path) -> None:
    files = sorted(path for path in aside.rglob("*") if path.is_file())
    places = [target / file.relative_to(aside) for file in files]
    share_as_usual(files)
    for file, place in zip(files, places, strict=True):
        flush(file)
        _check_place(place, target)
    for file, place in zip(files, places, strict=True):
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(file, place)


def _being_written(aside: Path) -> bool:
    """Whether its writer, the process that is named in it, is still at it."""
    number = aside.name.removeprefix(_ASIDE).partition("-")[0]
    if not number.isdecimal() or int(number) == os.getpid():
        return aside.name in _OPEN
    try:
        os.kill(int(number), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def _check_place(place: Path, target: Path) -> None:
    if place.is_dir():
        raise ValueError(f"{place} is a folder; expected a file or nothing, to be replaced.")
    for parent in place.relative_to(target).parents:
        if (target / parent).exists() and not (target / parent).is_dir():
            raise ValueError(f"{target / parent} is a file; expected a folder or nothing.")


def remove(path: Path) -> None:
    """Removes a folder with all that is in it, or a file; of a link the link alone."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def fingerprint(chunks: Iterable[bytes]) -> str:
    """A digest of content: equal for equal bytes, however they are cut into chunks.

    Args:
        chunks: the content, piece by piece.

    Returns:
        32 hexadecimal digits, of BLAKE2b with 16 bytes.
    """
    digest = hashlib.blake2b(digest_size=16)
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def share_as_usual(files: Sequence[Path]) -> None:
    """Gives files the permissions of those that this process makes itself, as its umask has them.

    safetensors makes its files for their owner alone, whom others that share the folder are not.

    Args:
        files: in one folder or below it.
    """
    if not files:
        return
    usual = files[0].with_name(f"{_ASIDE}{os.getpid()}-usual")
    usual.touch()
    mode = stat.S_IMODE(usual.stat().st_mode)
    usual.unlink()
    for file in files:
        file.chmod(mode)


def flush(path: str | os.PathLike[str]) -> None:
    """Waits until a file, or the list of a folder's files, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_folder_name(folder: object) -> None:
    """Makes sure that a folder was named: an empty name would be the current one.

    Args:
        folder: an output folder.

    Raises:
        ValueError: if it is empty, blank or no path.
    """
    name = os.fspath(folder) if isinstance(folder, (str, os.PathLike)) else ""
    if not name.strip() or "\0" in name:
        raise ValueError(
            f"output_dir is {folder!r}; expected a folder, such as 'runs/mine' ('.' is this one)."
        )


def check_writable(folder: str | os.PathLike[str], num_bytes: int = 0) -> None:
    """Makes sure that a run can keep its results, before it starts.

    What a killed one left half-written is removed.

    Args:
        folder: output folder; made if it does not exist.
        num_bytes: about how much will be written.

    Raises:
        ValueError: if the folder has no name, cannot be made or written to, or the disk has less
            room.
    """
    check_folder_name(folder)
    folder = Path(folder)
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _MADE.extend(reversed(missing))
        clear_unfinished(folder)
        probe = folder / f"{_ASIDE}{os.getpid()}-probe"
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        raise ValueError(
            f"output folder {folder} cannot be written to: {error}. Give another output_dir."
        ) from error
    free = shutil.disk_usage(folder).free
    if free < num_bytes:
        raise ValueError(
            f"the disk of {folder} has {free / 2**20:.0f} MiB free;"
            f" this run needs about {num_bytes / 2**20:.0f} MiB."
        )


def remove_unused() -> None:
    """Removes the folders that [`check_writable`] made and nothing was written into."""
    while _MADE:
        with suppress(OSError):  # one that is used, or gone
            _MADE.pop().rmdir()
