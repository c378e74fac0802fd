"""Ranking: a sort in which rounding decides nothing, and the set of its first ones."""

import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ardm.orders import DRAWN_ORDERS, LOGIT_ORDERS, logit_order
from ardm.ranking import TIE, best, ranking


def reference_ranking(scores, is_open, tie):
    """Sorts by score; who follows the one before within `tie` is its equal; equals by position."""
    if tie is None:
        finite = [
            abs(s) for s, here in zip(scores, is_open, strict=True) if here and math.isfinite(s)
        ]
        tie = 1e-6 * max(finite, default=0.0)
    first = sorted((p for p, here in enumerate(is_open) if here), key=lambda p: -scores[p])
    groups: list[list[int]] = []
    for position in first:
        before = scores[groups[-1][-1]] if groups else math.inf
        equal = scores[position] == before or before - scores[position] <= tie
        if groups and equal:
            groups[-1].append(position)
        else:
            groups.append([position])
    closed = [p for p, here in enumerate(is_open) if not here]
    return [p for group in groups for p in sorted(group)] + closed


# levels far apart, steps within the tie and beyond it: 0 and 16e-6 are equal only through 8e-6
SCORES = st.one_of(
    st.builds(lambda level, step: level + step * 8e-6, st.integers(-2, 2), st.integers(0, 4)),
    st.sampled_from([math.inf, -math.inf, 1e300, -1e300]),
)


@example([(0.0, True), (5.0, False), (8e-6, True)], TIE)
@settings(max_examples=200)
@given(
    st.lists(st.tuples(SCORES, st.booleans()), min_size=1, max_size=9),
    st.sampled_from([TIE, None, 0.0]),
)
def test_ranking_is_sorting_with_chained_ties_by_position(row, tie):
    scores, is_open = [score for score, _ in row], [here for _, here in row]
    indices = ranking(torch.tensor([scores], dtype=torch.float64), torch.tensor([is_open]), tie)
    assert indices.tolist() == [reference_ranking(scores, is_open, tie)]


@pytest.mark.parametrize("order", [*LOGIT_ORDERS, *DRAWN_ORDERS])
def test_ranks_are_exact_in_a_large_vocabulary(order):
    """Where all probabilities are small, they still differ by far more than rounding."""
    logits = torch.randn(1, 16, 50_000, generator=torch.Generator().manual_seed(0))
    is_open = torch.ones(1, 16, dtype=torch.bool)
    tokens = logits[..., :500].argmax(-1)
    drawn = (tokens,) if order in DRAWN_ORDERS else ()
    log_probs = logits.double().log_softmax(-1)
    top = log_probs.exp().topk(2).values
    exact = {
        "confidence": log_probs.amax(-1),
        "margin": top[..., 0] - top[..., 1],
        "entropy": (log_probs.exp() * log_probs).sum(-1),
    }.get(order, log_probs.gather(-1, tokens[..., None])[..., 0])
    expected = exact.argsort(1, descending=True)
    scores, tie = logit_order(order).scores_and_tie(logits, is_open, *drawn)
    assert torch.equal(ranking(scores, is_open, tie), expected)
    assert expected.tolist() != [[*range(16)]]
    for count in (1, 5):
        chosen = best(scores, is_open, tie, count)
        assert torch.equal(chosen.sort(1).values, expected[:, :count].sort(1).values)
        rounded = logits + 2e-7 * torch.rand(logits.shape)
        again, tie = logit_order(order).scores_and_tie(rounded, is_open, *drawn)
        assert torch.equal(best(again, is_open, tie, count).sort(1).values, chosen.sort(1).values)


@pytest.mark.parametrize("order", [*LOGIT_ORDERS, *DRAWN_ORDERS])
@pytest.mark.parametrize("vocab_size", [3, 50_000])
def test_equal_situations_are_ranked_from_the_left_whatever_rounding_says(order, vocab_size):
    """Of two likely tokens, too, whose margin is small against their probabilities."""
    row = torch.randn(vocab_size, generator=torch.Generator().manual_seed(1))
    row[0] = row.max() + 1
    row[1] = row[0] - 0.01
    logits = row + 1e-6 * torch.rand(1, 12, vocab_size, generator=torch.Generator().manual_seed(2))
    is_open = torch.ones(1, 12, dtype=torch.bool)
    drawn = (torch.zeros(1, 12, dtype=torch.long),) if order in DRAWN_ORDERS else ()
    scores, tie = logit_order(order).scores_and_tie(logits, is_open, *drawn)
    assert ranking(scores, is_open, tie).tolist() == [[*range(12)]]


@settings(max_examples=50)
@given(st.integers(1, 4), st.integers(1, 9), st.integers(0, 2**31))
def test_rounding_does_not_change_the_ranking(batch, width, seed):
    torch.manual_seed(seed)
    scores, is_open = torch.randint(-3, 4, (batch, width)).double(), torch.rand(batch, width) < 0.8
    expected = [
        reference_ranking(s, o, TIE) for s, o in zip(scores.tolist(), is_open.tolist(), strict=True)
    ]
    for noise, tie in ((1e-7, TIE), (1e-7, None)):  # None: in proportion to the scores
        noisy = scores + noise * (2 * torch.rand(scores.shape, dtype=torch.float64) - 1)
        same = [
            row
            for row in range(batch)
            if tie is not None or (scores[row].abs() * is_open[row]).max() >= 1
        ]
        assert ranking(noisy, is_open, tie)[same].tolist() == [expected[row] for row in same]
    scaled = ranking((scores + 1e-7 * torch.rand(scores.shape)).mul(1e4), is_open, None)
    same = [row for row in range(batch) if (scores[row].abs() * is_open[row]).max() >= 1]
    assert scaled[same].tolist() == [expected[row] for row in same]


def test_the_ranking_of_a_row_does_not_depend_on_the_others():
    scores, is_open = torch.randn(5, 7), torch.rand(5, 7) < 0.7
    scores[0] *= 1e6  # a row with a scale of its own
    for tie in (TIE, None):
        rows = [ranking(scores[row : row + 1], is_open[row : row + 1], tie) for row in range(5)]
        assert torch.equal(ranking(scores, is_open, tie), torch.cat(rows))


@settings(max_examples=100)
@given(
    st.integers(1, 4), st.integers(1, 9), st.integers(0, 2**31), st.sampled_from([TIE, None, 0.0])
)
def test_the_best_are_the_first_of_the_ranking(batch, width, seed, tie):
    torch.manual_seed(seed)
    scores = torch.randint(-3, 4, (batch, width)).double() * 0.4e-5 + torch.randint(
        0, 2, (batch, width)
    )
    is_open = torch.rand(batch, width) < 0.8
    for count in range(1, int(is_open.sum(1).min()) + 1):
        expected = ranking(scores, is_open, tie)[:, :count].sort(1).values
        assert torch.equal(best(scores, is_open, tie, count).sort(1).values, expected)
