"""Text becomes windows of L token ids.

A corpus is the string `document + separator + document + ...`; a tokenizer maps it to N ids x, and
window i = 0 .. floor(N / L) - 1 is x[i*L : (i+1)*L]. Windows neither overlap nor leave gaps, and
each knows how many characters and bytes it stands for: nats over windows are nats of the corpus,
and bits per character or byte compare tokenizers - as long as the tokens tell all of the text; each
window counts the characters that they do not (`lost_text.py`).

Windows go to a file as they come: the memory needed does not grow with the text.

Array suffixes: N tokens of some text, W windows, L tokens of a window;
5 = (id, characters, bytes of UTF-8, unknown characters, changed characters).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from tokenizers import Encoding, Tokenizer
from transformers import PreTrainedTokenizerBase

from ..training import check_integer
from .columns import text_column_of
from .lost_text import UNITS, plain_backend, units_of
from .pieces import pieces_of
from .tokenization import vocabulary_size
from .window_files import stored_windows

if TYPE_CHECKING:  # datasets takes a second to import
    from datasets import Dataset, Features, IterableDataset

SEPARATOR = "\n\n"

_DOCUMENTS_AT_ONCE = 256  # of a stream
_CHARACTERS_AT_ONCE = 2**16  # 7 MB of token objects while they are being converted

Rows = TypeVar("Rows", bound="Dataset | IterableDataset")
Documents = Iterable[Iterable[str]]  # each as its pieces
Windows = dict[str, np.ndarray]  # columns: ids (W, L) and units (W,)
_Read = tuple[np.ndarray, np.ndarray, np.ndarray]  # ids, their units; units without a token


def make_windows(
    dataset: Rows,
    tokenizer: PreTrainedTokenizerBase,
    sequence_length: int,
    *,
    num_proc: int | None = None,
    name: str = "the text",
    way_out: str = "",
) -> Rows:
    """Cuts the documents of a data set into windows of ids, contiguous over the whole data set.

    Documents are joined by the tokenizer's `eos_token_id` (no characters), or if it has none by a
    blank line (two characters); empty documents are left out. Windows go on across documents and
    batches; only the ids that do not fill the last one are dropped - of each process with
    `num_proc`, of each shard of a stream. Special tokens spelled out in a document (`"[MASK]"`) are
    text like any other.

    Args:
        dataset: documents in the column `text` or in the only column of strings. A `Dataset` is
            done at once, into the folder "windows" of `HF_DATASETS_CACHE`, from where later runs
            read it; an `IterableDataset` is done lazily.
        tokenizer: a fast tokenizer with a mask token. No special tokens are added and nothing is
            truncated.
        sequence_length: number of ids of a window, L.
        num_proc: number of processes, for a `Dataset` of many documents; they are spawned, so that
            a script does this under `if __name__ == "__main__"`.
        name: of the text, for messages.
        way_out: what may be done about a text that is too short, for its message.

    Returns:
        A data set in torch format with int64 `input_ids` (L,), `num_characters`, how many
        characters begin in the window, and `num_bytes`, how many bytes of UTF-8 these are: the sum
        over windows is the length of the joined text, less the dropped tail. Of the characters
        `num_unknown` are read as the unknown token, and `num_changed` are dropped or changed by
        the tokenizer; see [`ardm.data.LostText`].

    Raises:
        ValueError: a tokenizer without mask token or not fast, `sequence_length` below 1, a
            tokenizer without any separator, or a text too short for one window (a stream raises the
            last two when read, the very last only if it has a single shard).
    """
    from datasets import Dataset

    sequence_length = check_integer("sequence_length", sequence_length, 1)
    if tokenizer.mask_token_id is None:
        raise ValueError(
            "the tokenizer has no mask token, expected one:"
            " tokenizer.add_special_tokens({'mask_token': ...})"
        )
    if not tokenizer.is_fast:
        raise ValueError(
            f"{type(tokenizer).__name__} knows no character offsets, expected a fast tokenizer"
        )
    windower = _Windower(tokenizer, sequence_length, text_column_of(dataset), name, way_out)
    if isinstance(dataset, Dataset):
        return _all_windows(dataset, windower, num_proc).with_format("torch")
    return _streamed_windows(dataset, windower).with_format("torch")


class _Windower:
    """Turns documents into windows; it can be sent to another process."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        sequence_length: int,
        column: str,
        name: str,
        way_out: str,
    ) -> None:
        self.definition = plain_backend(tokenizer).to_str()
        self.eos_token_id = tokenizer.eos_token_id
        self.unk_token_id = tokenizer.unk_token_id
        self.id_type = "uint16" if vocabulary_size(tokenizer) <= 2**16 else "int32"
        self.sequence_length = sequence_length
        self.column = column
        self.name = name
        self.way_out = way_out

    @property
    def features(self) -> Features:
        from datasets import Features, List, Value

        # a fixed length is stored without offsets: a batch is one take, not a loop over rows
        ids = List(Value(self.id_type), length=self.sequence_length)
        return Features({"input_ids": ids, **{name: Value("int32") for name in UNITS}})

    def windows(self, documents: Documents, *, may_be_short: bool = False) -> Iterator[Windows]:
        """Windows of the documents, some at a time; tokens that do not fill one go to the next."""
        rest_5N = np.empty((1 + len(UNITS), 0), np.int32)
        empty = True
        for more_5N in self._tokens(documents):
            tokens_5N = np.concatenate([rest_5N, more_5N], axis=1)
            num_used = tokens_5N.shape[1] // self.sequence_length * self.sequence_length
            rest_5N = tokens_5N[:, num_used:].copy()
            if num_used:
                empty = False
                shape = (len(tokens_5N), -1, self.sequence_length)
                ids_WL, *units_WL = tokens_5N[:, :num_used].reshape(shape)
                sums = [each.sum(axis=1, dtype=np.int32) for each in units_WL]
                ids_WL = ids_WL.astype(self.id_type)
                yield {"input_ids": ids_WL, **dict(zip(UNITS, sums, strict=True))}
        if empty and not may_be_short:
            raise ValueError(
                f"{self.name} has {rest_5N.shape[1]} tokens, expected at least"
                f" {self.sequence_length} for one window{self.way_out}"
            )

    def _tokens(self, documents: Documents) -> Iterator[np.ndarray]:
        """(5, N), a group of pieces at a time."""
        backend = Tokenizer.from_str(self.definition)
        backend.encode_special_tokens = True  # which neither the definition nor a pickle has
        separator = self._separator(backend)
        unread_4 = np.zeros(len(UNITS), np.int32)  # of pieces without any token
        for group in _groups(_parts(documents)):
            pieces = [part for part in group if part is not None]
            encodings = iter(backend.encode_batch(pieces, add_special_tokens=False))
            arrays = []
            for part in group:
                ids_N, units_4N, rest_4 = (
                    self._checked(separator)
                    if part is None
                    else self._read(next(encodings), part, backend)
                )
                unread_4 += rest_4
                tokens_5N = np.stack([ids_N, *units_4N])
                if len(ids_N) > 0:
                    tokens_5N[1:, 0] += unread_4
                    unread_4[:] = 0
                arrays.append(tokens_5N)
            yield np.concatenate(arrays, axis=1)

    def _read(self, encoding: Encoding, text: str, backend: Tokenizer) -> _Read:
        units_4N, rest_4 = units_of(encoding, text, backend, self.unk_token_id)
        return np.array(encoding.ids, np.int32), units_4N, rest_4

    def _separator(self, backend: Tokenizer) -> _Read:
        if self.eos_token_id is None:
            return self._read(
                backend.encode(SEPARATOR, add_special_tokens=False), SEPARATOR, backend
            )
        nothing_4 = np.zeros(len(UNITS), np.int32)
        return np.array([self.eos_token_id], np.int32), nothing_4[:, None], nothing_4

    def _checked(self, separator: _Read) -> _Read:
        if self.eos_token_id is None and self.unk_token_id in separator[0]:
            raise ValueError(
                "the tokenizer cannot spell the blank line that joins documents,"
                " expected an eos_token or line breaks in its alphabet"
                f" (add {SEPARATOR!r} to the texts it is built from)"
            )
        return separator


def _parts(documents: Documents) -> Iterator[str | None]:
    """Pieces of the documents, and None for the separator between two documents."""
    for number, document in enumerate(documents):
        if number > 0:
            yield None
        yield from document


def _groups(parts: Iterable[str | None]) -> Iterator[list[str | None]]:
    """Parts that are tokenized together."""
    group: list[str | None] = []
    num_characters = 0
    for part in parts:
        group.append(part)
        num_characters += len(part or SEPARATOR)
        if num_characters >= _CHARACTERS_AT_ONCE:
            yield group
            group = []
            num_characters = 0
    if group:
        yield group


# ------------------------------------------------------------------------------- a whole data set
def _all_windows(dataset: Dataset, windower: _Windower, num_proc: int | None) -> Dataset:
    from datasets import concatenate_datasets

    if num_proc is None or num_proc == 1:
        return stored_windows(dataset, windower)
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    shards = [dataset.shard(num_proc, index, contiguous=True) for index in range(num_proc)]
    # not forked: the threads of tokenizers and torch do not survive that
    with ProcessPoolExecutor(num_proc, get_context("spawn")) as pool:
        return concatenate_datasets(
            [*pool.map(stored_windows, shards, [windower] * num_proc, [True] * num_proc)]
        )


# --------------------------------------------------------------------------------------- a stream
def _streamed_windows(dataset: IterableDataset, windower: _Windower) -> IterableDataset:
    from datasets import IterableDataset

    # a list is what datasets deals out to a loader's workers: this one keeps the shards apart
    kwargs = {"dataset": dataset, "windower": windower, "shards": list(range(dataset.num_shards))}
    return IterableDataset.from_generator(_stream, features=windower.features, gen_kwargs=kwargs)


def _stream(
    dataset: IterableDataset, windower: _Windower, shards: list[int]
) -> Iterator[dict[str, Any]]:
    documents = (
        pieces_of(text)
        for index in shards
        for batch in dataset.shard(dataset.num_shards, index).iter(_DOCUMENTS_AT_ONCE)
        for text in batch[windower.column]
        if text
    )
    for windows in windower.windows(documents, may_be_short=dataset.num_shards > 1):
        for row in zip(*windows.values(), strict=True):
            yield dict(zip(windows, row, strict=True))
