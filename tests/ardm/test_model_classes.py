"""Model classes: direction and arguments, told by the class alone."""

import pytest
import torch
from transformers import BertForMaskedLM, BertLMHeadModel, FNetForMaskedLM, LlamaForCausalLM

from ardm.model_classes import check_no_padding, is_causal_class, is_masked_class, parameters_of

from .families import CAUSAL, MASKED, plain_model


@pytest.mark.parametrize("family", [*MASKED, *CAUSAL])
def test_every_family_has_a_direction(family):
    found = type(plain_model(family))
    assert is_causal_class(found) == (family in CAUSAL)
    assert is_masked_class(found) == (family in MASKED)
    assert {"input_ids", "attention_mask"} <= parameters_of(found)


def test_subclasses_have_the_direction_of_their_base():
    assert is_causal_class(type("Mine", (LlamaForCausalLM,), {}))
    assert not is_causal_class(type("Mine", (BertForMaskedLM,), {}))
    assert is_causal_class(BertLMHeadModel)


def test_padding_is_refused_where_no_mask_is_read():
    real = torch.ones(2, 3)
    for mask in (None, real):
        check_no_padding(FNetForMaskedLM, mask)
    real[0, 2] = 0
    with pytest.raises(ValueError, match="FNetForMaskedLM would read padding"):
        check_no_padding(FNetForMaskedLM, real)
