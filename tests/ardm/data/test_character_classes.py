"""Classes of tokens: by their first visible character, capitals and beginnings of words apart."""

import pytest
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from ardm.data import build_tokenizer, character_class_table, value_ids

from .test_value_tables import check


def groups(tokenizer, row):
    """The tokens of each label, as texts."""
    found = {}
    for token, label in zip(value_ids(tokenizer), row, strict=True):
        found.setdefault(label, []).append(tokenizer.decode([token]))
    return {"".join(sorted(texts)) for texts in found.values()}


def test_characters_are_told_apart_by_what_they_are():
    tokenizer = build_tokenizer("char", "aeBcdéИ漢 \n1٣+,.«")
    coarse, fine = character_class_table(tokenizer)
    check(tokenizer, [coarse, fine])
    assert groups(tokenizer, coarse) == {"aeé", "Bcd", "И漢", "\n ", "1٣", "+,.«"}
    assert groups(tokenizer, fine) == {"aeé", "B", "cd", "И", "漢", "\n ", "1٣", "+,.«"}


@pytest.mark.parametrize(("kind", "size"), [("char", None), ("byte", None), ("bpe", 400)])
def test_every_tokenizer_has_classes(kind, size):
    text = "The quick brown fox's – café – 42 jumps.\n\n  Over the lazy dog! " * 20
    tokenizer = build_tokenizer(kind, text, size)
    table = character_class_table(tokenizer)
    check(tokenizer, table)
    assert table == character_class_table(tokenizer)


def test_a_row_that_tells_nothing_more_is_left_out():
    tokenizer = build_tokenizer("char", "abcde ")
    (row,) = character_class_table(tokenizer)
    assert groups(tokenizer, row) == {"ae", "bcd", " "}


def test_pieces_of_words_go_by_their_first_letter_and_place():
    tokenizer = build_tokenizer("bpe", "the other then an ant " * 50, 300)
    tokens = {tokenizer.decode([i]): n for n, i in enumerate(value_ids(tokenizer))}
    coarse, fine = character_class_table(tokenizer)
    assert coarse[tokens[" the"]] == coarse[tokens["t"]] != coarse[tokens["a"]]
    assert fine[tokens[" the"]] != fine[tokens["t"]] == fine[tokens["he"]]
    assert fine[tokens["T"]] != fine[tokens["t"]]


def test_word_pieces_that_go_on_are_no_beginnings():
    vocab = {name: i for i, name in enumerate(["[UNK]", "[MASK]", "x", "ban", "##ban", "9"])}
    backend = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    backend.decoder = decoders.WordPiece()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, mask_token="[MASK]", unk_token="[UNK]"
    )
    coarse, fine = character_class_table(tokenizer)
    x, ban, more, nine = range(4)
    assert coarse[x] == coarse[ban] == coarse[more] != coarse[nine]
    assert fine[ban] == fine[x] != fine[more]


def test_further_special_tokens_are_of_no_letter():
    tokenizer = build_tokenizer("char", "ab[(1")
    tokenizer.add_special_tokens({"additional_special_tokens": ["[CLASS]"]})
    coarse = character_class_table(tokenizer)[0]
    *_, bracket, a, b, special = coarse
    assert len({bracket, a, b, special}) == 4


@pytest.mark.parametrize("text", ["bcdf", "a1"])
def test_one_class_or_one_a_value_is_no_table(text):
    with pytest.raises(ValueError, match="classes of characters"):
        character_class_table(build_tokenizer("char", text))
