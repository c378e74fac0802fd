"""log_prob of stages is the chain rule down the tree and sums to 1; generate draws by it."""

import itertools

import pytest
import torch

from ardm import log_prob

from .rows import full
from .staged import (
    KINDS,
    ORDERS,
    PARAMETRIZATIONS,
    SCORES,
    arrangements_of,
    p_value,
)

SAMPLES = 2000
# what is sampled by default; the others of KINDS are slow
SAMPLED_FIRST = [
    *itertools.product(("digits",), ORDERS, PARAMETRIZATIONS),
    ("deep", "interleaved", "data"),
    ("special ids", "stagewise", "data"),
]
SAMPLED = [
    pytest.param(kind, id=" ".join(kind), marks=() if kind in SAMPLED_FIRST else pytest.mark.slow)
    for kind in KINDS
]


def close(actual, expected, tolerance=1e-5):
    assert actual.dtype == torch.float64
    expected = torch.as_tensor(expected).double()
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def masks(model, *shape):
    return torch.full(shape, model.config.mask_token_id)


def some(items, count):
    """A few of a list, spread over it."""
    return [items[len(items) * number // count] for number in range(min(count, len(items)))]


def plans_of(stages, length):
    """Plans as they may be given, and the same as a list of all groups."""
    num_stages = stages.num_stages
    if stages.interleaved:
        rest = num_stages * length - 2
        return [([rest, 2], [rest, 2]), ([rest + 2], [rest + 2]), ([1, rest + 1], [1, rest + 1])]
    alike = [length - 1, 1]
    of_stages = [[1, length - 1], [length], alike][:num_stages]
    flat = [*itertools.chain(*of_stages)]
    return [(of_stages, flat), (flat, flat), (alike, alike * num_stages)]


def score_of(kind, number=0):
    """An order by the logits: each of them for some of the kinds."""
    return [*SCORES][(KINDS.index(kind) + number) % len(SCORES)]


# ---------------------------------------------------------------------------- one by one, in groups
@pytest.mark.parametrize("kind", KINDS, ids=" ".join)
def test_it_is_the_chain_rule_down_the_tree_and_sums_to_one(enumerated, kind):
    model, exact = enumerated(*kind)
    for arrangement in some(arrangements_of(exact.stages, exact.length), 4):
        values = log_prob(model, exact.sequences, torch.tensor(arrangement))
        close(values, exact.log_prob(arrangement))
        close(values.exp().sum(), 1.0)


@pytest.mark.parametrize("kind", KINDS, ids=" ".join)
def test_plans_are_the_chain_rule_of_groups(enumerated, kind):
    model, exact = enumerated(*kind)
    *_, one, other = arrangements_of(exact.stages, exact.length)
    for (plan, flat), arrangement in itertools.product(
        plans_of(exact.stages, exact.length), (one, other)
    ):
        values = log_prob(model, exact.sequences, torch.tensor(arrangement), plan=plan)
        close(values, exact.log_prob(arrangement, flat))
        close(values.exp().sum(), 1.0)


@pytest.mark.parametrize("kind", KINDS, ids=" ".join)
def test_orders_with_a_name_are_those_of_every_stage(enumerated, kind):
    model, exact = enumerated(*kind)
    for name, step in (("left_to_right", 1), ("right_to_left", -1)):
        order = [*range(exact.length)][::step]
        expected = exact.log_prob(order * exact.stages.num_stages)
        for one in (name, torch.tensor(order)):
            close(log_prob(model, exact.sequences, one), expected)
        close(expected.exp().sum(), 1.0)


@pytest.mark.parametrize("kind", KINDS, ids=" ".join)
def test_orders_by_the_logits_are_distributions(enumerated, kind):
    """The path hangs on the text; what is drawn by it sums to 1 all the same."""
    model, exact = enumerated(*kind)
    (nested, flat), *_ = plans_of(exact.stages, exact.length)
    one_by_one = [1] * (exact.stages.num_stages * exact.length)
    orders = [*SCORES] if kind in SAMPLED_FIRST else [score_of(kind)]
    for order, (plan, sizes) in itertools.product(orders, ((None, one_by_one), (nested, flat))):
        values = log_prob(model, exact.sequences, order, plan=plan)
        close(values.exp().sum(), 1.0)
        close(values.exp(), exact.law(exact.surest_first(order, sizes)))


@pytest.mark.parametrize("parametrization", PARAMETRIZATIONS)
def test_all_shapes_of_an_order_say_the_same(enumerated, parametrization):
    model, exact = enumerated("digits", "stagewise", parametrization)
    ids = exact.sequences[::5]
    of_rows = torch.tensor(some(arrangements_of(exact.stages, 3), len(ids)))
    expected = [
        exact.log_prob(order, None, row[None])[0]
        for order, row in zip(of_rows.tolist(), ids, strict=True)
    ]
    for orders in (of_rows, of_rows.view(-1, 2, 3), of_rows.int()):
        close(log_prob(model, ids, orders), torch.stack(expected))
    for order in (of_rows[1], of_rows[1].view(2, 3)):
        close(log_prob(model, ids, order), exact.log_prob(of_rows[1].tolist(), None, ids))


def test_where_stages_overlap_an_order_of_stages_is_one_of_the_arrangements(enumerated):
    model, exact = enumerated("digits", "interleaved", "data")
    order = torch.tensor([[2, 0, 1], [1, 0, 2]])
    values = log_prob(model, exact.sequences, order)
    close(values, exact.log_prob([2, 0, 1, 1, 0, 2]))
    assert (values - exact.log_prob([2, 1, 0, 2, 0, 1])).abs().max() > 0.1


@pytest.mark.parametrize("kind", [k for k in KINDS if k[1] == "stagewise"], ids=" ".join)
def test_arrangements_and_plans_are_different_distributions(enumerated, kind):
    """So that the laws above cannot hold for a mixed-up order or plan."""
    _, exact = enumerated(*kind)
    (_, flat), *_ = plans_of(exact.stages, exact.length)
    arrangements = some(arrangements_of(exact.stages, exact.length), 2)
    laws = [exact.log_prob(one, plan) for one in arrangements for plan in (None, flat)]
    for one, other in itertools.combinations(laws, 2):
        assert (one - other).abs().max() > 1e-3


def test_a_size_of_calls_changes_nothing(enumerated):
    for stage_order, order in itertools.product(("stagewise", "interleaved"), ("margin", None)):
        model, exact = enumerated("table", stage_order, "data")
        order = torch.tensor([2, 0, 1, 1, 2, 0]) if order is None else order
        ids = exact.sequences[::9]
        reference = log_prob(model, ids, order)
        for batch_size in (1, 5, 1000):
            close(log_prob(model, ids, order, batch_size=batch_size), reference)


@pytest.mark.parametrize("kind", [k for k in KINDS if k[0] in ("digits", "table")], ids=" ".join)
def test_prompt_and_padding_make_it_conditional(enumerated, kind):
    model, exact = enumerated(*kind)
    ids = exact.sequences[exact.sequences[:, 1] == 2]
    prompt = torch.tensor([[0, 1, 0]]).expand_as(ids)
    order = torch.tensor([1, 2, 0, 0, 1, 2])
    (nested, flat), *_ = plans_of(exact.stages, 2)
    for plan, sizes in ((None, [1] * 4), (nested, flat)):
        values = log_prob(model, ids, order, plan=plan, prompt_mask=prompt)
        close(values.exp().sum(), 1.0)
        start = (model.config.mask_token_id, 2, model.config.mask_token_id)
        policy = explicit(exact, [p for p in order.tolist() if p != 1], sizes)
        close(values.exp(), exact.law(policy, start)[exact.sequences[:, 1] == 2])
        padded = torch.cat((torch.zeros_like(ids[:, :1]), ids), 1)
        real = torch.tensor([[0, 1, 1, 1]]).expand_as(padded)
        longer = torch.cat((torch.tensor([0, 0]), order + 1))
        given = torch.tensor([[0, 0, 1, 0]]).expand_as(padded)
        again = log_prob(model, padded, longer, plan=plan, attention_mask=real, prompt_mask=given)
        close(again, values)


def explicit(exact, queue, sizes):
    """The policy of an arrangement of the reveals that are left."""

    def policy(step, canvas, log_probs):
        group = queue[sum(sizes[:step]) : sum(sizes[: step + 1])]
        return [({position: group.count(position) for position in group}, 1.0)]

    return policy


# ----------------------------------------------------------------------------------------- samples
def drawn(model, exact, **settings):
    """Texts; EOS is a token like others here."""
    ids = masks(model, 1, exact.length)
    return model.generate(ids, num_return_sequences=SAMPLES, seed=2, eos_token_id=None, **settings)


@pytest.mark.parametrize("kind", SAMPLED)
def test_random_orders_draw_from_the_mean_over_all_arrangements(enumerated, enumeration, kind):
    model, exact = enumerated(*kind)
    (plan, flat), *_ = plans_of(exact.stages, exact.length)
    for settings, sizes in (({}, None), ({"plan": plan}, flat)):
        probs = exact.random_order_probs(sizes)
        close(probs.sum(), 1.0)
        samples = drawn(model, exact, **settings)
        assert p_value(enumeration, exact, samples, probs) > 1e-3


@pytest.mark.parametrize("kind", SAMPLED)
def test_explicit_orders_draw_what_log_prob_says(enumerated, enumeration, kind):
    model, exact = enumerated(*kind)
    arrangement = arrangements_of(exact.stages, exact.length)[-2]
    order = torch.tensor(arrangement)
    (plan, flat), *_ = plans_of(exact.stages, exact.length)
    probs = exact.log_prob(arrangement, flat).exp()
    samples = drawn(model, exact, order=order, plan=plan)
    assert p_value(enumeration, exact, samples, probs) > 1e-3
    if kind[1] == "stagewise":
        by_stage = order.view(exact.stages.num_stages, -1)
        by_stage = by_stage if exact.stages.num_stages > 1 else order
        assert torch.equal(samples, drawn(model, exact, order=by_stage, plan=flat))


@pytest.mark.parametrize("kind", SAMPLED)
def test_orders_by_the_logits_draw_what_log_prob_says(enumerated, enumeration, kind):
    model, exact = enumerated(*kind)
    (plan, _), *_ = plans_of(exact.stages, exact.length)
    for order, settings in ((score_of(kind), {}), (score_of(kind, 1), {"plan": plan})):
        probs = log_prob(model, exact.sequences, order, **settings).exp()
        samples = drawn(model, exact, order=order, **settings)
        assert p_value(enumeration, exact, samples, probs) > 1e-3


@pytest.mark.parametrize("kind", KINDS, ids=" ".join)
def test_what_is_generated_has_the_probability_that_it_says(enumerated, kind):
    model, exact = enumerated(*kind)
    (plan, flat), *_ = plans_of(exact.stages, exact.length)
    steps = {None: exact.stages.num_stages * exact.length, "plan": len(flat)}
    arrangement = torch.tensor(arrangements_of(exact.stages, exact.length)[1])
    for order, name in itertools.product(("left_to_right", "entropy", arrangement), steps):
        settings = {} if name is None else {name: plan}
        ids = masks(model, 40, exact.length)
        out = full(model, ids, order=order, seed=1, eos_token_id=None, **settings)
        close(out.log_probs.sum(1), log_prob(model, out.sequences, order, **settings))
        assert out.num_forward_passes == steps[name]
