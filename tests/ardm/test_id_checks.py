"""What is no ids, no mask, no labels is refused by its name wherever it is given."""

import numpy as np
import pytest
import torch

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
