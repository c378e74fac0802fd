"""Answers, scored and generated: prompts are given, never learned; what a bound and a share are."""

import math

import pytest
import torch

from ardm import RandomRatioCollator
from ardm.data import build_tokenizer
from ardm.data.answers import make_answer_rows, read_turns
from ardm.data.chats import set_chat_template, set_eos_token
from ardm.evaluation.answer_report import (
    AnswerBound,
    answering,
    right_in_words,
    share_right,
    shown_answers,
    write_answers,
)
from ardm.masking import keyed_random_ratio_mask
from ardm.objective import RandomRatioObjective
from ardm.training import Batch

LETTERS = "abc"


@pytest.fixture
def tokenizer():
    """Ids 0..2 are letters, 3 UNK, 4 MASK, 5 PAD, 6 EOS; a chat is its contents alone."""
    made = build_tokenizer("char", LETTERS)
    set_eos_token(made)
    set_chat_template(made, "raw")
    return made


@pytest.fixture
def turns(tokenizer):
    rows = [
        {"prompt": "ab", "completion": "c"},
        {"prompt": "abcabc", "completion": "ab"},
        {"prompt": "c", "completion": "a"},
    ]
    return read_turns(rows, tokenizer)


@pytest.fixture
def model(tiny_model, tokenizer):
    ids = {name: getattr(tokenizer, name) for name in ("mask_token_id", "pad_token_id")}
    ids |= {"eos_token_id": tokenizer.eos_token_id}
    return tiny_model(vocab_size=7, max_position_embeddings=16, **ids)


def batch_of(rows, repeat=1):
    values = {name: value.repeat(repeat, 1) for name, value in rows[:].items() if value.ndim == 2}
    size = len(values["input_ids"])
    return Batch(values, torch.arange(size), size, 0.5)


def test_no_prompt_is_masked_and_every_position_of_an_answer_is(turns, tokenizer):
    rows = make_answer_rows(turns, tokenizer, 4)
    batch = batch_of(rows, repeat=200)
    masked, labels = keyed_random_ratio_mask(
        batch["input_ids"],
        tokenizer.mask_token_id,
        batch.example_numbers,
        seed=0,
        global_batch_size=batch.global_batch_size,
        attention_mask=batch["attention_mask"],
        prompt_mask=batch["prompt_mask"],
    )
    hidden = masked == tokenizer.mask_token_id
    answer = batch["attention_mask"].bool() & ~batch["prompt_mask"].bool()
    assert not hidden[~answer].any() and (labels[~answer] == -100).all()
    often = hidden.view(200, 3, -1).any(0)
    assert torch.equal(often, answer[:3])  # the EOS behind the end, too


@torch.no_grad()
def test_the_loss_is_the_enumerated_bound_given_the_prompt(model, turns, tokenizer):
    one = read_turns([{"prompt": "ab", "completion": "c"}], tokenizer)
    rows = make_answer_rows(one, tokenizer, 2)
    ids = rows[0]["input_ids"]
    assert ids.tolist() == [0, 1, 2, tokenizer.eos_token_id]
    costs = []
    for first, second in ((2, 3), (3, 2)):
        canvas = ids.clone()
        canvas[[first, second]] = tokenizer.mask_token_id
        cost = 0.0
        for place in (first, second):
            logits = model(canvas[None]).logits[0, place].double()
            cost -= logits.log_softmax(-1)[ids[place]].item()
            canvas[place] = ids[place]
        costs.append(cost)
    bound = sum(costs) / 2
    objective = RandomRatioObjective(tokenizer.mask_token_id)
    output = objective(model, batch_of(rows, repeat=4000))
    assert output["nats_per_token"].item() * 2 == pytest.approx(bound, rel=0.02)
    evaluate = AnswerBound(rows)
    assert evaluate.num_tokens.tolist() == [2]
    value = (
        torch.stack([AnswerBound(rows, seed=seed).bound.nats(model, "all") for seed in range(100)])
        .mean()
        .item()
    )
    assert value == pytest.approx(bound, rel=0.02)


def test_what_stands_in_a_prompt_is_no_target(model, turns, tokenizer):
    """Its logits have no gradient, and Trainer's collator agrees."""
    rows = make_answer_rows(turns, tokenizer, 4)
    collate = RandomRatioCollator(tokenizer.mask_token_id, tokenizer.pad_token_id)
    batch = collate([rows[i] for i in range(3)])
    answer = rows[:]["attention_mask"].bool() & ~rows[:]["prompt_mask"].bool()
    assert torch.equal(batch["labels"] != -100, answer)
    assert not batch["logits_positions"][~answer].any()
    assert batch["num_maskable"].tolist() == [4, 4, 4]
    other = batch["labels"].clone()
    other[~batch["logits_positions"]] = 0  # a label of a prompt changes nothing
    losses = [model(**batch | {"labels": labels}).loss for labels in (batch["labels"], other)]
    assert torch.equal(*losses)


def test_a_rows_bound_does_not_depend_on_the_others(model, turns, tokenizer):
    rows = make_answer_rows(turns, tokenizer, 4)
    together = AnswerBound(rows).bound.nats(model)
    first = AnswerBound(rows, max_rows=1).bound.nats(model)
    torch.testing.assert_close(first, together[:1], rtol=1e-6, atol=1e-6)


def test_bits_are_of_an_answers_own_tokens_and_errors_over_chats(turns, tokenizer, model):
    chat = [
        {"role": role, "content": text}
        for role, text in zip(("user", "assistant") * 2, "abca", strict=True)
    ]
    rows = make_answer_rows(
        read_turns([{"messages": chat}, {"prompt": "a", "completion": "bb"}], tokenizer),
        tokenizer,
        5,
    )
    evaluate = AnswerBound(rows)
    nats = torch.tensor([1.0, 3.0, 6.0], dtype=torch.float64)
    value, error = evaluate.figure(nats)
    assert value == pytest.approx(10 / 7 / math.log(2))
    # two chats of 4 and 6 nats for 4 and 3 tokens
    deviations = [4 - 4 * 10 / 7, 6 - 3 * 10 / 7]
    expected = math.sqrt(sum(d**2 for d in deviations) * 2) / 7 / math.log(2)
    assert error == pytest.approx(expected)
    logged = evaluate(model)
    assert logged["eval_loss"] == pytest.approx(evaluate.measure(model).value * math.log(2))


def test_answers_are_the_same_alone_and_beside_others(model, turns, tokenizer):
    options = {"max_new_tokens": 4, "order": "confidence", "do_sample": False, "seed": 0}
    together = write_answers(model, tokenizer, turns.turns, **options)
    alone = [write_answers(model, tokenizer, [turn], **options)[0] for turn in turns.turns]
    assert together == alone and len(together) == 3
    assert all("[" not in answer for answer in together)


def test_the_share_of_right_answers(turns, tokenizer):
    answers = ["c", "ab", "b"]
    share = share_right(answers, turns.turns, tokenizer)
    assert share.value == pytest.approx(2 / 3)
    assert share.standard_error == pytest.approx(math.sqrt(1 / 9))  # of 3 chats, n - 1 = 2
    told = right_in_words(answers, turns.turns, tokenizer)
    assert told.startswith("2 of 3 held-out prompts (0.667 +- 0.333) are")
    shown = shown_answers(turns.turns[:1], ["b"])
    assert shown == ["user: ab\nassistant: [[b]]"]


def test_the_share_of_right_answers_has_its_error_over_chats(turns, tokenizer):
    """A chat that is there four times over is one chat."""
    first, second = turns.turns[:2]
    once = share_right(["c", "b"], [first, second], tokenizer)
    answers = ["c"] * 4 + ["b"] * 4
    often = share_right(answers, [first] * 4 + [second] * 4, tokenizer)
    assert often == once and once.standard_error == pytest.approx(1 / 2)


def test_where_all_are_right_no_error_is_claimed(turns, tokenizer):
    answers = ["c", "ab", "a"]
    share = share_right(answers, turns.turns, tokenizer)
    assert share.value == 1 and math.isnan(share.standard_error)
    told = right_in_words(answers, turns.turns, tokenizer)
    assert told.startswith("3 of 3 held-out prompts are answered word for word")


def test_how_it_is_asked():
    assert answering(64, 0)["block_length"] == 32 and answering(8, 0)["block_length"] == 8
    assert answering(8, 3)["max_new_tokens"] == 8 and answering(8, 3)["seed"] == 3
