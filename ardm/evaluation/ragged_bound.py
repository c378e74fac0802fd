"""Bits per residue of records of any length, and what the lengths themselves cost.

    -log p(record) <= sum of the bounds of its rows, given the number of residues    - log p(number)

Rows of one record are not independent: errors are over records. Numbers of residues are under a
smoothed histogram of those of the training records.

Shapes: W rows, R records, T training records.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..data.fasta import Sequences
from ..metrics.bits import Estimate, bits_per_unit
from ..training.card_parts import with_error

_BINS_PER_OCTAVE = 4
_NUM_BINS = 128  # up to 2^32 residues
_PRIOR = 0.5  # counts of each bin that nobody has seen


def sums_by_record(numbers_W: Tensor, record_W: Tensor) -> Tensor:
    """Sums over the rows of each record.

    Args:
        numbers_W: (W,), of each row.
        record_W: int64 (W,), the record that each row is of.

    Returns:
        (R,), of the records that have a row, by their numbers.

    Raises:
        ValueError: if the shapes differ.
    """
    if numbers_W.shape != record_W.shape or numbers_W.ndim != 1:
        raise ValueError(
            f"got {tuple(numbers_W.shape)} numbers and {tuple(record_W.shape)} records; expected"
            " the same (W,)."
        )
    places_W = record_W.unique(return_inverse=True)[1]
    sums_R = numbers_W.new_zeros(int(places_W.max()) + 1 if len(places_W) else 0)
    return sums_R.index_add(0, places_W, numbers_W)


def bits_per_residue(nats_W: Tensor, num_residues_W: Tensor, record_W: Tensor) -> Estimate:
    """Bits per residue given lengths, with the standard error over records.

    Args:
        nats_W: float64 (W,), the bound of each row.
        num_residues_W: int64 (W,), residues of each row.
        record_W: int64 (W,), the record that each row is of.

    Returns:
        Value and standard error, bits; the error is NaN for a single record.

    Raises:
        ValueError: if the shapes differ or there is no residue.
    """
    return bits_per_unit(sums_by_record(nats_W, record_W), sums_by_record(num_residues_W, record_W))


def length_nats(lengths_T: Tensor, lengths_R: Tensor) -> Tensor:
    """What the numbers of residues cost.

    The histogram has four bins an octave, half a count more in each than was seen, and is even
    inside a bin.

    Args:
        lengths_T: int64 (T,), residues of the training records.
        lengths_R: int64 (R,), residues of other records.

    Returns:
        float64 (R,), nats.

    Raises:
        ValueError: if a number is below 1 or of 2^32 and more.
    """
    for lengths in (lengths_T, lengths_R):
        if len(lengths) and not 1 <= int(lengths.min()) <= int(lengths.max()) < 2**32:
            raise ValueError(
                f"lengths are {int(lengths.min())}..{int(lengths.max())}; expected 1..2^32 - 1."
            )
    edges = (torch.arange(_NUM_BINS + 1, dtype=torch.float64) / _BINS_PER_OCTAVE).exp2().ceil()
    sizes = edges.diff()  # whole numbers in each bin: some of the first have none
    bins_T = torch.searchsorted(edges, lengths_T.double(), right=True) - 1
    bins_R = torch.searchsorted(edges, lengths_R.double(), right=True) - 1
    counts = bins_T.bincount(minlength=_NUM_BINS) + _PRIOR * (sizes > 0)
    return -(counts[bins_R] / counts.sum() / sizes[bins_R]).log()


def length_bits(lengths_T: Tensor, lengths_R: Tensor) -> Estimate:
    """Bits per residue that the numbers of residues cost, to be added to those given lengths.

    Args:
        lengths_T: int64 (T,), residues of the training records.
        lengths_R: int64 (R,), residues of other records.

    Returns:
        Value and standard error over records, bits.
    """
    return bits_per_unit(length_nats(lengths_T, lengths_R), lengths_R)


@dataclass(frozen=True)
class RecordFigures:
    """What held-out records cost.

    Args:
        given_lengths: bits per residue of the residues alone, an upper bound.
        of_lengths: bits per residue that the numbers of residues cost beside.
        num_records: that the bound is over.
        num_rows: that these are cut into.
    """

    given_lengths: Estimate
    of_lengths: Estimate
    num_records: int
    num_rows: int

    @classmethod
    def of(
        cls,
        nats_W: Tensor,
        num_residues_W: Tensor,
        record_W: Tensor,
        data: Mapping[str, Sequences],
    ) -> "RecordFigures":
        """Figures of the first rows of the validation data.

        Args:
            nats_W: float64 (W,), the bound of each row.
            num_residues_W: int64 (W,), residues of each row.
            record_W: int64 (W,), the record that each row is of; of the last one rows may be
                missing, which is then a shorter one.
            data: sequences, "train" and "validation"; lengths are those of all.

        Returns:
            The figures.
        """
        lengths = [torch.from_numpy(data[name].lengths_R) for name in ("train", "validation")]
        return cls(
            bits_per_residue(nats_W, num_residues_W, record_W),
            length_bits(*lengths),
            len(record_W.unique()),
            len(record_W),
        )

    def __str__(self) -> str:
        """Two lines, such as "3.390 +- 0.012 bits per residue given lengths: ..."."""
        told = with_error(*self.given_lengths, 3, "+-")
        return (
            f"{told} bits per residue given lengths: upper bound on {self.num_records:,} held-out"
            f" records ({self.num_rows:,} rows).\n{with_error(*self.of_lengths, 3, '+-')} bits per"
            " residue more tell the lengths, by those of the training data."
        )


def bits_by_law(nats_R: np.ndarray, sequences: Sequences) -> float:
    """Bits per residue of sequences whose law is known.

    Args:
        nats_R: float64 (R,), what each costs, nats.
        sequences: the sequences.

    Returns:
        Bits.
    """
    return float(nats_R.sum()) / len(sequences.ids_N) / math.log(2)
