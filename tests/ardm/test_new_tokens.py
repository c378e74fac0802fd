"""New tokens: rows without chance, of both tables; which token ends a text."""

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from ardm.data import build_tokenizer
from ardm.new_tokens import add_rows, use_eos, vocabulary_size

from .families import plain_model


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
def test_new_rows_are_the_mean_of_the_old_and_nothing_is_drawn(family):
    model = plain_model(family)
    num_old = model.config.vocab_size
    old = [
        model.get_input_embeddings().weight[:num_old].clone(),
        model.get_output_embeddings().weight[:num_old].clone(),
    ]
    state = torch.random.get_rng_state()
    add_rows(model, num_old + 2)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert model.config.vocab_size == num_old + 2
    tables = (model.get_input_embeddings(), model.get_output_embeddings())
    for table, before in zip(tables, old, strict=True):
        assert torch.equal(table.weight[:num_old], before)
        assert torch.equal(table.weight[num_old:], before.mean(0).expand(2, -1))
    with pytest.raises(ValueError, match=r"num_rows is 2; expected more than the"):
        add_rows(model, 2)


def test_the_size_of_a_vocabulary_counts_its_gaps():
    tokenizer: PreTrainedTokenizerFast = build_tokenizer("char", "abc")
    assert vocabulary_size(tokenizer) == len(tokenizer)
    tokenizer.add_tokens(["[END]"])
    assert vocabulary_size(tokenizer) == tokenizer.convert_tokens_to_ids("[END]") + 1


def test_an_eos_gets_a_row_and_ends_texts(tiny_model):
    tokenizer = build_tokenizer("char", "abcdef")
    model = tiny_model(vocab_size=len(tokenizer), mask_token_id=tokenizer.mask_token_id)
    tokenizer.add_special_tokens({"eos_token": "[END]"})
    with pytest.raises(ValueError, match=r"EOS '\[END\]' is new to the model"):
        use_eos(model, tokenizer, new_rows=False)
    use_eos(model, tokenizer)
    assert model.config.vocab_size == len(tokenizer)
    assert model.config.eos_token_id == tokenizer.eos_token_id
    model.config.eos_token_id = [0, tokenizer.eos_token_id]  # chat models have several
    use_eos(model, tokenizer)
    assert model.config.eos_token_id == [0, tokenizer.eos_token_id]
