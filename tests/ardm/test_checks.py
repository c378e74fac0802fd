"""Checks: what counts as a number of a setting, and what a refusal says."""

import math
from fractions import Fraction

import numpy as np
import pytest

from ardm import checks, training

INTEGERS = (-3, 0, 1, 2, 7, 2**70, np.int64(3), np.int8(-1), np.uint16(5))
OTHERS = (True, False, np.bool_(True), 1.0, 2.5, math.nan, math.inf, "2", "", None, [1], 1j)
LIMITS = [(0, None), (1, None), (-5, 3), (2, 2), (1, 2**80)]


def answer(check, *arguments):
    """What a check returns, or the message of its refusal."""
    try:
        value = check("n", *arguments)
    except ValueError as error:
        return str(error)
    return type(value), value


@pytest.mark.parametrize("others", ["", " or 'all'"])
@pytest.mark.parametrize(("minimum", "maximum"), LIMITS)
def test_the_core_and_training_check_integers_alike(minimum, maximum, others):
    for value in (*INTEGERS, *OTHERS):
        arguments = (value, minimum, maximum, others)
        core = answer(checks.check_integer, *arguments)
        assert core == answer(training.check_integer, *arguments)
        whole = any(value is integer for integer in INTEGERS)
        if whole and value >= minimum and (maximum is None or value <= maximum):
            assert core == (int, int(value))
        else:
            limits = f"of at least {minimum}" if maximum is None else f"in {minimum}..{maximum}"
            assert core == f"n is {value!r}; expected an integer {limits}{others}."


REALS = (-1, -0.5, 0, 0.0, 1e-9, 0.5, 1, 1.0, 1.0001, 3, Fraction(1, 3), np.float32(0.25))
NO_REALS = (True, np.bool_(False), math.nan, math.inf, -math.inf, "1", None, [1.0], 1j)


@pytest.mark.parametrize("or_zero", [False, True])
@pytest.mark.parametrize("maximum", [math.inf, 1.0])
def test_numbers_are_finite_and_in_their_range(maximum, or_zero):
    least = "at least 0" if or_zero else "above 0"
    limits = least if maximum == math.inf else f"{least} and at most {maximum}"
    for value in (*REALS, *NO_REALS):
        found = answer(lambda *a: checks.check_number(*a, or_zero=or_zero), value, maximum)
        fits = any(value is real for real in REALS) and 0 <= value <= maximum
        if fits and (value != 0 or or_zero):
            assert found == (float, float(value))
        else:
            assert found == f"n is {value!r}; expected a number {limits}."


def test_a_refusal_says_what_else_one_may_do():
    with pytest.raises(ValueError, match=r"^n is 0; expected a number above 0; leave it out\.$"):
        checks.check_number("n", 0, others="; leave it out")
