"""Flags of a training: each has a default, and those that a saved model overrules are named."""

import argparse

import pytest

from ardm.data import add_data_arguments
from ardm.evaluation import arguments


def parsed(*words):
    parser = argparse.ArgumentParser()
    add_data_arguments(parser)
    arguments.add_model_arguments(parser)
    return arguments.parse(parser, [*map(str, words)])


def test_a_new_model_has_the_sizes_that_are_asked_for():
    args = vars(parsed("--hidden_size", 64))
    assert {name: args[name] for name in arguments.NETWORK} == arguments.NETWORK | {
        "hidden_size": 64
    }
    assert arguments.run_flags(parsed()) == vars(parsed())


@pytest.mark.parametrize(
    "given",
    [
        ["--hidden_size", 64],
        ["--num_hidden_layers", arguments.NETWORK["num_hidden_layers"]],  # as the default is
        ["--tokenizer", "char"],
        ["--vocab_size", 300, "--intermediate_size", 64],
    ],
    ids=lambda given: given[0],
)
def test_flags_that_a_saved_model_overrules_are_refused(given):
    said = [word for word in given if str(word).startswith("--")]
    with pytest.raises(ValueError, match="and a model_name_or_path") as caught:
        parsed("--model_name_or_path", "folder", *given)
    assert all(word in str(caught.value) for word in said)


def test_flags_of_a_new_model_are_not_told_as_followed_by_a_saved_one():
    args = parsed("--model_name_or_path", "folder")
    assert not {*arguments.NETWORK, "tokenizer", "vocab_size"} & arguments.run_flags(args).keys()


def test_the_length_of_a_saved_model_is_its_own_unless_given():
    assert parsed("--model_name_or_path", "folder").sequence_length is None
    assert parsed("--model_name_or_path", "folder", "--sequence_length", 128).sequence_length == 128
    assert parsed().sequence_length == 128
