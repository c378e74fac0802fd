"""Pieces: documents of any length, cut so that a tokenizer takes each piece in one go.

A document in an Arrow table is decoded as it is cut: of a long one no string is ever made.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # datasets takes a second to import
    from datasets import Dataset

_PIECE_CHARACTERS = 2**14
_BYTES_AT_ONCE = 2**16
_DOCUMENTS_AT_ONCE = 256
# Byte-level BPE splits text here whatever surrounds the place: cutting there changes no token.
_CUTS = (re.compile(r"(?<=\S\n)(?=\S)"), re.compile(r"(?<=\S)(?= \S)"))


def pieces_of(text: str | Iterable[str]) -> Iterator[str]:
    """Cuts a long text into pieces that a tokenizer takes in one go, in time linear in the text.

    Args:
        text: any text, or its parts in order, whose borders do not matter.

    Yields:
        Pieces of at most 2**15 characters, whose concatenation is the text. They end at a line
        break, or else before a word; only text that has neither for 2**14 characters is cut
        anywhere.
    """
    rest = ""
    for part in [text] if isinstance(text, str) else text:
        held = rest + part
        start = 0
        while len(held) - start > 2 * _PIECE_CHARACTERS:
            end = _cut_after(held, start)
            yield held[start:end]
            start = end
        rest = held[start:]
    yield rest


def _cut_after(text: str, start: int) -> int:
    window = (start + _PIECE_CHARACTERS, start + 2 * _PIECE_CHARACTERS)
    cuts = (cut.start() for pattern in _CUTS if (cut := pattern.search(text, *window)))
    return next(cuts, window[1])


def documents_of(rows: Dataset, column: str) -> Iterator[Iterator[str]]:
    """The documents of a data set, each as its pieces.

    Args:
        rows: a data set.
        column: of the texts.

    Yields:
        The pieces of each document in turn, as [`pieces_of`] cuts them; of an empty one none.
    """
    for table in rows.select_columns([column]).with_format("arrow").iter(_DOCUMENTS_AT_ONCE):
        for chunk in table.column(column).chunks:
            for document in chunk:
                content = document.as_buffer()
                if content is not None and len(content) > 0:
                    yield pieces_of(_decoded(memoryview(content)))


def _decoded(content: memoryview) -> Iterator[str]:
    """UTF-8 as text, part by part."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    for begin in range(0, len(content), _BYTES_AT_ONCE):
        end = begin + _BYTES_AT_ONCE
        yield decoder.decode(content[begin:end].tobytes(), final=end >= len(content))
