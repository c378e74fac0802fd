"""A pad id that texts hold as well (`pad_token = eos_token`) keeps its probability."""

import pytest
import torch
from torch.nn import functional as F

from ardm import RandomRatioCollator, log_prob, measure_step_losses, nelbo, random_ratio_mask
from ardm.vocabulary import eos_ids, impossible_ids, text_ids

MASK = 4
SHARED = [
    {"pad_token_id": 0, "eos_token_id": 0},
    {"pad_token_id": 0, "eos_token_id": [1, 0]},
    {"pad_token_id": 0, "bos_token_id": 0},
    {"pad_token_id": 0, "unk_token_id": 0, "eos_token_id": 2},
    {"pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0},
]
TEXT = torch.tensor([[1, 2, 0, 0, 0], [3, 0, 1, 2, 0]])  # 0 ends texts, and fills rows
REAL = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])


@pytest.fixture(params=SHARED, ids=range(len(SHARED)))
def model(request, tiny_model):
    return tiny_model(vocab_size=5, mask_token_id=MASK, **request.param)


def test_only_ids_that_no_text_holds_are_impossible(model, tiny_model):
    assert impossible_ids(model.config) == {MASK} and 0 in text_ids(model.config)
    logits = model(torch.full((1, 3), MASK)).logits
    assert logits[..., :MASK].isfinite().all() and (logits[..., MASK] == -torch.inf).all()
    own = tiny_model(vocab_size=6, mask_token_id=4, pad_token_id=5, eos_token_id=0)
    assert impossible_ids(own.config) == {4, 5} and text_ids(own.config) == {0}
    assert impossible_ids(tiny_model().config) == {3}
    assert eos_ids(own.config) == {0} and eos_ids(tiny_model().config) == set()


def test_texts_with_it_are_trained_on(model):
    hidden = torch.tensor([[1, 0, 1, 0, 0], [0, 1, 0, 1, 1]]).bool()
    labels = TEXT.where(hidden, -100)
    loss = model(TEXT.masked_fill(hidden, MASK), REAL, labels=labels).loss
    loss.backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    model.zero_grad()
    assert loss.isfinite() and all(gradient.isfinite().all() for gradient in gradients)
    batch = RandomRatioCollator(MASK, 0)(
        [{"input_ids": [1, 2, 0]}, {"input_ids": [3, 0, 1, 2, 0], "attention_mask": [1] * 5}]
    )
    assert batch["num_maskable"].tolist() == [3, 5]  # the real zeros are text, the filled ones not
    assert torch.equal(batch["attention_mask"], REAL)
    assert (batch["labels"] == 0).sum() == 3 and model(**batch).loss.isfinite()


def test_texts_with_it_have_a_likelihood(model):
    rows = [[1, 2, 0], [3, 0, 1, 2, 0]]
    alone = [torch.tensor([row]) for row in rows]
    exact = torch.cat([log_prob(model, ids, "left_to_right") for ids in alone])
    batch = log_prob(model, TEXT, "left_to_right", attention_mask=REAL)
    torch.testing.assert_close(batch, exact, rtol=0, atol=1e-5)
    assert batch.isfinite().all()
    bound = nelbo(model, TEXT, REAL, num_samples="all")
    assert bound.num_tokens.tolist() == [3, 5] and bound.nats.isfinite().all()
    assert nelbo(model, TEXT, num_samples=2).num_tokens.tolist() == [5, 5]  # no mask: all is text
    assert measure_step_losses(model, TEXT, REAL).nats.isfinite().all()
    # probabilities of all texts of one token sum to 1
    every = torch.arange(MASK)[:, None]
    one = log_prob(model, every, "left_to_right").exp().sum()
    torch.testing.assert_close(one, torch.ones((), dtype=torch.double), rtol=0, atol=1e-6)


def test_it_is_written_and_read_as_text(model):
    written = model.generate(torch.full((64, 1), MASK), seed=0)
    share = (written == 0).double().mean()
    probability = F.softmax(model(torch.tensor([[MASK]])).logits[0, 0], -1)[0]
    assert abs(share - probability) < 0.25 and (written == 0).any()
    # a known one is not padding: the same with and without a mask of ones
    ids = torch.tensor([[0, 1, MASK, 0, MASK]])
    assert torch.equal(model.generate(ids, seed=1), model.generate(ids, ids >= 0, seed=1))


def test_one_that_is_only_padding_is_refused_as_a_target(tiny_model):
    """Whoever did not tell that texts hold it learns of it, in place of an infinite loss."""
    model = tiny_model(vocab_size=5, mask_token_id=MASK, pad_token_id=0)
    masked, labels = random_ratio_mask(
        TEXT, MASK, attention_mask=REAL, num_known=torch.tensor([0, 0])
    )
    with pytest.raises(ValueError, match=r"labels hold 0.*names it as the eos_token_id"):
        model(masked, REAL, labels=labels)
    for call in (lambda: nelbo(model, TEXT, REAL), lambda: log_prob(model, TEXT, "left_to_right")):
        with pytest.raises(ValueError, match="pad id 0 among its real tokens"):
            call()
    ids = torch.tensor([[1, MASK, 0, 0]])  # in `generate` it is padding, as ever
    assert torch.equal(model.generate(ids, seed=1), model.generate(ids, ids != 0, seed=1))
