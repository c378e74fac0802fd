"""A recipe's flags: whole names alone, and mistakes in one line with what was meant."""

import pytest

from ardm.training import add_training_arguments, recipe_parser


@pytest.fixture
def parser():
    parser = recipe_parser("What it does.\n\n    how it is run")
    add_training_arguments(parser)
    parser.add_argument("--order", choices=["random", "confidence"])
    return parser


def ended_with(parser, capsys, *words):
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(words)
    out, err = capsys.readouterr()
    assert ended.value.code == 2 and out == ""
    assert err.startswith("error: ") and err.endswith(" --help lists all flags.\n")
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("--max_train_step", "--max_train_steps"),  # argparse alone would take it
        ("--max-train-steps", "--max_train_steps"),
        ("--learningrate=3", "--learning_rate"),
        ("-seed", "--seed"),
        ("--oder", "--order"),
    ],
)
def test_a_misspelt_flag_is_refused_with_the_one_that_was_meant(parser, capsys, word, meant):
    name = word.partition("=")[0]
    told = ended_with(parser, capsys, word, "5")
    assert f"unknown {name} (did you mean {meant}?)" in told


def test_words_behind_no_flag_are_offered_to_the_one_that_takes_such(parser, capsys):
    assert "did you mean" not in ended_with(parser, capsys, "The value")
    parser.flag_of_words = "--prompt"
    told = ended_with(parser, capsys, "The value")
    assert "unexpected The value: " in told and " (did you mean --prompt 'The value'?);" in told


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--telepathy", "unknown --telepathy;"),
        ("--seed 1 2", "unexpected 2: not behind a flag that takes it"),
        ("--seed", "argument --seed: expected one argument"),
        ("--seed one", "argument --seed: invalid int value: 'one'"),
        ("--order sideways", "invalid choice: 'sideways'"),
    ],
)
def test_other_mistakes_are_one_line_too(parser, capsys, line, told):
    assert told in ended_with(parser, capsys, *line.split())


def test_right_flags_are_read_and_the_description_is_as_written(parser, capsys):
    args = parser.parse_args(["--seed", "3", "--no-compile"])
    assert (args.seed, args.compile, args.order) == (3, False, None)
    with pytest.raises(SystemExit, match="0"):
        parser.parse_args(["--help"])
    assert "What it does.\n\n    how it is run\n" in capsys.readouterr().out
