"""Adoption settings: what is read off a configuration and a tokenizer, and what is refused."""

import json

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from ardm import ARDMConfig, ARDMForMaskedLM, adopt, nelbo
from ardm.new_tokens import use_eos
from ardm.vocabulary import impossible_ids

from .families import CAUSAL, MASK, MASKED, plain_model


def word_tokenizer(*special, template=None, **names):
    """Five words after the special tokens, one id each."""
    vocab = {token: i for i, token in enumerate([*special, "a", "b", "c", "d", "e"])}
    backend = Tokenizer(models.WordLevel(vocab, unk_token=special[0]))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.decoder = decoders.WordPiece()
    if template:
        pairs = [(token, vocab[token]) for token in special]
        backend.post_processor = processors.TemplateProcessing(
            single=template, special_tokens=pairs
        )
    return PreTrainedTokenizerFast(tokenizer_object=backend, **names)


def bert_tokenizer():
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]", "mask_token": "[MASK]"}
    special = ("[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]")
    return word_tokenizer(
        *special, template="[CLS] $A [SEP]", cls_token="[CLS]", sep_token="[SEP]", **names
    )


def llama_tokenizer():
    return word_tokenizer("<s>", "</s>", template="<s> $A", bos_token="<s>", eos_token="</s>")


# ------------------------------------------------------------------------------------ what is read
def test_what_a_tokenizer_sets_around_texts_is_given():
    tokenizer = bert_tokenizer()
    config = adopt(plain_model("bert", pad_token_id=1), tokenizer).config
    assert config.mask_token_id == 4 and config.given_token_ids == [2, 3]
    assert impossible_ids(config) == {1, 2, 3, 4, 10, 11, 12}  # three rows are of no token
    text = tokenizer("a b c", return_tensors="pt").input_ids
    model = adopt(plain_model("bert", pad_token_id=1), tokenizer)
    assert nelbo(model, text).num_tokens.item() == 3


def test_a_causal_model_and_its_tokenizer_get_a_mask_token():
    tokenizer = llama_tokenizer()
    model = adopt(plain_model("llama", vocab_size=7), tokenizer)
    assert tokenizer.mask_token == "[MASK]" and tokenizer.mask_token_id == 7
    assert model.config.mask_token_id == 7 and model.config.vocab_size == 8
    assert model.get_input_embeddings().num_embeddings == 8
    assert model.config.given_token_ids == [0]  # the model writes the EOS
    assert model.config.is_causal is False and model.config.right_shift_logits is False
    gap = tokenizer("a " + tokenizer.mask_token * 3, return_tensors="pt")
    assert tokenizer.mask_token not in tokenizer.decode(model.generate(gap.input_ids)[0])


def test_spare_rows_are_used_before_new_ones_are_made():
    tokenizer = llama_tokenizer()
    model = adopt(plain_model("llama"), tokenizer)
    assert model.config.vocab_size == 13 and model.config.mask_token_id == 7
    assert impossible_ids(model.config) == {0, 7, 8, 9, 10, 11, 12}


def test_without_a_tokenizer_a_causal_model_gets_a_row():
    model = adopt(plain_model("llama"))
    assert model.config.mask_token_id == 13 and model.config.vocab_size == 14
    again = adopt(plain_model("llama"))
    for table in (again.get_input_embeddings(), again.get_output_embeddings()):
        torch.testing.assert_close(table.weight[13], table.weight[:13].mean(0))
    for value, other in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(value, other)
    assert model.generate(torch.tensor([[3, 13, 13]]), seed=0).max() < 13


def test_without_a_tokenizer_the_configuration_tells_what_is_given():
    model = adopt(plain_model("roberta", bos_token_id=0, eos_token_id=2), mask_token_id=MASK)
    assert model.config.given_token_ids == [0, 2]
    text = torch.tensor([[0, 5, 6, 2]])
    assert nelbo(model, text).num_tokens.item() == 2


def test_ids_that_have_no_row_are_dropped():
    model = adopt(plain_model("llama", eos_token_id=[1, 99], bos_token_id=77), mask_token_id=MASK)
    assert model.config.eos_token_id == [1] and model.config.bos_token_id is None


def test_all_ends_of_a_chat_model_end_a_text():
    plain = plain_model("llama", eos_token_id=1)
    plain.generation_config.eos_token_id = [1, 5]
    model = adopt(plain, mask_token_id=MASK)
    assert model.config.eos_token_id == model.generation_config.eos_token_id == [1, 5]


def test_saved_settings_stay_unless_the_call_says_otherwise(tmp_path):
    adopt(
        plain_model("llama"), mask_token_id=MASK, given_token_ids=[2], right_shift_logits=True
    ).save_pretrained(tmp_path)
    again = adopt(tmp_path).config
    assert (again.mask_token_id, again.given_token_ids, again.right_shift_logits) == (12, [2], True)
    other = adopt(tmp_path, given_token_ids=[], right_shift_logits=False).config
    assert (other.given_token_ids, other.right_shift_logits) == ([], False)


def test_esm_takes_any_share_of_masks():
    model = adopt(plain_model("esm"))
    assert not model.config.token_dropout
    assert model(torch.full((1, 5), MASK)).logits[..., 3:MASK].isfinite().all()
    # as it was trained: a mask of no embedding, and at its own share of masks the same scale
    assert not model.get_input_embeddings().weight[MASK].any()
    plain = plain_model("esm")
    ids = torch.tensor([[3, 4, 5, 6, 7, 8, 9, 10, 3, 4, 5, 6, 7, 8, 9, 10, 3, 4, 5, 6, 7, 8]])
    ids = torch.cat([ids, torch.full((1, 3), MASK)], 1)  # 3 of 25 = 0.15 * 0.8
    torch.testing.assert_close(
        model(ids).logits[..., 3:MASK], plain(input_ids=ids).logits[..., 3:MASK]
    )


def test_an_ardm_is_one_already(tmp_path):
    sizes = {"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1}
    model = ARDMForMaskedLM(ARDMConfig(vocab_size=8, mask_token_id=7, **sizes))
    assert adopt(model) is model
    model.save_pretrained(tmp_path)
    assert type(adopt(tmp_path)) is ARDMForMaskedLM


# ---------------------------------------------------------------------------------- what is refused
@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({}, "the model has no mask token; expected its tokenizer .* mask_token_id="),
        ({"mask_token_id": 13}, r"mask_token_id is 13; expected .*0\.\.12"),
        ({"mask_token_id": "12"}, "mask_token_id is '12'"),
        ({"mask_token_id": 12, "given_token_ids": [12]}, "given_token_ids hold 12, the mask id"),
        ({"mask_token_id": 12, "given_token_ids": [99]}, "given_token_ids is 99"),
        ({"mask_token_id": 12, "right_shift_logits": 1}, "right_shift_logits is 1"),
        ({"mask_token_id": 12, "dtype": "float32"}, "model in memory and dtype"),
    ],
)
def test_settings_that_do_not_fit_are_named(settings, named):
    with pytest.raises(ValueError, match=named):
        adopt(plain_model("bert"), **settings)


def test_a_refused_model_stays_what_it_was():
    plain = plain_model("llama")
    before = (type(plain), plain.config.to_dict(), plain.get_input_embeddings().num_embeddings)
    with pytest.raises(ValueError, match="given_token_ids"):
        adopt(plain, mask_token_id=14, given_token_ids=[99])
    assert before == (
        type(plain),
        plain.config.to_dict(),
        plain.get_input_embeddings().num_embeddings,
    )


def test_models_that_are_no_language_models_of_one_text_are_refused():
    config = AutoConfig.for_model("bert", **MASKED["bert"])
    sizes = {"vocab_size": 13, "d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2}
    seq2seq = T5ForConditionalGeneration(T5Config(**sizes, decoder_start_token_id=0))
    wrong = {
        "encoder-decoder": seq2seq,
        "BertModel; expected BertForMaskedLM": AutoModel.from_config(config),
        "BertForSequenceClassification; expected": AutoModelForSequenceClassification.from_config(
            config
        ),
        "Linear; expected a masked language model": torch.nn.Linear(2, 2),
    }
    for named, model in wrong.items():
        with pytest.raises(ValueError, match=named):
            adopt(model, mask_token_id=MASK)


def test_a_model_that_stays_causal_is_refused():
    class Stubborn(LlamaForCausalLM):
        def forward(self, *args, **kwargs):
            return super().forward(*args, **kwargs, is_causal=True)

    torch.manual_seed(0)
    model = Stubborn(LlamaConfig(**CAUSAL["llama"]))
    with pytest.raises(ValueError, match="attention of Stubborn is causal"):
        adopt(model, mask_token_id=MASK)


def test_the_tokenizer_of_another_mask_is_refused(tmp_path):
    adopt(plain_model("bert"), mask_token_id=MASK).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="mask_token_id is 4; expected 12"):
        adopt(tmp_path, bert_tokenizer())


@pytest.mark.parametrize("name", ["./nothing", "runs/of/nothing", "~/nothing", "/nothing", ""])
def test_a_path_that_is_none_never_goes_to_the_hub(name, monkeypatch):
    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", None)
    with pytest.raises(ValueError, match="there is no folder"):
        adopt(name)


def test_weights_that_are_missing_are_told(tmp_path):
    config = AutoConfig.for_model("bert", **MASKED["bert"])
    AutoModel.from_config(config).save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match="weights of BertForMaskedLM are not in"):
        adopt(tmp_path, mask_token_id=MASK)


def test_a_configuration_of_an_unknown_kind_is_refused(tmp_path):
    adopt(plain_model("bert"), mask_token_id=MASK).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_type": "bert2050"}))
    with pytest.raises(ValueError, match="bert2050"):
        adopt(tmp_path)


@pytest.mark.parametrize("tokenizer", ["models/bert", 3])
def test_a_name_is_no_tokenizer(tokenizer):
    with pytest.raises(ValueError, match="tokenizer is"):
        adopt(plain_model("bert"), tokenizer, mask_token_id=MASK)


def test_a_name_in_a_folder_that_is_there_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "empty").mkdir(parents=True)
    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", None)
    with pytest.raises(ValueError, match="there is no folder 'runs/ardn'"):
        adopt("runs/ardn")
    with pytest.raises(ValueError, match=r"'runs/empty' has no config\.json"):
        adopt("runs/empty")


def test_a_name_that_the_hub_does_not_give_is_told_in_one_line(monkeypatch):
    def missing(*args, **kwargs):
        raise OSError("nothing\nthere")

    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", missing)
    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", missing)
    with pytest.raises(ValueError, match="from 'no/such': nothing there"):
        adopt("no/such")


# ------------------------------------------------------------------------------------- spare rows
def test_spare_rows_stay_impossible_whatever_ends_a_text():
    tokenizer = llama_tokenizer()
    plain = plain_model("llama", eos_token_id=1)
    plain.generation_config.eos_token_id = [1, 3, 4]  # told there alone
    model = adopt(plain, tokenizer)
    assert impossible_ids(model.config) == {0, 7, 8, 9, 10, 11, 12}
    tokenizer.add_special_tokens({"eos_token": "<end>"})
    use_eos(model, tokenizer)
    assert model.config.eos_token_id == 8
    assert impossible_ids(model.config) == {0, 7, 9, 10, 11, 12}


def test_a_mask_of_before_is_never_written():
    model = adopt(plain_model("bert"), mask_token_id=MASK)
    adopt(model, mask_token_id=5)
    assert model.config.mask_token_id == 5
    assert {MASK, 5} <= impossible_ids(model.config)
