"""Files of windows: a data set cut into windows goes to the disk as it comes, and stays there.

A file is named by a digest of all that decides its content, so that later runs find it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

import numpy as np

from ..training import progress_bar, replacing
from .lost_text import UNITS
from .pieces import documents_of

if TYPE_CHECKING:  # datasets takes a second to import
    from datasets import Dataset, Features


class Windower(Protocol):
    """What cuts documents into windows; see windows.py."""

    definition: str
    eos_token_id: int | None
    unk_token_id: int | None
    id_type: str
    sequence_length: int
    column: str

    @property
    def features(self) -> Features:
        """Of the windows."""

    def windows(
        self, documents: Iterable[Iterable[str]], *, may_be_short: bool = False
    ) -> Iterator[dict[str, np.ndarray]]:
        """Columns of windows, some at a time."""


def stored_windows(dataset: Dataset, windower: Windower, may_be_short: bool = False) -> Dataset:
    """The windows of a data set, from the file that holds them, which is written if needed.

    Args:
        dataset: of texts.
        windower: cuts them.
        may_be_short: whether there may be no window at all.

    Returns:
        The windows, read from the disk as they are used.

    Raises:
        ValueError: if the folder of the cache cannot be written, or the text is too short.
    """
    from datasets import Dataset, config
    from datasets.table import MemoryMappedTable

    fingerprint = _fingerprint(dataset, windower)
    path = Path(config.HF_DATASETS_CACHE) / "windows" / f"{fingerprint}.arrow"
    if not path.is_file():
        documents = documents_of(dataset, windower.column)
        windows = windower.windows(documents, may_be_short=may_be_short)
        try:
            with replacing(path) as file:
                _write(file, windows, windower.features)
        except OSError as error:
            raise ValueError(
                f"the cache {path.parent} cannot be written ({error});"
                " expected another folder as HF_DATASETS_CACHE in the environment"
            ) from error
    return Dataset(MemoryMappedTable.from_file(str(path)), fingerprint=fingerprint)


def _fingerprint(dataset: Dataset, windower: Windower) -> str:
    """Ours: datasets would hash the tokenizer's pickle, which changes once it is used."""
    from datasets.fingerprint import Hasher

    key: list[object] = [*UNITS, windower.id_type, windower.definition]
    key += [windower.eos_token_id, windower.unk_token_id]
    return Hasher.hash([*key, dataset._fingerprint, windower.sequence_length, windower.column])


def _write(file: BinaryIO, windows: Iterable[dict[str, np.ndarray]], features: Features) -> None:
    """Writes the stream of Arrow record batches that a file of `datasets` is."""
    import pyarrow as pa

    schema = features.arrow_schema
    length = schema.field("input_ids").type.list_size
    with (
        pa.ipc.new_stream(file, schema) as stream,
        progress_bar(what="tokenizing", unit="window") as bar,
    ):
        for some in windows:
            ids_WL, *units = some.values()
            ids = pa.FixedSizeListArray.from_arrays(pa.array(ids_WL.ravel()), length)
            stream.write_batch(pa.record_batch([ids, *map(pa.array, units)], schema=schema))
            bar.update(len(ids_WL))
