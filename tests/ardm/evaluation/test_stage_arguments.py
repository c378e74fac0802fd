"""Flags of stages say what a configuration takes; those without effect are refused."""

import argparse

import pytest

from ardm import ARDMConfig
from ardm.data.tokenization import build_tokenizer
from ardm.evaluation import new_model
from ardm.evaluation.stage_arguments import (
    add_stage_arguments,
    add_table_argument,
    check_stages,
    smallest_base,
    stage_settings,
)
from ardm.vocabulary import impossible_ids, text_ids

TOKENIZER = build_tokenizer("char", "a quick brown fox 123 jumps, and so on.")


def parser_of(**defaults):
    parser = argparse.ArgumentParser()
    add_stage_arguments(parser, **defaults)
    add_table_argument(parser)
    return parser


def settings(line, **defaults):
    parser = parser_of(**defaults)
    check_stages(parser, line.split())
    return stage_settings(parser.parse_args(line.split()), TOKENIZER)


def test_without_flags_it_is_the_plain_model():
    assert ARDMConfig(**settings("")).num_stages == 1
    # a recipe's own default of the base has no effect on one stage
    assert (
        ARDMConfig(**settings("--num_stages 1", num_stages=2, branching_factor=5)).num_stages == 1
    )


def test_digits_and_tables_make_models():
    digits = settings("--num_stages 3 --branching_factor 4 --stage_order interleaved")
    model = new_model(TOKENIZER, 16, **digits, hidden_size=8, num_attention_heads=2)
    assert model.stages.num_stages == 3 and model.stages.interleaved
    classes = settings("--value_tree classes --parametrization direct")
    model = new_model(TOKENIZER, 16, **classes, hidden_size=8, num_attention_heads=2)
    assert model.stages.num_stages >= 2 and model.stages.direct
    assert not model.stages.interleaved


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--branching_factor 4", "--branching_factor with num_stages=1"),
        ("--stage_order interleaved", "--stage_order with num_stages=1"),
        ("--value_tree classes --num_stages 2 --branching_factor 2", "which has its own stages"),
    ],
)
def test_flags_without_effect_are_refused(line, message):
    with pytest.raises(ValueError, match=message):
        settings(line)


@pytest.mark.parametrize(
    ("num_values", "num_stages", "base"), [(17, 2, 5), (256, 2, 16), (2, 3, 2)]
)
def test_the_base_is_the_smallest_that_tells_all_values(num_values, num_stages, base):
    assert smallest_base(num_values, num_stages) == base
    assert base**num_stages >= num_values and (base == 2 or (base - 1) ** num_stages < num_values)


@pytest.mark.parametrize("num_stages", [2, 3, 5])
@pytest.mark.parametrize("special", [{}, {"pad_token": "<pad>"}, {"eos_token": "a"}])
def test_without_a_base_the_smallest_that_tells_all_values_is_taken_and_told(
    num_stages, special, caplog
):
    tokenizer = build_tokenizer("char", "a quick brown fox 123 jumps, and so on.")
    tokenizer.add_special_tokens(special)
    parser = parser_of()
    args = parser.parse_args(["--num_stages", str(num_stages)])
    with caplog.at_level("INFO", "ardm.evaluation"):
        chosen = stage_settings(args, tokenizer)
    base = chosen["branching_factor"]
    small = {"hidden_size": 8, "num_attention_heads": 2}
    config = new_model(tokenizer, 16, **chosen, **small).config
    values = config.vocab_size - len(impossible_ids(config) | text_ids(config))
    assert base == smallest_base(values, num_stages)
    assert f"branching_factor is {base}, the smallest base whose {num_stages}" in caplog.text
    assert f"tell {values} values apart" in caplog.text
