"""Checks of arguments that several modules share; whole numbers are checked by `ardm.training`."""

from collections.abc import Iterable


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
