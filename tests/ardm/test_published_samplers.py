"""The samplers of LLaDA, dllm, Dream, MDLM, MaskGIT and Fast-dLLM, restated as laws: which settings
of `generate` have the same ones, by enumeration of all tokens and orders.

A sampler is restated as `step(state, hidden, logits, time)`: what one of its steps makes of a state
(its hidden positions, their logits, the number of the step), as pairs (tokens by position, chance).
"""

import functools
import itertools
import math

import pytest
import torch
from scipy import stats

from .rows import MASK, PAD, full, masks

SAMPLES = 6000
SYMBOLS = 3


# --------------------------------------------------------------------- pieces of which samplers are
def softmax(logits, temperature=1.0, top_p=None, top_k=None):
    """Probabilities (list) after temperature, then top-p, then top-k, as Dream warps them."""
    probs = (logits / temperature).softmax(-1)
    if top_p is not None:
        by_size = probs.argsort(descending=True).tolist()
        before = 0.0
        for token in by_size:
            chance = float(probs[token])
            if before > top_p:
                probs[token] = 0.0
            before += chance
    if top_k is not None:
        probs[probs < probs.topk(top_k).values[-1]] = 0.0
    return (probs / probs.sum()).tolist()


def draws(hidden, probs):
    """Every way in which tokens come out at the hidden positions, with its chance."""
    for tokens in itertools.product(range(SYMBOLS), repeat=len(hidden)):
        chance = math.prod(probs[p][token] for p, token in zip(hidden, tokens, strict=True))
        if chance:
            yield dict(zip(hidden, tokens, strict=True)), chance


def firsts(scores, count, noise=0.0):
    """Sets of the `count` highest scores; with noise, picked one by one by softmax(score/noise)."""
    if not noise:
        yield tuple(sorted(scores, key=lambda p: -scores[p])[:count]), 1.0
        return
    for picks in itertools.permutations(scores, count):
        chance = 1.0
        left = dict(scores)
        for pick in picks:
            weights = {p: math.exp(score / noise) for p, score in left.items()}
            chance *= weights[pick] / sum(weights.values())
            del left[pick]
        yield picks, chance


def kept(hidden, probs, score, count, noise=0.0):
    """Draw everywhere, score each position by (position, token), keep the first ones."""
    for tokens, chance in draws(hidden, probs):
        scores = {p: score(p, tokens[p]) for p in hidden}
        for picks, picked in firsts(scores, min(count, len(hidden)), noise):
            yield {p: tokens[p] for p in picks}, chance * picked


# ----------------------------------------------------------------------------------- their samplers
def llada(counts, temperature, block=None):
    """ "low_confidence": gumbel noise times the temperature, then the untempered probability."""

    def step(hidden, logits, time):
        if block is not None:
            hidden = [p for p in hidden if p // block == hidden[0] // block]
        plain = {p: softmax(logits[p]) for p in hidden}
        noisy = {p: softmax(logits[p], temperature) for p in hidden}
        yield from kept(hidden, noisy, lambda p, token: plain[p][token], counts[time])

    return step


def dream(counts, name, temperature, top_p=None, top_k=None, alg_temp=0.0):
    """ "maskgit_plus", "topk_margin" and "entropy": all after temperature, top-p and top-k."""

    def step(hidden, logits, time):
        probs = {p: softmax(logits[p], temperature, top_p, top_k) for p in hidden}
        by_size = {p: sorted(probs[p], reverse=True) for p in hidden}
        score = {
            "maskgit_plus": lambda p, token: probs[p][token],
            "topk_margin": lambda p, _: by_size[p][0] - by_size[p][1],
            "entropy": lambda p, _: sum(q * math.log(q + 1e-10) for q in probs[p]),
        }[name]
        yield from kept(hidden, probs, score, counts[time], alg_temp)

    return step


def ancestral(steps, eps, temperature=1.0):
    """Dream's "origin" and MDLM: each hidden position is drawn with chance 1 - s/t, or stays."""
    times = [1 - (1 - eps) * i / steps for i in range(steps + 1)]

    def step(hidden, logits, time):
        move = 1 - times[time + 1] / times[time] if time < steps - 1 else 1.0
        probs = {p: softmax(logits[p], temperature) for p in hidden}
        for number in range(len(hidden) + 1):
            for moved in itertools.combinations(hidden, number):
                chance = move**number * (1 - move) ** (len(hidden) - number)
                for tokens, drawn in draws(moved, probs):
                    yield tokens, chance * drawn

    return step


def random_remasking(counts, temperature):
    """LLaDA's and dllm's "random": uniform numbers as confidence."""

    def step(hidden, logits, time):
        probs = {p: softmax(logits[p], temperature) for p in hidden}
        groups = list(itertools.combinations(hidden, counts[time]))
        for group in groups:
            for tokens, drawn in draws(group, probs):
                yield tokens, drawn / len(groups)

    return step


def maskgit(counts, noise):
    """log p of the drawn token, with Gumbel noise times a temperature (constant here)."""

    def step(hidden, logits, time):
        probs = {p: softmax(logits[p]) for p in hidden}
        logs = {p: [math.log(chance) for chance in probs[p]] for p in hidden}
        yield from kept(hidden, probs, lambda p, token: logs[p][token], counts[time], noise)

    return step


def fast_dllm(threshold, temperature):
    """All drawn tokens of at least this untempered probability, or else the likeliest one."""

    def step(hidden, logits, time):
        plain = {p: softmax(logits[p]) for p in hidden}
        noisy = {p: softmax(logits[p], temperature) for p in hidden}
        for tokens, chance in draws(hidden, noisy):
            scores = {p: plain[p][tokens[p]] for p in hidden}
            sure = [p for p in hidden if scores[p] >= threshold]
            yield {p: tokens[p] for p in sure or [max(scores, key=scores.get)]}, chance

    return step


# ------------------------------------------------------------------------------------------ the law
def steps_of(exact, step, state, time):
    """What a step makes of one state, equal outcomes together: pairs (tokens, chance)."""
    index = functools.reduce(lambda number, token: number * (MASK + 1) + token, state)
    hidden = [p for p, token in enumerate(state) if token == MASK]
    chances = {}
    for tokens, chance in step(hidden, exact.table[index][:, :SYMBOLS], time):
        key = tuple(sorted(tokens.items()))
        chances[key] = chances.get(key, 0.0) + chance
    return [(dict(key), chance) for key, chance in chances.items() if chance]


def law(exact, step):
    """{(tokens, ranks): chance}; steps that fill nothing do not count in the ranks."""
    length = exact.length
    states = {((MASK,) * length, (-1,) * length): 1.0}
    done = {}
    for time in itertools.count():
        following = {}
        made = {state: steps_of(exact, step, state, time) for state, _ in states}
        for (state, ranks), weight in states.items():
            now = max(ranks) + 1
            for tokens, chance in made[state]:
                new = tuple(tokens.get(p, token) for p, token in enumerate(state))
                new_ranks = tuple(now if p in tokens else r for p, r in enumerate(ranks))
                target = following if MASK in new else done
                key = (new, new_ranks)
                target[key] = target.get(key, 0.0) + weight * chance
        states = following
        if not states:
            return done


def p_value(out, probs):
    """Of the chi-square test that tokens and ranks of an output follow a law."""
    rows = zip(out.sequences.tolist(), out.order.tolist(), strict=True)
    counts = {}
    for tokens, ranks in rows:
        key = (tuple(tokens), tuple(ranks))
        counts[key] = counts.get(key, 0) + 1
    if set(counts) - set(probs):
        return 0.0
    total = sum(counts.values())
    large = [key for key in probs if probs[key] * total >= 5]
    observed = [counts.get(key, 0) for key in large]
    expected = [probs[key] * total for key in large]
    if len(large) < len(probs):
        observed.append(total - sum(observed))
        expected.append(total - sum(expected))
    # of unlikely keys that were never drawn a little is missing, which SciPy would refuse
    scale = sum(observed) / sum(expected)
    expected = [number * scale for number in expected]
    return stats.chisquare(observed, expected).pvalue if len(expected) > 1 else 1.0


WARPED = {"select_after_warping": True}
FIRST = "drawn_confidence"
# name: (length, the sampler, the settings of `generate` that are equal to it)
SAMPLERS = {
    "LLaDA": (3, llada([1, 1, 1], 1.0), {"order": FIRST, "steps": 3}),
    "LLaDA, temperature": (3, llada([1, 1, 1], 0.5), {"order": FIRST, "temperature": 0.5}),
    "LLaDA, steps": (
        3,
        llada([2, 1], 0.7),
        {"order": FIRST, "steps": 2, "plan": "larger_first", "temperature": 0.7},
    ),
    "LLaDA, blocks": (
        4,
        llada([1, 1, 1, 1], 1.0, block=2),
        {"order": FIRST, "steps": 4, "plan": "larger_first", "block_length": 2},
    ),
    "LLaDA, random": (
        3,
        random_remasking([2, 1], 0.7),
        {"order": "random", "steps": 2, "plan": "larger_first", "temperature": 0.7},
    ),
    "Dream, origin": (3, ancestral(2, 1e-3), {"order": "random", "plan": "binomial", "steps": 2}),
    "MDLM": (3, ancestral(5, 1e-5), {"order": "random", "plan": "binomial", "steps": 5}),
    "Dream, maskgit_plus": (
        3,
        dream([1, 1, 1], "maskgit_plus", 0.7, top_p=0.8),
        {"order": "drawn_probability", "temperature": 0.7, "top_p": 0.8, **WARPED},
    ),
    "Dream, maskgit_plus, alg_temp": (
        3,
        dream([2, 1], "maskgit_plus", 0.7, alg_temp=0.2),
        {
            "order": "drawn_probability",
            "temperature": 0.7,
            "order_temperature": 0.2,
            "plan": [2, 1],
            **WARPED,
        },
    ),
    "Dream, topk_margin": (
        3,
        dream([1, 1, 1], "topk_margin", 0.5, top_k=2, alg_temp=0.3),
        {
            "order": "margin",
            "temperature": 0.5,
            "top_k": 2,
            "order_temperature": 0.3,
            **WARPED,
        },
    ),
    "Dream, entropy": (
        3,
        dream([1, 2], "entropy", 0.4, top_p=0.95),
        {"order": "entropy", "temperature": 0.4, "top_p": 0.95, "plan": [1, 2], **WARPED},
    ),
    "MaskGIT": (
        4,
        maskgit([1, 1, 2], 0.0),
        {"order": FIRST, "plan": "cosine", "steps": 3},
    ),
    "MaskGIT, noise": (
        3,
        maskgit([1, 2], 1.5),
        {"order": FIRST, "order_temperature": 1.5, "plan": [1, 2]},
    ),
    "Fast-dLLM": (3, fast_dllm(0.6, 1.0), {"order": FIRST, "threshold": 0.6}),
}


@pytest.fixture(scope="module")
def laws(exact):
    """name -> its law, worked out once."""
    return functools.cache(lambda name: law(exact[SAMPLERS[name][0]], SAMPLERS[name][1]))


@pytest.mark.parametrize("name", SAMPLERS)
def test_tokens_and_order_follow_the_law_of_the_sampler(plain, laws, name):
    length, _, settings = SAMPLERS[name]
    assert sum(laws(name).values()) == pytest.approx(1)
    rows = masks(1, length)
    out = full(plain, rows, num_return_sequences=SAMPLES, seed=1, **settings)
    assert p_value(out, laws(name)) > 1e-3
    # the test can tell: no sampler of another law passes
    for other in SAMPLERS:
        if SAMPLERS[other][0] == length and distance(laws(name), laws(other)) > 0.1:
            assert p_value(out, laws(other)) < 1e-4, other


def distance(one, other):
    """Total variation."""
    return sum(abs(one.get(key, 0) - other.get(key, 0)) for key in {*one, *other}) / 2


def test_the_likeliest_position_first_is_another_law(plain, laws):
    out = full(plain, masks(1, 3), num_return_sequences=SAMPLES, seed=1, order="confidence")
    assert p_value(out, laws("LLaDA")) < 1e-9
    settings = {"order": "drawn_probability", "temperature": 0.7, "top_p": 0.8}
    out = full(plain, masks(1, 3), num_return_sequences=SAMPLES, seed=1, **settings)
    assert p_value(out, laws("Dream, maskgit_plus")) < 1e-4  # by the distribution before the warp


@pytest.mark.parametrize("order", ["drawn_confidence", "drawn_probability"])
@pytest.mark.parametrize(
    "settings", [{}, {"block_length": 2}, {"threshold": 0.5}, {"tokens_per_step": 2}]
)
def test_without_chance_the_drawn_token_is_the_likeliest(plain, order, settings):
    given = masks(4, 6).masked_fill(torch.rand(4, 6) < 0.3, 1)
    settings = settings | {"do_sample": False}
    expected = full(plain, given, order="confidence", **settings)
    out = full(plain, given, order=order, **settings)
    assert torch.equal(out.sequences, expected.sequences)
    assert torch.equal(out.order, expected.order)


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_where_the_clock_ends_hardly_matters(exact, steps):
    exactly = law(exact[3], ancestral(steps, 0.0))
    for eps in (1e-3, 1e-5):
        assert distance(exactly, law(exact[3], ancestral(steps, eps))) <= 3 * eps


EVERYWHERE = {
    "drawn": {"order": "drawn_confidence"},
    "drawn, noise": {"order": "drawn_probability", "order_temperature": 0.3},
    "warped": {"order": "margin", "top_p": 0.9, "select_after_warping": True},
    "warped threshold": {"threshold": 0.7, "temperature": 0.5, "select_after_warping": True},
    "binomial": {"plan": "binomial", "steps": 4},
    "linear time": {"plan": "linear_time", "steps": 4, "order": "drawn_confidence"},
}
BESIDE = {
    "alone": {},
    "blocks": {"block_length": 4},
    "guidance": {"guidance_scale": 2.0},
    "resampling": {"resample_steps": 2, "resample_order": "remdm_cap"},
    "threshold": {"threshold": 0.6},
    "entropy bound": {"entropy_bound": 0.6},
}


@pytest.mark.parametrize("beside", BESIDE)
@pytest.mark.parametrize("name", EVERYWHERE)
def test_a_row_depends_on_its_seed_alone(model, name, beside):
    settings = EVERYWHERE[name] | BESIDE[beside]
    if "threshold" in EVERYWHERE[name] and beside in ("entropy bound", "resampling"):
        settings.pop("threshold")
    rows = masks(3, 10)
    rows[:, :2] = 1
    rows[1, 5:] = PAD
    rows[2, 7:] = 0
    together = full(model, rows, seed=[4, 5, 6], **settings)
    assert not (together.sequences == MASK).any()
    assert torch.equal(together.sequences[rows != MASK], rows[rows != MASK])
    for row in range(3):
        alone = full(
            model, rows[row : row + 1, : 5 if row == 1 else 10], seed=[4 + row], **settings
        )
        length = alone.sequences.shape[1]
        assert torch.equal(alone.sequences[0], together.sequences[row, :length])
        assert torch.equal(alone.order[0], together.order[row, :length])
        torch.testing.assert_close(
            alone.log_probs[0], together.log_probs[row, :length], rtol=0, atol=1e-5
        )
