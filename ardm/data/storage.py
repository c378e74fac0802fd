"""Documents on the disk: read once, of any length, and mapped into memory when they are used.

They are spooled into one file as they come, so that none is ever held whole, and become Arrow files
that are named by their content: the same text is the same file, another text is another one.
"""

from __future__ import annotations

import mmap
import tempfile
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..training import fingerprint, replacing
from .compression import shown

if TYPE_CHECKING:  # datasets takes a second to import
    from datasets import Dataset

_BYTES_AT_ONCE = 2**22
_ROWS_AT_ONCE = 1024


class Spool:
    """Documents one after the other in a file that vanishes with this object.

    Use it as a context.
    """

    def __init__(self) -> None:
        import datasets

        self.folder = Path(datasets.config.HF_DATASETS_CACHE) / "texts"
        self.ends = array("q")  # bytes of all documents up to each, itself included
        self.num_bytes = 0
        self.num_characters = 0
        with self._writing():
            self.folder.mkdir(parents=True, exist_ok=True)
            self.file = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115  # closed by __exit__

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def __len__(self) -> int:
        return len(self.ends)

    def add(self, document: Iterable[str]) -> bool:
        """Adds a document unless it is empty.

        Args:
            document: its text in pieces.

        Returns:
            Whether it had a character.

        Raises:
            ValueError: if a character cannot be written in UTF-8, or the disk cannot take it.
        """
        before = self.num_bytes
        for piece in document:
            try:
                content = piece.encode("utf-8")
            except UnicodeEncodeError as error:
                raise ValueError(
                    f"document {len(self)} holds half of a surrogate pair ({error.reason}),"
                    " as broken escapes in json do; expected characters."
                ) from error
            with self._writing():
                self.file.write(content)
            self.num_bytes += len(content)
            self.num_characters += len(piece)
        if self.num_bytes > before:
            self.ends.append(self.num_bytes)
        return self.num_bytes > before

    def rows(self) -> Dataset:
        """All documents as a data set with the one column `text`."""
        return self._rows(0, self.num_bytes)

    def cut(self, num_rows: int) -> tuple[Dataset, Dataset]:
        """The first documents and the others."""
        place = self.ends[num_rows - 1]
        return self._rows(0, place), self._rows(place, self.num_bytes)

    def cut_within(self, num_characters: int) -> tuple[Dataset, Dataset]:
        """The first characters of a single document, and the rest of it."""
        place = 0
        for content in self._content(0, self.num_bytes):
            begins = (np.frombuffer(content, np.uint8) & 0xC0) != 0x80
            count = int(begins.sum())
            if num_characters < count:
                place += int(np.flatnonzero(begins)[num_characters])
                break
            num_characters -= count
            place += len(content)
        return self._rows(0, place), self._rows(place, self.num_bytes)

    def _rows(self, start: int, stop: int) -> Dataset:
        """What lies between two places of the file; a document that is cut there ends there."""
        from datasets import Dataset

        first = bisect_left(self.ends, start + 1)
        last = bisect_left(self.ends, stop)
        ends = np.append(np.frombuffer(self.ends, np.int64)[first:last], stop) - start
        with self._writing():
            key = fingerprint(chain([ends.tobytes()], self._content(start, stop)))
            path = self.folder / f"{key}.arrow"
            if not path.is_file():
                self._write(path, start, ends)
        rows = Dataset.from_file(str(path))
        rows._fingerprint = key  # by itself `datasets` would go by the file's name and time
        return rows

    def _content(self, start: int, stop: int) -> Iterator[bytes]:
        self.file.flush()
        for place in range(start, stop, _BYTES_AT_ONCE):
            self.file.seek(place)
            yield self.file.read(min(_BYTES_AT_ONCE, stop - place))

    def _write(self, path: Path, start: int, ends: np.ndarray) -> None:
        import pyarrow as pa

        schema = pa.schema({"text": pa.large_string()})
        with (
            mmap.mmap(self.file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
            replacing(path) as file,
            pa.ipc.new_stream(file, schema) as writer,
        ):
            content = pa.py_buffer(mapped).slice(start)
            offsets = np.concatenate([[0], ends])
            for row in range(0, len(ends), _ROWS_AT_ONCE):
                some = offsets[row : row + _ROWS_AT_ONCE + 1]
                text = content.slice(some[0], some[-1] - some[0])
                buffers = [None, pa.py_buffer(some - some[0]), text]
                texts = pa.Array.from_buffers(pa.large_string(), len(some) - 1, buffers)
                writer.write_batch(pa.record_batch([texts], schema=schema))
                del texts, text, buffers
            del content
            writer.close()

    @contextmanager
    def _writing(self) -> Iterator[Any]:
        try:
            yield
        except OSError as error:
            raise ValueError(
                f"the cache folder {shown(self.folder)} cannot be used ({error}); make room or set"
                " HF_DATASETS_CACHE to another folder."
            ) from error
