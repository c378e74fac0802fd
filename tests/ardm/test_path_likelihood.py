"""log_prob does not see padding and batches, and is what generate reports."""

import itertools
import types

import pytest
import torch

from ardm import log_prob
from ardm.orders import DRAWN_ORDERS, ORDER_NAMES
from ardm.path_likelihood import LIKELIHOOD_ORDERS, _position_log_probs
from ardm.plans import fixed_size_plan

MASK, PAD = 3, 4
# shorter than the batch and as long as it
ROWS = [
    [0, 1, 2, 0, 1],
    [2],
    [1, 1, 0],
    [0, 0, 2, 1, 2, 1, 0],
]
ORDER_OF_ROW = [[3, 0, 4, 1, 2], [0], [1, 2, 0], [6, 2, 0, 5, 3, 1, 4]]  # places within the row


@pytest.fixture(scope="module")
def model(tiny_model):
    return tiny_model(vocab_size=5, mask_token_id=MASK, pad_token_id=PAD, scale=0.8)


@pytest.fixture(scope="module")
def plain(tiny_model):
    return tiny_model(scale=0.8)


def close(actual, expected, tolerance=1e-6):
    assert actual.dtype == torch.float64
    torch.testing.assert_close(
        actual, torch.as_tensor(expected).double(), rtol=tolerance, atol=tolerance
    )


def test_every_named_order_but_random_is_a_path(model):
    assert {*ORDER_NAMES} - {*LIKELIHOOD_ORDERS} == {"random", *DRAWN_ORDERS}
    ids = torch.tensor([[0, 1, 2]])
    for order in LIKELIHOOD_ORDERS:
        assert log_prob(model, ids, order).isfinite().all()


def recorded(model):
    """The model as a mere callable with a configuration, and the list of its calls' arguments."""
    calls = []

    def call(**inputs):
        calls.append(inputs)
        return types.SimpleNamespace(logits=model(**inputs).logits)

    call.config = model.config
    return call, calls


def padded(side, length=7, rows=ROWS, orders=ORDER_OF_ROW, value=PAD):
    """Rows of different lengths as one batch, its mask, orders that visit the padding anywhere."""
    ids = torch.full((len(rows), length), value)
    real, batch_order = torch.zeros_like(ids), torch.empty_like(ids)
    for row, (tokens, order) in enumerate(zip(rows, orders, strict=True)):
        first = 0 if side == "right" else length - len(tokens)
        ids[row, first : first + len(tokens)] = torch.tensor(tokens)
        real[row, first : first + len(tokens)] = 1
        padding = (real[row] == 0).nonzero()[:, 0]
        half = len(padding) // 2
        batch_order[row] = torch.cat((padding[half:], torch.tensor(order) + first, padding[:half]))
    return ids, real, batch_order


@pytest.mark.parametrize("side", ["left", "right"])
def test_prompt_first_is_the_chain_rule(model, side):
    """log p(x) = log p(prompt) + log p(rest | prompt), the terms of the whole's first steps."""
    ids, real, order = padded(side)
    count = torch.tensor([2, 0, 3, 4])[:, None]
    visited = real.gather(1, order).cumsum(1) * real.gather(1, order)
    prompt = torch.zeros_like(ids).scatter(1, order, ((visited > 0) & (visited <= count)).long())
    assert prompt.sum(1).tolist() == count[:, 0].tolist()
    terms = _position_log_probs(model, ids, order, None, real, None, None)
    rest = log_prob(model, ids, order, attention_mask=real, prompt_mask=prompt)
    close(rest, (terms * (1 - prompt)).sum(1))
    close(log_prob(model, ids, order, attention_mask=real), (terms * prompt).sum(1) + rest)
    assert rest[2] == 0  # all of it is given


# ---------------------------------------------------------------------- padding, batches, the model
def test_padding_and_neighbours_change_nothing(model):
    alone = [
        log_prob(model, torch.tensor([row]), torch.tensor(order))
        for row, order in zip(ROWS, ORDER_OF_ROW, strict=True)
    ]
    for side, length, value in itertools.product(("left", "right"), (7, 8), (PAD, 1, MASK)):
        # what stands under the padding is not read
        ids, real, order = padded(side, length, value=value)
        close(log_prob(model, ids, order, attention_mask=real), torch.cat(alone), 2e-6)
        close(log_prob(model, ids, order, attention_mask=real.bool()), torch.cat(alone), 2e-6)


@pytest.mark.parametrize("plan", [[1, 3, 1], [5], [2, 1, 2]])
def test_padding_and_plans(model, plan):
    """Rows with as many target tokens, some of them behind a prompt, some beside padding."""
    rows = [[0, 1, 2, 0, 1], [2, 1, 0, 0, 1, 2, 2]]
    places = [[3, 0, 4, 1, 2], [6, 2, 0, 5, 3, 1, 4]]
    alone = [
        log_prob(model, torch.tensor(rows[:1]), torch.tensor(places[0]), plan=plan),
        log_prob(
            model,
            torch.tensor(rows[1:]),
            torch.tensor(places[1]),
            plan=plan,
            prompt_mask=torch.tensor([[0, 1, 0, 0, 0, 1, 0]]),
        ),
    ]
    for side in ("left", "right"):
        ids, real, order = padded(side, 7, rows, places)
        prompt = torch.tensor([[0] * 7, [0, 1, 0, 0, 0, 1, 0]])
        values = log_prob(model, ids, order, plan=plan, attention_mask=real, prompt_mask=prompt)
        close(values, torch.cat(alone), 2e-6)


def test_terms_are_zero_where_nothing_is_asked_for(model):
    ids, real, order = padded("left")
    prompt = torch.zeros_like(ids)
    prompt[:, -1] = 1
    terms = _position_log_probs(model, ids, order, None, real, prompt, None)
    target = (real == 1) & (prompt == 0)
    assert (terms[target] < 0).all() and (terms[~target] == 0).all()


@pytest.mark.parametrize("plan", [None, [1, 4, 2]])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 1000])
def test_batch_size_changes_the_calls_and_nothing_else(model, batch_size, plan):
    ids = torch.randint(0, 3, (5, 7))
    order = torch.rand(5, 7).argsort(1)
    call, calls = recorded(model)
    values = log_prob(call, ids, order, plan=plan, batch_size=batch_size)
    close(values, log_prob(model, ids, order, plan=plan))
    pairs = 5 * len(plan or ids[0])
    assert [len(inputs["input_ids"]) for inputs in calls[:-1]] == [batch_size] * (
        (pairs - 1) // batch_size
    )
    assert sum(len(inputs["input_ids"]) for inputs in calls) == pairs


def test_what_the_model_is_asked(model):
    """Few calls, each for the group's positions alone, and none with a gradient."""
    ids, real, order = padded("right")
    call, calls = recorded(model)
    assert not log_prob(call, ids.int(), order.int(), attention_mask=real).requires_grad
    (inputs,) = calls
    assert sorted(inputs) == ["attention_mask", "input_ids", "logits_positions"]
    assert inputs["input_ids"].dtype == inputs["logits_positions"].dtype == torch.int64
    assert inputs["input_ids"].shape == (16, 7) and inputs["logits_positions"].shape == (16, 1)
    asked = inputs["input_ids"].gather(1, inputs["logits_positions"])
    assert (asked == MASK).all()
    assert (inputs["input_ids"] == MASK).sum(1).tolist() == [
        5,
        1,
        3,
        7,
        4,
        2,
        6,
        3,
        1,
        5,
        2,
        4,
        1,
        3,
        2,
        1,
    ]


def test_probability_zero_is_minus_infinity_and_no_error(model):
    def call(**inputs):
        logits = model(**inputs).logits
        logits[..., 2] = -torch.inf
        return types.SimpleNamespace(logits=logits)

    call.config = model.config
    values = log_prob(call, torch.tensor([[0, 1, 1], [0, 2, 1]]), torch.arange(3))
    assert values[0].isfinite() and values[1] == -torch.inf


# ------------------------------------------------------------------- orders that look at the logits
def last_token_first(logits, masked, generator):
    """A callable order: positions where the last data symbol is the likeliest come first."""
    assert generator is None and masked.any(1).all()
    return logits[..., 2] - logits[..., 0]


@pytest.mark.parametrize(
    "order", ["confidence", "margin", "entropy", last_token_first, "right_to_left"]
)
def test_adaptive_orders_with_padding_prompts_and_calls(model, order):
    ids, real, _ = padded("right")
    reference = log_prob(model, ids, order, attention_mask=real)
    for side, length in (("left", 7), ("right", 8)):
        others, others_real, _ = padded(side, length)
        close(log_prob(model, others, order, attention_mask=others_real), reference, 1e-5)
    for size in (1, 2, 3):
        close(log_prob(model, ids, order, attention_mask=real, batch_size=size), reference, 1e-5)
    for row, tokens in enumerate(ROWS):
        close(log_prob(model, torch.tensor([tokens]), order), reference[row : row + 1], 1e-5)
    prompt = torch.zeros_like(ids)
    prompt[:, 0] = 1  # what is given is not chosen, and makes the rest conditional
    given = _position_log_probs(model, ids, order, None, real, prompt, None)
    assert (given[:, 0] == 0).all() and (given[0, 1:5] < 0).all() and (given[real == 0] == 0).all()
    everything = torch.ones_like(ids)
    nothing = log_prob(model, ids, order, attention_mask=real, prompt_mask=everything)
    assert nothing.tolist() == [0, 0, 0, 0]
    assert log_prob(model, ids[:0], order).shape == (0,)


@pytest.mark.parametrize("tokens_per_step", [1, 3])
@pytest.mark.parametrize("order", ["confidence", "margin", "entropy"])
@pytest.mark.parametrize("start", ["masks", "prompts", "prompts and padding"])
def test_generate_reports_the_same_adaptive_log_probability(model, order, tokens_per_step, start):
    ids, real = canvas(start)
    out = model.generate(
        ids,
        real,
        return_dict_in_generate=True,
        order=order,
        tokens_per_step=tokens_per_step,
        seed=3,
    )
    hidden = ids == MASK
    for row, count in enumerate(hidden.sum(1).tolist()):
        used = {
            "attention_mask": real[row, None],
            "prompt_mask": ((real == 1) & ~hidden)[row, None],
        }
        plan = fixed_size_plan(count, tokens_per_step)
        value = log_prob(model, out.sequences[row, None], order, plan=plan, **used)
        close(out.log_probs[row, None].double().sum(1), value, 1e-5)


def test_a_callable_order_is_checked(plain):
    ids = torch.zeros(1, 3, dtype=torch.long)
    with pytest.raises(ValueError, match=r"scores are \(1, 2\)"):
        log_prob(plain, ids, lambda logits, masked, generator: logits[:, :2, 0])
    with pytest.raises(ValueError, match="NaN"):
        log_prob(plain, ids, lambda logits, masked, generator: logits[..., 0] * torch.nan)


def test_dropout_is_off(tiny_model):
    model, ids = tiny_model(hidden_dropout=0.5), torch.zeros(2, 4, dtype=torch.long)
    quiet = [log_prob(model, ids, order) for order in ("left_to_right", "confidence")]
    model.train()
    assert all(
        torch.equal(a, log_prob(model, ids, b))
        for a, b in zip(quiet, ("left_to_right", "confidence"), strict=True)
    )
    assert model.training


# --------------------------------------------------------------------------------------- generation
def canvas(start):
    """Six rows and their attention mask: masks alone, around given tokens, beside padding too."""
    ids, real = torch.full((6, 8), MASK), torch.ones(6, 8, dtype=torch.long)
    if start != "masks":
        ids = torch.where(torch.rand(6, 8) < 0.4, torch.randint(0, 3, (6, 8)), MASK)
        ids[:, 4:6] = MASK
    if start == "prompts and padding":
        for row, size in enumerate((0, 1, 2, 3)):
            real[row, 8 - size :] = 0
        real[4, :2] = real[5, :3] = 0
    return ids.where(real == 1, PAD), real


@pytest.mark.parametrize("tokens_per_step", [1, 2])
@pytest.mark.parametrize(
    "order", ["random", "left_to_right", "right_to_left", "explicit", "explicit by row"]
)
@pytest.mark.parametrize("start", ["masks", "prompts", "prompts and padding"])
def test_generate_reports_the_same_log_probability(model, order, tokens_per_step, start):
    ids, real = canvas(start)
    hidden = ids == MASK
    orders = {"explicit": torch.randperm(8), "explicit by row": torch.rand(6, 8).argsort(1)}
    settings = {"order": orders.get(order, order), "tokens_per_step": tokens_per_step, "seed": 3}
    out = model.generate(ids, real, return_dict_in_generate=True, **settings)

    # given tokens, of step -1, come first; those of one step stay together, in whatever order
    recovered = out.order.argsort(dim=1, stable=True)
    used = {"attention_mask": real, "prompt_mask": (real == 1) & ~hidden}
    known = recovered if order not in orders else orders[order].expand(6, 8)
    # one call takes one plan, and these rows need several
    for row, count in enumerate(hidden.sum(1).tolist()):
        one = {name: mask[row, None] for name, mask in used.items()}
        plan = fixed_size_plan(count, tokens_per_step)
        for path in (recovered, known):
            value = log_prob(model, out.sequences[row, None], path[row, None], plan=plan, **one)
            close(out.log_probs[row, None].double().sum(1), value, 1e-5)
    if start == "masks":  # as many in every row
        plan = fixed_size_plan(8, tokens_per_step)
        close(
            out.log_probs.double().sum(1),
            log_prob(model, out.sequences, recovered, plan=plan),
            1e-5,
        )
    if tokens_per_step == 1:
        terms = _position_log_probs(model, out.sequences, known, None, *used.values(), None)
        close(out.log_probs.double(), terms, 1e-5)


# ---------------------------------------------------------------------------------- nothing, errors
@pytest.mark.parametrize("plan", [None, []])
def test_nothing_is_asked_for(model, plan):
    call, calls = recorded(model)
    ids, order = torch.zeros(2, 3, dtype=torch.long), torch.arange(3)
    given = torch.ones(2, 3)
    assert log_prob(call, ids, order, plan=plan, prompt_mask=given).tolist() == [0, 0]
    assert log_prob(call, ids[:0], order, plan=plan).shape == (0,)
    assert log_prob(call, ids[:, :0], order[:0], plan=plan).tolist() == [0, 0]
    assert not calls


ONE = torch.tensor([[0, 1, 2]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_ids": torch.tensor([[0, MASK, 1]])}, "mask id 3"),
        ({"input_ids": torch.tensor([[0, PAD, 1]])}, "pad id 4"),
        (
            {"input_ids": torch.tensor([[MASK, 0, 1]]), "prompt_mask": torch.tensor([[1, 0, 0]])},
            "mask id 3",
        ),
        (
            {"input_ids": torch.tensor([[PAD, 0, 1]]), "prompt_mask": torch.tensor([[1, 0, 0]])},
            "pad id 4",
        ),
        ({"input_ids": torch.tensor([[0, 5, 1]])}, r"ids in 0\.\.5; expected 0\.\.4"),
        ({"input_ids": torch.tensor([0, 1, 2])}, "shape"),
        ({"input_ids": [[0, 1, 2]]}, "list"),
        ({"input_ids": ONE.float()}, "float32"),
        ({"attention_mask": torch.ones(1, 2)}, "attention_mask has shape"),
        ({"prompt_mask": torch.ones(3)}, "prompt_mask has shape"),
        ({"order": torch.tensor([0, 1, 1])}, "no permutation"),
        ({"order": torch.tensor([1, 2, 3])}, "no permutation"),
        ({"order": torch.arange(4)}, r"order has shape \(4,\)"),
        ({"order": torch.arange(3).repeat(2, 1)}, r"order has shape \(2, 3\)"),
        ({"order": torch.arange(3.0)}, "float32"),
        ({"order": [0, 1, 2]}, "order is list"),
        ({"order": "random"}, "order is 'random'.*nelbo"),
        ({"order": "rightwards"}, "order is 'rightwards'.*left_to_right"),
        ({"plan": [1, 1]}, "plan sums to 2; expected 3, the number of tokens of row 0"),
        ({"plan": [1, 3]}, "plan sums to 4; expected 3"),
        ({"plan": [1.5, 1.5]}, "plan's group size is 1.5"),
        ({"plan": [1, "a"]}, "plan's group size is 'a'"),
        ({"plan": [1, None, 1]}, "plan's group size is None"),
        ({"plan": [[1], [2]]}, "plan has 2 lists; expected 1"),
        ({"plan": [3, 0]}, "at least 1"),
        ({"plan": [4, -1]}, "at least 1"),
        ({"plan": []}, "plan sums to 0; expected 3"),
        ({"plan": "optimal"}, "plan is 'optimal'; expected a list"),
        ({"plan": 3}, "plan is 3; expected a list"),
        ({"order": "drawn_confidence"}, "depends on tokens that are not in the text"),
        ({"plan": [3], "prompt_mask": torch.tensor([[1, 0, 0]])}, "plan sums to 3; expected 2"),
        (
            {
                "plan": [2],
                "input_ids": ONE.repeat(2, 1),
                "prompt_mask": torch.tensor([[1, 0, 0], [0] * 3]),
            },
            "3.*row 1",
        ),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": -1}, "batch_size is -1"),
    ],
)
def test_bad_input_is_refused_before_any_call(model, change, message):
    call, calls = recorded(model)
    with pytest.raises(ValueError, match=message):
        log_prob(call, **({"input_ids": ONE, "order": torch.arange(3)} | change))
    assert not calls
