"""Laws of the tokenizers: text -> ids -> text is the identity, and special tokens come last."""

import datasets
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from ardm.data import build_tokenizer, embedded_text
from ardm.data.tokenization import with_mask_token

ALPHABET = "ab c\n\n\tZ.é😀[]MASK"
SAMPLE = (
    "The quick brown fox - naïve, 東京, 😀 - jumps.\n\n  Over  the\r\nlazy dog: [MASK] it's 42.\n"
    * 20
)
TOKENIZERS = {
    "char": build_tokenizer("char", SAMPLE + ALPHABET),
    "byte": build_tokenizer("byte", []),
    "bpe": build_tokenizer("bpe", SAMPLE, 400),
}
UNICODE = st.text(st.characters(exclude_categories=("Cs",)))
kinds = pytest.mark.parametrize("kind", TOKENIZERS)


def plain_ids(tokenizer, text):
    """One call on the whole text, in which spelled-out special tokens are text."""
    return tokenizer(text, split_special_tokens=True, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("kind", ["byte", "bpe"])
@given(text=UNICODE)
@settings(max_examples=60)
def test_bytes_round_trip_any_text(kind, text):
    tokenizer = TOKENIZERS[kind]
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


@given(text=st.text(st.sampled_from(ALPHABET)))
@settings(max_examples=60)
def test_characters_round_trip_their_alphabet(text):
    tokenizer = TOKENIZERS["char"]
    ids = tokenizer(text, split_special_tokens=True)["input_ids"]
    assert len(ids) == len(text) and tokenizer.decode(ids) == text
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


@given(text=UNICODE)
@settings(max_examples=60)
def test_byte_ids_are_the_bytes(text):
    assert plain_ids(TOKENIZERS["byte"], text) == list(text.encode())


def test_character_ids_are_sorted_and_specials_come_last():
    tokenizer = build_tokenizer("char", ["b\na", "c😀"])
    assert tokenizer.convert_ids_to_tokens(range(5)) == ["\n", "a", "b", "c", "😀"]
    assert {tokenizer.unk_token_id, tokenizer.mask_token_id, tokenizer.pad_token_id} == {5, 6, 7}
    assert len(tokenizer) == 8 and tokenizer("a?c")["input_ids"] == [1, tokenizer.unk_token_id, 3]


@kinds
def test_special_tokens_follow_the_data_and_only_masks_are_spelled(kind):
    tokenizer = TOKENIZERS[kind]
    assert min(tokenizer.all_special_ids) >= len(tokenizer) - 3
    assert max(plain_ids(tokenizer, SAMPLE)) < min(tokenizer.all_special_ids)
    infill = tokenizer.encode("a[MASK]b")
    assert infill == [*tokenizer.encode("a"), tokenizer.mask_token_id, *tokenizer.encode("b")]


@kinds
def test_saved_tokenizer_comes_back_through_auto_tokenizer(kind, tmp_path):
    tokenizer = build_tokenizer(kind, SAMPLE, model_max_length=77)
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.is_fast and len(loaded) == len(tokenizer) and loaded.model_max_length == 77
    assert loaded.special_tokens_map == tokenizer.special_tokens_map
    text = "fox .  ,\n\n it 's [MASK] 東京"
    assert loaded.encode(text) == tokenizer.encode(text)
    assert loaded.decode(loaded.encode(text)) == text


def test_bpe_has_the_size_asked_for_and_is_deterministic():
    text = embedded_text()[:100_000]
    tokenizers = [build_tokenizer("bpe", [text], 500) for _ in range(2)]
    assert [len(tokenizer) for tokenizer in tokenizers] == [500, 500]
    assert tokenizers[0].get_vocab() == tokenizers[1].get_vocab()
    assert len(plain_ids(tokenizers[0], text)) < 0.6 * len(text)


@pytest.mark.parametrize(
    ("args", "match"),
    [
        (("word", "a"), "'word'.*'char', 'byte', 'bpe'"),
        (("char", []), "no characters"),
        (("bpe", [""]), "no characters"),
        (("bpe", "text", 257), "257.*258"),
        (("byte", "text", 300), "300.*258"),
        (("char", "text", 5), "5.*6 tokens"),
    ],
)
def test_tokenizer_errors(args, match):
    with pytest.raises(ValueError, match=match):
        build_tokenizer(*args)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("kind", ["char", "bpe"])
def test_a_data_set_gives_its_texts_and_not_its_columns(kind, streaming):
    texts = [SAMPLE, "", None, "Q" * 50]
    rows = datasets.Dataset.from_dict({"number": range(4), "text": texts})
    rows = rows.to_iterable_dataset() if streaming else rows
    found = build_tokenizer(kind, rows, 400 if kind == "bpe" else None)
    expected = build_tokenizer(kind, [SAMPLE, "Q" * 50], 400 if kind == "bpe" else None)
    assert found.get_vocab() == expected.get_vocab()


@pytest.mark.parametrize(
    ("texts", "match"),
    [
        ({"train": ["a"]}, r"mapping of \['train'\]"),
        ([{"text": "a"}], "expected a string"),
        ([1], "a text is '1'"),
    ],
)
def test_what_is_no_text_is_refused(texts, match):
    with pytest.raises(ValueError, match=match):
        build_tokenizer("char", texts)


def test_a_mask_token_is_given_to_those_without_and_left_to_others():
    backend = build_tokenizer("byte", []).backend_tokenizer
    plain = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="a")
    own = PreTrainedTokenizerFast(tokenizer_object=backend, mask_token="[PAD]")
    assert with_mask_token(plain).mask_token_id == build_tokenizer("byte", []).mask_token_id
    assert with_mask_token(own).mask_token == "[PAD]"
