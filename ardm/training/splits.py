"""Parts of a data set by name: which is trained on, and which is held out.

A validation part is held out; where there is none, the test part takes its place.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
_PARTS = {name: part for part, names in _NAMES.items() for name in names}


class ChosenSplits(NamedTuple):
    """The names of the parts as they were given: for training, held out (or None), and the rest."""

    train: str
    held_out: str | None
    unused: Sequence[str]


def split_of(name: str) -> str | None:
    """Which part a name stands for, whatever its capitals.

    Args:
        name: of a folder, a split or a file.

    Returns:
        "train", "validation" or "test"; None for any other name.
    """
    return _PARTS.get(name.casefold())


def choose_splits(names: Collection[str], where: str) -> ChosenSplits:
    """Chooses what to train on and what to hold out.

    Args:
        names: of all parts.
        where: what has them, for messages.

    Returns:
        The choice.

    Raises:
        ValueError: if no part is for training, or two names stand for the same one.
    """
    found: dict[str, str] = {}
    for name in names:
        part = split_of(name)
        if part is None:
            continue
        if part in found:
            raise ValueError(
                f"{where} has {found[part]!r} and {name!r}, which both stand for {part};"
                " expected one of them: rename the other."
            )
        found[part] = name
    if "train" not in found:
        raise ValueError(f"{where} has the parts {sorted(names)}; expected train among them.")
    held_out = found.get("validation", found.get("test"))
    unused = [name for name in names if name not in (found["train"], held_out)]
    return ChosenSplits(found["train"], held_out, unused)
