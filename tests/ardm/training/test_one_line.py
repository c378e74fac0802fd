"""What an error says fits a line, with its kind where the text says little without it."""

from ardm.training.one_line import in_one_line


def test_errors_in_one_line():
    assert in_one_line(ValueError("a\n  b")) == "a b"
    assert in_one_line(KeyError("name")) == "KeyError: 'name'"
    assert len(in_one_line(ValueError("x" * 500))) == 200


def test_a_text_stays_what_it_says():
    assert in_one_line("a.\n  b. ") == "a. b."
    assert in_one_line("x" * 9, most=4) == "xxx…" and in_one_line("x" * 4, most=4) == "xxxx"
