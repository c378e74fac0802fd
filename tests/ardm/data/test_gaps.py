"""Gaps of every spelling become masks, one a token; all else is text as it was."""

import pytest
import torch

from ardm.data.gaps import encode_gaps, given_texts
from ardm.data.tokenization import build_tokenizer

TEXT = "the [quick] _fox__ [MASK"
CHARACTERS = build_tokenizer("char", TEXT + "0123456789]")
BPE = build_tokenizer("bpe", TEXT * 20, vocab_size=300)
every_tokenizer = pytest.mark.parametrize("tokenizer", [CHARACTERS, BPE], ids=["char", "bpe"])


@every_tokenizer
@pytest.mark.parametrize("gap", ["[[5]]", "[[ 5 ]]", "[[05]]", "_____", "{mask}" * 5])
@pytest.mark.parametrize("text", ["{}", "the {}", "{} fox", "the {} fox", "{}{}", "a{}b{}c"])
def test_each_spelling_is_as_many_masks_and_nothing_else_is_touched(tokenizer, gap, text):
    masks = tokenizer.mask_token * 5
    expected = tokenizer(text.replace("{}", masks), add_special_tokens=False).input_ids
    filled = text.replace("{}", gap.replace("{mask}", tokenizer.mask_token))
    ids = encode_gaps(filled, tokenizer)
    assert ids.tolist() == [expected] and ids.dtype == torch.int64
    assert (ids == tokenizer.mask_token_id).sum() == 5 * text.count("{}")


@every_tokenizer
@pytest.mark.parametrize("text", ["", TEXT, "a __ b", "[[]]", "[[-1]]", "[[x]]", "[ [5] ]", "[5]"])
def test_what_is_no_gap_is_text(tokenizer, text):
    known = tokenizer(text, add_special_tokens=False).input_ids
    ids = encode_gaps(text, tokenizer, max_new_tokens=2)
    assert ids.tolist() == [[*known, *[tokenizer.mask_token_id] * 2]]
    with pytest.raises(ValueError, match=r"no gap to fill; .* max_new_tokens"):
        encode_gaps(text, tokenizer, max_new_tokens=0)


def test_new_tokens_follow_a_text_with_gaps():
    ids = encode_gaps("a[[2]]", CHARACTERS, around=((5,), (7,)), max_new_tokens=3)
    known = CHARACTERS.convert_tokens_to_ids("a")
    assert ids.tolist() == [[5, known, *[CHARACTERS.mask_token_id] * 5, 7]]
    assert encode_gaps("", CHARACTERS, max_new_tokens=3).shape == (1, 3)
    with pytest.raises(ValueError, match="max_new_tokens is -1; expected an integer of at least 0"):
        encode_gaps("___", CHARACTERS, max_new_tokens=-1)
    with pytest.raises(ValueError, match="gaps of 999999999999 tokens; expected at most 8"):
        encode_gaps("a", CHARACTERS, max_tokens=8, max_new_tokens=999999999999)


def test_what_stands_around_a_text_is_no_gap():
    with pytest.raises(ValueError, match="no gap to fill"):
        encode_gaps("a", CHARACTERS, around=((CHARACTERS.mask_token_id,), ()))


@pytest.mark.parametrize("text", ["[[0]]", "a [[00]] b"])
def test_a_gap_of_no_token_is_an_error(text):
    with pytest.raises(ValueError, match=r"has no token; expected at least \[\[1\]\]"):
        encode_gaps(text, CHARACTERS)


@pytest.mark.parametrize("text", ["[[9]]", "[[999999999999]]", "[[4]] a [[5]]", "aaaa [[4]]"])
def test_too_long_a_text_is_refused_before_it_is_made(text):
    with pytest.raises(ValueError, match="expected at most 8"):
        encode_gaps(text, CHARACTERS, max_tokens=8)
    assert encode_gaps("[[8]]", CHARACTERS, max_tokens=8).shape == (1, 8)


def test_without_a_mask_token_there_are_no_gaps():
    tokenizer = build_tokenizer("char", TEXT)
    tokenizer.mask_token = None
    with pytest.raises(ValueError, match="has no mask token"):
        encode_gaps("[[3]]", tokenizer)


def test_the_texts_between_the_gaps():
    text = "the [[12]] fox ____ [x] [MASK][MASK]__ end"
    assert given_texts(text, CHARACTERS) == ["the ", " fox ", " [x] ", "__ end"]
    assert given_texts("[[3]]", CHARACTERS) == []


def test_what_stands_around_a_text_is_given():
    bare = encode_gaps("the [[3]]", CHARACTERS)[0].tolist()
    ids = encode_gaps("the [[3]]", CHARACTERS, around=((5, 6), (7,)), max_tokens=10)
    assert ids.tolist() == [[5, 6, *bare, 7]]
    with pytest.raises(ValueError, match="gaps included, 10 tokens; expected at most 9"):
        encode_gaps("the [[3]]", CHARACTERS, around=((5, 6), (7,)), max_tokens=9)
