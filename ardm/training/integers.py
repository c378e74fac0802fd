"""Whole numbers, checked."""

from numbers import Integral

LARGEST = 2**63 - 1  # that a tensor and a generator's seed can hold


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
    if maximum == LARGEST:  # of the machine's, not of the matter's
        limits = f"of at least {minimum} and below 2**63"
    raise ValueError(f"{name} is {value!r}; expected an integer {limits}{others}.")
