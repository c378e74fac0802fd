"""Local paths: what may be told of a run's flags and command, without this machine's folders.

Of a path only the last component is told. A path is what exists on this disk, and what is written
as one: absolute, from the home folder or a variable, relative to this folder or one above.
"""

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any
from urllib.parse import urlsplit

# flags that say where files lie, or that only concern the run's own machine
_PLACES = ("_dir", "_file", "_path", "_id", "push_to_hub", "resume_from_checkpoint")
_UNSAID = (*_PLACES, "command_words", "license", "language")  # the last have their own places
_SLASH = r"[/\\]"  # of Windows' paths, too
_WRITTEN_AS_PATH = re.compile(r"[/~$]|\\\\|%\w+%|file:|[.]{1,2}[/\\]|[.]{1,2}$|[a-z]:[/\\]", re.I)
_ADDRESS = re.compile(r"(?!file:)[a-z][\w+.-]+://", re.I)
_BETWEEN = re.compile(r"([\s=,;:'\"\[\](){}<>|]+)")  # where a path may begin within a text


def public(value: Any) -> Any:
    """A value as it may be told to others: of a path, only its last component.

    A name on the Hub, "user/name", stays as it is, and an address without its credentials.

    Args:
        value: of a flag; collections are gone through.

    Returns:
        The value without this machine's folders; sets become lists.
    """
    if isinstance(value, Mapping):
        return {public(name): public(item) for name, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [public(item) for item in value]
    if isinstance(value, PurePath):
        return _last_component(str(value))
    if isinstance(value, bytes):
        return public(os.fsdecode(value))
    return _public_text(value) if isinstance(value, str) else value


def _public_text(text: str) -> str:
    if _ADDRESS.match(text):
        # of a chain of addresses, as fsspec has them, each
        first, *rest = text.split("::")
        return "::".join([_without_credentials(first), *map(_public_text, rest)])
    if _is_path(text):
        return _last_component(text)
    pieces = _BETWEEN.split(text)
    return "".join(_last_component(piece) if _is_path(piece) else piece for piece in pieces)


def _is_path(text: str) -> bool:
    written = _WRITTEN_AS_PATH.match(text) or ".." in re.split(_SLASH, text)
    return bool(text) and (bool(written) or _exists(text))


def _exists(text: str) -> bool:
    try:
        return os.path.exists(text)
    except (OSError, ValueError):  # longer than a name may be, or with a null byte: no path
        return False


def _last_component(path: str) -> str:
    """As it is written: links are not followed, "." and ".." stay, and "~" names nobody."""
    last = re.split(_SLASH, path.rstrip("/\\"))[-1]
    return "~" if last.startswith("~") else last or "/"


def _without_credentials(address: str) -> str:
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


def hyperparameters(flags: Mapping[str, Any]) -> dict[str, object]:
    """The flags of a run that belong on a card: what was given, without this machine's folders.

    Args:
        flags: value by name.

    Returns:
        Value by name.
    """
    said = {name: value for name, value in flags.items() if not name.endswith(_UNSAID)}
    return {name: public(value) for name, value in said.items() if value is not None}


def command(argv: Sequence[str]) -> str:
    """The command line that trains the model again, once its files are where it looks for them.

    Args:
        argv: the recipe's file, or "-m", a package and a command; and the arguments.

    Returns:
        One line for a shell, in which a path is its last component.
    """
    as_module = argv[0] == "-m"
    recipe = re.split(_SLASH, argv[0])[-1]
    words = list(argv[:3]) if as_module else [f"recipes/{recipe}"]
    before = ""
    for word in argv[len(words) :]:
        # an id of the Hub may be called like a folder that lies here
        words.append(word if before.endswith("_id") else _public_word(word))
        before = word
    return shlex.join(["accelerate", "launch", *words])


def _public_word(word: str) -> str:
    """A word of a command line: `value`, `--flag=value` or `-fvalue`."""
    joined = re.match(r"(--?[\w-]+=)(.*)|(-\w)([/~.$\\].*)", word, re.DOTALL)
    if joined is None:
        return public(word)
    flag = joined[1] or joined[3]
    value = joined[2] if joined[1] else joined[4]
    return word if flag.endswith("_id=") else flag + public(value)
