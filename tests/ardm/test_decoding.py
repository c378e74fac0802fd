"""The laws of the loop: what it never does, on random shapes, orders and settings."""

from types import SimpleNamespace

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies as st

from ardm import ARDMForMaskedLM, ARDMGenerationConfig, log_prob

from .rows import MASK, PAD, full, masks


def last_hidden_first(logits, masked, generator):
    return torch.arange(masked.shape[1]).expand_as(masked)


# ------------------------------------------------------------------------------- what holds for all
ORDERS = [
    "random",
    "left_to_right",
    "right_to_left",
    "confidence",
    "margin",
    "entropy",
    last_hidden_first,
]
AMOUNTS = [
    {},
    {"tokens_per_step": 2},
    {"tokens_per_step": 12},
    {"steps": 7},
    {"threshold": 0.5},
    {"entropy_bound": 0.7},
    {"threshold": 0.8, "tokens_per_step": 2},
]
REVISIONS = [
    {},
    {},
    {"resample_steps": 2},
    {"resample_steps": 2, "resample_order": "least_confident"},
]
BETWEEN = [
    {"resample_steps": 3, "resample_order": f"remdm_{name}"} for name in ("cap", "rescale", "conf")
]
OTHERS = {
    "block_length": st.integers(1, 5),
    "guidance_scale": st.sampled_from([0.0, 1.5]),
    "do_sample": st.booleans(),
    "order_temperature": st.just(0.5),
    "temperature": st.just(0.7),
    "top_k": st.just(2),
    "eos_token_id": st.just(2),
    "max_new_tokens": st.integers(0, 4),
}


@st.composite
def settings_of_generate(draw):
    settings = {"order": draw(st.sampled_from(ORDERS))} | draw(st.sampled_from(AMOUNTS))
    adaptive = "threshold" in settings or "entropy_bound" in settings
    settings |= draw(st.sampled_from(REVISIONS if adaptive else REVISIONS + BETWEEN))
    return settings | draw(st.fixed_dictionaries({}, optional=OTHERS))


@st.composite
def ragged_batch(draw):
    """Rows of different lengths, padded on one side: ids, attention mask, and the rows' lengths."""
    batch, length = draw(st.integers(1, 4)), draw(st.integers(1, 8))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    real = torch.arange(length) < torch.randint(1, length + 1, (batch, 1), generator=generator)
    if draw(st.booleans()):
        real = real.flip(1)
    ids = torch.randint(0, 3, (batch, length), generator=generator)
    ids[torch.rand(batch, length, generator=generator) < 0.6] = MASK
    return ids.masked_fill(~real, PAD), real


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:nothing to generate")
@hypothesis.settings(max_examples=150)
@hypothesis.given(ragged_batch(), settings_of_generate(), st.integers(0, 2**40))
def test_every_promise_for_every_combination(model, batch, settings, seed):
    (ids, real), before = batch, batch[0].clone()
    seeds = [seed + row for row in range(len(ids))]
    # too few steps for the blocks is an error of its own
    blocks = (
        int(((ids == MASK) & real).sum(1).amax()) + settings.get("max_new_tokens", 0)
    ) / settings.get("block_length", 99)
    hypothesis.assume(
        "steps" not in settings or blocks <= settings["steps"] - settings.get("resample_steps", 0)
    )
    out = full(model, ids, real.long(), seed=seeds, output_history=True, **settings)

    assert torch.equal(ids, before)
    new = settings.get("max_new_tokens", 0)
    for row, (given_ids, is_real) in enumerate(zip(ids, real, strict=True)):
        begin = int(is_real.int().argmax())
        end = begin + int(is_real.sum())
        text = torch.cat((given_ids[begin:end], masks(new)))
        result, steps = out.sequences[row, begin : end + new], out.order[row, begin : end + new]
        assert (out.sequences[row, :begin] == PAD).all() and (
            out.sequences[row, end + new :] == PAD
        ).all()
        known = text != MASK
        # known tokens are never touched
        assert torch.equal(result[known], text[known]) and (steps[known] == -1).all()
        generated = steps >= 0
        assert (result[generated] < MASK).all()
        assert (result != MASK).all()  # no mask remains
        # only behind an end is anything not generated
        assert ((result[~known] == PAD) == ~generated[~known]).all()
        assert "eos_token_id" in settings or generated.sum() == (~known).sum()
        assert (out.log_probs[row][out.order[row] < 0] == 0).all() and (
            out.log_probs[row] <= 0
        ).all()
        # the row by itself
        alone = full(model, given_ids[None, begin:end], seed=seeds[row], **settings)
        assert torch.equal(alone.sequences[0], result)
        assert torch.equal(alone.order[0], steps)
        torch.testing.assert_close(
            alone.log_probs[0], out.log_probs[row, begin : end + new], rtol=0, atol=1e-5
        )
        limit = settings.get("steps", 99)
        assert alone.num_forward_passes <= min(
            limit, int((~known).sum()) + settings.get("resample_steps", 0)
        )
    assert len(out.history) == out.num_forward_passes


@pytest.mark.filterwarnings("ignore:nothing to generate")
@pytest.mark.slow
@hypothesis.settings(max_examples=40)
@hypothesis.given(ragged_batch(), settings_of_generate(), st.randoms(use_true_random=False))
def test_permuting_rows_and_seeds_permutes_the_results(model, batch, settings, chance):
    ids, real = batch
    settings = settings | {"steps": None, "block_length": None} if "steps" in settings else settings
    seeds, rows = list(range(len(ids))), list(range(len(ids)))
    chance.shuffle(rows)
    one = full(model, ids, real.long(), seed=seeds, **settings)
    two = full(model, ids[rows], real[rows].long(), seed=[seeds[row] for row in rows], **settings)
    assert torch.equal(two.sequences, one.sequences[rows]) and torch.equal(
        two.order, one.order[rows]
    )


@pytest.mark.parametrize("order", ORDERS)
def test_without_temperature_every_order_takes_the_likeliest_token(model, order):
    ids = torch.cat((torch.tensor([[0, 1]] * 3), masks(3, 6)), 1)
    greedy_ids = model.generate(ids, order=order, do_sample=False, seed=1)
    assert torch.equal(model.generate(ids, order=order, temperature=1e-6, seed=1), greedy_ids)


@pytest.mark.parametrize("order", ORDERS)
def test_all_at_once_is_one_independent_draw_a_position(plain, order):
    """Whatever the order: the same numbers decide the same positions in the same single pass."""
    out = full(plain, masks(4, 8), order=order, tokens_per_step=8, seed=2)
    assert torch.equal(out.sequences, plain.generate(masks(4, 8), tokens_per_step=8, seed=2))
    log_probs = plain(masks(4, 8)).logits.double().log_softmax(-1)
    expected = log_probs.gather(-1, out.sequences[..., None])[..., 0]
    torch.testing.assert_close(out.log_probs, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "order", ["random", "left_to_right", "right_to_left", torch.tensor([5, 1, 0, 3, 2, 4, 7, 6])]
)
@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_path_adds_up_to_the_likelihood(plain, order, size):
    out = full(plain, masks(4, 8), order=order, tokens_per_step=size, seed=3)
    plan = out.order[0].bincount().tolist()
    exact = log_prob(plain, out.sequences, out.order.argsort(dim=1, stable=True), plan=plan)
    torch.testing.assert_close(out.log_probs.sum(1), exact, rtol=0, atol=1e-5)


def test_another_mask_id_is_never_drawn(model):
    out = model.generate(torch.full((50, 6), 1), mask_token_id=1, seed=1)
    assert not (out == 1).any() and not (out == MASK).any()


def test_a_streamer_is_ended_after_an_error(tiny_model):
    model, ended = tiny_model(), []
    model.lm_head.weight.data[1] = torch.nan
    streamer = SimpleNamespace(put=lambda value: None, end=lambda: ended.append(1))
    with pytest.raises(ValueError, match="NaN"):
        model.generate(masks(1, 4), streamer=streamer)
    assert ended == [1]


def test_numpys_numbers_are_numbers(model, tmp_path):
    settings = {
        "tokens_per_step": np.int64(2),
        "top_k": np.int64(2),
        "temperature": np.float32(0.5),
        "seed": np.int64(3),
        "block_length": np.int64(2),
    }
    plain = {name: value.item() for name, value in settings.items()}
    assert torch.equal(
        model.generate(masks(3, 6), **settings), model.generate(masks(3, 6), **plain)
    )
    ARDMGenerationConfig(**settings, per_step_losses=[np.float32(1.5)]).save_pretrained(tmp_path)
    assert ARDMGenerationConfig.from_pretrained(tmp_path).to_diff_dict().items() >= plain.items()


def test_nothing_to_generate_is_no_error(model):
    for settings in (
        {"eos_token_id": 2},
        {"eos_token_id": 2, "resample_steps": 1},
        {"order": "confidence"},
        {"threshold": 0.5},
        {"resample_steps": 2, "resample_order": "remdm_cap"},
        {"block_length": 2, "steps": 4},
    ):
        assert model.generate(masks(0, 3), **settings).shape == (0, 3)
        with pytest.warns(match="nothing to generate"):
            assert model.generate(max_new_tokens=0, **settings).shape == (1, 0)
        with pytest.warns(match="nothing to generate"):
            assert model.generate(torch.tensor([[0, 1]]), **settings).tolist() == [[0, 1]]
        with pytest.warns(match="nothing to generate"):
            nothing = full(model, torch.tensor([[PAD, PAD]]), **settings)
        assert nothing.sequences.tolist() == [[PAD, PAD]] and nothing.num_forward_passes == 0


# ------------------------------------------------------------------------------------ plans by loss
def test_the_optimal_plan_is_each_rows_own(tiny_model):
    model = tiny_model()
    losses = [4.0, 3.0, 1.0, 0.9, 0.5, 0.5, 0.1, 0.1]
    model.generation_config = ARDMGenerationConfig(per_step_losses=losses)
    ids = torch.tensor([[MASK] * 8, [0, 1, 2, 0, MASK, MASK, MASK, MASK]])
    out = full(model, ids, plan="optimal", steps=3)
    # 8 + 2 + 2 nats; 1.2
    assert [row[row >= 0].bincount().tolist() for row in out.order] == [
        [2, 2, 4],
        [1, 1, 2],
    ]
    model.generation_config = ARDMGenerationConfig(per_step_losses=losses, plan="optimal", steps=3)
    assert full(model, ids).num_forward_passes == 3
    assert full(model, ids, steps=2).order[0].bincount().tolist() == [2, 6]
    assert full(model, ids, tokens_per_step=4).num_forward_passes == 2


# ----------------------------------------------------------------------- what is computed, and when
def test_logits_are_computed_where_they_are_needed(plain, monkeypatch):
    asked = []
    forward = ARDMForMaskedLM.forward

    def spy(self, *args, logits_positions=None, **kwargs):
        asked.append(None if logits_positions is None else logits_positions.shape[1])
        return forward(self, *args, logits_positions=logits_positions, **kwargs)

    monkeypatch.setattr(ARDMForMaskedLM, "forward", spy)
    for settings, expected in (
        ({}, [1] * 6),
        ({"order": "left_to_right", "tokens_per_step": 4}, [4, 2]),
        ({"order": "confidence"}, [6, 5, 4, 3, 2, 1]),
        ({"order": "confidence", "block_length": 3}, [3, 2, 1] * 2),
        ({"order": "confidence", "resample_steps": 1}, [6, 5, 4, 3, 2, 1, 1]),
        ({"order": last_hidden_first, "tokens_per_step": 3}, [None, None]),
    ):
        asked.clear()
        plain.generate(masks(2, 6), **settings)
        assert asked == expected, settings


def test_history_is_kept_only_on_request(plain):
    assert full(plain, masks(1, 8)).history is None
    history = full(plain, masks(2, 8), tokens_per_step=3, output_history=True).history
    assert [(canvas == MASK).sum(1).tolist() for canvas in history] == [[5, 5], [2, 2], [0, 0]]


@pytest.mark.parametrize("order", ["random", "confidence", last_hidden_first])
def test_nan_is_reported_after_the_first_pass(tiny_model, order, monkeypatch):
    model, calls = tiny_model(), []
    model.lm_head.weight.data[1] = torch.nan
    monkeypatch.setattr(
        model, "forward", lambda *a, f=model.forward, **k: calls.append(1) or f(*a, **k)
    )
    with pytest.raises(ValueError, match="NaN"):
        model.generate(masks(2, 8), order=order)
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threshold": 0.5, "entropy_bound": 0.1}, "threshold and entropy_bound"),
        ({"threshold": 0}, "threshold is 0"),
        ({"threshold": 1.5}, "threshold"),
        ({"entropy_bound": -1}, "entropy_bound is -1"),
        ({"resample_steps": -1}, "resample_steps is -1"),
        ({"resample_steps": 1, "resample_fraction": 0.0}, "resample_fraction"),
        ({"resample_steps": 1, "resample_fraction": 1.1}, "resample_fraction"),
        ({"resample_order": "remdm"}, "resample_order is 'remdm'"),
        ({"resample_steps": 3, "steps": 3}, "steps is 3 and resample_steps 3"),
        (
            {"resample_steps": 1, "resample_order": "remdm_cap", "threshold": 0.5},
            "resample_order='remdm_cap'",
        ),
        ({"resample_steps": 2, "resample_order": "remdm_cap", "steps": 3}, "lies between steps"),
        ({"resample_steps": 2, "resample_order": "remdm_conf", "plan": [4]}, "lies between steps"),
        ({"eos_token_id": 5}, "eos_token_id is 5"),
        ({"eos_token_id": [1, 9]}, "eos_token_id is"),
        ({"eos_token_id": 1, "pad_token_id": 99}, "pad_token_id is 99"),
        ({"block_length": 0}, "block_length is 0"),
        ({"block_length": 2, "steps": 1}, "at least one for each of the 2 blocks"),
        ({"block_length": 3, "plan": [2, 2]}, "reaches over the end of a block"),
        ({"plan": "optimal"}, "without steps"),
        ({"plan": "optimal", "steps": 2}, "per_step_losses is not set"),
        ({"plan": "optimal", "steps": 2, "per_step_losses": [1.0, 0.5]}, "at least 4"),
        (
            {"plan": "optimal", "steps": 2, "per_step_losses": [1.0] * 4, "block_length": 2},
            "no blocks",
        ),
        ({"plan": "best", "steps": 2}, "plan is 'best'"),
        ({"per_step_losses": "low"}, "per_step_losses is str"),
        ({"per_step_losses": [1.0, float("nan")]}, "per_step_losses"),
        ({"guidance_scale": -1}, "guidance_scale is -1"),
        ({"guidance_scale": float("inf")}, "guidance_scale"),
        ({"order_temperature": -0.1}, "order_temperature"),
        ({"order": lambda logits, masked, generator: None}, "scores are NoneType"),
        ({"order": lambda logits, masked, generator: logits}, "scores are"),
        (
            {"order": lambda logits, masked, generator: masked * torch.nan},
            "NaN at a masked position",
        ),
        ({"output_history": "yes"}, "output_history"),
        ({"input_ids": torch.full((1, 4), 3, device="meta")}, "input_ids is on meta"),
        ({"streamer": object()}, "streamer is a object"),
        ({"logits_processor": [3]}, "logits_processor holds a int"),
        ({"logits_processor": len}, "logits_processor is a builtin_function_or_method"),
        ({"stopping_criteria": [3], "eos_token_id": 1}, "stopping_criteria holds a int"),
        ({"generator": 3}, "generator is a int"),
    ],
)
def test_bad_input_is_refused_by_name(model, settings, message):
    arguments = {"input_ids": masks(2, 4)} | settings
    with pytest.raises(ValueError, match=message):
        model.generate(**arguments)
