"""log_prob is the enumerated chain rule and sums to 1, for every order, plan and prompt."""

import copy
import itertools

import pytest
import torch

from ardm import log_prob, nelbo, uniform_plan
from ardm.orders import confidence, entropy, margin
from ardm.path_likelihood import _position_log_probs

MASK = 3
PLANS = {
    3: [None, [1, 1, 1], [1, 2], [2, 1], [3]],
    4: [None, [1, 3], [2, 2], [3, 1], [1, 2, 1], [1, 1, 2], [4]],
}


@pytest.fixture(scope="module")
def plain(tiny_model):
    return tiny_model(scale=0.8)


@pytest.fixture(scope="module")
def exact(plain, enumeration):
    return {length: enumeration(plain, length) for length in (1, 2, 3, 4)}


def close(actual, expected, tolerance=1e-6):
    assert actual.dtype == torch.float64
    torch.testing.assert_close(
        actual, torch.as_tensor(expected).double(), rtol=tolerance, atol=tolerance
    )


# --------------------------------------------------------------------------------- the distribution
@pytest.mark.parametrize(
    ("length", "plan"), [(length, plan) for length in PLANS for plan in PLANS[length]]
)
def test_it_is_the_enumerated_chain_rule_and_sums_to_one(plain, exact, length, plan):
    for order in exact[length].orders:
        values = log_prob(plain, exact[length].sequences, order, plan=plan)
        assert values.shape == (3**length,)
        close(values, exact[length].log_prob(order, plan))
        close(values.exp().sum(), 1.0)


@pytest.mark.parametrize("length", [1, 2])
def test_short_sequences(plain, exact, length):
    for order in exact[length].orders:
        values = log_prob(plain, exact[length].sequences, order)
        close(values, exact[length].log_prob(order))
        close(values.exp().sum(), 1.0)


def test_each_row_has_its_own_order(plain, exact):
    ids, orders = exact[4].sequences[:24], torch.stack(exact[4].orders)
    expected = [
        exact[4].log_prob(order, sequences=row[None])[0]
        for row, order in zip(ids, orders, strict=True)
    ]
    close(log_prob(plain, ids, orders), torch.stack(expected))
    close(log_prob(plain, ids.int(), orders.int()), torch.stack(expected))


def test_orders_and_plans_are_different_distributions(exact):
    """So that the laws above cannot hold for a mixed-up order or plan."""
    values = torch.stack(
        [exact[4].log_prob(order, plan) for order in exact[4].orders for plan in (None, [2, 2])]
    )
    pairs = itertools.combinations(values, 2)
    alike = sum(bool((a - b).abs().max() < 1e-3) for a, b in pairs)
    assert alike == 24 // 4 * 6  # only orders within the groups of [2, 2]


def test_bound_and_likelihood(plain, exact):
    """Mean over all orders: of -log p the bound, and of p a likelihood that is at least as good."""
    ids = exact[4].sequences
    values = torch.stack([log_prob(plain, ids, order) for order in exact[4].orders])
    bound = -torch.stack([exact[4].log_prob(order) for order in exact[4].orders]).mean(0)
    close(-values.mean(0), bound)
    likelihood = values.exp().mean(0)
    close(likelihood.sum(), 1.0)
    assert (-likelihood.log() <= bound).all() and (bound + likelihood.log()).max() > 0.05

    estimates = nelbo(plain, ids.repeat(50, 1), num_samples="all").nats.view(50, -1)
    z = (estimates.mean(0) - bound) / (estimates.std(0) / 50**0.5)
    assert z.abs().max() < 4.5 and abs(z.mean()) < 1


def test_each_position_has_its_own_term(plain, exact):
    """The sum is `log_prob`, and a position's term looks at the earlier groups alone."""
    model = copy.deepcopy(plain).double()
    ids, order, plan = exact[4].sequences[50:51], torch.tensor([2, 0, 3, 1]), [1, 2, 1]
    terms = _position_log_probs(model, ids, order, plan, None, None, None)
    assert terms.shape == ids.shape
    known = torch.full_like(ids, MASK)
    for group in ([2], [0, 3], [1]):
        expected = model(known).logits[0, group].detach().log_softmax(-1)
        close(terms[0, group], expected.gather(1, ids[0, group, None])[:, 0], 1e-12)
        known[0, group] = ids[0, group]
    close(log_prob(model, ids, order, plan=plan), terms.sum(1), 1e-12)


# ------------------------------------------------------------------------------------------ prompts
@pytest.mark.parametrize("given", [[1], [3, 0], [0, 1, 2]])
def test_prompt_makes_it_conditional(plain, exact, given):
    start = torch.full((4,), MASK)
    start[given] = torch.tensor([1, 0, 2])[: len(given)]
    fits = (exact[4].sequences[:, given] == start[given]).all(1)
    ids = exact[4].sequences[fits]
    prompt = (start != MASK).expand(len(ids), -1)
    free = 4 - len(given)
    for order, plan in itertools.product(
        exact[4].orders, (None, [free], uniform_plan(free, min(free, 2)))
    ):
        values = log_prob(plain, ids, order, plan=plan, prompt_mask=prompt)
        close(values, exact[4].log_prob(order, plan, start, ids))
        close(values.exp().sum(), 1.0)


# ------------------------------------------------------------------- orders that look at the logits
def last_token_first(logits, masked, generator):
    """A callable order: positions where the last data symbol is the likeliest come first."""
    assert generator is None and masked.any(1).all()
    return logits[..., 2] - logits[..., 0]


FIXED = {"left_to_right": torch.arange(4), "right_to_left": torch.arange(4).flip(0)}
SCORES = {"confidence": confidence, "margin": margin, "entropy": lambda logits: -entropy(logits)}
SCORES |= {last_token_first: lambda logits: logits[..., 2] - logits[..., 0]}


def adaptive_path(exact, score, row, plan):
    """Positions as a score of the table's conditionals picks them, given the tokens before."""
    state, path = torch.full_like(row, MASK), []
    for size in plan:
        log_probs = exact.table[(state * 4 ** torch.arange(len(row)).flip(0)).sum()]
        scores = score(log_probs[None].float())[0].masked_fill(state != MASK, -torch.inf)
        group = sorted(
            range(len(row)), key=lambda position: (-round(float(scores[position]), 5), position)
        )[:size]
        path += group
        state[group] = row[group]
    return torch.tensor(path)


@pytest.mark.parametrize("plan", [None, [1, 3], [2, 2]])
@pytest.mark.parametrize("order", [*FIXED, *SCORES])
def test_deterministic_orders_are_distributions(plain, exact, order, plan):
    values = log_prob(plain, exact[4].sequences, order, plan=plan)
    close(values.exp().sum(), 1.0)
    paths = set()
    for row, value in zip(exact[4].sequences, values, strict=True):
        path = (
            FIXED[order]
            if order in FIXED
            else adaptive_path(exact[4], SCORES[order], row, plan or [1] * 4)
        )
        close(value, exact[4].log_prob(path, plan, sequences=row[None])[0], 1e-5)
        paths.add(tuple(path.tolist()))
    assert order in FIXED or len(paths) > 1  # an adaptive path depends on the text
