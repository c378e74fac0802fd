"""Per-step losses are those of the enumeration, sum to the bound, and price every plan."""

import math
from functools import partial

import pytest
import torch

from ardm import (
    StepLosses,
    masked_losses,
    measure_step_losses,
    nelbo,
    optimal_plan,
    per_step_losses,
    plan_cost,
)
from ardm.plans import cosine_plan, uniform_plan

MASK, PAD = 3, 4


@pytest.fixture(scope="module")
def model(tiny_model):
    return tiny_model(vocab_size=5, mask_token_id=MASK, pad_token_id=PAD, scale=0.8)


@pytest.fixture(scope="module")
def plain(tiny_model):
    return tiny_model(scale=0.8)


@pytest.fixture(scope="module")
def exact(plain, enumeration):
    return enumeration(plain, 4)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def exact_step_losses(exact, ids):
    """(B, L): E_order of the next token's loss at each number known, by every order's walk."""
    total, digits = torch.zeros(len(ids), 4, dtype=torch.float64), 4 ** torch.arange(4).flip(0)
    for order in exact.orders:
        state = torch.full_like(ids, MASK)
        for known, position in enumerate(order.tolist()):
            log_probs = exact.table[(state * digits).sum(1), position]
            total[:, known] -= log_probs.gather(1, ids[:, position, None])[:, 0] / len(exact.orders)
            state[:, position] = ids[:, position]
    return total


def repeated(uniforms, seed, keys, length, stages):
    return uniforms.expand(len(keys), length)


@pytest.fixture(scope="module")
def averaged(plain, exact):
    """The losses of all sequences, averaged over all orders: each in turn is every version's."""
    total = 0.0
    with pytest.MonkeyPatch.context() as patch:
        for order in exact.orders:
            patch.setattr(
                masked_losses, "order_uniforms", partial(repeated, order.argsort().double() / 4)
            )
            total = total + measure_step_losses(plain, exact.sequences).sequence_nats
    return StepLosses(total / len(exact.orders))


# ---------------------------------------------------------------------------------------- the curve
def test_it_is_the_enumerated_curve(averaged, exact):
    truth = exact_step_losses(exact, exact.sequences)
    torch.testing.assert_close(averaged.sequence_nats, truth, rtol=0, atol=1e-6)
    assert (
        averaged.nats.dtype == averaged.standard_error.dtype == torch.float64
        and averaged.nats.shape == (4,)
    )
    torch.testing.assert_close(averaged.nats, truth.mean(0), rtol=0, atol=1e-6)
    assert (truth.mean(0).diff().abs() > 0.02).any()  # a flat curve could be turned round unnoticed


def test_it_is_unbiased_and_its_error_calibrated_over_sequences_and_orders(plain, exact):
    """Sequences drawn uniformly: the truth is the mean over all of them."""
    truth = exact_step_losses(exact, exact.sequences).mean(0)
    zs = []
    for seed in range(200):
        ids = exact.sequences[torch.randint(0, 81, (40,), generator=generator(seed))]
        out = measure_step_losses(plain, ids, generator=generator(1000 + seed))
        zs.append((out.nats - truth) / out.standard_error)
    zs = torch.stack(zs)
    assert (zs.mean(0).abs() < 4 * zs.std(0) / math.sqrt(200)).all()
    assert ((zs.std(0) > 0.85) & (zs.std(0) < 1.15)).all()


def test_it_sums_to_the_bound(model, averaged, exact):
    ids = torch.randint(0, 3, (5, 8))
    out = measure_step_losses(model, ids, generator=generator(3))
    bound = nelbo(model, ids, num_samples="all", generator=generator(3))
    torch.testing.assert_close(out.sequence_nats.sum(1), bound.nats, rtol=1e-12, atol=0)
    torch.testing.assert_close(
        per_step_losses(model, ids, generator=generator(3)).sum(), bound.nats.mean()
    )
    truth = -torch.stack([exact.log_prob(order) for order in exact.orders]).mean(0)
    torch.testing.assert_close(averaged.sequence_nats.sum(1), truth, rtol=0, atol=1e-6)


def test_padding_prompts_numbers_and_calls_change_nothing(model):
    rows = [[0, 1, 2, 0, 1], [2], [1, 1, 0]]
    right = torch.tensor([row + [PAD] * (7 - len(row)) for row in rows])
    left = torch.tensor([[PAD] * (7 - len(row)) + row for row in rows])
    reference = measure_step_losses(
        model, right, right != PAD, num_orders=2, generator=generator()
    ).sequence_nats
    assert reference.shape == (3, 5)
    assert reference.isfinite().sum(1).tolist() == [5, 1, 3] and reference[1, 0].isfinite()
    options = {"num_orders": 2, "generator": None}
    for ids in (left, right[:, :5]):
        out = measure_step_losses(model, ids, ids != PAD, **options | {"generator": generator()})
        torch.testing.assert_close(
            out.sequence_nats, reference, rtol=1e-6, atol=1e-6, equal_nan=True
        )
    for size in (1, 3, 1000):
        out = measure_step_losses(
            model, right, right != PAD, batch_size=size, **options | {"generator": generator()}
        )
        torch.testing.assert_close(
            out.sequence_nats, reference, rtol=1e-6, atol=1e-6, equal_nan=True
        )
    part = measure_step_losses(
        model,
        right[2:],
        right[2:] != PAD,
        row_numbers=torch.tensor([2]),
        **options | {"generator": generator()},
    )
    torch.testing.assert_close(part.sequence_nats[0], reference[2, :3], rtol=1e-6, atol=1e-6)
    prompt = torch.tensor([[1, 0, 1, 0, 0]])
    given = measure_step_losses(model, torch.tensor(rows[:1]), prompt_mask=prompt)
    assert given.nats.shape == (3,)
    assert given.nats[0] == pytest.approx(float(-first_of(model, rows[0], [1, 3, 4])), abs=1e-5)


@torch.no_grad()
def first_of(model, row, hidden):
    """Mean log-probability of the hidden tokens, all at once."""
    ids = torch.tensor([row])
    masked = ids.clone()
    masked[0, hidden] = MASK
    return model(masked).logits.double().log_softmax(-1)[0, hidden, ids[0, hidden]].mean()


def test_standard_errors_of_ragged_rows():
    table = torch.tensor(
        [[3.0, 2.0, 1.0], [2.0, 1.0, math.nan], [4.0, math.nan, math.nan]], dtype=torch.float64
    )
    out = StepLosses(table)
    torch.testing.assert_close(out.nats, torch.tensor([3.0, 1.5, 1.0], dtype=torch.float64))
    torch.testing.assert_close(
        out.standard_error[:2], torch.tensor([1 / 3**0.5, 0.5], dtype=torch.float64)
    )
    assert out.standard_error[2].isnan()
    assert out.to_dict()["standard_error"][2] is None and out.to_dict()["num_sequences"] == 3
    with pytest.raises(ValueError, match="equal lengths"):
        out.cost([1, 1, 1])
    with pytest.raises(ValueError, match="plan sums to 4; expected 3, the number of losses"):
        StepLosses(table[:1]).cost([2, 2])


# ---------------------------------------------------------------------------------- what plans cost
@pytest.mark.parametrize("plan", [[1, 1, 1, 1], [1, 3], [2, 2], [3, 1], [4]])
def test_cost_is_the_expectation_over_orders_of_the_plans_own_likelihood(averaged, exact, plan):
    truth = -torch.stack([exact.log_prob(order, plan) for order in exact.orders]).mean(0)
    value, error = averaged.cost(plan)
    assert value == pytest.approx(float(truth.mean()), abs=1e-6)
    assert error == pytest.approx(float(truth.std()) / 9, abs=1e-6)
    assert value == pytest.approx(plan_cost(averaged.nats, plan))
    ones = [1, 1, 1, 1]
    # against one at a time
    lost = truth + torch.stack([exact.log_prob(order) for order in exact.orders]).mean(0)
    difference, error = averaged.cost(plan, ones)
    assert difference == pytest.approx(float(lost.mean()), abs=1e-6)
    assert error == pytest.approx(float(lost.std()) / 9, abs=1e-6)


def test_a_single_sequence_has_no_error(plain):
    out = measure_step_losses(plain, torch.tensor([[0, 1, 2]]))
    assert out.standard_error.isnan().all() and math.isnan(out.cost([1, 2])[1])


def test_plans_of_one_half_of_the_data_on_the_other(plain, exact):
    """On held-out losses the optimal plan may lose a little of its lead, no more than the noise."""
    first, second = (
        measure_step_losses(
            plain, exact.sequences[half::2], num_orders=30, generator=generator(half)
        )
        for half in (0, 1)
    )
    for steps in range(1, 5):
        plan = optimal_plan(first.nats, steps)
        for other in (uniform_plan(4, steps), cosine_plan(4, steps)):
            assert plan_cost(first.nats, plan) <= plan_cost(first.nats, other) + 1e-12
            assert second.cost(plan)[0] <= second.cost(other)[0] + 4 * second.cost(other)[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_ids": torch.tensor([[0, MASK, 1]])}, "mask id 3"),
        ({"input_ids": torch.tensor([[0, PAD, 1]])}, "pad id 4"),
        ({"input_ids": [[0, 1]]}, "list"),
        ({"prompt_mask": torch.ones(1, 3)}, "only padding and prompt"),
        ({"attention_mask": torch.zeros(1, 3)}, "0 all over row 0"),
        ({"attention_mask": [[1, 1, 1]]}, "attention_mask is a list"),
        ({"num_orders": 0}, "num_orders is 0"),
        ({"num_orders": 1.0}, "num_orders is 1.0"),
        ({"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_bad_input_is_refused(model, change, message):
    with pytest.raises(ValueError, match=message):
        per_step_losses(model, **({"input_ids": torch.zeros(1, 3, dtype=torch.long)} | change))
