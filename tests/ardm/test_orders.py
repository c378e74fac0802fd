"""An order is a permutation of positions, its rank the inverse; the queue of a row is its masks in that order."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ardm.orders import check_order, generation_queue, order_scores, order_to_rank

PLACES = torch.arange(4).expand(3, 4)
UNIFORMS = torch.rand(3, 4, dtype=torch.float64)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10).flatmap(lambda length: st.permutations(range(length))))
def test_rank_is_the_inverse_permutation(permutation):
    order = torch.tensor(permutation, dtype=torch.long)
    rank = order_to_rank(order)
    assert all(rank[position] == step for step, position in enumerate(permutation))
    assert torch.equal(order_to_rank(rank), order)


def test_rank_of_a_batch_is_that_of_its_rows():
    orders = torch.stack([torch.randperm(6) for _ in range(5)])
    assert torch.equal(order_to_rank(orders), torch.stack([order_to_rank(order) for order in orders]))


def test_explicit_order_is_broadcast_and_means_positions():
    order = torch.tensor([2, 0, 3, 1])
    for given_order in (order, order.int(), order.expand(3, 4)):
        assert torch.equal(check_order(given_order, 3, 4), order.expand(3, 4))
        scores = order_scores(given_order, PLACES, UNIFORMS)
        assert torch.equal(generation_queue(scores, torch.ones(3, 4, dtype=torch.bool)), order.expand(3, 4))


def test_named_orders():
    masked = torch.ones(3, 4, dtype=torch.bool)
    for name, expected in (
        ("left_to_right", PLACES),
        ("right_to_left", PLACES.flip(1)),
        ("random", UNIFORMS.argsort(1)),
    ):
        assert torch.equal(generation_queue(order_scores(name, PLACES, UNIFORMS), masked), expected)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 4), st.integers(1, 8), st.integers(0, 2**31))
def test_queue_is_the_masks_in_order_then_the_rest(batch, length, seed):
    torch.manual_seed(seed)
    scores, masked = torch.randint(0, 4, (batch, length)), torch.rand(batch, length) < 0.5
    for row, queue in enumerate(generation_queue(scores, masked).tolist()):
        key = sorted(range(length), key=lambda p, row=row: (not masked[row, p], int(scores[row, p]), p))
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
