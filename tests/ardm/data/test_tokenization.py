"""Laws of the tokenizers: text -> ids -> text is the identity, and special tokens come last."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from ardm.data import build_tokenizer, embedded_text

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
