"""One of the names that there are, or a message that lists them."""

import pytest

from ddpm.checks import check_choice


def test_a_name_is_one_of_those_that_there_are():
    check_choice("colour", "red", {"red": 1, "green": 2})
    for wrong in ("blue", "", None, 3, ["red"]):
        with pytest.raises(ValueError, match=r"colour is .*; expected one of 'red', 'green'\."):
            check_choice("colour", wrong, ("red", "green"))
