"""Files that are whole: what is at a path is all of the old content or all of the new, whatever
happens.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Opens a file that takes the place of `path` when the block ends, and vanishes if the block
    fails.

    Args:
        path: the file to replace; its folder is made if needed.

    Yields:
        The new file, open for writing.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.parent / f".{target.name}-{os.getpid()}.tmp"
    try:
        with aside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # or a crash may leave the name on an empty file
        aside.replace(target)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
