"""What generate draws from stages by policies that hang on the canvas, by enumeration."""

import functools
import itertools

import pytest
import torch

from .rows import full
from .staged import ORDERS, SCORES, StagedEnumeration, p_value, settings_of

SAMPLES = 2000
MASK = 4
COARSE = (5, 6)  # of 0 and 1, of 2 and 3


@pytest.fixture(scope="module")
def made(tiny_model):
    @functools.cache
    def of_kind(stage_order):
        model = tiny_model(scale=1.0, **settings_of("digits", stage_order))  # orders matter
        return model, StagedEnumeration(model, 3)

    return of_kind


def drawn(model, start=None, **settings):
    ids = torch.tensor([start or (MASK,) * 3])
    return model.generate(ids, num_return_sequences=SAMPLES, seed=3, **settings)


def law_of(exact, policy, start=None):
    probs = exact.law(policy, start)
    assert abs(float(probs.sum()) - 1) < 1e-5
    return probs


# ------------------------------------------------------------------------------------ the policies
def uniform(exact):
    """The next reveal is uniform over those that may come next."""

    def policy(step, canvas, log_probs):
        open_now = exact.open_positions(canvas)
        left = [1] * len(open_now)
        if exact.stages.interleaved:
            left = [exact.stages.num_stages - exact.level[canvas[p]] for p in open_now]
        return [({p: 1}, count / sum(left)) for p, count in zip(open_now, left, strict=True)]

    return policy


def noisy(exact, name, temperature):
    def policy(step, canvas, log_probs):
        open_now = exact.open_positions(canvas)
        scores = [SCORES[name](exact.next_log_probs(canvas, log_probs, p)) for p in open_now]
        chances = (torch.stack([score.reshape(()) for score in scores]) / temperature).softmax(0)
        return [({p: 1}, float(chance)) for p, chance in zip(open_now, chances, strict=True)]

    return policy


def confident(exact, threshold):
    def policy(step, canvas, log_probs):
        first = exact.ranked("confidence", canvas, log_probs)
        of_best = {p: exact.next_log_probs(canvas, log_probs, p).amax().exp() for p in first}
        sure = [p for p in first if of_best[p] >= threshold]
        return [(dict.fromkeys(sure or first[:1], 1), 1.0)]

    return policy


def entropy_bounded(exact, bound):
    def policy(step, canvas, log_probs):
        first = exact.ranked("entropy", canvas, log_probs)
        next_ones = [exact.next_log_probs(canvas, log_probs, p) for p in first]
        nats = [-float((one.exp() * one).sum()) for one in next_ones]
        count = max(n for n in range(1, len(first) + 1) if sum(nats[:n]) - max(nats[:n]) <= bound)
        return [(dict.fromkeys(first[:count], 1), 1.0)]

    return policy


def in_blocks(exact, size):
    """Random inside the first block of the stage (interleaved: of all) that is not done."""

    def policy(step, canvas, log_probs):
        open_now = exact.open_positions(canvas)
        here = [p for p in open_now if p // size == open_now[0] // size]
        left = [1] * len(here)
        if exact.stages.interleaved:
            left = [exact.stages.num_stages - exact.level[canvas[p]] for p in here]
        return [({p: 1}, count / sum(left)) for p, count in zip(here, left, strict=True)]

    return policy


@pytest.mark.parametrize("stage_order", ORDERS)
def test_random_is_uniform_over_what_may_come_next(made, enumeration, stage_order):
    """The same law as that of random arrangements, reveal by reveal."""
    model, exact = made(stage_order)
    probs = law_of(exact, uniform(exact))
    torch.testing.assert_close(probs, exact.random_order_probs(), rtol=1e-6, atol=1e-9)
    assert p_value(enumeration, exact, drawn(model), probs) > 1e-3


CALLS = {
    "noise": ({"order": "entropy", "order_temperature": 0.1}, lambda e: noisy(e, "entropy", 0.1)),
    "threshold": ({"order": "confidence", "threshold": 0.7}, lambda e: confident(e, 0.7)),
    "bound": ({"order": "entropy", "entropy_bound": 0.4}, lambda e: entropy_bounded(e, 0.4)),
    "blocks": ({"block_length": 2}, lambda e: in_blocks(e, 2)),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("stage_order", ORDERS)
def test_samples_follow_the_policy(made, enumeration, stage_order, name):
    model, exact = made(stage_order)
    settings, policy = CALLS[name]
    samples = drawn(model, **settings)
    assert p_value(enumeration, exact, samples, law_of(exact, policy(exact))) > 1e-3
    # the test can tell
    assert p_value(enumeration, exact, samples, law_of(exact, uniform(exact))) < 1e-4


# ------------------------------------------------------------------------------------ coarse values
STARTS = [(MASK, COARSE[0], 2), (COARSE[1], MASK, MASK), (COARSE[1], COARSE[0], COARSE[1])]


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("stage_order", ORDERS)
def test_given_coarse_values_are_conditions(made, enumeration, stage_order, start):
    model, exact = made(stage_order)
    num_left = sum(2 - exact.level[node] for node in start)
    surest_first = exact.surest_first("confidence", [1] * num_left)
    for order, policy in (("random", uniform(exact)), ("confidence", surest_first)):
        samples = drawn(model, start, order=order)
        assert p_value(enumeration, exact, samples, law_of(exact, policy, start)) > 1e-3


def test_what_is_given_is_part_of_the_first_stages_that_are_left(made):
    """Positions that have come further wait for the others."""
    model, _ = made("stagewise")
    ids = torch.tensor([[MASK, COARSE[0], MASK]])
    out = full(model, ids, seed=1, output_history=True, plan=[[1, 1], [3]])
    assert [canvas[0, 1].item() for canvas in out.history[:2]] == [COARSE[0]] * 2
    assert out.num_forward_passes == 3 and (out.history[1] > MASK).all()


# --------------------------------------------------------------------------------------- resampling
@pytest.mark.parametrize("stage_order", ORDERS)
def test_all_sent_back_are_drawn_anew_from_their_coarse_values(made, enumeration, stage_order):
    model, exact = made(stage_order)
    settings = {"resample_steps": 1, "resample_fraction": 1.0}
    before = exact.random_order_probs()
    expected = torch.zeros_like(before)
    coarse = exact.paths[1, exact.sequences]
    for canvas in coarse.unique(dim=0):
        log_probs = exact.at(canvas)
        of_all = torch.stack(
            [
                log_probs[p, exact.sequences[:, p]].masked_fill(
                    coarse[:, p] != canvas[p], -torch.inf
                )
                for p in range(3)
            ]
        )
        weight = before[(coarse == canvas).all(1)].sum()
        expected += weight * of_all.sum(0).exp()
    assert p_value(enumeration, exact, drawn(model, **settings), expected) > 1e-3


def kernel_of_one(exact):
    """One position's last reveal is taken back and drawn again, random-scan."""
    cells = [tuple(row) for row in exact.sequences.tolist()]
    number = {cell: place for place, cell in enumerate(cells)}
    kernel = torch.zeros(len(cells), len(cells), dtype=torch.float64)
    for cell, position in itertools.product(cells, range(3)):
        canvas = [*cell]
        canvas[position] = exact.parent[cell[position]]
        log_probs = exact.at(torch.tensor(canvas))
        for child in exact.children[canvas[position]]:
            canvas[position] = child
            kernel[number[cell], number[tuple(canvas)]] += (
                float(log_probs[position, exact.number[child]].exp()) / 3
            )
    return kernel


@pytest.mark.parametrize("stage_order", ORDERS)
def test_one_sent_back_at_a_time_is_a_step_of_the_chain(made, enumeration, stage_order):
    model, exact = made(stage_order)
    kernel = kernel_of_one(exact)
    probs = exact.random_order_probs() @ kernel.matrix_power(4)
    settings = {"resample_steps": 4, "resample_fraction": 0.01}
    assert p_value(enumeration, exact, drawn(model, **settings), probs) > 1e-3
