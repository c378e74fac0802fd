"""Which open positions a step takes, against brute force, and the law of the noise on orders."""

import itertools
import math

import hypothesis
import pytest
import torch
from hypothesis import strategies as st
from scipy import stats

from ardm.canvas import Canvas
from ardm.inputs import row_streams
from ardm.orders import LOGIT_ORDERS, logit_order
from ardm.randomness import gumbel
from ardm.selection import Selection, above_threshold, within_entropy
from ardm.stages import Stages

MASK, PAD = 3, 4
LAWS = hypothesis.settings(max_examples=60)


def first_logit(logits, masked, generator):
    return logits[..., 0]


ORDERS = [None, *LOGIT_ORDERS, first_logit]


def canvas_of(batch, length, seed=0):
    ids = torch.full((batch, length), MASK)
    return Canvas(ids, ids == MASK, Stages.plain(MASK), row_streams(seed, None, 1, batch), "random")


@st.composite
def pools(draw):
    """A canvas, the pool's logits, positions and which are open, and each row's least number."""
    batch, width = draw(st.integers(1, 3)), draw(st.integers(1, 6))
    torch.manual_seed(draw(st.integers(0, 2**31)))
    canvas = canvas_of(batch, width + 2)
    pool = torch.stack([torch.randperm(width + 2)[:width] for _ in range(batch)])
    logits = torch.randn(batch, width, 5) * draw(st.sampled_from([0.5, 3.0]))
    logits[..., MASK] = -torch.inf
    return (
        canvas,
        logits,
        pool,
        torch.rand(batch, width) < 0.7,
        torch.randint(0, width + 2, (batch, 1)),
    )


def scores_of(order, logits, canvas, pool):
    """float64, highest first, by definition."""
    probs = logits.double().softmax(-1)
    if order is None:
        return -canvas.uniforms(11, canvas.place_BL).gather(1, pool)
    if callable(order):
        return order(logits, None, None).double()
    ordered = probs.sort(-1, descending=True).values
    return {
        "confidence": ordered[..., 0].log(),
        "margin": ordered[..., 0] - ordered[..., 1],
        "entropy": (probs * probs.clamp(min=1e-300).log()).sum(-1),
    }[order]


def ranked(order, logits, canvas, pool, is_open):
    scores = scores_of(order, logits, canvas, pool)
    apart = scores[:, :, None] - scores[:, None] + torch.eye(scores.shape[1])
    hypothesis.assume((apart.abs() > 1e-4).all())  # ties are the business of `ranking`
    return [
        sorted(here.nonzero()[:, 0].tolist(), key=lambda i, row=row: -float(scores[row, i]))
        for row, here in enumerate(is_open)
    ]


@LAWS
@hypothesis.given(st.sampled_from(ORDERS), pools())
def test_the_plans_number_of_the_highest_scores_is_taken(order, arguments):
    canvas, logits, pool, is_open, least = arguments
    selection = Selection(logit_order(order, torch.Generator()))
    first, taken = selection(logits, canvas, pool, is_open, least)
    assert taken.shape == least.shape and first.shape == pool.shape
    for row, expected in enumerate(ranked(order, logits, canvas, pool, is_open)):
        assert first[row, : len(expected)].tolist() == expected
        assert sorted(first[row].tolist()) == list(range(pool.shape[1]))
        assert taken[row] == min(int(least[row]), len(expected))


@LAWS
@hypothesis.given(st.sampled_from(ORDERS), pools(), st.floats(0.2, 1.0))
def test_a_threshold_takes_the_confident_set_or_the_plans_number(order, arguments, threshold):
    canvas, logits, pool, is_open, least = arguments
    selection = Selection(logit_order(order, torch.Generator()), amount=above_threshold(threshold))
    first, taken = selection(logits, canvas, pool, is_open, least)
    most = logits.double().softmax(-1).amax(-1)
    hypothesis.assume(((most - threshold).abs() > 1e-6).all())
    for row, in_order in enumerate(ranked(order, logits, canvas, pool, is_open)):
        sure = [i for i in in_order if most[row, i] >= threshold]
        unsure = [i for i in in_order if i not in sure]
        missing = max(0, int(least[row]) - len(sure))
        assert first[row, : taken[row]].tolist() == sure + unsure[:missing]


@LAWS
@hypothesis.given(st.sampled_from(ORDERS), pools(), st.booleans())
def test_an_entropy_bound_takes_the_longest_prefix_below_it(order, arguments, one):
    canvas, logits, pool, is_open, least = arguments
    least = torch.ones_like(least) if one else least
    bound = float(torch.rand(())) * 0.6 * pool.shape[1]
    selection = Selection(logit_order(order, torch.Generator()), amount=within_entropy(bound))
    first, taken = selection(logits, canvas, pool, is_open, least)
    nats = -scores_of("entropy", logits, canvas, pool)
    for row, in_order in enumerate(ranked(order, logits, canvas, pool, is_open)):
        h = [float(nats[row, i]) for i in in_order]
        prices = [math.fsum(h[:n]) - max(h[:n]) for n in range(1, len(h) + 1)]
        hypothesis.assume(all(abs(price - bound) > 1e-5 for price in prices[1:]))
        longest = max(
            (n for n, price in enumerate(prices, 1) if n == 1 or price <= bound), default=0
        )
        assert taken[row] == min(max(longest, int(least[row])), len(h))
        assert first[row, : taken[row]].tolist() == in_order[: taken[row]]


def test_bounds_at_their_ends():
    canvas = canvas_of(1, 4)
    pool = torch.arange(4)[None]
    is_open = torch.ones(1, 4, dtype=torch.bool)
    certain = torch.full((1, 4, 5), -torch.inf)
    certain[..., 1] = 0.0
    one = torch.ones(1, 1, dtype=torch.long)
    uniform = torch.zeros(1, 4, 5)
    for amount, logits, expected in (
        (above_threshold(1.0), certain, 4),
        (above_threshold(1.0), uniform, 1),
        (above_threshold(0.19), uniform, 4),
        (within_entropy(0.0), certain, 4),
        (within_entropy(0.0), uniform, 1),
        (within_entropy(2 * math.log(5) + 1e-4), uniform, 3),
    ):
        assert (
            Selection(logit_order("confidence"), amount=amount)(logits, canvas, pool, is_open, one)[
                1
            ]
            == expected
        )


# ------------------------------------------------------------------------------- noise on the order
def test_gumbel_noise_is_the_quantile_function():
    uniforms = torch.linspace(0, 1, 1001, dtype=torch.float64)[1:-1]
    torch.testing.assert_close(gumbel(uniforms), torch.tensor(stats.gumbel_r.ppf(uniforms.numpy())))
    ends = gumbel(torch.tensor([0.0, 1 - 2**-52], dtype=torch.float64))
    assert ends.isfinite().all() and ends[0] < -3 and ends[1] > 30


@pytest.mark.parametrize("order", [*LOGIT_ORDERS, first_logit])
@pytest.mark.parametrize("temperature", [0.3, 2.0])
def test_noise_draws_positions_by_the_softmax_of_their_scores(order, temperature):
    rows, width = 4000, 4
    canvas, pool = canvas_of(rows, width), torch.arange(width).expand(rows, width)
    logits = torch.randn(1, width, 5).expand(rows, -1, -1)
    is_open = torch.tensor([True, True, False, True]).expand(rows, width)
    selection = Selection(logit_order(order, torch.Generator()), noise=temperature)
    weights = (scores_of(order, logits[:1], canvas, pool[:1])[0] / temperature).exp() * is_open[0]
    # drawn one after the other, without replacement
    pairs = list(itertools.permutations([0, 1, 3], 2))
    probs = torch.stack(
        [weights[i] * weights[j] / weights.sum() / (weights.sum() - weights[i]) for i, j in pairs]
    )
    firsts = []
    for step in range(2):
        canvas.step_B1[:] = step
        first, _ = selection(logits, canvas, pool, is_open, torch.ones(rows, 1, dtype=torch.long))
        assert (first[:, 3] == 2).all()
        observed = [int(((first[:, 0] == i) & (first[:, 1] == j)).sum()) for i, j in pairs]
        assert stats.chisquare(observed, (probs * rows).numpy()).pvalue > 1e-3
        firsts.append(first[:, 0])
    # the next step's noise is independent of this one's
    table = torch.stack(
        [((firsts[0] == i) & (firsts[1] == j)).sum() for i in (0, 1, 3) for j in (0, 1, 3)]
    )
    assert stats.chi2_contingency(table.reshape(3, 3).numpy()).pvalue > 1e-3


@LAWS
@hypothesis.given(pools(), st.sampled_from(list(LOGIT_ORDERS)))
def test_a_positions_noise_does_not_depend_on_the_pool(arguments, order):
    canvas, logits, pool, is_open, least = arguments
    selection = Selection(logit_order(order), noise=1.0)
    first, _ = selection(logits, canvas, pool, is_open, least)
    shuffle = torch.randperm(pool.shape[1])
    other, _ = selection(logits[:, shuffle], canvas, pool[:, shuffle], is_open[:, shuffle], least)
    for row, count in enumerate(is_open.sum(1).tolist()):
        assert torch.equal(pool[row, first[row, :count]], pool[row, shuffle][other[row, :count]])


def test_noise_leaves_an_order_without_logits_as_it_is():
    canvas, pool = canvas_of(3, 6), torch.arange(6).expand(3, 6)
    arguments = (
        torch.zeros(3, 6, 5),
        canvas,
        pool,
        torch.ones(3, 6, dtype=torch.bool),
        torch.ones(3, 1),
    )
    assert torch.equal(Selection(None, noise=5.0)(*arguments)[0], Selection(None)(*arguments)[0])


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_generates_first_position_is_drawn_by_softmax(tiny_model, temperature):
    model, rows = tiny_model(), 2000
    ids = torch.tensor([[MASK, 1, MASK, MASK, 0]])
    scores = model(ids).logits.double().log_softmax(-1).amax(-1)[0, [0, 2, 3]].detach()
    settings = {
        "order": "confidence",
        "order_temperature": temperature,
        "return_dict_in_generate": True,
    }
    order = model.generate(ids, num_return_sequences=rows, seed=1, **settings).order
    observed = [int((order[:, position] == 0).sum()) for position in (0, 2, 3)]
    assert (
        stats.chisquare(observed, ((scores / temperature).softmax(0) * rows).numpy()).pvalue > 1e-3
    )


# ----------------------------------------------------------------------------------- a user's order
class Recorder:
    """Right to left, and keeps what it was given."""

    def __init__(self):
        self.calls = []

    def __call__(self, logits, masked, generator):
        self.calls.append((logits.clone(), masked.clone(), generator))
        # what lies elsewhere than among the masked ones must not matter
        return torch.arange(float(masked.shape[1])).masked_fill(~masked, torch.nan)


@pytest.fixture(scope="module")
def model(tiny_model):
    return tiny_model(vocab_size=5, mask_token_id=MASK, pad_token_id=PAD)


IDS = torch.tensor([[PAD, 0, MASK, MASK, 1, MASK, MASK], [MASK, MASK, 2, MASK, PAD, PAD, PAD]])


@pytest.mark.parametrize("tokens_per_step", [1, 2])
def test_a_users_order_sees_whole_rows_and_what_may_be_filled(model, tokens_per_step):
    order = Recorder()
    out = model.generate(
        IDS,
        order=order,
        tokens_per_step=tokens_per_step,
        seed=1,
        output_history=True,
        return_dict_in_generate=True,
    )
    for (logits, masked, _), canvas in zip(order.calls, [IDS, *out.history], strict=False):
        assert torch.equal(masked, canvas == MASK)
        real = canvas != PAD
        expected = model(canvas, real.long()).logits
        assert logits.shape == (*IDS.shape, 5)
        torch.testing.assert_close(logits[real], expected[real])
    assert len(order.calls) == out.num_forward_passes == 4 // tokens_per_step
    steps = [[3, 2, 1, 0], [2, 1, 0]] if tokens_per_step == 1 else [[1, 1, 0, 0], [1, 0, 0]]
    assert [row[row >= 0].tolist() for row in out.order] == steps


def test_a_users_order_sees_one_block_at_a_time_and_no_row_that_has_ended(model):
    order = Recorder()
    model.generate(IDS, order=order, block_length=2, seed=1)
    first = [masked[0].nonzero()[:, 0].tolist() for _, masked, _ in order.calls]
    assert first == [[2, 3], [2], [5, 6], [5]]
    order = Recorder()
    ends = model.generate(
        torch.full((2, 6), MASK), order=order, block_length=1, eos_token_id=2, seed=3
    )
    lengths = (ends != PAD).sum(1).tolist()
    assert lengths[0] != lengths[1]  # else the seed tests nothing
    for number, (_, masked, _) in enumerate(order.calls):
        assert masked.any(1).tolist() == [number < length for length in lengths]


def test_a_users_order_draws_from_the_calls_source_of_randomness(model):
    def order(logits, masked, generator):
        return torch.rand(masked.shape, generator=generator)

    def steps(**settings):
        return model.generate(
            torch.full((2, 8), MASK), order=order, return_dict_in_generate=True, **settings
        ).order

    assert torch.equal(steps(seed=1), steps(seed=1)) and not torch.equal(
        steps(seed=1), steps(seed=2)
    )
    one, two = (steps(generator=torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(one, two)
    recorder, generator = Recorder(), torch.Generator()
    model.generate(torch.full((2, 4), MASK), order=recorder, generator=generator)
    assert all(call[2] is generator for call in recorder.calls)


def test_a_users_order_is_asked_after_the_processors(model):
    order = Recorder()
    model.generate(
        IDS,
        order=order,
        logits_processor=[lambda ids, scores: torch.where(scores.isfinite(), 7.0, scores)],
    )
    assert all((logits[..., :MASK] == 7).all() for logits, _, _ in order.calls)
