"""Checks: whether a setting is a number of the right kind and range; numpy's count, bools do not.

Every message says what was got and what is expected.
"""

import math
from numbers import Integral, Real
from typing import Any


def check_integer(
    name: str, value: Any, minimum: int, maximum: int | None = None, others: str = ""
) -> int:
    """A whole number of any type that is one (numpy's too, no bool), as Python's.

    Args:
        name: of the argument, for the message.
        value: what was given.
        minimum: the least allowed.
        maximum: the most allowed; None = no limit.
        others: for the message, what else it may be: " or 'all'".

    Returns:
        The number.

    Raises:
        ValueError: if it is none, or out of range.
    """
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or value < minimum or (maximum is not None and value > maximum):
        limits = f"of at least {minimum}" if maximum is None else f"in {minimum}..{maximum}"
        raise ValueError(f"{name} is {value!r}; expected an integer {limits}{others}.")
    return int(value)


def check_number(
    name: str, value: Any, maximum: float = math.inf, *, or_zero: bool = False, others: str = ""
) -> float:
    """A finite positive number of any type that is one (no bool), as Python's.

    Args:
        name: of the argument, for the message.
        value: what was given.
        maximum: the most allowed; infinity = no limit.
        or_zero: whether 0 is allowed, too.
        others: for the message, what else one may do.

    Returns:
        The number.

    Raises:
        ValueError: if it is none, not finite, or out of range.
    """
    real = not isinstance(value, bool) and isinstance(value, Real) and math.isfinite(value)
    if not real or value > maximum or value < 0 or (value == 0 and not or_zero):
        limits = "at least 0" if or_zero else "above 0"
        if maximum < math.inf:
            limits += f" and at most {maximum}"
        raise ValueError(f"{name} is {value!r}; expected a number {limits}{others}.")
    return float(value)
