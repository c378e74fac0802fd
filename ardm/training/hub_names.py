"""Names of the Hub: whether what a user named can be one, or only something of this machine.

A name on the Hub is "name" or "user/name". What is written as a path is none, and neither is what
would lie in a folder that is here: `runs/ardn` is a mistyped `runs/ardm`, and nobody is asked for
it. What the Hub answers is in `hub_errors.py`.
"""

import os
import re
from pathlib import Path

from .near_names import did_you_mean, nearest

_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


def may_be_on_the_hub(name: str) -> bool:
    """Whether a name that is nothing here can be one on the Hub.

    Args:
        name: as it was given.

    Returns:
        False for a path, and for what would lie in a folder of this machine.
    """
    parent = os.path.dirname(name)
    return bool(_NAME.fullmatch(name)) and not (parent and os.path.isdir(parent))


def meant_here(name: str) -> str:
    """A hint at what lies beside a path that does not exist and is called alike.

    Args:
        name: the path.

    Returns:
        " (did you mean runs/ardm?)", or "".
    """
    path = Path(name)
    try:
        beside = [each.name for each in path.parent.iterdir()]
    except OSError:
        return ""
    return did_you_mean(path.with_name(name) for name in nearest(path.name, beside))
