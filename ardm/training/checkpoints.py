"""Checkpoints, whole or absent: written aside, sealed with a manifest, and renamed into place.

    output_dir/checkpoints/
        step-00000200/    the state, and manifest.json: size and CRC-32 of every file
        .writing-...      one that is being written; what a kill left is removed at the next start
        replaced-1/...    of later steps than a later run started at; never read, never removed

A folder counts as a checkpoint if every file is as its manifest says. A truncated or changed one is
reported and the one before it is used, so a kill at any moment costs at most the steps since the
last good one.
"""

import json
import os
import shutil
import warnings
import zlib
from pathlib import Path
from typing import IO

from .files import flush, remove, share_as_usual, write_text_atomically

_MANIFEST = "manifest.json"
_WRITING = ".writing-"
_STEP = "step-"
_REPLACED = "replaced-"


class CheckpointFolder:
    """The checkpoints of one run.

    Args:
        output_dir: the run's folder; checkpoints go to its sub-folder `checkpoints`.
        keep: how many of the newest to keep, at least 1; 2 leave one to fall back to.
    """

    def __init__(self, output_dir: str | os.PathLike[str], keep: int = 2):
        self.root = Path(output_dir) / "checkpoints"
        self.keep = keep
        self._lock: IO[str] | None = None

    def newest(self) -> Path | None:
        """The newest good checkpoint, or None. Warns of each newer one that is damaged."""
        for path in reversed(self._sealed()):
            fault = find_fault(path)
            if fault is None:
                return path
            warnings.warn(
                f"checkpoint {path} is damaged ({fault}); an earlier one is used if there is any.",
                stacklevel=2,
            )
        return None

    def last_step(self) -> int | None:
        """The step of the newest checkpoint, good or damaged; None if there is none."""
        sealed = self._sealed()
        return _step_of(sealed[-1]) if sealed else None

    def path(self, step: int) -> Path:
        """Where the checkpoint of a step is, once written."""
        return self.root / f"{_STEP}{step:08d}"

    def writing_path(self, step: int) -> Path:
        """Where the checkpoint of a step is written before it is complete."""
        return self.root / f"{_WRITING}{_STEP}{step:08d}"

    def seal(self, step: int) -> None:
        """Makes a fully written checkpoint count, and removes those beyond `keep`.

        Call on one process only.

        Args:
            step: the step whose `writing_path` is complete.
        """
        writing = self.writing_path(step)
        final = self.path(step)
        files = _files(writing)
        share_as_usual(files)
        manifest = {str(file.relative_to(writing)): _fingerprint(file) for file in files}
        for file in files:
            flush(file)
        write_text_atomically(writing / _MANIFEST, json.dumps(manifest, indent=1))
        if final.exists():  # a damaged one of the same step
            shutil.rmtree(final)
        os.replace(writing, final)
        flush(self.root)
        for old in self._sealed()[: -self.keep]:
            shutil.rmtree(old)

    def set_aside(self, after_step: int) -> Path | None:
        """Moves the checkpoints of later steps to a sub-folder `replaced-N`: none is lost.

        A run that starts at an earlier step (afresh, at a chosen checkpoint, or before a damaged
        one) writes those steps again. Left in place, the old ones would pass for the newest:
        resumed from, and kept in place of its own. Call on one process only.

        Args:
            after_step: the step that the run starts at.

        Returns:
            The sub-folder; None if there was nothing to move.
        """
        later = [path for path in self._sealed() if _step_of(path) > after_step]
        if not later:
            return None
        number = 1
        while (aside := self.root / f"{_REPLACED}{number}").exists():
            number += 1
        aside.mkdir()
        for path in later:
            os.replace(path, aside / path.name)
        return aside

    def num_bytes(self) -> int:
        """Bytes of the disk that this run's checkpoints take already."""
        return sum(file.stat().st_size for path in self._sealed() for file in _files(path))

    def lock(self) -> None:
        """Keeps other runs out until [`CheckpointFolder.unlock`] or the process's end.

        Raises:
            ValueError: if another run is writing here, or the folder cannot be locked.
        """
        try:
            import fcntl
        except ImportError:  # not on Windows
            return
        path = self.root.parent / ".training.lock"
        try:
            self._lock = open(path, "w")  # noqa: SIM115 (closing it would unlock)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.unlock()
            raise ValueError(
                f"another run is writing to {self.root};"
                " wait for its end, or give another output_dir."
            ) from error
        except OSError as error:  # read-only, a folder in its place, a file system without locks
            self.unlock()
            raise ValueError(
                f"the lock {path}, which keeps other runs out, cannot be used: {error}."
                " Give another output_dir."
            ) from error

    def unlock(self) -> None:
        """Lets other runs in again."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def discard_unfinished(self) -> None:
        """Removes what a killed run left half-written."""
        for path in self.root.glob(f"{_WRITING}*"):
            remove(path)

    def _sealed(self) -> list[Path]:
        """Oldest first."""
        ours = [path for path in self.root.glob(f"{_STEP}*") if _step_of(path) >= 0]
        return sorted(ours, key=_step_of)


def find_fault(path: str | os.PathLike[str]) -> str | None:
    """What is wrong with a checkpoint, in words; None if it is whole.

    Args:
        path: folder of a checkpoint.

    Returns:
        The first fault, or None.
    """
    path = Path(path)
    try:
        manifest = dict(json.loads((path / _MANIFEST).read_text()))
        if not manifest:
            return "manifest.json is empty"
        for name, expected in manifest.items():
            if not (path / name).is_file():
                return f"{name} is missing"
            if _fingerprint(path / name) != expected:
                return f"{name} has changed or is truncated"
    except (OSError, ValueError, TypeError) as error:
        return f"it cannot be read: {error}"
    return None


def _step_of(path: Path) -> int:
    """-1 for a folder that is no checkpoint of ours."""
    digits = path.name.removeprefix(_STEP)
    return int(digits) if digits.isdecimal() else -1


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file() and file.name != _MANIFEST)


def _fingerprint(file: Path) -> list[int]:
    crc = 0
    size = 0
    with open(file, "rb") as stream:
        while block := stream.read(1 << 20):
            crc = zlib.crc32(block, crc)
            size += len(block)
    return [size, crc]
