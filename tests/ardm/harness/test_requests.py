"""Requests as ids: every token of a text is scored once, and what is generated fits."""

import pytest
import torch

from ardm.data.tokenization import build_tokenizer
from ardm.harness.requests import (
    Prompt,
    batches,
    cut,
    encode_pair,
    fingerprint_of,
    fit_context,
    generation_settings,
    padded,
    refuse_unknown,
    text_windows,
    warn_of_unknown,
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


def test_padding_is_behind_the_contexts():
    ids, real = padded(prompts_of(3, 0, 1))
    assert ids.tolist() == [[1, 2, 3], [0, 0, 0], [1, 0, 0]]
    assert torch.equal(real, ids > 0)
    ids, real = padded(prompts_of(0))
    assert ids.shape == real.shape == (1, 0) and ids.dtype == torch.long


def test_a_text_ends_at_the_first_stop_string():
    assert cut("one two three", ["three", "t"]) == "one "
    assert cut("one", ["", "x"]) == "one"
    assert cut("", ["a"]) == ""


def test_a_document_is_known_by_its_content():
    one = {"b": [1, object()], "a": "x"}
    assert fingerprint_of(one) == fingerprint_of({"a": "x", "b": [1, object()]})
    assert fingerprint_of(one) != fingerprint_of({**one, "a": "y"})


def test_unknown_tokens_are_told_or_refused(caplog):
    tokenizer = build_tokenizer("char", "abc")
    unknown = tokenizer.unk_token_id
    warn_of_unknown(tokenizer, [[0, 1], [2]])
    refuse_unknown(tokenizer, [[0, 1], [2]])
    assert not caplog.records
    warn_of_unknown(tokenizer, [[0, unknown], [unknown]])
    assert "2 of 3 scored tokens" in caplog.text
    with pytest.raises(ValueError, match="2 of 3 tokens"):
        refuse_unknown(tokenizer, [[0, unknown], [unknown]])
