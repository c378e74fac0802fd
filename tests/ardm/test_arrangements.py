"""Arrangements: every shape of an order says when each reveal comes, the coarsest of each first."""

import itertools
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ardm.arrangements import (
    check_stagewise,
    open_positions,
    reveal_scores,
    reveal_times,
    shared_reveals,
)
from ardm.orders import order_to_rank
from ardm.stages import Stages
from ardm.vocabulary import stages_of

PLAIN = Stages.plain(8, 9)


def made(num_stages, stage_order="stagewise"):
    settings = {"num_stages": num_stages, "branching_factor": 8, "stage_order": stage_order}
    return stages_of(SimpleNamespace(vocab_size=9, mask_token_id=8, **settings))


def times_by_loop(arrangement, num_stages, length):
    """When position p is revealed for the k-th time: one pass over the list."""
    times = [[None] * length for _ in range(num_stages)]
    come = [0] * length
    for time, position in enumerate(arrangement):
        times[come[position]][position] = time
        come[position] += 1
    return times


@st.composite
def arrangements(draw):
    length, num_stages = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    batch = draw(st.integers(1, 3))
    cells = [*range(length)] * num_stages
    return [draw(st.permutations(cells)) for _ in range(batch)], num_stages, length


# -------------------------------------------------------------------------------- explicit orders
@settings(max_examples=60)
@given(arrangements())
def test_any_arrangement_is_read_as_the_loop_reads_it(given_rows):
    rows, num_stages, length = given_rows
    expected = torch.tensor([times_by_loop(row, num_stages, length) for row in rows])
    for dtype in (torch.int64, torch.int32):
        times = reveal_times(torch.tensor(rows, dtype=dtype), (len(rows), length), num_stages)
        assert times.dtype == torch.int64 and torch.equal(times, expected)
    alone = reveal_times(torch.tensor(rows[0]), (3, length), num_stages)
    assert torch.equal(alone, expected[:1].expand(3, -1, -1))
    assert (times.diff(dim=1) > 0).all()  # coarse first
    assert (times.flatten(1).sort(1).values == torch.arange(num_stages * length)).all()


@settings(max_examples=60)
@given(st.integers(1, 5), st.integers(2, 4), st.integers(1, 3), st.data())
def test_orders_of_stages_come_one_after_the_other(length, num_stages, batch, data):
    permutation = st.permutations(range(length))
    rows = [[data.draw(permutation) for _ in range(num_stages)] for _ in range(batch)]
    orders_BSL = torch.tensor(rows)
    shape = (batch, length)
    times = reveal_times(orders_BSL, shape, num_stages)
    expected = order_to_rank(orders_BSL) + length * torch.arange(num_stages)[:, None]
    assert torch.equal(times, expected)
    assert torch.equal(times, reveal_times(orders_BSL.flatten(1), shape, num_stages))
    first = reveal_times(orders_BSL[0], shape, num_stages)
    assert torch.equal(first, times[:1].expand(batch, -1, -1))
    same = reveal_times(orders_BSL[0, 0], shape, num_stages)
    assert torch.equal(same[0], first[0, 0] + length * torch.arange(num_stages)[:, None])
    check_stagewise(times)
    check_stagewise(same)


def test_one_stage_is_the_rank():
    order = torch.tensor([2, 0, 1])
    assert torch.equal(reveal_times(order, (2, 3), 1), order_to_rank(order).expand(2, 1, 3))
    orders = torch.tensor([[2, 0, 1], [0, 2, 1]])
    assert torch.equal(reveal_times(orders, (2, 3), 1)[:, 0], order_to_rank(orders))


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (torch.tensor([0, 1, 1]), r"order is no permutation of 0\.\.2"),
        (torch.tensor([[0, 1, 2], [0, 0, 2]]), r"order is no permutation of 0\.\.2"),
        (torch.tensor([[[0, 1, 2], [3, 1, 2]]] * 4), r"order is no permutation of 0\.\.2"),
        (torch.tensor([0, 1, 2, 0, 1, 1]), r"expected each of the positions 0\.\.2 2 times"),
        (torch.tensor([0, 1, 2, 0, 1, 3]), "order is no arrangement of the reveals"),
        (torch.tensor([[0, 1, 2, 0, 1, 2]] * 3 + [[0] * 6]), "order is no arrangement"),
        (torch.tensor([0, 1, 2, 0, 1, -1]), "order is no arrangement of the reveals"),
        (torch.arange(4), r"order has shape \(4,\); expected \(3,\), the same in each of the 2"),
        (torch.zeros(3, 3).long(), r"order has shape \(3, 3\); expected .*\(2, 3\), one a stage"),
        (torch.zeros(2, 6).long(), r"order has shape \(2, 6\); .* with 4 rows in front"),
        (torch.tensor(0), r"order has shape \(\)"),
        (torch.rand(3), r"order is torch\.float32; expected a LongTensor of positions"),
        ([0, 1, 2], "order is list; expected a LongTensor of positions"),
    ],
)
def test_what_is_no_arrangement_is_refused(order, message):
    with pytest.raises(ValueError, match=message):
        reveal_times(order, (4, 3), 2)


def test_stages_that_overlap_are_told():
    for order in ([0, 1, 0, 1], [0, 1, 1, 0]):
        mixed = reveal_times(torch.tensor(order), (2, 2), 2)
        check_stagewise(mixed)
    for order in ([0, 0, 1, 1], [1, 1, 0, 0]):
        with pytest.raises(ValueError, match="order reveals some position further before all othe"):
            check_stagewise(reveal_times(torch.tensor(order), (2, 2), 2))
    check_stagewise(torch.zeros(2, 3, 0).long())
    in_one_row = torch.tensor([[0, 1, 0, 1], [0, 0, 1, 1]])
    with pytest.raises(ValueError, match="stage_order='stagewise'"):
        check_stagewise(reveal_times(in_one_row, (2, 2), 2))


# ------------------------------------------------------------------------------------------ by name
def scores_of(order, stages, batch=1, length=3, level=None, seed=0):
    place = torch.arange(length).expand(batch, -1)
    level = torch.zeros_like(place) if level is None else level
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, stages.num_stages, length)
    uniforms = torch.rand(shape, dtype=torch.float64, generator=generator)
    return reveal_scores(order, place, uniforms, level, stages)


def test_one_stage_comes_after_the_other():
    for name in ("random", "left_to_right", "right_to_left"):
        scores = scores_of(name, made(3), batch=50)
        assert scores.dtype == torch.float64
        for earlier, later in itertools.pairwise(scores.unbind(1)):
            assert (earlier.amax(1) < later.amin(1)).all()


def test_left_to_right_is_the_same_in_every_stage():
    for stage_order in ("stagewise", "interleaved"):
        scores = scores_of("left_to_right", made(2, stage_order))
        assert scores.flatten().argsort().tolist() == [0, 1, 2, 3, 4, 5]
        scores = scores_of("right_to_left", made(2, stage_order))
        assert scores.flatten().argsort().tolist() == [2, 1, 0, 5, 4, 3]


def test_random_order_of_one_stage_says_nothing_of_the_next():
    ranks = scores_of("random", made(2), batch=18_000).argsort(2)
    codes = (ranks * 3 ** torch.arange(3)).sum(2)
    pairs, counts = codes.unique(dim=0, return_counts=True)
    assert len(pairs) == 36 and stats.chisquare(counts.numpy()).pvalue > 1e-3


@pytest.mark.parametrize(("num_stages", "length", "count"), [(2, 3, 90), (3, 2, 20), (2, 2, 6)])
def test_interleaved_random_is_uniform_over_arrangements(num_stages, length, count):
    scores = scores_of("random", made(num_stages, "interleaved"), batch=200 * count, length=length)
    assert (scores.diff(dim=1) > 0).all()  # each position's own come coarsest first
    positions = scores.flatten(1).argsort(1) % length
    found, counts = positions.unique(dim=0, return_counts=True)
    assert len(found) == count and stats.chisquare(counts.numpy()).pvalue > 1e-3


def test_reveals_that_were_made_come_before_and_the_rest_is_uniform():
    level = torch.tensor([1, 0, 2]).expand(6000, -1)
    scores = scores_of("random", made(2, "interleaved"), batch=6000, level=level)
    made_BSL = torch.arange(2)[:, None] < level[:, None]
    assert (scores[made_BSL] < 0).all() and (scores[~made_BSL] >= 0).all()
    assert (scores.diff(dim=1) >= 0).all()
    left = scores.masked_fill(made_BSL, torch.inf).flatten(1).argsort(1)[:, :3] % 3
    found, counts = left.unique(dim=0, return_counts=True)
    assert found.tolist() == [[0, 1, 1], [1, 0, 1], [1, 1, 0]]
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3


def test_an_explicit_order_is_its_times():
    order = torch.tensor([1, 0, 1, 2, 2, 0])
    for stages in (made(2), made(2, "interleaved")):
        scores = scores_of(order, stages, batch=2)
        assert torch.equal(scores, reveal_times(order, (2, 3), 2).double())
    with pytest.raises(ValueError, match="order is 'confident'; expected one of"):
        scores_of("confident", made(2))


# --------------------------------------------------------------------------------- what may be next
def test_open_positions():
    level = torch.tensor([[0, 1, 1, 3, 0], [2, 1, 1, 3, 2], [3, 3, 3, 3, 3]])
    hidden = level < 3
    hidden[0, 4] = False  # padding, say
    of_stage = open_positions(level, hidden, made(3))
    assert of_stage.tolist() == [
        [True, False, False, False, False],
        [False, True, True, False, False],
        [False] * 5,
    ]
    for stages in (made(3, "interleaved"), PLAIN):
        assert torch.equal(open_positions(level, hidden, stages), hidden)


def shared_by_loop(left, count):
    """One reveal each in turn, as long as there are any."""
    made_here = [0] * len(left)
    while count and any(done < most for done, most in zip(made_here, left, strict=True)):
        turn = min(done for done, most in zip(made_here, left, strict=True) if done < most)
        for candidate, most in enumerate(left):
            if count and made_here[candidate] == turn and turn < most:
                made_here[candidate] += 1
                count -= 1
    return made_here


@settings(max_examples=100)
@given(st.lists(st.integers(0, 3), max_size=6), st.integers(0, 20))
def test_reveals_are_shared_one_each_and_then_a_second_one(left, count):
    expected = shared_by_loop(left, count)
    shared = shared_reveals(torch.tensor([left]).long(), torch.tensor([[count]]), 3)
    assert shared.tolist() == [expected]
    assert sum(expected) == min(count, sum(left))


def test_rows_share_their_own_numbers():
    left, count = torch.tensor([[2, 0, 1, 2], [1, 1, 1, 1]]), torch.tensor([[4], [2]])
    assert shared_reveals(left, count, 2).tolist() == [[2, 0, 1, 1], [1, 1, 0, 0]]
    assert torch.equal(shared_reveals(left, count * 9, 2), left)
    assert not shared_reveals(left, count * 0, 2).any()
