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
    stage_settings,
)

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
        ("--num_stages 2", "expected a --branching_factor"),
        ("--branching_factor 4", "--branching_factor with num_stages=1"),
        ("--stage_order interleaved", "--stage_order with num_stages=1"),
        ("--value_tree classes --num_stages 2 --branching_factor 2", "which has its own stages"),
    ],
)
def test_flags_without_effect_are_refused(line, message):
    with pytest.raises(ValueError, match=message):
        settings(line)
