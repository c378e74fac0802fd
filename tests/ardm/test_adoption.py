"""Adopted models of every family: what is written, that both sides are seen, saved and learned."""

import itertools
import json
import math

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

from ardm import adopt, log_prob, nelbo
from ardm.vocabulary import impossible_ids

from .families import CAUSAL, FAMILIES, MASK, MASKED, adopted_model, plain_model

GAPS = torch.tensor([[3, 4, MASK, MASK, 5, MASK, 6]])


def each_family(function):
    return pytest.mark.parametrize("family", FAMILIES)(function)


def each_shift(function):
    return pytest.mark.parametrize("shift", [False, True])(function)


def values_of(model):
    return [i for i in range(model.config.vocab_size) if i not in impossible_ids(model.config)]


# ------------------------------------------------------------------------------------- generation
@each_family
def test_every_mask_is_filled_and_nothing_else_is_touched(family):
    model = adopted_model(family)
    for order in ("random", "confidence"):
        written = model.generate(GAPS, order=order, tokens_per_step=2, seed=0)
        assert torch.equal(written[GAPS != MASK], GAPS[GAPS != MASK])
        assert set(written.flatten().tolist()) <= set(values_of(model))


@each_family
@each_shift
def test_a_row_does_not_depend_on_its_neighbours_or_on_padding(family, shift):
    model = adopted_model(family, right_shift_logits=shift)
    alone = model.generate(GAPS, seed=[5], return_dict_in_generate=True)
    width = GAPS.shape[1]
    for left in (True, False):
        ids = torch.full((2, width + 3), MASK)
        ids[1, :4] = torch.tensor([7, 8, 9, 10])
        real = torch.ones_like(ids)
        own = slice(3, None) if left else slice(0, width)
        ids[0], real[0] = 2, 0
        ids[0, own], real[0, own] = GAPS[0], 1
        both = model.generate(ids, real, seed=[5, 6], return_dict_in_generate=True)
        assert torch.equal(both.sequences[0, own], alone.sequences[0])
        torch.testing.assert_close(both.log_probs[0, own], alone.log_probs[0], atol=1e-5, rtol=0)


@each_family
@each_shift
def test_a_later_token_changes_what_an_earlier_position_predicts(family, shift):
    model = adopted_model(family, right_shift_logits=shift)
    other = GAPS.clone()
    other[0, -1] = 7
    change = (model(GAPS).logits - model(other).logits)[0, 0].nan_to_num().abs().max()
    assert change > 1e-5


@each_family
@each_shift
def test_wanted_positions_have_the_logits_that_they_have_among_all(family, shift):
    model = adopted_model(family, right_shift_logits=shift)
    ids = torch.cat([GAPS, GAPS.flip(1)])
    real = torch.ones_like(ids)
    real[1, :2] = 0
    for mask in (None, real):
        full = model(ids, mask).logits
        wanted = torch.tensor([[0, 1, 0, 0, 1, 0, 1], [0, 0, 1, 1, 0, 0, 0]]).bool()
        picked = model(ids, mask, logits_positions=wanted).logits
        torch.testing.assert_close(picked, full[wanted], atol=1e-5, rtol=1e-5)
        places = torch.tensor([[6, 0], [3, 2]])
        chosen = full.gather(1, places[..., None].expand(-1, -1, full.shape[-1]))
        picked = model(ids, mask, logits_positions=places).logits
        torch.testing.assert_close(picked, chosen, atol=1e-5, rtol=1e-5)


def test_shifted_logits_are_those_of_the_real_position_before():
    plain = plain_model("llama")
    plain.config.is_causal = False
    ids = torch.tensor([[9, 9, 3, 4, 5, 6]])
    real = torch.tensor([[0, 0, 1, 1, 1, 1]])
    with torch.no_grad():
        own = plain(input_ids=ids[:, 2:]).logits
        model = adopt(plain, mask_token_id=MASK, right_shift_logits=True)
        shifted = model(ids, real).logits[:, 2:, :MASK]
    expected = torch.cat([own[:, :1], own[:, :-1]], 1)[..., :MASK]
    torch.testing.assert_close(shifted, expected, atol=1e-5, rtol=1e-5)


# ------------------------------------------------------------------------------------- likelihoods
@pytest.mark.parametrize(("family", "shift"), [("bert", False), ("llama", False), ("llama", True)])
def test_the_bound_is_the_mean_over_all_orders_and_probabilities_sum_to_one(family, shift):
    model = adopted_model(family, right_shift_logits=shift, given_token_ids=[2, 3])
    values = values_of(model)
    assert not {2, 3, MASK} & set(values)
    texts = torch.tensor([[2, *text, 3] for text in itertools.product(values, repeat=2)])
    for order in ([1, 2, 0, 3], [3, 2, 1, 0]):
        total = log_prob(model, texts, torch.tensor(order)).exp().sum()
        assert total.item() == pytest.approx(1, abs=1e-5)
    assert log_prob(model, texts, torch.arange(4), plan=[2]).exp().sum().item() == pytest.approx(
        1, abs=1e-5
    )
    text = torch.tensor([[2, 7, 9, 8, 3]])
    by_hand = []
    for order in itertools.permutations((1, 2, 3)):
        canvas = text.clone()
        canvas[0, 1:4] = MASK
        nats = 0.0
        for place in order:
            logits = model(canvas).logits[0, place].double().log_softmax(-1)
            nats -= logits[text[0, place]].item()
            canvas[0, place] = text[0, place]
        by_hand.append(nats)
        exact = log_prob(model, text, torch.tensor([0, *order, 4])).item()
        assert -exact == pytest.approx(nats, abs=1e-5)
    bound = nelbo(
        model,
        text,
        num_samples="all",
        num_orders=2000,
        generator=torch.Generator().manual_seed(0),
    )
    assert bound.num_tokens.item() == 3
    error = bound.standard_error.item()
    assert abs(bound.nats.item() - sum(by_hand) / 6) < 4 * error < 0.15


@each_family
def test_training_lowers_the_bound(family):
    model = adopted_model(family).train()
    text = torch.tensor([[3, 4, 5, 6, 7, 8], [8, 7, 6, 5, 4, 3]])
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)

    def bound():
        return nelbo(model, text, num_samples="all", generator=torch.Generator()).nats.mean().item()

    from ardm import random_ratio_mask

    before = bound()
    for _ in range(40):
        ids, labels = random_ratio_mask(text, MASK, generator=generator)
        loss = model(ids, labels=labels).loss
        loss.backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
        optimizer.step()
        optimizer.zero_grad()
    assert bound() < 0.8 * before


# ------------------------------------------------------------------------------- saved and reloaded
@each_family
def test_a_saved_model_comes_back_and_its_own_class_reads_it(family, tmp_path):
    model = adopted_model(family, right_shift_logits=family in CAUSAL)
    model.generation_config.tokens_per_step = 3
    model.save_pretrained(tmp_path)
    again = adopt(tmp_path)
    assert torch.equal(again(GAPS).logits, model(GAPS).logits)
    assert torch.equal(again.generate(GAPS, seed=1), model.generate(GAPS, seed=1))
    assert again.generation_config.tokens_per_step == 3

    auto = AutoModelForMaskedLM if family in MASKED else AutoModelForCausalLM
    plain = auto.from_pretrained(tmp_path)
    assert type(plain).__module__.startswith("transformers.")
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == [
        type(plain).__name__
    ]
    own = plain(input_ids=GAPS).logits
    if family in CAUSAL:
        own = torch.cat([own[:, :1], own[:, :-1]], 1)
    values = values_of(model)
    assert torch.equal(own[..., values], model(GAPS).logits[..., values])


@pytest.mark.parametrize("family", ["bert", "modernbert", "llama", "gpt2"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_round_trips_keep_every_bit_in_every_dtype_and_in_parts(family, dtype, tmp_path):
    adopted_model(family).save_pretrained(tmp_path / "full")
    model = adopt(tmp_path / "full", dtype=dtype)  # buffers stay in float32, unlike with `.to`
    model.save_pretrained(tmp_path / "parts", max_shard_size="4KB")
    assert len([*(tmp_path / "parts").glob("*.safetensors")]) > 1
    again = adopt(tmp_path / "parts", device_map="auto", attn_implementation="sdpa")
    assert again.dtype == model.dtype == dtype
    assert torch.equal(again(GAPS).logits, model(GAPS).logits)
    assert torch.equal(again.generate(GAPS, seed=1), model.generate(GAPS, seed=1))


def test_the_class_of_an_adopted_model_reads_it_as_well(tmp_path):
    model = adopted_model("bert")
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    assert torch.equal(again(GAPS).logits, model(GAPS).logits)
    assert torch.equal(again.generate(GAPS, seed=1), model.generate(GAPS, seed=1))
    assert math.isfinite(nelbo(again, torch.tensor([[3, 4, 5]])).nats.item())
