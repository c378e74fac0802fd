"""Requests as ids: every token of a text is scored once, and what is generated fits."""

import math

import pytest
from tokenizers import Tokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import BPE
from tokenizers.normalizers import Lowercase, Replace, Strip
from transformers import PreTrainedTokenizerFast

from ardm.data import lost_text
from ardm.data.tokenization import build_tokenizer
from ardm.harness.requests import (
    Prompt,
    batches,
    cut,
    encode_pair,
    fingerprint_of,
    fit_context,
    generation_settings,
    lost_behind,
    refuse_lost,
    stop_strings,
    text_windows,
    warn_of_lost,
)


def encode(text):
    """Letters by their number, but "ab" is one token."""
    pieces = text.replace("ab", "|ab|").split("|")
    return [
        token
        for piece in pieces
        for token in ([26] if piece == "ab" else [ord(letter) - 97 for letter in piece])
    ]


def test_a_token_across_the_seam_is_scored_apart():
    assert encode("cab") == [2, 26]
    assert encode_pair(encode, 8, "ca", "b") == ([2, 0], [1])
    assert encode_pair(encode, 8, "c", "ab") == ([2], [26])


def test_a_context_loses_its_beginning_and_a_continuation_nothing():
    assert encode_pair(encode, 4, "cdefg", "hij") == ([6], [7, 8, 9])
    assert encode_pair(encode, 4, "cd", "") == ([], [])
    with pytest.raises(ValueError, match="5 tokens; expected at most max_position_embeddings=4"):
        encode_pair(encode, 4, "c", "defgh")


@pytest.mark.parametrize("length", [0, 1, 3, 7, 8, 9, 16, 19, 24])
def test_windows_score_every_token_once(length):
    ids = list(range(length))
    parts = text_windows(ids, 8)
    assert [token for _, scored in parts for token in scored] == ids
    for known, scored in parts:
        assert len(scored) > 0 and len(known) + len(scored) <= 8
        assert known == ids[scored[0] - len(known) : scored[0]]
    if length >= 8:
        assert all(len(known) + len(scored) == 8 for known, scored in parts)


@pytest.mark.parametrize("num_new", [1, 3, 7])
def test_a_context_leaves_room_for_what_is_generated(num_new):
    ids = list(range(12))
    assert fit_context(ids, num_new, 8) == ids[4 + num_new :]
    assert fit_context(ids[:1], num_new, 8) == ids[:1]
    for refused in (0, 8):
        with pytest.raises(ValueError, match=rf"max_gen_toks is {refused}; expected 1\.\.7"):
            fit_context(ids, refused, 8)
    assert fit_context([], 8, 8) == []


@pytest.mark.parametrize("temperature", [0, 0.0, 0.5, None])
@pytest.mark.parametrize("do_sample", [True, False])
def test_what_is_left_open_is_filled_and_what_is_asked_stays(do_sample, temperature):
    asked = {"do_sample": do_sample, "temperature": temperature}
    sampled = do_sample and temperature != 0
    settings = generation_settings(asked, None, 2)
    assert settings["order"] == ("random" if sampled else "confidence")
    assert settings["temperature"] == (temperature if sampled else None)
    assert settings["do_sample"] == sampled and settings["tokens_per_step"] == 2
    settings = generation_settings({**asked, "order": "margin", "steps": 3}, "entropy", 2)
    assert settings["order"] == "margin" and settings["steps"] == 3
    assert "tokens_per_step" not in settings
    assert generation_settings(asked, "entropy", 2)["order"] == "entropy"


def prompts_of(*lengths, **settings):
    return [
        Prompt(i, list(range(1, length + 1)), [], {"top_k": length % 2} | settings, 0)
        for i, length in enumerate(lengths)
    ]


def test_batches_are_of_one_kind_and_of_like_lengths():
    found = [
        [len(prompt.ids) for prompt in group] for group in batches(prompts_of(3, 8, 1, 7, 5, 2), 2)
    ]
    assert found == [[8, 2], [7, 5], [3, 1]]


def test_a_text_ends_at_the_first_stop_string():
    assert cut("one two three", ["three", "t"]) == "one "
    assert cut("one", ["", "x"]) == "one"
    assert cut("", ["a"]) == ""


def test_a_document_is_known_by_its_content():
    one = {"b": [1, object()], "a": "x"}
    assert fingerprint_of(one) == fingerprint_of({"a": "x", "b": [1, object()]})
    assert fingerprint_of(one) != fingerprint_of({**one, "a": "y"})


def words(**settings):
    """A tokenizer of the letters a, b, c and the space."""
    letters = {letter: number for number, letter in enumerate("abc ")}
    tokens = {} if settings.pop("drops", False) else {"[UNK]": 4}
    unknown = {"unk_token": "[UNK]"} if tokens else {}
    backend = Tokenizer(BPE(letters | tokens, [], **unknown))
    backend.decoder = Fuse()
    if settings:
        backend.normalizer = settings["normalizer"]
    return PreTrainedTokenizerFast(tokenizer_object=backend, mask_token="[M]", **unknown)


LOSING = {  # tokenizer -> (a text that it knows, one that it does not, how many are lost)
    "unknown": (words(), "ab ca", "axyz", 3),
    "dropped": (words(drops=True), "ab ca", "axyz", 3),
    "lower case": (words(normalizer=Lowercase()), "ab ca", "ABca", 2),
    "stripped": (words(normalizer=Strip()), "ab ca", "  ab", 2),
    "replaced": (words(normalizer=Replace("  ", " ")), "ab ca", "ab  c", 1),
}


@pytest.mark.parametrize("kind", LOSING)
def test_what_the_tokens_do_not_tell_is_told_or_refused(kind, caplog):
    tokenizer, known, lossy, count = LOSING[kind]
    warn_of_lost(lost_behind(tokenizer, [("a", known), (known, known)]))
    refuse_lost(lost_text(tokenizer, known))
    assert not caplog.records
    lost = lost_text(tokenizer, lossy)
    assert lost.num_unknown + lost.num_changed == count
    with pytest.raises(ValueError, match=f"of {len(lossy)} characters {count} "):
        refuse_lost(lost)
    behind = lost_behind(tokenizer, [("c", lossy), ("c", known)])
    assert behind.num_characters == len(lossy) + len(known)
    assert behind.num_unknown + behind.num_changed == (0 if kind == "stripped" else count)
    given = lost_behind(tokenizer, [(lossy, known)])  # what is given has no likelihood to lose
    assert not given or kind == "stripped"
    if behind:
        warn_of_lost(behind)
        assert "these likelihoods are of the tokens" in caplog.text


def test_special_tokens_of_a_chat_are_not_lost():
    tokenizer = build_tokenizer("char", "abc")
    text = f"ab{tokenizer.pad_token}c"
    assert lost_text(tokenizer, text) and not lost_text(tokenizer, text, special_tokens=True)
    assert not lost_behind(tokenizer, [(text, text)])


@pytest.mark.parametrize("continuation", ["x", "xyz", " x"])
def test_a_continuation_without_a_token_is_refused(continuation):
    """Its probability would be 1: an option that nothing beats."""
    known = dict(zip("ab", range(2), strict=True))

    def encode(text):
        return [known[letter] for letter in text if letter in known]

    with pytest.raises(ValueError, match="has no token"):
        encode_pair(encode, 8, "ab ", continuation)
    assert encode_pair(encode, 8, "ab", "") == ([], [])


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"num_return_sequences": 2}, "num_return_sequences is 2; expected 1"),
        ({"return_dict_in_generate": True}, "return_dict_in_generate is True; expected False"),
        ({"output_history": True}, "output_history is True"),
        ({"temperature": math.nan}, "temperature is nan"),
    ],
)
def test_what_gives_no_single_text_is_refused(asked, message):
    with pytest.raises(ValueError, match=message):
        generation_settings({"do_sample": False} | asked, None, 1)


def test_what_gives_one_text_anyway_is_left_out():
    plain = generation_settings({"do_sample": True}, None, 1)
    for same in ({"num_return_sequences": 1}, {"return_dict_in_generate": False}):
        assert generation_settings({"do_sample": True} | same, None, 1) == plain


@pytest.mark.parametrize("until", [[3], [None], [["a"]], 3])
def test_stop_strings_are_strings(until):
    with pytest.raises(ValueError, match="until is"):
        stop_strings(until)
    assert stop_strings(["a", "b"]) == ["a", "b"] and stop_strings("ab") == ["ab"]
