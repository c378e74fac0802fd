"""What the tokens of a text do not tell is counted, whatever the tokenizer does to it."""

import datasets
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from ardm.data import LostText, build_tokenizer, lost_in_windows, lost_text, make_windows
from ardm.data.lost_text import utf8_lengths

TEXT = "The café says: naïve Ideas, 東京!\n\nAnd more words, all known. "
LETTERS = "abcdefghijklmnopqrstuvwxyz .\n"


def letters(unk=None, **parts):
    """A table of letters; `parts` are of the `tokenizers` library."""
    vocab = {letter: number for number, letter in enumerate(LETTERS)} | ({unk: 40} if unk else {})
    backend = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token=unk))
    backend.decoder = decoders.Fuse()
    for name, part in parts.items():
        setattr(backend, name, part)
    special = {"mask_token": "[MASK]"} | ({"unk_token": unk} if unk else {})
    return PreTrainedTokenizerFast(tokenizer_object=backend, **special)


def words():
    """Whole words, and [UNK] for any other."""
    vocab = {word: number for number, word in enumerate(["the", "known", "words", "[UNK]", "[M]"])}
    backend = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]", mask_token="[M]")


LOWER = normalizers.Lowercase()
PLAIN = normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()])
# what is lost of a text: unknown and changed characters
LOSERS = {
    "char": (build_tokenizer("char", LETTERS), "abc Ö東. ab", 2, 0),
    "char, known": (build_tokenizer("char", TEXT), TEXT, 0, 0),
    "byte": (build_tokenizer("byte", []), TEXT, 0, 0),
    "bpe": (build_tokenizer("bpe", TEXT, 300), TEXT, 0, 0),
    "unknown letters": (letters("[UNK]"), "a東b京", 2, 0),
    "no unknown token": (letters(), "a東b京. x", 0, 2),
    "dropped at the ends": (letters(), "東ab京", 0, 2),
    "nothing is read": (letters(), "東京", 0, 2),
    "lower case": (letters(normalizer=LOWER), "The Word is.", 0, 2),
    "accents": (letters(normalizer=PLAIN), "a café is naïve", 0, 2),
    "both": (letters("[UNK]", normalizer=LOWER), "A 東 b", 1, 1),
    "words": (words(), "the known words", 0, 0),
    "unknown words": (words(), "the unknown words", len(" unknown"), 0),
    "white space": (words(), "the  known\nwords", 0, 1),
}
every_loser = pytest.mark.parametrize("name", LOSERS)


@every_loser
def test_each_character_is_told_unknown_or_changed(name):
    tokenizer, text, num_unknown, num_changed = LOSERS[name]
    lost = lost_text(tokenizer, text)
    assert (lost.num_unknown, lost.num_characters) == (num_unknown, len(text))
    assert lost.num_changed == num_changed
    assert bool(lost) == (num_unknown + num_changed > 0) == (lost.refusal is not None)


@every_loser
@pytest.mark.parametrize("length", [1, 3])
def test_windows_know_what_their_tokens_do_not_tell(name, length, monkeypatch):
    monkeypatch.setattr("ardm.data.windows._CHARACTERS_AT_ONCE", 7)
    tokenizer, text, *_ = LOSERS[name]
    text = "the words" * 9 + text * 3 + " known" * 9  # something can be read, and no tail is lost
    expected = lost_text(tokenizer, text)
    windows = make_windows(datasets.Dataset.from_dict({"text": [text]}), tokenizer, length)
    found = lost_in_windows(windows)
    assert found == LostText.of(windows[:])
    assert bool(found) == bool(expected)
    if length == 1:
        assert found == expected
        assert sum(windows["num_bytes"]) == len(text.encode())


def test_a_document_of_which_nothing_is_read_is_counted_where_reading_goes_on():
    documents = datasets.Dataset.from_dict({"text": ["ab", "東京", "", "cd"]})
    windows = make_windows(documents, letters(), 1)
    assert lost_in_windows(windows) == LostText(len("ab\n\n東京\n\ncd"), 0, 2)


def test_a_joint_that_is_no_token_is_lost_text():
    documents = datasets.Dataset.from_dict({"text": ["the", "words"]})
    windows = make_windows(documents, words(), 1)
    assert lost_in_windows(windows) == LostText(len("the\n\nwords"), 0, 2)


def test_an_eos_that_is_also_the_unknown_token_joins_documents():  # as GPT-2's
    tokenizer = build_tokenizer("byte", [])
    tokenizer.add_special_tokens({"eos_token": "[EOS]"})
    tokenizer.unk_token = "[EOS]"
    windows = make_windows(datasets.Dataset.from_dict({"text": ["a", "b"]}), tokenizer, 1)
    assert np.concatenate(windows["input_ids"]).tolist() == [97, tokenizer.eos_token_id, 98]
    assert not lost_in_windows(windows)


def test_the_first_windows_of_a_changed_piece_do_not_pass_for_unchanged():
    text = "ab " * 40 + "É"
    rows = datasets.Dataset.from_dict({"text": [text]})
    windows = make_windows(rows, letters(normalizer=PLAIN), 5)
    assert LostText.of(windows[:1]).num_changed == 1 == lost_in_windows(windows).num_changed


def test_a_stream_is_not_read_for_it():
    rows = datasets.Dataset.from_dict({"text": ["ab"]}).to_iterable_dataset()
    assert lost_in_windows(make_windows(rows, letters(), 1)) is None


@given(st.text(st.sampled_from("abc.\n É東"), min_size=1))
def test_characters_of_the_alphabet_are_told_and_no_others(text):
    lost = lost_text(letters("[UNK]"), text)
    assert lost.num_unknown == sum(text.count(letter) for letter in "É東")
    assert lost.num_changed == 0
    assert lost_text(letters(), text).num_changed == lost.num_unknown


def test_it_says_how_much():
    lost = LostText(1000, 30, 1)
    assert (lost.unknown_share, lost.changed_share) == (0.03, 0.001)
    assert "200 (100 %) are unknown" in str(LostText(200, num_unknown=200))
    assert "of 1,000 characters 30 (3 %) are unknown to the tokenizer ([UNK])" in str(lost)
    assert "and 1 (0.1 %) are dropped or changed by the tokenizer" in str(lost)
    assert "no bits per character or byte" in lost.refusal
    assert LostText(5).refusal is None and LostText(0).unknown_share == 0
    assert LostText.of({"num_bytes": np.array([3])}) == LostText(0)


def test_lengths_in_bytes():
    assert utf8_lengths("aé東😀").tolist() == [0, 1, 3, 6, 10]
