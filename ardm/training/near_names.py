"""Near names: what was probably meant by a name that nobody knows."""

from collections.abc import Iterable
from difflib import get_close_matches


def meant(names: str | Iterable[str], known: Iterable[str], alike: float = 0.6) -> str:
    """A hint at the known name that each unknown one resembles most.

    Args:
        names: one that is not known, or several.
        known: those that are.
        alike: how much they must resemble, from 0 to 1.

    Returns:
        " (did you mean --seed?)", with a name for each that resembles one; else "".
    """
    return did_you_mean(nearest(names, known, alike))


def nearest(names: str | Iterable[str], known: Iterable[str], alike: float = 0.6) -> list[str]:
    """The known name that each unknown one resembles most, of those that resemble any.

    Args:
        names: as for [`meant`].
        known: the same.
        alike: the same.

    Returns:
        At most one for each.
    """
    known = [*known]
    unknown = [names] if isinstance(names, str) else names
    return [match for name in unknown for match in get_close_matches(name, known, 1, alike)]


def did_you_mean(near: Iterable[object]) -> str:
    """The hint at some names; "" without any."""
    said = ", ".join(map(str, near))
    return f" (did you mean {said}?)" if said else ""
