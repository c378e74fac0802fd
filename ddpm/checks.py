"""Checks of arguments that several modules share; whole numbers are checked by `ardm.training`."""

import math
from collections.abc import Callable, Iterable
from numbers import Real


def check_choice(name: str, value: object, known: Iterable[str]) -> None:
    """Finds out whether a name is one of those that there are.

    Args:
        name: of the argument, for the message.
        value: what was given.
        known: the names.

    Raises:
        ValueError: if it is none of them.
    """
    names = tuple(known)
    if not isinstance(value, str) or value not in names:
        raise ValueError(f"{name} is {value!r}; expected one of {', '.join(map(repr, names))}.")


def check_switch(name: str, value: object) -> None:
    """Raises ValueError unless a setting is True or False, and no 1, 0 or word for them."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}; expected True or False.")


def is_number(value: object, inside: Callable[[float], bool]) -> bool:
    """Whether something is a finite number (no bool) for which `inside` is true."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    try:
        number = float(value)
    except OverflowError:  # an integer beyond all floats
        return False
    return math.isfinite(number) and inside(number)


def check_number(name: str, value: object, inside: Callable[[float], bool], expected: str) -> float:
    """A finite number of any type that is one (no bool), as Python's.

    Args:
        name: of the argument, for the message.
        value: what was given.
        inside: whether a number is in the range.
        expected: that range in words, for the message.

    Returns:
        The number.

    Raises:
        ValueError: if it is none, not finite, or out of range.
    """
    if not is_number(value, inside):
        raise ValueError(f"{name} is {value!r}; expected {expected}.")
    return float(value)  # type: ignore[arg-type]
