"""One of the names that there are, or a message that lists them."""

import pytest

from ddpm.checks import check_choice, check_switch


def test_a_name_is_one_of_those_that_there_are():
    check_choice("colour", "red", {"red": 1, "green": 2})
    for wrong in ("blue", "", None, 3, ["red"]):
        with pytest.raises(ValueError, match=r"colour is .*; expected one of 'red', 'green'\."):
            check_choice("colour", wrong, ("red", "green"))


def test_a_switch_is_true_or_false():
    for right in (True, False):
        check_switch("light", right)
    for wrong in (1, 0, None, "False", 1.0):
        with pytest.raises(ValueError, match=r"light is .*; expected True or False\."):
            check_switch("light", wrong)
