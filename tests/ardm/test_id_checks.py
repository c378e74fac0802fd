"""What is no ids, no mask, no labels is refused by its name wherever it is given."""

import numpy as np
import pytest
import torch
from transformers import BatchEncoding

from ardm import RandomRatioCollator, log_prob, measure_step_losses, nelbo, per_step_losses
from ardm import random_ratio_mask as mask
from ardm.id_checks import check_labels

from .rows import MASK, PAD

IDS = torch.tensor([[0, 1, 2], [2, 1, 0]])
ONES = torch.ones(2, 3, dtype=torch.long)
FUNCTIONS = {
    "nelbo": lambda model, ids, **rest: nelbo(model, ids, num_samples=2, **rest),
    "per_step_losses": per_step_losses,
    "measure_step_losses": measure_step_losses,
    "log_prob": lambda model, ids, **rest: log_prob(model, ids, "left_to_right", **rest),
    "random_ratio_mask": lambda model, ids, **rest: mask(ids, MASK, **rest),
}
NO_MASKS = [
    [[1, 1, 1], [1, 1, 1]],
    np.ones((2, 3), int),
    1,
    "mask",
    ONES[0],
    ONES[:, :2],
    ONES[None],
    ONES.to("meta"),
]


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("argument", ["attention_mask", "prompt_mask"])
@pytest.mark.parametrize("value", NO_MASKS, ids=range(len(NO_MASKS)))
def test_what_is_no_mask_is_refused(model, name, argument, value):
    with pytest.raises(ValueError, match=argument):
        FUNCTIONS[name](model, IDS, **{argument: value})


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(
    "ids", [[[0, 1]], np.zeros((1, 2), int), 3, None, IDS[0], IDS.float(), IDS.bool()], ids=range(7)
)
def test_what_is_no_ids_is_refused(model, name, ids):
    with pytest.raises(ValueError, match="input_ids"):
        FUNCTIONS[name](model, ids)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_a_tokenizer_returns_is_refused_with_the_way_to_give_it(model, name):
    told = r"is a BatchEncoding; .* \(pass inputs\.input_ids, inputs\.attention_mask\)"
    with pytest.raises(ValueError, match=told):
        FUNCTIONS[name](model, BatchEncoding({"input_ids": IDS, "attention_mask": ONES}))


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", [torch.bool, torch.int32, torch.int64, torch.float32])
def test_a_mask_may_have_any_dtype_but_no_empty_row(model, name, dtype):
    right = torch.tensor([[1, 1, 0], [1, 1, 1]]).to(dtype)
    FUNCTIONS[name](model, IDS, attention_mask=right)
    with pytest.raises(ValueError, match="0 all over row 1; expected a 1 at each real token"):
        FUNCTIONS[name](model, IDS, attention_mask=right * torch.tensor([[1], [0]]).to(dtype))


@pytest.mark.parametrize("name", ["nelbo", "per_step_losses", "random_ratio_mask"])
@pytest.mark.parametrize("generator", [0, "seed", np.random.default_rng(0)], ids=range(3))
def test_what_is_no_generator_is_refused(model, name, generator):
    with pytest.raises(ValueError, match="generator is"):
        FUNCTIONS[name](model, IDS, generator=generator)


NO_INTEGERS = [3, [1, 1], np.ones(2, int), torch.tensor(1), torch.ones(2), ONES[0], "all"]


@pytest.mark.parametrize("value", NO_INTEGERS, ids=range(len(NO_INTEGERS)))
def test_what_is_no_integer_a_row_is_refused(model, value):
    with pytest.raises(ValueError, match="num_known is"):
        mask(IDS, MASK, num_known=value)
    with pytest.raises(ValueError, match="row_numbers is"):
        nelbo(model, IDS, num_samples=2, row_numbers=value)


@pytest.mark.parametrize("mask_id", [None, "3", 3.0, True, torch.tensor(3), -1], ids=range(6))
def test_what_is_no_mask_id_is_refused(mask_id):
    for call in (lambda: mask(IDS, mask_id), lambda: RandomRatioCollator(mask_id)):
        with pytest.raises(ValueError, match="mask_token_id is"):
            call()


# ------------------------------------------------------------------------------------------- labels
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([[0, -100, 1]], "labels is a list"),
        (torch.tensor([[0.0, 1.0, 1.0]]), "labels has shape"),
        (torch.tensor([[0, -100, 5]]), r"labels holds ids in 0\.\.5"),
        (torch.tensor([[0, -1, 1]]), r"labels holds ids in -1\.\.1"),
        (torch.tensor([[0, -100, MASK]]), "labels hold 3"),
        (torch.tensor([[0, -100, PAD]]), "labels hold 4"),
    ],
)
def test_labels_that_cannot_be_are_refused(model, labels, message):
    with pytest.raises(ValueError, match=message):
        model(torch.tensor([[MASK, 0, MASK]]), labels=labels)
    with pytest.raises(ValueError, match=message):
        check_labels(labels, 5, {MASK, PAD})


@pytest.mark.parametrize("value", [[[1, 1, 1], [1, 1, 1]], ONES[:, :2], ONES.to("meta")], ids="abc")
def test_the_network_refuses_what_is_no_mask(model, value):
    with pytest.raises(ValueError, match="attention_mask"):
        model(IDS, value)
    with pytest.raises(ValueError, match="attention_mask is 0 all over row 0"):
        model(IDS, ONES * torch.tensor([[0], [1]]))


OTHER_NUMBERS = {
    "twos": 2 * ONES,
    "numbers of packed parts": torch.tensor([[1, 1, 2], [1, 2, 2]]),
    "halves": 0.5 * ONES,
    "negative": -ONES,
    "not a number": ONES * torch.nan,
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("argument", ["attention_mask", "prompt_mask"])
@pytest.mark.parametrize("value", OTHER_NUMBERS)
def test_a_mask_of_other_numbers_is_refused(model, name, argument, value):
    with pytest.raises(ValueError, match=f"{argument} holds other numbers than 0 and 1"):
        FUNCTIONS[name](model, IDS, **{argument: OTHER_NUMBERS[value]})


@pytest.mark.parametrize("value", OTHER_NUMBERS)
def test_the_network_and_generate_refuse_a_mask_of_other_numbers(model, value):
    for call in (model, model.generate):
        with pytest.raises(ValueError, match="attention_mask holds other numbers"):
            call(input_ids=IDS, attention_mask=OTHER_NUMBERS[value])


@pytest.mark.parametrize("kind", ["bool", "lowest", "-inf"])
def test_an_attention_that_sees_nothing_of_a_row_is_refused(model, kind):
    seen = torch.ones(2, 1, 3, 3, dtype=torch.bool)
    seen[1, 0, 2] = False  # of one position: padding, in masks that people make
    hidden = seen.clone()
    hidden[1] = False
    low = {"lowest": torch.finfo(torch.float32).min, "-inf": -torch.inf}

    def mask_of(visible):
        return visible if kind == "bool" else torch.zeros(()).where(visible, low[kind])

    assert model(input_ids=IDS, attention_mask=mask_of(seen)).logits.shape == (2, 3, 5)
    with pytest.raises(ValueError, match="hides all of row 1"):
        model(input_ids=IDS, attention_mask=mask_of(hidden))


def test_a_batch_without_rows_is_refused_by_the_network_alone(model):
    with pytest.raises(ValueError, match="no rows"):
        model(input_ids=IDS[:0])
    for name in ("nelbo", "log_prob"):
        found = FUNCTIONS[name](model, IDS[:0])
        assert len(found if name == "log_prob" else found.nats) == 0
    assert model.generate(IDS[:0]).shape == (0, 3)


@pytest.mark.parametrize("shape", [(3, 2), (1, 6), (2, 4)])
def test_labels_of_another_shape_are_refused(model, shape):
    labels = torch.zeros(shape, dtype=torch.long)
    with pytest.raises(ValueError, match="labels have shape"):
        model(input_ids=IDS, labels=labels)
    embeds = model.get_input_embeddings()(IDS)
    with pytest.raises(ValueError, match="labels have shape"):
        model(inputs_embeds=embeds, labels=labels)


def test_labels_of_another_integer_type_give_the_same_loss(model):
    labels = torch.tensor([[-100, 1, -100], [2, -100, 0]])
    masked = IDS.masked_fill(labels >= 0, MASK)
    assert model(masked, labels=labels.int()).loss == model(masked, labels=labels).loss


@pytest.mark.parametrize("items", [0, torch.tensor(0), torch.tensor(0.0)])
def test_a_batch_without_labels_has_the_loss_0(model, items):
    labels = torch.full_like(IDS, -100)
    for known in ({}, {"num_items_in_batch": items}):
        assert float(model(IDS, labels=labels, **known).loss.detach()) == 0.0


@pytest.mark.parametrize(
    "call",
    [
        lambda model: nelbo(model, IDS, num_samples=10**9),
        lambda model: nelbo(model, IDS, num_samples="all", num_orders=10**9),
        lambda model: per_step_losses(model, IDS, num_orders=10**30),
        lambda model: measure_step_losses(model, IDS, num_orders=10**9),
        lambda model: mask(IDS, 10**30),
        lambda model: RandomRatioCollator(10**30),
        lambda model: RandomRatioCollator(3, pad_token_id=10**30),
    ],
)
def test_numbers_beyond_all_memory_are_refused(model, call):
    with pytest.raises(ValueError, match=r"is 10{9,}; expected an integer"):
        call(model)
