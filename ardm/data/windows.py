"""Text becomes windows of L token ids.

A corpus is the string `document + separator + document + ...`; a tokenizer maps it to N ids x, and
window i = 0 .. floor(N / L) - 1 is x[i*L : (i+1)*L]. Windows neither overlap nor leave gaps, and
each knows how many characters and bytes it stands for: nats over windows are nats of the corpus,
and bits per character or byte compare tokenizers.

Array suffixes: N tokens of some text, W windows, L tokens of a window;
3 = (id, characters, bytes of UTF-8).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from copy import copy
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from tokenizers import Encoding, Tokenizer
from transformers import PreTrainedTokenizerBase

from ..training import check_integer
from .texts import text_column_of
from .tokenization import pieces_of

if TYPE_CHECKING:  # datasets takes a second to import
    from datasets import Dataset, Features, IterableDataset

SEPARATOR = "\n\n"

_UNITS = ("num_characters", "num_bytes")
_DOCUMENTS_AT_ONCE = 256
_PIECES_AT_ONCE = 16  # about 1M characters: 100 MB of token objects while they are being converted

Rows = TypeVar("Rows", bound="Dataset | IterableDataset")


def make_windows(
    dataset: Rows,
    tokenizer: PreTrainedTokenizerBase,
    sequence_length: int,
    *,
    num_proc: int | None = None,
) -> Rows:
    """Cuts the documents of a data set into windows of ids, contiguous over the whole data set.

    Documents are joined by the tokenizer's `eos_token_id` (no characters), or if it has none by a
    blank line (two characters); empty documents are left out. Windows go on across documents and
    batches; only the ids that do not fill the last one are dropped - of each process with
    `num_proc`, of each shard of a stream. Special tokens spelled out in a document (`"[MASK]"`) are
    text like any other.

    Args:
        dataset: documents in the column `text` or in the only column of strings. A `Dataset` is
            done at once and cached by `datasets`, also between runs; an `IterableDataset` is done
            lazily.
        tokenizer: a fast tokenizer with a mask token. No special tokens are added and nothing is
            truncated.
        sequence_length: number of ids of a window, L.
        num_proc: number of processes, for a `Dataset` of many documents.

    Returns:
        A data set in torch format with int64 `input_ids` (L,), `num_characters`, how many
        characters begin in the window, and `num_bytes`, how many bytes of UTF-8 these are: the sum
        over windows is the length of the joined text, less the dropped tail.

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
    windower = _Windower(tokenizer, sequence_length, text_column_of(dataset))
    if isinstance(dataset, Dataset):
        return _mapped_windows(dataset, windower, num_proc).with_format("torch")
    return _streamed_windows(dataset, windower).with_format("torch")


class _Windower:
    """Turns batches of documents into windows; tokens that do not fill one go to the next batch."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, sequence_length: int, column: str
    ) -> None:
        # a copy: what an earlier call left in the tokenizer must not reach the data
        backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        backend.no_truncation()
        backend.no_padding()
        self.definition = backend.to_str()
        self.eos_token_id = tokenizer.eos_token_id
        self.unk_token_id = tokenizer.unk_token_id
        self.sequence_length = sequence_length
        self.column = column
        self.backend: Tokenizer | None = None
        self.started = False
        self.rest_3N = np.empty((3, 0), np.int32)

    def __call__(self, batch: dict[str, list[str | None]]) -> dict[str, np.ndarray]:
        if self.backend is None:  # only now: pickling for a process loses `encode_special_tokens`
            self.backend = Tokenizer.from_str(self.definition)
            self.backend.encode_special_tokens = True
            self.separator_3N = self._separator(self.backend)
        added = self._tokens(self.backend, batch[self.column])
        tokens_3N = np.concatenate([self.rest_3N, *added], axis=1)
        num_used = tokens_3N.shape[1] // self.sequence_length * self.sequence_length
        self.rest_3N = tokens_3N[:, num_used:].copy()
        ids_WL, *units_WL = tokens_3N[:, :num_used].reshape(3, -1, self.sequence_length)
        sums = [each.sum(axis=1, dtype=np.int32) for each in units_WL]
        return {"input_ids": ids_WL, **dict(zip(_UNITS, sums, strict=True))}

    def _separator(self, backend: Tokenizer) -> np.ndarray:
        if self.eos_token_id is not None:
            return np.array([[self.eos_token_id], [0], [0]], np.int32)
        return _as_array(backend.encode(SEPARATOR, add_special_tokens=False), SEPARATOR)

    def _tokens(self, backend: Tokenizer, texts: Iterable[str | None]) -> Iterator[np.ndarray]:
        parts = self._parts(texts)
        while group := list(islice(parts, _PIECES_AT_ONCE)):
            pieces = [part for part in group if part is not None]
            encodings = backend.encode_batch(pieces, add_special_tokens=False)
            arrays = map(_as_array, encodings, pieces)
            yield from [self.separator_3N if part is None else next(arrays) for part in group]

    def _parts(self, texts: Iterable[str | None]) -> Iterator[str | None]:
        """Pieces of the documents, and None for the separator between two documents."""
        for text in filter(None, texts):
            if self.started:
                self._check_separator()
                yield None
            self.started = True
            yield from pieces_of(text)

    def _check_separator(self) -> None:
        if self.unk_token_id is not None and self.unk_token_id in self.separator_3N[0]:
            raise ValueError(
                "the tokenizer cannot spell the blank line that joins documents,"
                " expected an eos_token or line breaks in its alphabet"
                f" (add {SEPARATOR!r} to the texts it is built from)"
            )


def _as_array(encoding: Encoding, text: str) -> np.ndarray:
    """(3, N): ids, and how many characters and bytes begin in each token."""
    ids_N = np.array(encoding.ids, np.int32)
    ends_N = np.fromiter((end for _, end in encoding.offsets), np.int32, len(ids_N))
    ends_N = np.maximum.accumulate(ends_N)
    ends_N[-1:] = len(text)  # a tokenizer may drop trailing spaces, but they were there
    ends = (ends_N, _utf8_lengths(text)[ends_N])
    return np.stack([ids_N, *(np.diff(at_N, prepend=np.int32(0)) for at_N in ends)])


def _utf8_lengths(text: str) -> np.ndarray:
    """int32 (characters + 1,): bytes of UTF-8 before each character, and of them all."""
    code_points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    lengths = 1 + sum((code_points >= limit).astype(np.int32) for limit in (0x80, 0x800, 0x10000))
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)


def _features(sequence_length: int) -> Features:
    from datasets import Features, List, Value

    # a fixed length is stored without offsets: a batch is one take, not a loop over rows
    units = {name: Value("int32") for name in _UNITS}
    return Features({"input_ids": List(Value("int32"), length=sequence_length), **units})


def _mapped_windows(dataset: Dataset, windower: _Windower, num_proc: int | None) -> Dataset:
    fingerprint = _fingerprint(dataset, windower, num_proc)
    windows = dataset.map(
        windower,
        batched=True,
        batch_size=_DOCUMENTS_AT_ONCE,
        remove_columns=dataset.column_names,
        features=_features(windower.sequence_length),
        num_proc=num_proc,
        cache_file_name=_cache_file(dataset, fingerprint),
        new_fingerprint=fingerprint,
        desc="Tokenizing",
    )
    if len(windows) == 0:
        raise _too_short(_num_tokens(dataset, windower), windower.sequence_length)
    return windows


def _fingerprint(dataset: Dataset, windower: _Windower, num_proc: int | None) -> str:
    """Ours: datasets would hash the tokenizer's pickle, which changes once it is used."""
    from datasets.fingerprint import Hasher

    key = [
        *_UNITS,  # windows cached before a unit was counted are others
        dataset._fingerprint,
        windower.definition,
        windower.eos_token_id,
        windower.sequence_length,
        num_proc,
    ]
    return Hasher.hash([*key, windower.column])


def _cache_file(dataset: Dataset, fingerprint: str) -> str | None:
    """Where windows of a text in memory go; datasets would put them where no later run looks."""
    import datasets

    if dataset.cache_files:
        return None
    folder = Path(datasets.config.HF_DATASETS_CACHE) / "windows"
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder / f"{fingerprint}.arrow")


def _num_tokens(dataset: Dataset, windower: _Windower) -> int:
    """Counts again: the windows may have come from the cache, or from other processes."""
    windower.started = False
    windower.rest_3N = windower.rest_3N[:, :0]
    num_windows = sum(
        len(windower(batch)["input_ids"]) for batch in dataset.iter(_DOCUMENTS_AT_ONCE)
    )
    return num_windows * windower.sequence_length + windower.rest_3N.shape[1]


def _too_short(num_tokens: int, sequence_length: int) -> ValueError:
    return ValueError(
        f"the text has {num_tokens} tokens, expected at least {sequence_length} for one window"
    )


def _streamed_windows(dataset: IterableDataset, windower: _Windower) -> IterableDataset:
    from datasets import IterableDataset

    # a list is what datasets deals out to a loader's workers: this one keeps the shards apart
    kwargs = {"dataset": dataset, "windower": windower, "shards": list(range(dataset.num_shards))}
    return IterableDataset.from_generator(
        _stream, features=_features(windower.sequence_length), gen_kwargs=kwargs
    )


def _stream(
    dataset: IterableDataset, windower: _Windower, shards: list[int]
) -> Iterator[dict[str, Any]]:
    windower = copy(windower)  # each pass over the stream has its own remainder
    empty = True
    for index in shards:
        for batch in dataset.shard(dataset.num_shards, index).iter(_DOCUMENTS_AT_ONCE):
            windows = windower(batch)
            for row in zip(*windows.values(), strict=True):
                empty = False
                yield dict(zip(windows, row, strict=True))
    if empty and dataset.num_shards == 1:
        raise _too_short(windower.rest_3N.shape[1], windower.sequence_length)
