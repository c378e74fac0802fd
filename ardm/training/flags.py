"""Flags: mistakes in a command line, told in one line with what was meant.

argparse alone prints all of its usage before an error, and takes the beginning of a flag for the
flag: `--max_train_step 5` would train, and mean another flag as soon as one with that beginning
is added.
"""

import argparse
import shlex
from collections.abc import Sequence
from typing import Any, NoReturn

from .near_names import did_you_mean, meant


class WholeFlags(argparse.ArgumentParser):
    """A parser that takes flags by their whole names alone.

    Given others, or what they do not take, it ends the program with one line and exit code 2.

    Args:
        **kwargs: as of the base class.

    Attributes:
        flag_of_words: the flag that words behind none were probably meant for; None = none.
    """

    flag_of_words: str | None = None

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs, allow_abbrev=False)

    def parse_known_args(  # type: ignore[override]  # of one signature in place of overloads
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """As the base class, but what is not known is an error."""
        known, unknown = super().parse_known_args(args, namespace)
        if unknown:
            flags = [*self._option_string_actions]
            self.error(_unknown(unknown, flags, self.flag_of_words))
        return known, unknown

    def error(self, message: str) -> NoReturn:
        """Ends the program with one line."""
        self.exit(2, f"error: {message}; {self.prog} --help lists all flags.\n")


def _unknown(words: Sequence[str], flags: Sequence[str], of_words: str | None) -> str:
    """What to say of words that no flag takes."""
    given = [word.partition("=")[0] for word in words if word.startswith("-")]
    if not given:
        said = " ".join(words)
        hint = did_you_mean([f"{of_words} {shlex.quote(said)}"] if of_words else [])
        return f"unexpected {said}: not behind a flag that takes it{hint}"
    return f"unknown {' '.join(given)}{meant(given, flags)}"
