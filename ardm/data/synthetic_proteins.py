"""Synthetic proteins: sequences of a known law, for a first run without any file.

A hidden Markov model, made up for this project, of no organism and not fitted to any data. Its
states are places in secondary structure:

    helix     7 states in turn (a heptad abcdefg: hydrophobic at a and d), then another turn with
              probability 0.6, a loop with 0.4
    strand    2 states in turn (hydrophobic, polar), then another pair with 0.7, a loop with 0.3
    loop      another residue of loop with 0.6, a helix with 0.25, a strand with 0.15

A sequence has M in front, then 19..49 residues, the number uniform, from a loop on. Each state has
four or five residues that are likely (together 0.9) and gives the others the rest. The probability
of a sequence given its length is known exactly (the forward algorithm), so that a bound can be held
against it: no model is better on average.

Array suffixes: A residues, H hidden states, R sequences, L places, U uniforms, X outcomes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_RESIDUES = "ACDEFGHIKLMNPQRSTVWY"
_SHARE = 0.9  # of the residues that are likely in a state
_LIKELY = (
    *("LIVA", "EKQR", "ENSD", "LIMA", "EKAQ", "KRQE", "AKES"),  # heptad, a to g
    *("VIYFT", "TSKRE"),  # strand
    "GPDNS",  # loop
)
_NUM_HEPTAD = 7
_STRAND = 7  # the first state of it
_LOOP = 9
_LENGTHS = (20, 50)


def _tables() -> tuple[np.ndarray, np.ndarray]:
    """float64 (H, H) transitions and (H, A) emissions; rows sum to 1."""
    num_states = len(_LIKELY)
    move_HH = np.zeros((num_states, num_states))
    for state in (*range(_NUM_HEPTAD - 1), _STRAND):
        move_HH[state, state + 1] = 1
    move_HH[_NUM_HEPTAD - 1, [0, _LOOP]] = 0.6, 0.4
    move_HH[_STRAND + 1, [_STRAND, _LOOP]] = 0.7, 0.3
    move_HH[_LOOP, [_LOOP, 0, _STRAND]] = 0.6, 0.25, 0.15
    emit_HA = np.empty((num_states, len(_RESIDUES)))
    for state, likely in enumerate(_LIKELY):
        emit_HA[state] = (1 - _SHARE) / (len(_RESIDUES) - len(likely))
        emit_HA[state, [_RESIDUES.index(residue) for residue in likely]] = _SHARE / len(likely)
    return move_HH, emit_HA


def synthetic_proteins(number: int = 4200, seed: int = 0) -> list[str]:
    """Draws sequences.

    Args:
        number: how many.
        seed: of the draws.

    Returns:
        Sequences of 20..50 letters; the first ones of a greater number are those of a smaller.
    """
    move_HH, emit_HA = (table.cumsum(1) for table in _tables())
    shortest, longest = _LENGTHS
    uniforms_RU = np.random.default_rng(seed).random((number, 2 * longest))
    state_R = np.full(number, _LOOP)
    letters_RL = np.full((number, longest), _RESIDUES.index("M"))
    for place in range(1, longest):
        drawn_R, moved_R = uniforms_RU[:, 2 * place], uniforms_RU[:, 2 * place + 1]
        letters_RL[:, place] = _drawn(emit_HA[state_R], drawn_R)
        state_R = _drawn(move_HH[state_R], moved_R)
    lengths_R = shortest + (uniforms_RU[:, 0] * (longest + 1 - shortest)).astype(int)
    return [
        "".join(_RESIDUES[letter] for letter in letters_L[:length])
        for letters_L, length in zip(letters_RL, lengths_R, strict=True)
    ]


def _drawn(cumulative_RX: np.ndarray, uniforms_R: np.ndarray) -> np.ndarray:
    """int64 (R,), an outcome of each row's law, which is given as its cumulative sums."""
    chosen_R = (cumulative_RX < uniforms_R[:, None]).sum(1)
    return np.minimum(chosen_R, cumulative_RX.shape[1] - 1)  # the last sum may be rounded below 1


def synthetic_nats(sequences: Sequence[str]) -> np.ndarray:
    """What sequences cost under the law that they are of.

    Args:
        sequences: of [`synthetic_proteins`].

    Returns:
        float64 (number,), -log p(sequence | its length) of each, nats.
    """
    move_HH, emit_HA = _tables()
    nats = []
    for sequence in sequences:
        ahead_H = np.eye(len(move_HH))[_LOOP]  # p(letters so far, next state)
        total = 0.0
        for letter in sequence[1:]:
            joint_H = ahead_H * emit_HA[:, _RESIDUES.index(letter)]
            total -= float(np.log(joint_H.sum()))
            ahead_H = joint_H / joint_H.sum() @ move_HH
        nats.append(total)
    return np.array(nats)
