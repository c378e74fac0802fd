"""What is left on a canvas and what it costs: against loops over positions, counts and children."""

import itertools
import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ardm import random_ratio_mask
from ardm.masking import keyed_random_ratio_mask, order_uniforms
from ardm.reveals import hide_last, mean_cross_entropy, stratified_num_left
from ardm.vocabulary import stages_of

from .staged import mean_by_hand

MASK = 8
KINDS = {
    "plain": {},
    "two stages": {"num_stages": 2, "branching_factor": 3},
    "three stages": {"num_stages": 3, "branching_factor": 2},
    "a table": {
        "num_stages": 3,
        "value_tree": [[0, 0, 0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 2, 3, 4, 4]],
    },
}
ORDERS = ("stagewise", "interleaved")


def made(kind, stage_order="stagewise", parametrization="data"):
    names = {"stage_order": stage_order, "parametrization": parametrization}
    return stages_of(SimpleNamespace(vocab_size=9, mask_token_id=MASK, **names, **KINDS[kind]))


def ids_of(*shape):
    return torch.randint(0, MASK, shape)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def left_by_loop(stages, maskable, num_left, uniforms):
    """How many reveals each position of a row has left, and where the next one may be."""
    places = [p for p, free in enumerate(maskable) if free]
    left = [0] * len(maskable)
    if stages.interleaved:
        cells = [(float(uniforms[p, s]), p) for p in places for s in range(stages.num_stages)]
        for _, position in sorted(cells)[len(cells) - num_left :]:
            left[position] += 1
        return left, [count > 0 for count in left]
    queue = sorted(places, key=lambda p: float(uniforms[p]))
    while num_left > 0:  # from the last stage back
        last = queue[max(0, len(queue) - num_left) :]
        for position in last:
            left[position] += 1
        num_left -= len(last)
    most = max(left)
    return left, [most > 0 and count == most for count in left]


@settings(max_examples=60)
@given(
    st.sampled_from([*KINDS]),
    st.sampled_from(ORDERS),
    st.integers(0, 5),
    st.integers(1, 5),
    st.integers(0, 2**31),
)
def test_what_is_hidden_is_that_of_the_loop(kind, stage_order, batch, length, seed):
    torch.manual_seed(seed)
    stages = made(kind, stage_order)
    ids, maskable = ids_of(batch, length), torch.rand(batch, length) < 0.8
    ids[~maskable & (torch.rand(batch, length) < 0.5)] = MASK  # what is no target may be a mask
    num_reveals = maskable.sum(1) * stages.num_stages
    num_left = (torch.rand(batch) * (num_reveals + 1)).long()
    uniforms = order_uniforms(seed, torch.arange(batch), length, stages)
    canvas, labels = hide_last(ids, stages, maskable, num_left, uniforms)
    assert canvas.dtype == labels.dtype == torch.int64
    for row in range(batch):
        left, is_next = left_by_loop(stages, maskable[row], int(num_left[row]), uniforms[row])
        assert sum(left) == num_left[row]
        for p in range(length):
            held = int(ids[row, p])
            if left[p]:
                held = int(stages.coarsen(ids[row, p], stages.num_stages - left[p]))
            assert canvas[row, p] == held
            assert labels[row, p] == (ids[row, p] if is_next[p] else -100)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stage_order", ORDERS)
def test_the_ends(kind, stage_order):
    stages = made(kind, stage_order)
    ids = ids_of(3, 4)
    everywhere = torch.ones_like(ids, dtype=torch.bool)
    uniforms = order_uniforms(0, torch.arange(3), 4, stages)
    for num_left, level in ((0, stages.num_stages), (4 * stages.num_stages, 0)):
        canvas, labels = hide_last(ids, stages, everywhere, torch.full((3,), num_left), uniforms)
        assert torch.equal(canvas, stages.coarsen(ids, level))
        assert torch.equal(labels, ids if num_left else torch.full_like(ids, -100))
    canvas, labels = hide_last(ids.int(), stages, ~everywhere, torch.zeros(3).long(), uniforms)
    assert torch.equal(canvas, ids) and (labels == -100).all()
    nothing = hide_last(ids[:, :0], stages, everywhere[:, :0], torch.zeros(3).long(), uniforms)
    assert [part.shape for part in nothing] == [(3, 0), (3, 0)]


# ----------------------------------------------------------------------------------------- chances
def states(stages, length):
    """Each way that m reveals may be left at the positions, and its probability given m."""
    num_stages = stages.num_stages
    for left in itertools.product(range(num_stages + 1), repeat=length):
        total = sum(left)
        if stages.interleaved:  # the m that are left are any m of the cells
            ways = math.prod(math.comb(num_stages, count) for count in left)
            yield left, total, ways / math.comb(num_stages * length, total)
        elif total and max(left) - min(left) <= 1:
            here = (total - 1) % length + 1
            yield left, total, 1 / math.comb(length, here)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stage_order", ORDERS)
def test_all_states_come_as_often_as_they_should(kind, stage_order):
    stages = made(kind, stage_order)
    length, per_count = 3, 900
    num_reveals = length * stages.num_stages
    ids = ids_of(per_count * num_reveals, length)
    canvas, _ = random_ratio_mask(ids, MASK, generator=generator(1), stages=stages)
    left = stages.num_stages - stages.level(canvas)
    for total in range(1, num_reveals + 1):
        rows = left[left.sum(1) == total]
        assert abs(len(rows) - per_count) <= 1  # stratified
        chances = {state: chance for state, at, chance in states(stages, length) if at == total}
        assert math.isclose(sum(chances.values()), 1)
        seen = [int((rows == torch.tensor(state)).all(1).sum()) for state in chances]
        assert sum(seen) == len(rows)
        expected = [chance * len(rows) for chance in chances.values()]
        assert len(seen) == 1 or stats.chisquare(seen, expected).pvalue > 1e-4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stage_order", ORDERS)
def test_counts_are_even_over_all_reveals(kind, stage_order):
    stages = made(kind, stage_order)
    for num_tokens in (1, 2, 5, 7):
        num_reveals = num_tokens * stages.num_stages
        for offset in (0.0, 0.5, 0.999):
            uniforms = (torch.arange(num_reveals * 3, dtype=torch.float64) + offset) / 3
            tokens = torch.full((num_reveals * 3,), num_tokens)
            counts = stratified_num_left(tokens, uniforms / num_reveals, stages)
            # rounding may put the first of three into the count before
            spread = counts.bincount(minlength=num_reveals + 1)[1:]
            assert spread.sum() == 3 * num_reveals
            assert (spread == 3).all() or (offset == 0 and (spread - 3).abs().max() <= 1)
    ends = torch.tensor([0.0, 1 - 2**-53, 1.0], dtype=torch.float64)
    most = 4 * stages.num_stages
    assert stratified_num_left(torch.full((3,), 4), ends, stages).tolist() == [1, most, most]
    # where the positions are none, nothing is left in any stage
    assert not stratified_num_left(torch.zeros(3).long(), ends, stages).any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_highest_ratio_holds_in_each_stage(kind):
    for stage_order in ORDERS:
        stages = made(kind, stage_order)
        blocks = 1 if stage_order == "interleaved" else stages.num_stages
        size = 8 * stages.num_stages // blocks
        uniforms = (torch.arange(1200 * blocks, dtype=torch.float64) + 0.5) / (1200 * blocks)
        tokens = torch.full((len(uniforms),), 8)
        counts = stratified_num_left(tokens, uniforms, stages, max_ratio=0.5) - 1
        assert counts.div(size, rounding_mode="floor").bincount().tolist() == [1200] * blocks
        inside = (counts % size).bincount()
        assert inside.tolist() == [1200 * blocks // (size // 2)] * (size // 2)


def test_one_in_each_stratum_holds_each_count_once():
    """A batch of as many rows as reveals."""
    for kind, stage_order in itertools.product(KINDS, ORDERS):
        stages = made(kind, stage_order)
        batch = 5 * stages.num_stages
        canvas, _ = random_ratio_mask(ids_of(batch, 5), MASK, generator=generator(), stages=stages)
        left = (stages.num_stages - stages.level(canvas)).sum(1)
        assert left.sort().values.tolist() == [*range(1, batch + 1)]


# ----------------------------------------------------------------------------------------- the mask
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stage_order", ORDERS)
def test_counts_may_be_given_and_padding_and_prompts_are_not_touched(kind, stage_order):
    stages = made(kind, stage_order)
    ids = ids_of(6, 5)
    attention = torch.tensor([[1] * 5, [0, 1, 1, 1, 1], [1, 1, 1, 0, 0]] * 2)
    prompt = torch.tensor([[1, 0, 0, 0, 0]] * 5 + [[1] * 5])
    maskable = attention.bool() & ~prompt.bool()
    most = maskable.sum(1) * stages.num_stages
    for known in (most - 1, most // 2, torch.zeros(6).long()):
        known = known.clamp(min=0)
        canvas, labels = random_ratio_mask(
            ids,
            MASK,
            attention_mask=attention,
            prompt_mask=prompt,
            num_known=known,
            generator=generator(),
            stages=stages,
        )
        assert torch.equal(canvas[~maskable], ids[~maskable])
        assert (labels[~maskable] == -100).all()
        left = (stages.num_stages - stages.level(canvas)) * maskable
        assert torch.equal(left.sum(1), most - known)
        assert torch.equal(labels != -100, is_next(stages, left))


def is_next(stages, left):
    """Where reveals are left; one stage after the other, where the most are."""
    most = left.amax(1, keepdim=True).expand_as(left) if not stages.interleaved else left
    return (left > 0) & (left == most)


def test_counts_and_stages_that_do_not_fit_are_refused():
    stages = made("three stages")
    ids = ids_of(2, 2)
    for known in ([6, 0], [0, -1]):
        message = r"num_known is .*; expected 0..n-1 for rows of n = \[6, 6\]"
        with pytest.raises(ValueError, match=message):
            random_ratio_mask(ids, MASK, num_known=torch.tensor(known), stages=stages)
    with pytest.raises(ValueError, match="mask_token_id is 7; expected 8, the root of the stages"):
        random_ratio_mask(ids.clamp(max=6), 7, stages=stages)


@pytest.mark.parametrize("stage_order", ORDERS)
def test_an_example_has_its_canvas_wherever_it_comes(stage_order):
    stages = made("three stages", stage_order)
    ids, numbers = ids_of(12, 5), torch.arange(24, 36)
    options = {"seed": 3, "global_batch_size": 12, "stages": stages}
    whole = keyed_random_ratio_mask(ids, MASK, numbers, **options)
    for part in (slice(0, 5), slice(5, 12), slice(0, 12, 4), [11, 3]):
        some = keyed_random_ratio_mask(ids[part], MASK, numbers[part], **options)
        assert torch.equal(some[0], whole[0][part]) and torch.equal(some[1], whole[1][part])
    left = (stages.num_stages - stages.level(whole[0])).sum(1)
    assert left.max() > 12 and left.min() <= 3  # spread over the optimiser's step
    other = keyed_random_ratio_mask(ids, MASK, numbers + 12, **options)
    assert not torch.equal(other[0], whole[0])


# ----------------------------------------------------------------------------------- what it costs
@pytest.mark.parametrize("parametrization", ["data", "direct"])
@pytest.mark.parametrize("stage_order", ORDERS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_mean_is_weighted_by_what_is_left(kind, stage_order, parametrization):
    stages = made(kind, stage_order, parametrization)
    ids, known = ids_of(9, 5), torch.randint(0, 5 * stages.num_stages, (9,))
    canvas, labels = random_ratio_mask(ids, MASK, num_known=known, stages=stages)
    labels[0] = -100
    outputs = torch.randn(9, 5, stages.num_outputs, dtype=torch.float64)
    expected = mean_by_hand(stages, outputs, canvas, labels)
    assert expected[0] == 0 and (expected > 0).sum() > 5  # some have one child alone
    everywhere = mean_cross_entropy(outputs, labels, None, stages, canvas)
    torch.testing.assert_close(everywhere, expected)
    positions = labels != -100
    there = mean_cross_entropy(outputs[positions], labels, positions, stages, canvas)
    torch.testing.assert_close(there, expected)
    # labels elsewhere do not count
    more = mean_cross_entropy(outputs[positions], ids, positions, stages, canvas)
    torch.testing.assert_close(more, expected)


@pytest.mark.parametrize("stage_order", ORDERS)
def test_half_precision_is_averaged_in_float32(stage_order):
    stages = made("three stages", stage_order)
    ids = ids_of(4, 6)
    canvas, labels = random_ratio_mask(ids, MASK, generator=generator(), stages=stages)
    outputs = torch.randn(4, 6, 9).bfloat16()
    losses = mean_cross_entropy(outputs, labels, None, stages, canvas)
    assert losses.dtype == torch.float32
    exact = mean_cross_entropy(outputs.double(), labels, None, stages, canvas)
    torch.testing.assert_close(losses.double(), exact, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("stage_order", ORDERS)
@pytest.mark.parametrize("kind", ["two stages", "a table"])
@pytest.mark.parametrize("learning", [False, True])
def test_what_has_no_probability_costs_infinity_once(kind, stage_order, learning):
    """The reveal of a coarse value of mass 0; those below it add a finite number, not a NaN."""
    stages = made(kind, stage_order)
    coarse = stages.coarsen(torch.tensor(0), 1)
    below = torch.tensor(stages.tree.leaves(int(coarse)))
    outputs = torch.zeros(1, 1, stages.num_outputs)
    outputs[..., below] = -torch.inf
    outputs.requires_grad_(learning)  # masses are added up in another way
    label = torch.zeros(1, 1, dtype=torch.long)
    first = mean_cross_entropy(outputs, label, None, stages, torch.tensor([[MASK]]))
    assert first.item() == math.inf
    then = mean_cross_entropy(outputs, label, None, stages, coarse.view(1, 1))
    assert 0 <= then.item() < 3


@pytest.mark.parametrize("stage_order", ORDERS)
def test_a_network_that_says_nothing_at_all_is_not_believed(stage_order):
    stages = made("two stages", stage_order)
    nothing = torch.full((1, 1, stages.num_outputs), -torch.inf)
    label = torch.zeros(1, 1, dtype=torch.long)
    assert mean_cross_entropy(nothing, label, None, stages, torch.tensor([[MASK]])).isnan().all()
