"""Parts of a data set by name: which is trained on, and which is held out.

A validation part is held out; where there is none, the test part takes its place.
"""

import re
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),  # as `datasets` has it
}
_PARTS = {name: part for part, names in _NAMES.items() for name in names}
# of trainA, TRAIN_SET, seg-train, val2017
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+|\d+")


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


def part_within(name: str) -> str | None:
    """Which part a name holds as a word of it: `training_set`, `seg-train`, `trainA`, `val2017`.

    Args:
        name: of a folder.

    Returns:
        "train", "validation" or "test"; None if it holds none, or several.
    """
    found = _part_and_rest(name)
    return found and found[0]


def splits_in(names: Collection[str]) -> dict[str, str]:
    """Which parts names stand for that hold one as a word: `training_set` and `test_set`.

    Args:
        names: of folders side by side.

    Returns:
        The part by name; empty unless the names are those of different parts, one of them for
        training, and differ in nothing else.
    """
    told = {name: _part_and_rest(name) for name in names}
    parts = {name: found[0] for name, found in told.items() if found is not None}
    rests = {found and found[1] for found in told.values()}
    one_each = len(rests) == 1 and len(set(parts.values())) == len(names) > 1
    return parts if one_each and "train" in parts.values() else {}


def like_splits(names: Collection[str]) -> list[str]:
    """Names that might be those of parts, if both training and held-out ones are among them.

    Args:
        names: of folders side by side.

    Returns:
        Those that hold the name of a part as a word; empty if these do not tell.
    """
    told = {name: part for name in names if (part := part_within(name)) is not None}
    return sorted(told) if "train" in told.values() and len(set(told.values())) > 1 else []


def _part_and_rest(name: str) -> tuple[str, tuple[str, ...]] | None:
    words = [word.casefold() for word in _WORD.findall(name)]
    parts = [part for word in words if (part := split_of(word))]
    rest = tuple(word for word in words if not split_of(word))
    return (parts[0], rest) if len(parts) == 1 else None


def choose_splits(
    names: Collection[str], where: str, part_of: Callable[[str], str | None] = split_of
) -> ChosenSplits:
    """Chooses what to train on and what to hold out.

    Args:
        names: of all parts.
        where: what has them, for messages.
        part_of: which part a name stands for.

    Returns:
        The choice.

    Raises:
        ValueError: if no part is for training, or two names stand for the same one.
    """
    found: dict[str, str] = {}
    for name in names:
        part = part_of(name)
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
