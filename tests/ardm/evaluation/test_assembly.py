"""What is trained, and that any two trainings that differ are told apart."""

import datasets
import pytest
import torch

from ardm.data import build_tokenizer, make_windows
from ardm.evaluation import new_model, run_identity, tokenizer_fingerprint

SIZES = {
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
}
TEXT = "abcd efgh " * 30
OBJECTIVE = {"weight_power": 1.0, "start_ratio": 0.5}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)


def identity(
    text=TEXT, alphabet=TEXT, length=8, seed=0, fresh=True, objective=OBJECTIVE, **changes
):
    tokenizer = build_tokenizer("char", alphabet)
    windows = make_windows(datasets.Dataset.from_dict({"text": [text]}), tokenizer, length)
    model = new_model(tokenizer, length, seed, **(SIZES | changes))
    return run_identity(windows, tokenizer, model, objective, fresh=fresh)


CHANGES = {
    "data": {"text": TEXT[1:] + TEXT[0]},  # of equal counts
    "tokenizer": {"text": "abcd " * 60, "alphabet": "abcde "},
    "model": {"num_hidden_layers": 2},
    "objective": {"objective": {"weight_power": 0.0, "start_ratio": 0.5}},
}


def test_the_same_training_has_the_same_identity():
    assert identity() == identity()


@pytest.mark.parametrize("name", CHANGES)
def test_what_differs_is_named(name):
    one = identity()
    other = identity(**CHANGES[name])
    assert one.keys() == other.keys()
    assert one[name] != other[name]


def test_another_alphabet_of_equal_size_is_another_tokenizer():
    one = identity("abcd efgh " * 40)
    other = identity("stuv wxyz " * 40, alphabet="wxyz stuv ")
    assert one["model"] == other["model"] and one["data"] == other["data"]  # the same ids
    assert one["tokenizer"] != other["tokenizer"]


def test_fresh_weights_are_told_by_the_seed_and_others_by_their_content():
    assert identity(seed=0) == identity(seed=1)  # which `train` compares
    one, same, other = (identity(seed=seed, fresh=False) for seed in (0, 0, 1))
    assert one == same and one["initial_weights"] != other["initial_weights"]


def test_a_stream_is_told_by_how_it_begins():
    tokenizer = build_tokenizer("char", TEXT)
    model = new_model(tokenizer, 8, **SIZES)

    def told(text):
        rows = datasets.Dataset.from_dict({"text": [text]}).to_iterable_dataset()
        windows = make_windows(rows, tokenizer, 8)
        return run_identity(windows, tokenizer, model, OBJECTIVE, fresh=True)

    assert told(TEXT) == told(TEXT) == identity()  # short, and so all of it
    assert told(TEXT[1:])["data"] != told(TEXT)["data"]


def test_a_tokenizer_is_the_same_after_it_was_used_and_saved(tmp_path):
    tokenizer = build_tokenizer("bpe", TEXT, 300)
    before = tokenizer_fingerprint(tokenizer)
    tokenizer("used", truncation=True, max_length=2, padding="max_length")
    assert tokenizer_fingerprint(tokenizer) == before
    tokenizer.save_pretrained(tmp_path / "saved")
    loaded = type(tokenizer).from_pretrained(tmp_path / "saved")
    assert tokenizer_fingerprint(loaded) == before
    loaded.add_special_tokens({"eos_token": "[EOS]"})
    assert tokenizer_fingerprint(loaded) != before


def test_a_model_has_a_row_for_each_id_and_its_seeds_weights():
    tokenizer = build_tokenizer("char", TEXT)
    one = new_model(tokenizer, 8, 3, **SIZES)
    same = new_model(tokenizer, 8, 3, **SIZES)
    assert torch.equal(one.lm_head.weight, same.lm_head.weight)
    assert one.config.vocab_size == len(tokenizer) and one.config.max_position_embeddings == 8
    assert one.config.mask_token_id == tokenizer.mask_token_id
    assert one.config.unk_token_id == tokenizer.unk_token_id
    assert one.config.num_hidden_layers == 1


@pytest.mark.parametrize("with_eos_as_pad", [False, True])
def test_tokenizers_as_those_of_gpt2_fit(with_eos_as_pad):
    tokenizer = build_tokenizer("byte", [])
    tokenizer.add_special_tokens({"eos_token": "[EOS]", "bos_token": "[EOS]"})
    if with_eos_as_pad:
        tokenizer.pad_token = tokenizer.eos_token
    model = new_model(tokenizer, 8, **SIZES).eval()
    masked = torch.full((1, 3), tokenizer.mask_token_id)
    logits = model(input_ids=masked).logits
    assert logits[0, 0, tokenizer.eos_token_id].isfinite()
    assert logits[0, 0, tokenizer.mask_token_id] == -torch.inf
