"""Synthetic proteins: drawn by the law whose nats are known, the same every time."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from ardm.data.synthetic_proteins import (
    _LOOP,
    _RESIDUES,
    _tables,
    synthetic_nats,
    synthetic_proteins,
)


def test_the_same_seed_is_the_same_sequences():
    some = synthetic_proteins(20, seed=3)
    assert some == synthetic_proteins(30, seed=3)[:20] != synthetic_proteins(20, seed=4)
    assert all(20 <= len(each) <= 50 and each[0] == "M" for each in some)
    assert {*"".join(some)} <= {*_RESIDUES}


def test_tables_are_laws():
    move, emit = _tables()
    assert np.allclose(move.sum(1), 1) and np.allclose(emit.sum(1), 1) and (emit > 0).all()


def test_nats_are_those_of_summing_over_all_hidden_paths():
    move, emit = _tables()
    for sequence in ("M", "MG", "MGK", "MLVW"):
        total = 0.0
        for path in itertools.product(range(len(move)), repeat=len(sequence) - 1):
            states = [_LOOP, *path]  # path[i] comes after letter i + 1
            share = 1.0
            for i, letter in enumerate(sequence[1:]):
                share *= emit[states[i], _RESIDUES.index(letter)] * move[states[i], states[i + 1]]
            total += share
        assert synthetic_nats([sequence])[0] == pytest.approx(-math.log(total))


def test_probabilities_of_all_sequences_of_a_length_sum_to_1():
    pairs = ("".join(("M", *pair)) for pair in itertools.product(_RESIDUES, repeat=2))
    assert np.exp(-synthetic_nats([*pairs])).sum() == pytest.approx(1)


def test_second_and_third_letters_follow_the_law():
    found = [each[1:3] for each in synthetic_proteins(3000, seed=1)]
    pairs = ["".join(pair) for pair in itertools.product(_RESIDUES, repeat=2)]
    expected = np.exp(-synthetic_nats([f"M{pair}" for pair in pairs])) * len(found)
    observed = np.array([found.count(pair) for pair in pairs])
    rare = expected < 5
    cells = (np.append(each[~rare], each[rare].sum()) for each in (observed, expected))
    assert stats.chisquare(*cells).pvalue > 1e-4
