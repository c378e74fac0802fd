"""generate draws from the enumerated distribution, and a row depends on its own seed alone."""

import copy
import functools
from fractions import Fraction

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from scipy import stats

from ardm import ARDMForMaskedLM, ARDMGenerationConfig, ARDMGenerationOutput

from .rows import MASK, PAD, full, masks

EXPLICIT = torch.tensor([2, 0, 3, 1])


@pytest.fixture(scope="module")
def model(tiny_model):
    return tiny_model(vocab_size=5, mask_token_id=MASK, pad_token_id=PAD)


def padded(rows, length, side, value=PAD):
    """Rows (lists) in one batch (B, L), and its attention mask."""
    fill = [[value] * (length - len(row)) for row in rows]
    real = [[1] * len(row) for row in rows]
    zero = [[0] * len(row) for row in fill]
    pairs = ((rows, fill), (real, zero)) if side == "right" else ((fill, rows), (zero, real))
    return [torch.tensor([a + b for a, b in zip(*pair, strict=True)]) for pair in pairs]


# --------------------------------------------------------------------------------- the distribution
# name: (length, generate's settings, order of the reference or None = mean over orders, plan)
CASES = {
    "random, L=2": (2, {}, None, None),
    "random, L=3": (3, {"order": "random"}, None, None),
    "random, L=4": (4, {}, None, None),
    "left_to_right": (4, {"order": "left_to_right"}, range(4), None),
    "right_to_left": (4, {"order": "right_to_left"}, range(3, -1, -1), None),
    "explicit": (4, {"order": EXPLICIT}, EXPLICIT, None),
    "explicit, two at a time": (4, {"order": EXPLICIT, "tokens_per_step": 2}, EXPLICIT, [2, 2]),
    "random, two at a time": (4, {"tokens_per_step": 2}, None, [2, 2]),
    "random, three at a time": (4, {"tokens_per_step": 3}, None, [3, 1]),
    "plan": (4, {"order": "left_to_right", "plan": [1, 3]}, range(4), [1, 3]),
    "steps": (3, {"order": "right_to_left", "steps": 2}, range(2, -1, -1), [1, 2]),
    "all at once": (4, {"tokens_per_step": 4}, range(4), [4]),
    "more than all": (4, {"tokens_per_step": 9}, range(4), [4]),
}


@pytest.fixture(scope="module")
def reference(exact):
    """case -> the probabilities of all sequences, worked out once."""

    @functools.cache
    def probs(case):
        length, _, order, plan = CASES[case]
        if order is None:
            return exact[length].random_order_probs(plan)
        return exact[length].log_prob(order, plan).exp()

    return probs


@pytest.mark.parametrize("case", CASES)
def test_samples_follow_the_enumerated_distribution(plain, exact, reference, case):
    length, options, *_ = CASES[case]
    probs = reference(case)
    torch.testing.assert_close(probs.sum(), torch.tensor(1.0, dtype=torch.float64))
    samples = plain.generate(masks(1, length), num_return_sequences=8000, seed=1, **options)
    assert exact[length].p_value(samples, probs) > 1e-3
    # the test can tell: the sample does not follow the other distributions of this length
    for other, (other_length, *_) in CASES.items():
        if other_length == length and not torch.allclose(
            other_probs := reference(other), probs, atol=1e-4
        ):
            assert exact[length].p_value(samples, other_probs) < 1e-4, other


def test_infilling_follows_the_chain_rule_given_the_known_tokens(plain, exact):
    start = torch.tensor([MASK, 1, MASK, MASK])
    orders = exact[4].orders
    probs = torch.stack([exact[4].log_prob(order, start=start).exp() for order in orders]).mean(0)
    probs = probs * (exact[4].sequences[:, 1] == 1)
    samples = plain.generate(start[None], num_return_sequences=8000, seed=2)
    assert exact[4].p_value(samples, probs) > 1e-3
    samples = plain.generate(start[None].repeat(8000, 1), seed=2, order=EXPLICIT)
    probs = exact[4].log_prob(EXPLICIT, start=start).exp() * (exact[4].sequences[:, 1] == 1)
    assert exact[4].p_value(samples, probs) > 1e-3


# ---------------------------------------------------------------------------------- greedy decoding
def test_greedy_is_argmax_step_by_step(plain):
    ids, order = masks(1, 4), torch.tensor([3, 1, 0, 2])
    out = full(plain, ids, do_sample=False, order=order)
    log_probs = torch.zeros(4, dtype=torch.float64)
    for position in order:
        scores = plain(ids).logits[0, position].double().log_softmax(0)
        ids[0, position] = scores.argmax()
        log_probs[position] = scores.max()
    assert torch.equal(out.sequences, ids)
    torch.testing.assert_close(out.log_probs[0], log_probs, rtol=1e-5, atol=1e-5)
    for settings in ({"top_k": 1}, {"temperature": 1e-5}, {"top_p": 1e-6}, {"min_p": 1.0}):
        assert torch.equal(
            plain.generate(masks(20, 4), order=order, **settings), ids.repeat(20, 1)
        ), settings
    filters_without_effect = {"temperature": 9.0, "top_k": 1, "top_p": 0.1, "min_p": 0.5}
    greedy = full(plain, masks(1, 4), do_sample=False, order=order, **filters_without_effect)
    torch.testing.assert_close(greedy.log_probs, out.log_probs)


# ----------------------------------------------------------------------------- what a call promises
def path_log_probs(model, ids, attention_mask, ranks):
    """log-probability of each generated token given what was known before its step, row by row."""
    log_probs = torch.zeros(ids.shape, dtype=torch.float64)
    for row in range(len(ids)):
        real = attention_mask[row].bool()
        for step in range(int(ranks[row].max()) + 1):
            before = ids[row].masked_fill(ranks[row] >= step, MASK)[real]
            scores = torch.full(
                (ids.shape[1], model.config.vocab_size), torch.nan, dtype=torch.float64
            )
            scores[real] = model(before[None]).logits[0].double().log_softmax(-1)
            now = ranks[row] == step
            log_probs[row, now] = scores[now].gather(1, ids[row, now, None])[:, 0]
    return log_probs


def expected_plan(count, options):
    if "tokens_per_step" in options:
        size = options["tokens_per_step"]
        return [min(size, count - begin) for begin in range(0, count, size)]
    steps = min(options.get("steps", count), count)
    return [count * (i + 1) // steps - count * i // steps for i in range(steps)]


@pytest.mark.filterwarnings("ignore:nothing to generate")
@hypothesis.settings(max_examples=60)
@hypothesis.given(st.data())
def test_every_promise_on_random_shapes_masks_and_settings(model, data):
    batch, length = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 8))
    torch.manual_seed(data.draw(st.integers(0, 2**31)))
    side = data.draw(st.sampled_from(["left", "right"]))
    sizes = torch.randint(1, length + 1, (batch,)).tolist()
    symbols = torch.randint(0, 3, (batch, length)).masked_fill(
        torch.rand(batch, length) < 0.6, MASK
    )
    ids, attention_mask = padded(
        [row[:n].tolist() for row, n in zip(symbols, sizes, strict=True)], length, side
    )
    options = data.draw(
        st.fixed_dictionaries(
            {},
            optional={
                "do_sample": st.booleans(),
                "order": st.sampled_from(
                    ["random", "left_to_right", "right_to_left", torch.randperm(length)]
                ),
            },
        )
    )
    options |= data.draw(
        st.sampled_from(
            [
                {},
                *({"tokens_per_step": k} for k in (1, 2, 3, 9)),
                *({"steps": k} for k in (1, 2, 9)),
            ]
        )
    )
    before, seeds = ids.clone(), torch.randint(0, 2**62, (batch,)).tolist()
    out = full(model, ids, attention_mask, seed=seeds, **options)

    hidden = (ids == MASK) & attention_mask.bool()
    assert torch.equal(ids, before) and torch.equal(out.sequences[~hidden], ids[~hidden])
    assert (out.sequences[hidden] < MASK).all()
    assert (out.order[~hidden] == -1).all() and (out.log_probs[~hidden] == 0).all()
    plans = [expected_plan(int(count), options) for count in hidden.sum(1)]
    for row, plan in enumerate(plans):
        assert out.order[row][hidden[row]].bincount().tolist() == plan
    steps = max(map(len, plans))
    assert out.num_forward_passes == steps
    assert out.tokens_per_forward == pytest.approx(hidden.sum() / steps / batch if steps else 0.0)
    expected = path_log_probs(model, out.sequences, attention_mask, out.order)
    torch.testing.assert_close(out.log_probs, expected, rtol=0, atol=1e-5)
    # each row alone, without its padding, gives the same
    if not isinstance(options.get("order"), torch.Tensor):
        for row, (seed, n) in enumerate(zip(seeds, sizes, strict=True)):
            if n:
                real = attention_mask[row].bool()
                alone = full(model, ids[row : row + 1, real], seed=seed, **options)
                assert torch.equal(alone.sequences[0], out.sequences[row, real])
                assert torch.equal(alone.order[0], out.order[row, real])
                torch.testing.assert_close(
                    alone.log_probs[0], out.log_probs[row, real], rtol=0, atol=1e-5
                )


def test_order_is_of_positions_and_the_output_has_ranks(plain):
    out = full(plain, masks(2, 4), order=EXPLICIT)
    assert out.order.tolist() == [[1, 3, 0, 2]] * 2  # position 2 first, then 0, 3, 1
    rows = torch.stack([EXPLICIT, torch.arange(4)])
    out = full(plain, masks(2, 4), order=rows, num_return_sequences=2)
    assert out.order.tolist() == [[1, 3, 0, 2]] * 2 + [[0, 1, 2, 3]] * 2
    out = full(plain, torch.tensor([[MASK, MASK, 1, MASK]]), order=EXPLICIT, tokens_per_step=2)
    assert out.order.tolist() == [[0, 1, -1, 0]]  # given positions are skipped


def test_random_orders_are_uniform(plain):
    ranks = full(plain, masks(1, 3), num_return_sequences=6000, seed=0).order
    counts = (ranks * 3 ** torch.arange(3)).sum(1).unique(return_counts=True)[1]
    assert len(counts) == 6 and stats.chisquare(counts).pvalue > 1e-3


def test_permuting_rows_with_their_seeds_permutes_the_results(model):
    rows = [[MASK, 1, MASK], [MASK] * 6, [2, MASK, MASK, 0, MASK], [1, 2]]
    ids, attention_mask = padded(rows, 8, "left")
    seeds, other = [5, 6, 7, 8], [2, 0, 3, 1]
    first = full(model, ids, attention_mask, seed=seeds, tokens_per_step=2)
    second = full(
        model, ids[other], attention_mask[other], seed=[seeds[i] for i in other], tokens_per_step=2
    )
    assert torch.equal(second.sequences, first.sequences[other])
    assert torch.equal(second.order, first.order[other])
    assert first.sequences[3, -2:].tolist() == [1, 2]  # a row without masks comes back as it is


def test_seeds(plain):
    same = [plain.generate(masks(4, 8), seed=5) for _ in range(2)]
    assert torch.equal(*same)
    assert not torch.equal(same[0], plain.generate(masks(4, 8), seed=6))
    assert len({tuple(row) for row in same[0].tolist()}) == 4  # rows draw from streams of their own
    assert torch.equal(
        plain.generate(masks(2, 8), seed=[5, 9])[:1], plain.generate(masks(1, 8), seed=5)
    )
    assert torch.equal(plain.generate(masks(1, 8), num_return_sequences=4, seed=5), same[0])
    copies = plain.generate(masks(2, 8), seed=[5, 9], num_return_sequences=3)
    assert torch.equal(copies[3:], plain.generate(masks(1, 8), seed=9, num_return_sequences=3))

    generator, twin = (torch.Generator().manual_seed(2) for _ in range(2))
    first = [plain.generate(masks(4, 8), generator=generator) for _ in range(2)]
    assert not torch.equal(*first)
    assert all(torch.equal(x, plain.generate(masks(4, 8), generator=twin)) for x in first)
    for _ in range(2):
        torch.manual_seed(2)
        assert torch.equal(plain.generate(masks(4, 8)), first[0])


def test_a_rows_random_numbers_do_not_depend_on_order_plan_or_length(model):
    """Of a model that predicts the same everywhere: only the random numbers matter."""
    constant = ARDMForMaskedLM(model.config).eval()
    first = constant.generate(masks(3, 8), seed=1)
    for settings in (
        {"tokens_per_step": 3},
        {"steps": 1},
        {"order": "left_to_right"},
        {"order": torch.randperm(8)},
    ):
        assert torch.equal(constant.generate(masks(3, 8), seed=1, **settings), first), settings
    assert torch.equal(constant.generate(masks(3, 5), seed=1), first[:, :5])


def test_plans(plain):
    out = full(plain, masks(2, 8), steps=3)
    assert [row.bincount().tolist() for row in out.order] == [[2, 3, 3]] * 2
    assert (out.num_forward_passes, out.tokens_per_forward) == (3, 8 / 3)
    out = full(plain, masks(2, 8), plan=[1, 5, 2], order="left_to_right")
    assert out.order.tolist() == [[0, 1, 1, 1, 1, 1, 2, 2]] * 2
    assert full(plain, masks(1, 8), steps=100).num_forward_passes == 8
    assert full(plain, masks(1, 8)).tokens_per_forward == 1.0


def test_no_gradient_and_the_models_mode_is_kept(plain):
    model = copy.deepcopy(plain).train()
    assert not full(model, masks(1, 3)).log_probs.requires_grad
    assert model.training


# ----------------------------------------------------------------------------------------- settings
def test_settings_of_the_call_come_first(plain):
    model = copy.deepcopy(plain)
    assert full(model, masks(1, 8)).num_forward_passes == 8
    model.generation_config = ARDMGenerationConfig(tokens_per_step=4, order="left_to_right")
    assert full(model, masks(1, 8)).order.tolist() == [[0, 0, 0, 0, 1, 1, 1, 1]]
    assert full(model, masks(1, 8), order="right_to_left").order.tolist() == [
        [1, 1, 1, 1, 0, 0, 0, 0]
    ]
    # one way to plan replaces the other
    assert full(model, masks(1, 8), steps=1).num_forward_passes == 1
    call = ARDMGenerationConfig(plan=[7, 1], return_dict_in_generate=True)
    assert model.generate(masks(1, 8), generation_config=call).order.tolist() == [[0] * 7 + [1]]
    out = model.generate(masks(1, 8), generation_config=call, tokens_per_step=8)
    assert out.num_forward_passes == 1 and isinstance(out, ARDMGenerationOutput)
    assert (
        call.plan == [7, 1]
        and call.tokens_per_step is None
        and model.generation_config.tokens_per_step == 4
    )
    assert isinstance(model.generate(masks(1, 8)), torch.Tensor)


def test_generation_config_round_trip(tmp_path):
    config = ARDMGenerationConfig(
        steps=5, temperature=0.7, order="left_to_right", seed=[1, 2], do_sample=False
    )
    config.save_pretrained(tmp_path)
    loaded = ARDMGenerationConfig.from_pretrained(tmp_path)
    assert type(loaded) is ARDMGenerationConfig and loaded.to_diff_dict() == config.to_diff_dict()
    assert {
        "steps": 5,
        "temperature": 0.7,
        "do_sample": False,
    }.items() <= loaded.to_diff_dict().items()


@pytest.mark.parametrize(
    "settings", [{}, {"do_sample": False}, {"top_k": 2}, {"top_p": 0.5}, {"min_p": 0.5}]
)
def test_a_network_of_nan_is_reported(model, settings):
    broken = copy.deepcopy(model)
    broken.lm_head.weight.data.fill_(torch.nan)
    with pytest.raises(ValueError, match="NaN"):
        broken.generate(masks(2, 4), **settings)


@pytest.mark.parametrize("kind", [Fraction, np.float32, np.float64])
@pytest.mark.parametrize(
    "name",
    ["threshold", "entropy_bound", "temperature", "order_temperature", "top_p", "min_p"],
)
def test_numbers_of_any_kind_mean_the_same(model, name, kind):
    settings = {"order": "confidence", "seed": 0}
    got, expected = (
        model.generate(masks(2, 6), **{name: value}, **settings) for value in (kind(0.5), 0.5)
    )
    assert got.tolist() == expected.tolist()


def test_settings_are_checked_when_a_configuration_is_made():
    for settings in (
        {"steps": 0},
        {"top_p": 2},
        {"steps": 1, "plan": [1]},
        {"length_penalty": 1.0},
    ):
        with pytest.raises(ValueError, match=next(iter(settings))):
            ARDMGenerationConfig(**settings)
