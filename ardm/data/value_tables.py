"""Value tables: coarse values of a vocabulary, for `ARDMConfig(value_tree=table)`.

A table has S-1 rows of K integers, the coarsest row first: one label for each value of the
vocabulary in the order of ids, each row a coarsening of the next. Values are all ids but the mask,
pad, EOS, BOS and UNK of the tokenizer. Here are bands of frequency and clusters of embeddings (as
in HDLM, arXiv 2510.08632); what can be seen of a token is in character_classes.py.

Array suffixes: V vocabulary, K values, C channels, G groups.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from transformers import PreTrainedTokenizerBase

from ..training import check_integer
from .tokenization import vocabulary_size

Table: TypeAlias = list[list[int]]

_NO_VALUES = ("mask", "pad", "eos", "bos", "unk")
_SLACK = 2.0  # a cluster has at most so many times its share of the points


def value_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The ids that a table has labels for: those of a new model's values.

    Args:
        tokenizer: any; its vocabulary may have gaps, whose ids are values, too.

    Returns:
        K ids, rising: all but those of the mask, pad, EOS, BOS and UNK token.

    Raises:
        ValueError: if there are none.
    """
    special = {getattr(tokenizer, f"{name}_token_id") for name in _NO_VALUES}
    values = [token for token in range(vocabulary_size(tokenizer)) if token not in special]
    if not values:
        raise ValueError(
            f"the tokenizer has {vocabulary_size(tokenizer)} ids and all are special tokens;"
            " expected values to make a table of."
        )
    return values


# ---------------------------------------------------------------------------- bands of frequency
def frequency_table(
    tokenizer: PreTrainedTokenizerBase,
    counts: Sequence[float] | np.ndarray | Mapping[int, float],
    sizes: Sequence[int | Sequence[int]],
) -> Table:
    """Bands of values, from the most frequent ones to the rarest.

    Args:
        tokenizer: whose ids are counted.
        counts: (V,), how often each id occurs, or a mapping of ids, in which others count 0.
        sizes: for each row, the coarsest first, the number of its bands, which are then of about
            equal probability, or how many values each band has, the most frequent ones first.

    Returns:
        As many rows as there are sizes; labels rise as frequency falls.

    Raises:
        ValueError: if counts do not fit the vocabulary, are negative, not finite or all 0, or rows
            would not be nested, each with more bands than the one above and fewer than values.
    """
    ids = value_ids(tokenizer)
    counts_K = _counts(counts, vocabulary_size(tokenizer))[ids]
    if not counts_K.sum() > 0:
        raise ValueError("counts are 0 for all values; expected some to be counted.")
    order_K = np.argsort(-counts_K, kind="stable")
    mass_K = counts_K[order_K].cumsum() / counts_K.sum()
    num_values = len(ids)
    bands = [len(size) if isinstance(size, Sequence) else size for size in sizes]
    bands = _check_rising("sizes", bands, num_values)
    borders = [*range(1, num_values)]  # where a band may end; of a finer row where one does
    rows: Table = []
    for number, size in reversed([*enumerate(sizes)]):
        if isinstance(size, Sequence):
            borders = _given_borders(size, borders, num_values, number)
        else:
            borders = _equal_masses(mass_K, borders, bands[number])
        labels_K = np.empty(num_values, np.int64)
        labels_K[order_K] = np.searchsorted(borders, np.arange(num_values), side="right")
        rows.insert(0, labels_K.tolist())
    return rows


def _counts(counts: Any, vocab_size: int) -> np.ndarray:
    """float64 (V,), checked."""
    if isinstance(counts, Mapping):
        outside = [
            token for token in counts if not isinstance(token, int) or not 0 <= token < vocab_size
        ]
        if outside:
            raise ValueError(
                f"counts hold the id {outside[0]!r}; expected ids 0..{vocab_size - 1}."
            )
        counts = [counts.get(token, 0) for token in range(vocab_size)]
    counts_V = np.asarray(counts, np.float64)
    if counts_V.shape != (vocab_size,):
        raise ValueError(
            f"counts have the shape {counts_V.shape}; expected ({vocab_size},), one for each id."
        )
    if not (np.isfinite(counts_V) & (counts_V >= 0)).all():
        raise ValueError("counts hold a negative number or none; expected numbers of at least 0.")
    return counts_V


def _equal_masses(mass_K: np.ndarray, borders: list[int], num_bands: int) -> list[int]:
    """Of the borders those that cut the mass into about equal bands."""
    chosen: list[int] = []
    first = 0
    for band in range(1, num_bands):
        last = len(borders) - (num_bands - 1 - band)  # leaves one for each band that is to come
        masses = mass_K[np.array(borders[first:last]) - 1]
        first += int(np.abs(masses - band / num_bands).argmin())
        chosen.append(borders[first])
        first += 1
    return chosen


def _given_borders(sizes: Any, borders: list[int], num_values: int, number: int) -> list[int]:
    """The borders between bands of given sizes."""
    whole = [check_integer(f"a size of row {number}", size, 1) for size in sizes]
    if sum(whole) != num_values:
        raise ValueError(
            f"sizes of row {number} sum to {sum(whole)}; expected {num_values}, the number of"
            " values."
        )
    ends = np.cumsum(whole)[:-1].tolist()
    if not {*ends} <= {*borders}:
        raise ValueError(
            f"a band of row {number} ends inside a band of row {number + 1}; expected rows that are"
            " nested."
        )
    return ends


def _check_rising(name: str, numbers: Sequence[Any], num_values: int) -> list[int]:
    """Numbers of groups, each row with more than the one above it."""
    if not numbers:
        raise ValueError(f"{name} are empty; expected a number of groups for each row.")
    numbers = [check_integer(name, number, 2, max(num_values - 1, 2)) for number in numbers]
    if any(above >= below for above, below in pairwise(numbers)) or numbers[-1] >= num_values:
        raise ValueError(
            f"{name} give {numbers} groups; expected rising numbers below {num_values}, the number"
            " of values."
        )
    return numbers


# -------------------------------------------------------------------------- clusters of embeddings
def cluster_table(
    embeddings: Any,
    tokenizer: PreTrainedTokenizerBase,
    num_clusters: Sequence[int] = (16, 256),
    *,
    seed: int = 0,
) -> Table:
    """Clusters of values whose embeddings are alike, by k-means within k-means.

    No cluster has more than about twice its share of the values that it is made from: plain k-means
    may put most of a vocabulary into one.

    Args:
        embeddings: floating point (V, C), or (K, C) of the values alone; an array or a tensor.
        tokenizer: whose ids they belong to.
        num_clusters: for each row how many clusters, rising.
        seed: of k-means.

    Returns:
        As many rows as there are numbers.

    Raises:
        ImportError: if scikit-learn is not installed.
        ValueError: if embeddings or numbers do not fit the vocabulary, or are not finite.
    """
    ids = value_ids(tokenizer)
    points_KC = _points(embeddings, ids, vocabulary_size(tokenizer))
    numbers = _check_rising("num_clusters", num_clusters, len(ids))
    seed = check_integer("seed", seed, 0, 2**32 - 1)
    labels_K = np.zeros(len(ids), np.int64)
    rows: Table = []
    for number in numbers:
        labels_K = _split(points_KC, labels_K, number, seed)
        rows.append(labels_K.tolist())
    return rows


def _points(embeddings: Any, ids: list[int], vocab_size: int) -> np.ndarray:
    """float32 (K, C)."""
    if hasattr(embeddings, "detach"):
        embeddings = embeddings.detach().cpu().float()
    points = np.asarray(embeddings, np.float32)
    if points.ndim != 2 or len(points) not in (vocab_size, len(ids)) or not points.size:
        raise ValueError(
            f"embeddings have the shape {points.shape}; expected ({vocab_size}, C) with a row for"
            f" each id, or ({len(ids)}, C) for each value."
        )
    if not np.isfinite(points).all():
        raise ValueError("embeddings hold numbers that are not finite; expected a trained table.")
    return points if len(points) == len(ids) else points[ids]


def _split(points_KC: np.ndarray, labels_K: np.ndarray, number: int, seed: int) -> np.ndarray:
    """Splits clusters into `number` ones, each into as many as it has a share of the points."""
    sizes = np.bincount(labels_K)
    parts = np.ones(len(sizes), np.int64)
    while parts.sum() < number:  # the one whose parts are largest
        parts[np.argmax(sizes / parts * (parts < sizes))] += 1
    finer_K = np.empty_like(labels_K)
    first = 0
    for cluster, count in enumerate(parts.tolist()):
        inside = np.flatnonzero(labels_K == cluster)
        finer_K[inside] = first + _balanced_means(points_KC[inside], count, seed)
        first += count
    return finer_K


def _balanced_means(points_NC: np.ndarray, number: int, seed: int) -> np.ndarray:
    """int64 (N,), labels 0..number-1, each of at least one point and not of too many."""
    if number == 1:
        return np.zeros(len(points_NC), np.int64)
    try:
        from sklearn.cluster import KMeans
        from sklearn.exceptions import ConvergenceWarning
    except ImportError as error:
        raise ImportError("clusters need scikit-learn: pip install scikit-learn.") from error
    with warnings.catch_warnings():
        # fewer distinct points than clusters: those that are the same are dealt out below
        warnings.simplefilter("ignore", ConvergenceWarning)
        centres_GC = KMeans(number, n_init=1, random_state=seed).fit(points_NC).cluster_centers_
    squares = (points_NC**2).sum(1)[:, None] + (centres_GC**2).sum(1)
    distances_NG = squares - 2 * points_NC @ centres_GC.T
    labels_N = np.full(len(points_NC), -1)
    for centre in range(number):  # none stays empty
        free = np.flatnonzero(labels_N < 0)
        labels_N[free[distances_NG[free, centre].argmin()]] = centre
    room_G = np.full(number, math.ceil(_SLACK * len(points_NC) / number) - 1)
    while (labels_N < 0).any():  # in each round at least one centre is full or all have a place
        free = np.flatnonzero(labels_N < 0)
        open_NG = np.where(room_G > 0, distances_NG[free], np.inf)
        wanted = open_NG.argmin(1)
        for centre in np.unique(wanted).tolist():
            mine = free[wanted == centre]
            nearest = mine[distances_NG[mine, centre].argsort(kind="stable")[: room_G[centre]]]
            labels_N[nearest] = centre
            room_G[centre] -= len(nearest)
    return labels_N
