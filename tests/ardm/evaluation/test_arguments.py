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
def test_flags_that_a_saved_model_overrules_are_said_and_not_told_as_followed(given, caplog):
    args = parsed("--model_name_or_path", "folder", *given)
    said = [word for word in given if str(word).startswith("--")]
    [message] = [record.getMessage() for record in caplog.records]
    assert message.split(": ")[1].split() == sorted(said, key=message.index)
    assert not {*arguments.NETWORK, "tokenizer", "vocab_size"} & arguments.run_flags(args).keys()


def test_the_length_of_a_saved_model_is_its_own_unless_given(caplog):
    assert parsed("--model_name_or_path", "folder").sequence_length is None
    assert parsed("--model_name_or_path", "folder", "--sequence_length", 128).sequence_length == 128
    assert parsed().sequence_length == 128
    assert caplog.records == []
