"""Rows of ids of equal length for sequences of any: marks at the ends, padding on the right.

A sequence that is longer than a row is cut into as few pieces as will hold it, of sizes that differ
by at most one; every residue is in exactly one row.

Array suffixes: R sequences, W rows, L positions of a row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerBase

from ..training import check_integer, fingerprint
from .fasta import Sequences

if TYPE_CHECKING:  # datasets takes a second to import
    from datasets import Dataset

LONGER = ("crop", "refuse")
_MARKS = 2  # one at each end
_ROWS_AT_ONCE = 2**14


def make_rows(
    sequences: Sequences,
    tokenizer: PreTrainedTokenizerBase,
    sequence_length: int,
    longer: str = "crop",
) -> Dataset:
    """Makes rows of sequences.

    Args:
        sequences: whose ids are the tokenizer's.
        tokenizer: of [`ardm.data.residue_tokenizer`].
        sequence_length: L, at least 3: a residue between two marks.
        longer: what becomes of a sequence of more than L - 2 residues: "crop" it into several
            rows, or "refuse" it.

    Returns:
        A data set in torch format with int64 `input_ids` (L,), `attention_mask` (L,), 0 on padding,
        `prompt_mask` (L,), 1 on marks, which are given, and `record`, the number of the sequence.

    Raises:
        ValueError: if a number or choice is out of range, or a longer sequence is refused.
    """
    if longer not in LONGER:
        raise ValueError(f"longer is {longer!r}; expected one of {', '.join(LONGER)}.")
    pieces = _cut(sequences, sequence_length)
    num_cut = int((sequences.lengths_R > sequence_length - _MARKS).sum())
    if num_cut and longer == "refuse":
        raise ValueError(
            f"{num_cut:,} of {len(sequences):,} sequences have more than"
            f" {sequence_length - _MARKS:,} residues (up to {sequences.lengths_R.max():,});"
            f" expected at most that many for sequence_length={sequence_length}: take a greater"
            " one, or --longer crop."
        )
    special = (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id)
    shape = (3, len(pieces.record_W), sequence_length)
    columns_3WL = np.empty(shape, np.uint8)
    for start in range(0, shape[1], _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        some = _Pieces(*(each[part] for each in pieces))
        columns_3WL[:, part] = _filled(some, sequences.ids_N, sequence_length, *special)
    return _data_set(columns_3WL, pieces.record_W)


def told_rows(sequences: Sequences, sequence_length: int) -> str:
    """What becomes of sequences in rows, in words.

    Args:
        sequences: as for [`make_rows`].
        sequence_length: as for [`make_rows`].

    Returns:
        One line: what was read, and how many of them are cut into how many rows.
    """
    pieces_R = np.bincount(_cut(sequences, sequence_length).record_W)
    cut_R = pieces_R > 1
    if not cut_R.any():
        return f"{sequences}; each is a row"
    return (
        f"{sequences}; longer than {sequence_length - _MARKS:,} and cut: {cut_R.sum():,} into"
        f" {pieces_R[cut_R].sum():,} rows, {pieces_R.sum():,} rows in all"
    )


class _Pieces(NamedTuple):
    """What stands in each row, (W,) each."""

    record_W: np.ndarray
    first_W: np.ndarray  # place of its first residue among those of all sequences
    size_W: np.ndarray
    begins_W: np.ndarray  # bool, whether it is the beginning of the sequence
    ends_W: np.ndarray


def _cut(sequences: Sequences, sequence_length: int) -> _Pieces:
    capacity = check_integer("sequence_length", sequence_length, _MARKS + 1) - _MARKS
    lengths_R = sequences.lengths_R
    pieces_R = -(-lengths_R // capacity)
    record_W = np.repeat(np.arange(len(sequences)), pieces_R)
    piece_W = np.arange(len(record_W)) - np.repeat(np.cumsum(pieces_R) - pieces_R, pieces_R)
    length_W = lengths_R[record_W]
    pieces_W = pieces_R[record_W]
    begin_W = piece_W * length_W // pieces_W  # within the sequence
    size_W = (piece_W + 1) * length_W // pieces_W - begin_W
    first_W = sequences.ends_R[record_W] - length_W + begin_W
    return _Pieces(record_W, first_W, size_W, piece_W == 0, piece_W == pieces_W - 1)


def _filled(
    pieces: _Pieces, ids_N: np.ndarray, length: int, pad_id: int, bos_id: int, eos_id: int
) -> np.ndarray:
    """uint8 (3, W, L): ids, whether they are real, whether they are marks."""
    place_WL = np.arange(length) - pieces.begins_W[:, None]  # of a residue within its row
    residues_WL = (place_WL >= 0) & (place_WL < pieces.size_W[:, None])
    begin_WL = (place_WL < 0) & pieces.begins_W[:, None]
    end_WL = (place_WL == pieces.size_W[:, None]) & pieces.ends_W[:, None]
    at_WL = np.where(residues_WL, pieces.first_W[:, None] + place_WL, 0)
    ids_WL = np.where(residues_WL, ids_N[at_WL], pad_id)
    ids_WL[begin_WL] = bos_id
    ids_WL[end_WL] = eos_id
    marks_WL = begin_WL | end_WL
    return np.stack([ids_WL, residues_WL | marks_WL, marks_WL]).astype(np.uint8)


def _data_set(columns_3WL: np.ndarray, record_W: np.ndarray) -> Dataset:
    import pyarrow as pa
    from datasets import Dataset, Features, List, Value
    from datasets.table import InMemoryTable

    length = columns_3WL.shape[2]
    small = List(Value("uint8"), length=length)
    names = ("input_ids", "attention_mask", "prompt_mask")
    features = Features({**dict.fromkeys(names, small), "record": Value("int64")})
    columns = [
        pa.FixedSizeListArray.from_arrays(pa.array(each_WL.ravel()), length)
        for each_WL in columns_3WL
    ]
    table = pa.table([*columns, pa.array(record_W)], schema=features.arrow_schema)
    key = fingerprint([columns_3WL.tobytes(), record_W.tobytes()])
    return Dataset(InMemoryTable(table), fingerprint=key).with_format("torch")
