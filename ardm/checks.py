"""Checks: whether a setting is a number of the right kind and range; numpy's count, bools do not.

Every message says what was got and what is expected.
"""

import math
from numbers import Integral, Real


def check_integer(
    name: str, value: object, minimum: int, maximum: int | None = None, others: str = ""
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
    if not isinstance(value, bool) and isinstance(value, Integral):
        number = int(value)
        if number >= minimum and (maximum is None or number <= maximum):
            return number
    limits = f"of at least {minimum}" if maximum is None else f"in {minimum}..{maximum}"
    raise ValueError(f"{name} is {value!r}; expected an integer {limits}{others}.")


def check_number(
    name: str,
    value: object,
    maximum: float = math.inf,
    *,
    or_zero: bool = False,
    others: str = "",
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
    if not isinstance(value, bool) and isinstance(value, Real):
        number = _as_float(value)
        value = number if number == math.inf else value  # its digits would fill pages
        if (
            math.isfinite(number)
            and number <= maximum
            and (number > 0 or (or_zero and number == 0))
        ):
            return number
    limits = "at least 0" if or_zero else "above 0"
    if maximum < math.inf:
        limits += f" and at most {maximum}"
    raise ValueError(f"{name} is {value!r}; expected a number {limits}{others}.")


def _as_float(value: Real) -> float:
    """Of an integer or fraction beyond all floats, infinity."""
    try:
        return float(value)
    except OverflowError:
        return math.inf
