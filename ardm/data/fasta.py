"""FASTA as sequences of residues: checked letters, all in one array, and what was done to them.

Files are found and read as all texts are (texts.py, formats.py): packed or not, of several lines a
record, with comments; a table with a column of sequences will do, too. Here letters are checked:
small ones are read as capitals, a stop (`*`) at the end is taken off, others are refused or read as
the letter for "any residue". Nothing is changed without being counted.

Array suffixes: N residues of all sequences, R sequences, A letters of the alphabet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from .arguments import Corpus
from .pieces import documents_of
from .residues import ALPHABETS, UNKNOWN
from .synthetic_proteins import synthetic_proteins
from .texts import load_texts

if TYPE_CHECKING:  # datasets takes a second to import
    from datasets import Dataset

SYNTHETIC = "synthetic proteins (a hidden Markov model of helices and strands)"
UNKNOWN_LETTERS = ("refuse", "map")
_NUCLEIC_SHARE = 0.9  # of all letters, from which on they are bases
_GAPS = "-.~"
_ENDS = "*"
_NUM_HELD_OUT = 200  # of the synthetic ones
_FIELDS = (
    "dataset_name",
    "dataset_config_name",
    "train_file",
    "validation_file",
    "validation_fraction",
    "text_column",
    "line_by_line",
    "include",
    "exclude",
)


@dataclass(frozen=True)
class Sequences:
    """Sequences of residues.

    Args:
        kind: "protein", "dna" or "rna".
        ids_N: uint8 (N,), residues of all sequences, one after the other, as ids.
        ends_R: int64 (R,), where each sequence ends among them.
        notes: what was done to the letters, with counts.
    """

    kind: str
    ids_N: np.ndarray
    ends_R: np.ndarray
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ends_R)

    @property
    def lengths_R(self) -> np.ndarray:
        """int64 (R,), residues of each sequence."""
        return np.diff(self.ends_R, prepend=0)

    @property
    def texts(self) -> list[str]:
        """The letters of each sequence."""
        letters_A = np.frombuffer("".join(sorted(ALPHABETS[self.kind])).encode(), np.uint8)
        letters = letters_A[self.ids_N].tobytes().decode()
        begins_R = self.ends_R - self.lengths_R
        return [letters[begin:end] for begin, end in zip(begins_R, self.ends_R, strict=True)]

    def __str__(self) -> str:
        """One line, such as "12 sequences of protein, 3,456 residues (8..901 each); ..."."""
        lengths = f"{self.lengths_R.min():,}..{self.lengths_R.max():,} each"
        size = f"{len(self):,} sequences of {self.kind}, {len(self.ids_N):,} residues ({lengths})"
        return "; ".join([size, *self.notes])


def read_sequences(
    texts: Iterable[str], kind: str = "auto", unknown: str = "refuse", name: str = "the data"
) -> Sequences:
    """Reads sequences of letters.

    Args:
        texts: the letters of each sequence.
        kind: "protein", "dna" or "rna"; "auto": bases if nine letters in ten are A, C, G, T, U or
            N, of DNA or RNA by whether there is more T or U, and proteins otherwise.
        unknown: letters outside the alphabet are an error ("refuse") or X (of bases N; "map").
            Gaps of an alignment are an error in both.
        name: of the data, for messages.

    Returns:
        The sequences in order, without those that have no residue, which are counted.

    Raises:
        ValueError: if there is none, or a letter is refused: which, and where.
    """
    choices = ("auto", *ALPHABETS)
    for what, value, known in (("kind", kind, choices), ("unknown", unknown, UNKNOWN_LETTERS)):
        if value not in known:
            raise ValueError(f"{what} is {value!r}; expected one of {', '.join(known)}.")
    notes: Counter[str] = Counter()
    kept = [*_without_ends(texts, notes)]
    if not kept:
        raise ValueError(f"{name} holds no residues; expected at least one sequence.")
    ends_R = np.cumsum([len(letters) for letters in kept])
    # characters beyond ASCII become "?", which is in no alphabet
    codes_N = np.frombuffer("".join(kept).encode("ascii", "replace"), np.uint8)
    small_N = (codes_N >= ord("a")) & (codes_N <= ord("z"))
    notes["small letters read as capitals"] = int(small_N.sum())
    codes_N = codes_N - 32 * small_N.astype(np.uint8)
    if kind == "auto":
        kind = _kind_of(codes_N)
    ids_N, strange = _ids_of(codes_N, kind)
    if len(strange):
        where = partial(_place, kept, ends_R, name)
        counts = _counted_strange(strange, where, kind, unknown, codes_N)
        notes[f"unknown letters ({counts}) read as {UNKNOWN[kind]}"] = len(strange)
    told = [f"{what}: {number:,}" for what, number in notes.items() if number]
    return Sequences(kind, ids_N, ends_R, told)


def _without_ends(texts: Iterable[str], notes: Counter[str]) -> Iterable[str]:
    for text in texts:
        letters = text.rstrip(_ENDS)
        notes["stops (*) at the end of a sequence taken off"] += letters != text
        if letters:
            yield letters
        else:
            notes["sequences without residues left out"] += 1


def _kind_of(codes_N: np.ndarray) -> str:
    counts = np.bincount(codes_N, minlength=256)
    if counts[[*b"ACGTUN"]].sum() < _NUCLEIC_SHARE * len(codes_N):
        return "protein"
    return "rna" if counts[ord("U")] > counts[ord("T")] else "dna"


def _ids_of(codes_N: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (N,), ids of letters, and the places of those that are outside the alphabet."""
    letters = sorted(ALPHABETS[kind])
    table = np.full(256, letters.index(UNKNOWN[kind]), np.uint8)
    table[[ord(letter) for letter in letters]] = np.arange(len(letters))
    strange_N = ~np.isin(codes_N, [ord(letter) for letter in letters])
    return table[codes_N], np.flatnonzero(strange_N)


def _place(kept: list[str], ends_R: np.ndarray, name: str, at: int) -> tuple[str, str]:
    """The letter at a place of all letters, and where that is, in words."""
    number = int(np.searchsorted(ends_R, at, side="right"))
    inside = at - int(ends_R[number]) + len(kept[number])
    place = f"sequence {number + 1:,} of {name} (of those with residues), position {inside + 1:,}"
    return kept[number][inside], place


def _counted_strange(
    strange: np.ndarray, where: Any, kind: str, unknown: str, codes_N: np.ndarray
) -> str:
    """Letters outside the alphabet with their counts, or a ValueError about one of them."""
    gaps = strange[np.isin(codes_N[strange], [*_GAPS.encode()])]
    headers = strange[codes_N[strange] == ord(">")]
    if len(headers):
        _, place = where(int(headers[0]))
        raise ValueError(
            f"{place} holds '>', with which a record of FASTA begins; expected residues: give the"
            " file a suffix of FASTA, such as .fasta."
        )
    if len(gaps) or unknown == "refuse":
        letter, place = where(int((gaps if len(gaps) else strange)[0]))
        way_out = "take the gaps of the alignment out" if len(gaps) else "--unknown_residues map"
        alphabet = ALPHABETS[kind]
        raise ValueError(
            f"{place} holds {letter!r}; expected {kind} in the letters {alphabet}, and at most a"
            f" stop (*) at the end ({len(strange):,} letters are others): {way_out}, or name"
            " another --alphabet."
        )
    found = Counter(chr(code) for code in codes_N[strange].tolist())
    return ", ".join(f"{letter!r} {number:,}" for letter, number in found.most_common(8))


def load_sequences(
    corpus: Corpus, kind: str = "auto", unknown: str = "refuse"
) -> dict[str, Sequences]:
    """Sequences to train on and to validate on, split by record.

    Args:
        corpus: which files, and what is held out of them; the one that names none is synthetic.
        kind: as for [`read_sequences`]; "auto" looks at the training data.
        unknown: as for [`read_sequences`].

    Returns:
        "train" and "validation". Of the latter it is told how many are in the former, too.

    Raises:
        ValueError: if there is no data, it cannot be read, or a single record cannot be split.
    """
    texts: Mapping[str, Any]
    if corpus.train_file is None and corpus.dataset_name is None:
        _check_no_settings(corpus)
        proteins = synthetic_proteins()
        texts = {"train": proteins[:-_NUM_HELD_OUT], "validation": proteins[-_NUM_HELD_OUT:]}
    else:
        texts = _loaded(corpus)
    train = read_sequences(texts["train"], kind, unknown, "the training data")
    held_out = read_sequences(texts["validation"], train.kind, unknown, "the validation data")
    known = {*train.texts}
    again = sum(text in known for text in held_out.texts)
    if again:
        held_out.notes.append(f"in the training data, too: {again:,}")
    return {"train": train, "validation": held_out}


def _check_no_settings(corpus: Corpus) -> None:
    default = Corpus()
    for name in _FIELDS:
        if getattr(corpus, name) != getattr(default, name):
            raise ValueError(f"got {name}={getattr(corpus, name)!r} without a train_file.")


def _loaded(corpus: Corpus) -> Mapping[str, Iterable[str]]:
    splits = load_texts(**{name: getattr(corpus, name) for name in _FIELDS})
    if splits.reports["train"].num_documents == 1 and "validation" not in splits.reports:
        raise ValueError(
            "the training data is a single record; expected at least 2, to hold some out, or a"
            " validation_file (a file without a suffix of FASTA, such as .fasta, is one record)."
        )
    return {name: _documents(rows) for name, rows in splits.items()}


def _documents(rows: Dataset | Any) -> Iterable[str]:
    return map("".join, documents_of(rows, "text"))
