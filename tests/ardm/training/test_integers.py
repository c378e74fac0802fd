"""An integer is one whatever its type, and nothing else is."""

import numpy as np
import pytest

from ardm.training import check_integer


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3)])
def test_a_whole_number_of_any_type(value):
    number = check_integer("n", value, 1, 3)
    assert number == 3 and type(number) is int


@pytest.mark.parametrize("value", [True, np.True_, 3.0, "3", None, [3], np.float64(3)])
def test_what_is_no_whole_number(value):
    with pytest.raises(ValueError) as caught:
        check_integer("n", value, 1)
    assert str(caught.value) == f"n is {value!r}; expected an integer of at least 1."


def test_limits_belong_to_the_range():
    assert [check_integer("n", value, -1, 1) for value in (-1, 0, 1)] == [-1, 0, 1]
    assert check_integer("n", 10**30, 0) == 10**30
    for value in (-2, 2):
        with pytest.raises(ValueError, match=rf"n is {value}; expected an integer in -1\.\.1\."):
            check_integer("n", value, -1, 1)
    with pytest.raises(ValueError, match=r"n is 0; expected an integer of at least 1 or 'all'\."):
        check_integer("n", 0, 1, others=" or 'all'")
