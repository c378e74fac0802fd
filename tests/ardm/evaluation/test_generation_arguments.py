"""Flags of `generate`, and prompts as ids."""

import io
import json

import pytest

from ardm.data import build_tokenizer
from ardm.evaluation.generation_arguments import (
    SETTINGS,
    add_generation_arguments,
    encode_prompt,
    generation_settings,
    read_prompts,
)
from ardm.generation_config_ardm import SETTINGS as OF_GENERATE
from ardm.training import recipe_parser

TOKENIZER = build_tokenizer("char", "abc _")
MASK = TOKENIZER.mask_token_id
# what no flag says: set by the recipe, measured, or of the model
OTHERS = {"num_return_sequences", "return_dict_in_generate", "output_history", "per_step_losses"}
OTHERS |= {"select_after_warping"}


def parsed(*words):
    parser = recipe_parser(None)
    add_generation_arguments(parser)
    return parser.parse_args(words)


def test_every_setting_of_generate_has_a_flag_or_a_reason():
    ids = {name for name in OF_GENERATE if name.endswith("_token_id")}
    assert {*SETTINGS} | OTHERS | ids == {*OF_GENERATE}


def test_what_is_given_is_set_and_nothing_else():
    assert generation_settings(parsed()) == {"seed": 0}
    words = [
        "--order",
        "confidence",
        "--steps",
        "4",
        "--plan",
        "cosine",
        "--no-do_sample",
        "--top_k",
        "3",
        "--seed",
        "5",
    ]
    expected = {"order": "confidence", "steps": 4, "plan": "cosine", "do_sample": False}
    assert generation_settings(parsed(*words)) == expected | {"top_k": 3, "seed": 5}


@pytest.mark.parametrize(
    ("prompt", "new", "expected"),
    [
        ("a___b", None, ["a", MASK, MASK, MASK, "b"]),
        ("a[MASK]__", None, ["a", MASK, "_", "_"]),
        ("ab", 2, ["a", "b", MASK, MASK]),
        ("___", 1, [MASK] * 4),
        ("", 2, [MASK] * 2),
    ],
)
def test_gaps_and_new_tokens_are_masks(prompt, new, expected):
    ids = [TOKENIZER.convert_tokens_to_ids(x) if isinstance(x, str) else x for x in expected]
    assert encode_prompt(prompt, TOKENIZER, new) == ids


@pytest.mark.parametrize(
    ("prompt", "new", "error"),
    [
        ("ab__", None, "prompt 'ab__' has no gap; expected ___ in it, or --max_new_tokens"),
        ("ab", 0, "has no gap"),
        ("", None, "has no gap"),
        ("___", -1, "max_new_tokens is -1; expected an integer of at least 0"),
    ],
)
def test_nothing_to_generate_is_refused(prompt, new, error):
    with pytest.raises(ValueError, match=error):
        encode_prompt(prompt, TOKENIZER, new)


# ------------------------------------------------------------------------------------------ files
PROMPTS = ["a ___ b", "{ ___", "two\nlines ___"]


def test_prompts_are_lines_or_json_lines(tmp_path, monkeypatch):
    lines = "\n\n".join(PROMPTS[:2]) + "\n"
    rows = "".join(json.dumps({"prompt": prompt, "more": 1}) + "\n" for prompt in PROMPTS)
    (tmp_path / "a.txt").write_text(lines)
    (tmp_path / "a.jsonl").write_text(rows)
    assert read_prompts(str(tmp_path / "a.txt")) == PROMPTS[:2]
    assert read_prompts(str(tmp_path / "a.jsonl")) == PROMPTS
    for given, expected in ((lines, PROMPTS[:2]), (rows, PROMPTS)):
        monkeypatch.setattr("sys.stdin", io.StringIO(given))
        assert read_prompts("-") == expected


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("a.txt", "\n \n", r"a\.txt holds no prompt; expected one a line"),
        ("a.jsonl", '{"prompt": "___"}\n{"prompt"', r"a\.jsonl:2: .*; expected a JSON object"),
        ("a.jsonl", '\n{"text": "___"}', r"a\.jsonl:2 is .*; expected a JSON object"),
        ("a.jsonl", '{"prompt": 3}', r"expected a JSON object with a text as its \"prompt\""),
        ("a.jsonl", '"___"', "expected a JSON object"),
    ],
)
def test_what_is_no_prompt_is_named_by_its_line(tmp_path, name, content, error):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=error):
        read_prompts(str(tmp_path / name))
