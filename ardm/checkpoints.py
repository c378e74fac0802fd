"""Checkpoints that are whole or absent: written aside, sealed with a manifest, and renamed into place.

    output_dir/checkpoints/step-00000200/    the state, and manifest.json: size and CRC-32 of every file
    output_dir/checkpoints/.writing-...      one that is being written; left behind by a kill, removed at the next start

A folder counts as a checkpoint if every file is as its manifest says. A truncated or changed one is reported and the
one before it is used, so a kill at any moment costs at most the steps since the last good one.
"""

import json
import os
import shutil
import warnings
import zlib
from pathlib import Path

from .files import write_text_atomically

_MANIFEST, _WRITING, _STEP = "manifest.json", ".writing-", "step-"


class CheckpointFolder:
    """The checkpoints of one run.

    Args:
        output_dir: the run's folder; checkpoints go to its sub-folder `checkpoints`.
        keep: how many of the newest to keep, at least 1; 2 leave one to fall back to.
    """

    def __init__(self, output_dir: str | os.PathLike, keep: int = 2):
        self.root, self.keep = Path(output_dir) / "checkpoints", keep

    def newest(self) -> Path | None:
        """The newest good checkpoint, or None. Warns of each newer one that is damaged."""
        for path in sorted(self.root.glob(f"{_STEP}*"), reverse=True):
            fault = find_fault(path)
            if fault is None:
                return path
            warnings.warn(f"checkpoint {path} is damaged ({fault}); the one before it is used.", stacklevel=2)
        return None

    def path(self, step: int) -> Path:
        """Where the checkpoint of a step is, once written."""
        return self.root / f"{_STEP}{step:08d}"

    def writing_path(self, step: int) -> Path:
        """Where the checkpoint of a step is written before it is complete."""
        return self.root / f"{_WRITING}{_STEP}{step:08d}"

    def seal(self, step: int) -> None:
        """Makes a fully written checkpoint count, and removes those beyond `keep`. Call on one process only.

        Args:
            step: the step whose `writing_path` is complete.
        """
        writing, final = self.writing_path(step), self.path(step)
        manifest = {str(file.relative_to(writing)): _fingerprint(file) for file in _files(writing)}
        for file in _files(writing):
            _fsync(file)
        write_text_atomically(writing / _MANIFEST, json.dumps(manifest, indent=1))
        if final.exists():  # a damaged one of the same step
            shutil.rmtree(final)
        os.replace(writing, final)
        _fsync(self.root)
        for old in sorted(self.root.glob(f"{_STEP}*"))[: -self.keep]:
            shutil.rmtree(old)

    def discard_unfinished(self) -> None:
        """Removes what a killed run left half-written."""
        for path in self.root.glob(f"{_WRITING}*"):
            shutil.rmtree(path)


def find_fault(path: str | os.PathLike) -> str | None:
    """What is wrong with a checkpoint, in words; None if it is whole.

    Args:
        path: folder of a checkpoint.

    Returns:
        The first fault, or None.
    """
    path = Path(path)
    try:
        manifest = json.loads((path / _MANIFEST).read_text())
    except (OSError, ValueError) as error:
        return f"manifest.json cannot be read: {error}"
    for name, expected in manifest.items():
        file = path / name
        if not file.is_file():
            return f"{name} is missing"
        if _fingerprint(file) != expected:
            return f"{name} has changed or is truncated"
    return None


def check_writable(folder: str | os.PathLike, num_bytes: int) -> None:
    """Makes sure that a run can keep its results, before it starts.

    Args:
        folder: output folder; made if it does not exist.
        num_bytes: about how much will be written.

    Raises:
        ValueError: if the folder cannot be made or written to, or the disk has less room.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        raise ValueError(
            f"output folder {folder} cannot be written to: {error}. Give another output_dir."
        ) from error
    free = shutil.disk_usage(folder).free
    if free < num_bytes:
        raise ValueError(
            f"the disk of {folder} has {free / 2**20:.0f} MiB free; this run needs about {num_bytes / 2**20:.0f} MiB."
        )


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file() and file.name != _MANIFEST)


def _fingerprint(file: Path) -> list[int]:
    crc, size = 0, 0
    with open(file, "rb") as stream:
        while block := stream.read(1 << 20):
            crc, size = zlib.crc32(block, crc), size + len(block)
    return [size, crc]


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
