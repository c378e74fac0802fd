"""An order is a permutation, its rank the inverse; a queue is a row's masks in that order.

Orders that look at logits are scores by their definitions, sorted, with rounding kept out of it.
"""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ardm import ARDMForMaskedLM
from ardm.orders import (
    LOGIT_ORDERS,
    ORDER_NAMES,
    check_order,
    confidence,
    custom_scores,
    entropy,
    generation_queue,
    margin,
    order_scores,
    order_to_rank,
)

PLACES = torch.arange(4).expand(3, 4)
UNIFORMS = torch.rand(3, 4, dtype=torch.float64)


@settings(max_examples=50)
@given(st.integers(0, 10).flatmap(lambda length: st.permutations(range(length))))
def test_rank_is_the_inverse_permutation(permutation):
    order = torch.tensor(permutation, dtype=torch.long)
    rank = order_to_rank(order)
    assert all(rank[position] == step for step, position in enumerate(permutation))
    assert torch.equal(order_to_rank(rank), order)


def test_rank_of_a_batch_is_that_of_its_rows():
    orders = torch.stack([torch.randperm(6) for _ in range(5)])
    assert torch.equal(
        order_to_rank(orders), torch.stack([order_to_rank(order) for order in orders])
    )


def test_explicit_order_is_broadcast_and_means_positions():
    order = torch.tensor([2, 0, 3, 1])
    for given_order in (order, order.int(), order.expand(3, 4)):
        assert torch.equal(check_order(given_order, 3, 4), order.expand(3, 4))
        scores = order_scores(given_order, PLACES, UNIFORMS)
        assert torch.equal(
            generation_queue(scores, torch.ones(3, 4, dtype=torch.bool)), order.expand(3, 4)
        )


def test_named_orders():
    masked = torch.ones(3, 4, dtype=torch.bool)
    for name, expected in (
        ("left_to_right", PLACES),
        ("right_to_left", PLACES.flip(1)),
        ("random", UNIFORMS.argsort(1)),
    ):
        assert torch.equal(generation_queue(order_scores(name, PLACES, UNIFORMS), masked), expected)


@settings(max_examples=100)
@given(st.integers(0, 4), st.integers(1, 8), st.integers(0, 2**31))
def test_queue_is_the_masks_in_order_then_the_rest(batch, length, seed):
    torch.manual_seed(seed)
    scores, masked = torch.randint(0, 4, (batch, length)), torch.rand(batch, length) < 0.5
    for row, queue in enumerate(generation_queue(scores, masked).tolist()):
        key = sorted(
            range(length), key=lambda p, row=row: (not masked[row, p], int(scores[row, p]), p)
        )
        assert queue == key  # ties in the order of positions


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (torch.arange(4.0), "float32"),
        ([0, 1, 2, 3], "list"),
        (3, "int"),
        (None, "NoneType"),
        (torch.arange(5), r"shape \(5,\)"),
        (torch.arange(4).expand(2, 4), r"shape \(2, 4\)"),
        (torch.arange(4).expand(1, 3, 4), "shape"),
        (torch.tensor([0, 1, 2, 2]), "no permutation"),
        (torch.tensor([1, 2, 3, 4]), "no permutation"),
        (torch.tensor([-1, 0, 1, 2]), "no permutation"),
        (torch.tensor([[0, 1, 2, 3], [0, 1, 2, 3], [3, 1, 2, 3]]), "no permutation"),
        ("sideways", "sideways"),
        ("", "expected one of"),
    ],
)
def test_what_is_no_order_is_refused(order, message):
    with pytest.raises(ValueError, match=message):
        order_scores(order, PLACES, UNIFORMS)


# ------------------------------------------------------------------- orders that look at the logits
@settings(max_examples=20)
@given(
    st.integers(0, 2),
    st.integers(1, 3),
    st.integers(2, 9),
    st.sampled_from([0.1, 3.0, 30.0]),
    st.integers(0, 2**31),
)
def test_scores_are_their_definitions(batch, width, vocab, scale, seed):
    torch.manual_seed(seed)
    logits = torch.randn(batch, width, vocab) * scale
    logits[torch.rand(logits.shape) < 0.2] = -torch.inf
    logits[..., 0] = 0.0  # something is possible
    for row in range(batch):
        for column in range(width):
            exponentials = [math.exp(value) for value in logits[row, column].tolist()]
            probs = sorted(
                (value / math.fsum(exponentials) for value in exponentials), reverse=True
            )
            expected = {
                confidence: math.log(probs[0]),
                margin: probs[0] - probs[1],
                entropy: -math.fsum(p * math.log(p) for p in probs if p),
            }
            for score, value in expected.items():
                assert float(score(logits)[row, column]) == pytest.approx(value, abs=1e-5)
                assert score(logits).shape == (batch, width)
                half = score(logits.bfloat16())  # computed in float32 from what the network gives
                torch.testing.assert_close(half, score(logits.bfloat16().float()))


def test_orders_have_the_public_names():
    known = ["random", "left_to_right", "right_to_left"]
    of_logits = ["confidence", "margin", "entropy", "drawn_confidence", "drawn_probability"]
    assert list(ORDER_NAMES) == [*known, *of_logits]


def test_the_surest_position_has_the_highest_score():
    logits = torch.tensor([[[5.0, 0.0, 0.0], [0.1, 0.0, 0.0], [5.0, 4.9, -9.0]]])
    first = {
        name: score(logits)[0].argsort(descending=True).tolist()
        for name, score in LOGIT_ORDERS.items()
    }
    assert first == {"confidence": [0, 2, 1], "margin": [0, 2, 1], "entropy": [0, 2, 1]}
    logits = torch.tensor([[[0.45, 0.44, 0.11], [0.4, 0.3, 0.3]]]).log()
    assert (
        LOGIT_ORDERS["margin"](logits)[0].argmax()
        == 1
        != LOGIT_ORDERS["confidence"](logits)[0].argmax()
    )


@pytest.mark.parametrize("order", LOGIT_ORDERS)
def test_positions_of_equal_scores_are_generated_left_to_right(tiny_model, order):
    model = ARDMForMaskedLM(tiny_model().config).eval()  # predicts the same everywhere
    for batch in (1, 3):
        out = model.generate(torch.full((batch, 8), 3), order=order, return_dict_in_generate=True)
        assert torch.equal(out.order, torch.arange(8).expand(batch, 8))


# ----------------------------------------------------------------------------------- a user's order
MASKED = torch.tensor([[True, False, True], [False, True, True]])


def test_a_users_order_gets_its_arguments_and_gives_scores():
    logits, generator, seen = torch.randn(2, 3, 5), torch.Generator(), []
    # NaN where nothing is hidden
    scores = torch.tensor([[1.0, torch.nan, torch.inf], [torch.nan, -torch.inf, 0.0]])
    given_back = custom_scores(
        lambda *arguments: seen.append(arguments) or scores, logits, MASKED, generator
    )
    assert given_back is scores
    assert (
        seen[0][0] is logits
        and seen[0][1] is MASKED
        and seen[0][2] is generator
        and len(seen[0]) == 3
    )
    for dtype in (torch.int64, torch.bool):
        converted = custom_scores(
            lambda *_, dtype=dtype: MASKED.to(dtype), logits, MASKED, generator
        )
        assert torch.equal(converted, MASKED.double()) and converted.dtype == torch.float64
    half = torch.zeros(2, 3, dtype=torch.float16)
    assert custom_scores(lambda *_: half, logits, MASKED, generator).dtype == torch.float16


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (None, "scores are NoneType"),
        ([[0.0] * 3] * 2, "scores are list"),
        (torch.zeros(3), r"scores are \(3,\); expected a tensor \(2, 3\)"),
        (torch.zeros(2, 4), r"scores are \(2, 4\)"),
        (torch.zeros(2, 3, 5), r"scores are \(2, 3, 5\)"),
        (torch.where(MASKED, torch.nan, 0.0), "NaN at a masked position"),
        (torch.tensor([[0.0, 0.0, torch.nan], [0.0, 0.0, 0.0]]), "NaN at a masked position"),
    ],
)
def test_what_are_no_scores_is_refused(scores, message):
    with pytest.raises(ValueError, match=message):
        custom_scores(lambda *_: scores, torch.zeros(2, 3, 5), MASKED, torch.Generator())
