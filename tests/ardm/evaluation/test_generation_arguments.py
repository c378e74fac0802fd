"""Flags of `generate`, and the prompts of a file."""

import io
import json

import pytest

from ardm.evaluation.generation_arguments import (
    SETTINGS,
    add_generation_arguments,
    generation_settings,
    read_prompts,
)
from ardm.generation_config_ardm import SETTINGS as OF_GENERATE
from ardm.training import recipe_parser

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
