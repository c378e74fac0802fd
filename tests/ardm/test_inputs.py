"""From what a call is given to its rows: where masks go, and what is refused by name."""

from contextlib import nullcontext

import pytest
import torch
from transformers import GenerationConfig

from ardm.orders import ORDER_NAMES

from .rows import MASK, PAD, full, masks


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


# --------------------------------------------------------------------------------------- the canvas
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("with_mask", [True, False])  # without: padding is known by the pad id
def test_max_new_tokens_come_right_after_the_last_real_token(model, side, with_mask):
    rows = [[0, 1, 2], [1], [2, 2, MASK, 0]]
    ids, attention_mask = padded(rows, 5, side)
    out = full(model, ids, attention_mask if with_mask else None, max_new_tokens=2, seed=[1, 2, 3])
    assert out.sequences.shape == (3, 7)
    for row, (given, pads) in enumerate(zip(rows, (2, 4, 1), strict=True)):
        begin = pads if side == "left" else 0
        end = begin + len(given) + 2
        generated, ranks = out.sequences[row, begin:end], out.order[row, begin:end]
        assert (out.sequences[row, :begin] == PAD).all() and (out.sequences[row, end:] == PAD).all()
        known = torch.tensor([*(token != MASK for token in given), False, False])
        assert torch.equal(generated[known], torch.tensor([t for t in given if t != MASK]))
        assert ((ranks == -1) == known).all() and (generated < MASK).all()
        alone = model.generate(torch.tensor([given]), max_new_tokens=2, seed=row + 1)
        assert torch.equal(alone[0], generated)


def test_canvas_by_default_is_one_whole_sequence(plain):
    assert plain.generate().shape == (1, 8)
    assert plain.generate(max_new_tokens=3, num_return_sequences=2).shape == (2, 3)
    with pytest.warns(match="nothing to generate"):
        assert plain.generate(max_new_tokens=0).shape == (1, 0)
    assert (plain.generate() < MASK).all()
    assert torch.equal(plain.generate(seed=1), plain.generate(masks(1, 8), seed=1))


def test_corners(model):
    assert model.generate(masks(2, 1)).shape == (2, 1)
    with pytest.warns(match="nothing to generate"):
        assert model.generate(masks(3, 0)).shape == (3, 0)
    known = torch.tensor([[0, 1], [2, 2]])
    with pytest.warns(match="nothing to generate"):
        out = full(model, known)
    assert torch.equal(out.sequences, known) and out.sequences is not known
    assert (out.num_forward_passes, out.tokens_per_forward) == (0, 0.0)
    only_padding = padded([[MASK, MASK], []], 2, "right")
    for settings in ({}, {"resample_steps": 2}, {"guidance_scale": 2.0}, {"order": "confidence"}):
        with pytest.raises(ValueError, match="attention_mask is 0 all over row 1"):
            model.generate(*only_padding, seed=1, **settings)
    assert (model.generate(*only_padding, max_new_tokens=2, seed=1)[1] < MASK).sum() == 2
    hidden_padding = model.generate(masks(1, 3), torch.tensor([[1, 1, 0]]))
    # what is padding is not generated
    assert (hidden_padding < MASK).tolist() == [[True, True, False]]
    ids = masks(3, 4)
    assert torch.equal(model.generate(ids.int(), seed=1), model.generate(ids, seed=1))
    assert torch.equal(
        model.generate(ids.t().contiguous().t(), seed=1), model.generate(ids, seed=1)
    )
    assert torch.equal(ids, masks(3, 4))


@pytest.mark.parametrize("order", ORDER_NAMES)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"steps": 2},
        {"plan": "binomial", "steps": 2},
        {"plan": "linear_time", "steps": 2},
        {"threshold": 0.5},
        {"entropy_bound": 0.5},
        {"block_length": 2},
        {"guidance_scale": 2.0},
        {"resample_steps": 1},
        {"resample_steps": 1, "resample_order": "remdm_conf"},
        {"num_return_sequences": 2},
        {"seed": []},
        {"eos_token_id": 0},
    ],
)
def test_nothing_to_generate_gives_an_empty_result(model, order, settings):
    for batch, length in ((0, 4), (0, 0), (2, 0)):
        settings = settings | ({"seed": [1, 2]} if batch and "seed" in settings else {})
        told = pytest.warns(match="nothing to generate") if batch else nullcontext()
        with told:
            out = full(model, masks(batch, length), order=order, output_history=True, **settings)
        rows = batch * settings.get("num_return_sequences", 1)
        for table in (out.sequences, out.order, out.log_probs):
            assert table.shape == (rows, length)
        assert (out.num_forward_passes, out.tokens_per_forward, out.history) == (0, 0.0, ())


@pytest.mark.parametrize("settings", [{}, {"max_new_tokens": 0}])
def test_a_prompt_without_masks_is_returned_with_what_to_do(model, settings):
    ids = torch.tensor([[0, 1, 2], [1, 1, 0]])
    with pytest.warns(UserWarning) as told:
        assert torch.equal(model.generate(ids, **settings), ids)
    (warning,) = told
    assert warning.filename == __file__  # at the line of the call
    text = str(warning.message)
    assert "\n" not in text and f"no mask (id {MASK})" in text and "pass max_new_tokens=N" in text


def test_a_row_without_masks_beside_others_is_not_warned_of(model):
    ids = torch.tensor([[0, 1, 2], [1, MASK, 0]])
    assert torch.equal(model.generate(ids)[0], ids[0])


def test_token_types_of_one_text_are_taken_and_others_refused(model):
    ids = masks(2, 3)
    for zeros in (torch.zeros_like(ids), torch.zeros(2, 3, dtype=torch.bool), None):
        same = model.generate(ids, token_type_ids=zeros, seed=0)
        assert torch.equal(same, model.generate(ids, seed=0))
    for types, got in ((torch.tensor([[0, 1]]), "up to 1"), ([[0]], "a list")):
        with pytest.raises(ValueError, match=f"token_type_ids are {got}; expected zeros"):
            model.generate(ids, token_type_ids=types)


# ---------------------------------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_beams": 4}, "num_beams"),
        ({"tokens": 4}, "tokens"),
        ({"steps": 2, "tokens_per_step": 2}, "tokens_per_step and steps"),
        ({"steps": 2, "plan": [4]}, "steps and plan"),
        ({"plan": [1, 2]}, "plan sums to 3; expected 4"),
        ({"plan": [4, 0]}, "plan"),
        ({"plan": [5, -1]}, "plan"),
        ({"plan": []}, "plan"),
        ({"plan": 4}, "plan"),
        ({"plan": "some"}, "plan"),
        ({"plan": [2.5, 2.5]}, "plan"),
        ({"tokens_per_step": 0}, "tokens_per_step is 0"),
        ({"tokens_per_step": 1.5}, "tokens_per_step is 1.5"),
        ({"tokens_per_step": True}, "tokens_per_step"),
        ({"steps": -1}, "steps is -1"),
        ({"order": "sideways"}, "order is 'sideways'"),
        ({"order": [0, 1, 2, 3]}, "order is list"),
        ({"order": torch.arange(3)}, "order has shape"),
        ({"order": torch.arange(4).expand(3, 4)}, "order has shape"),
        ({"order": torch.tensor([0, 1, 2, 2])}, "no permutation"),
        ({"order": torch.arange(4.0)}, "order is torch.float32"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_k": 0}, "top_k is 0"),
        ({"top_k": 2.0}, "top_k"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": 1.1}, "top_p"),
        ({"min_p": -0.1}, "min_p"),
        ({"do_sample": "no"}, "do_sample"),
        ({"num_return_sequences": 0}, "num_return_sequences"),
        ({"max_new_tokens": -1}, "max_new_tokens is -1"),
        ({"max_new_tokens": 5}, "expected at most max_position_embeddings=8"),
        ({"seed": [1, 2, 3]}, "seed is a list of 3"),
        ({"seed": 1.5}, "seed"),
        ({"seed": "seven"}, "seed"),
        ({"seed": 2**64}, "seed"),
        ({"seed": [1, 2.5]}, "seed"),
        ({"seed": 1, "generator": torch.Generator()}, "seed and generator"),
        ({"mask_token_id": 99}, "mask_token_id"),
        ({"mask_token_id": -1}, "mask_token_id"),
        ({"generation_config": {"steps": 2}}, "generation_config"),
        ({"generation_config": GenerationConfig(num_beams=2)}, "generation_config"),
        ({"attention_mask": torch.ones(2, 3)}, "attention_mask"),
        ({"attention_mask": [[1] * 4] * 2}, "attention_mask"),
        ({"attention_mask": torch.full((2, 4), 0.5)}, "attention_mask holds other numbers"),
        ({"attention_mask": torch.full((2, 4), torch.nan)}, "attention_mask holds other numbers"),
        ({"attention_mask": torch.tensor([[0, 0, 0, -9e9]] * 2)}, "attention_mask holds other"),
        ({"plan": "cosine"}, "plan is 'cosine' without steps"),
        ({"input_ids": [[3, 3]]}, "input_ids is a list"),
        ({"input_ids": torch.tensor([3, 3])}, "input_ids has shape"),
        ({"input_ids": torch.ones(2, 4)}, "float32"),
        ({"input_ids": torch.tensor([[3, 5]])}, r"expected 0\.\.4"),
        ({"input_ids": torch.tensor([[3, -1]])}, r"expected 0\.\.4"),
        ({"input_ids": torch.full((1, 9), 3)}, "9 positions"),
    ],
)
def test_bad_input_is_refused_by_name(model, settings, message):
    arguments = {"input_ids": masks(2, 4)} | settings
    with pytest.raises(ValueError, match=message):
        model.generate(**arguments)


@pytest.mark.parametrize("eos_token_id", [4, [0, 4]])
def test_a_pad_id_that_texts_hold_is_text_unless_a_mask_says_otherwise(tiny_model, eos_token_id):
    """The usual `tokenizer.pad_token = tokenizer.eos_token`."""
    model = tiny_model(vocab_size=5, pad_token_id=PAD, eos_token_id=eos_token_id, scale=0.0)
    ids = torch.tensor([[PAD, 1, MASK, MASK, MASK, MASK, MASK, MASK]])  # begins with it, as GPT-2's
    rows = model.generate(ids.repeat(200, 1), seed=1)
    assert (rows[:, :2] == ids[:, :2]).all() and (rows != MASK).all()
    ended = (rows[:, 2:] == PAD).any(1)
    assert 0.5 < ended.double().mean() < 1.0  # written one time in four, and what ends a row
    after = (rows[:, 2:] == PAD).long().cumsum(1) > 0
    if eos_token_id == PAD:
        assert (rows[:, 2:][after] == PAD).all()
    hidden = model.generate(ids, torch.tensor([[0, 1, 1, 1, 1, 1, 0, 0]]), seed=1)
    assert (hidden[0, 6:] == MASK).all() and (hidden[0, 2:6] != MASK).all()


def test_another_mask_id_leaves_no_mask_of_the_model(model):
    ids = torch.tensor([[0, MASK, 2, 1]])
    with pytest.raises(ValueError, match=f"input_ids hold {MASK}, by which the model hides"):
        model.generate(ids, mask_token_id=1)
    out = model.generate(torch.tensor([[0, 1, 2, 1]]), mask_token_id=1)
    assert not torch.isin(out, torch.tensor([1, MASK])).any()


def test_a_mask_does_not_end_texts(model):
    with pytest.raises(ValueError, match=f"eos_token_id is {MASK}"):
        model.generate(masks(1, 4), eos_token_id=MASK)
    with pytest.raises(ValueError, match=f"eos_token_id is {MASK}"):
        model.generate(masks(1, 4), eos_token_id=[0, MASK])
