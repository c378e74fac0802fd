"""Adoption trials: three tokens tell how a model is asked, in every family."""

import pytest
import torch
from transformers import ConvBertConfig, ConvBertForMaskedLM

from ardm import adopt
from ardm.adoption_trial import try_out

from .families import FAMILIES, MASK, adopted_model

TEXT = torch.tensor([[3, 4, 5, 6, 7, 8], [8, 7, 6, 9, 9, 3]])


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_heads_of_one_state_and_rows_beside_padding(family):
    model = adopted_model(family)
    assert model.head_is_pointwise and model.takes_padding


def test_a_head_that_looks_around_is_asked_for_all_positions():
    model = adopted_model("bert")
    head = model.cls.forward
    model.cls.forward = lambda states: head(states + states.mean(1, keepdim=True))
    with pytest.warns(UserWarning, match="beside padding"):  # which it looks at, too
        try_out(model)
    assert not model.head_is_pointwise and not model.takes_padding
    wanted = torch.zeros_like(TEXT, dtype=torch.bool)
    wanted[0, 2] = True
    picked = model(TEXT, logits_positions=wanted).logits
    torch.testing.assert_close(picked, model(TEXT).logits[wanted])


def test_a_model_that_reads_padding_says_so_once_and_is_given_none():
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "head_ratio": 1}
    config = ConvBertConfig(
        vocab_size=13, embedding_size=16, intermediate_size=16, initializer_range=0.5, **sizes
    )
    with pytest.warns(UserWarning, match="gives a row other logits beside padding"):
        model = adopt(ConvBertForMaskedLM(config).eval(), mask_token_id=MASK, given_token_ids=[])
    assert model(TEXT, torch.ones_like(TEXT)).logits.shape == (2, 6, 13)
    real = torch.ones_like(TEXT)
    real[0, 5] = 0
    with pytest.raises(ValueError, match="ConvBertForMaskedLM would read padding as text"):
        model(TEXT, real)
