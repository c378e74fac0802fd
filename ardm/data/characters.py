"""From bytes to characters, a piece at a time: UTF-8, or what a byte order mark says.

The mark itself is no character of the text; line ends are kept as they are.
"""

from __future__ import annotations

import codecs
import mimetypes
import re
from collections.abc import Iterable, Iterator

from .compression import DataFile

_PIECE_BYTES = 2**20
_LOOK_BYTES = 2**16
_MARKS = (  # UTF-32's begins with UTF-16's
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# control characters of no text in any encoding of bytes: file(1) tells binaries by them
_NEVER_TEXT = bytes({*range(32), 127} - {*b"\a\b\t\n\v\f\r\x1b"})


def characters(file: DataFile) -> Iterator[str]:
    """Reads a text.

    Args:
        file: in UTF-8, or in UTF-16 or UTF-32 with a byte order mark.

    Yields:
        Pieces of at most a million characters, whose concatenation is the text.

    Raises:
        ValueError: if the file cannot be read, is in another encoding or holds null characters.
    """
    with file.open() as stream:
        chunk = stream.read(_PIECE_BYTES)
        mark, encoding = _mark_of(chunk)
        if not mark and b"\0" in chunk and _may_be_utf16(chunk):
            raise ValueError(_null_characters(file))  # before another fault is found in it
        decoder = codecs.getincrementaldecoder(encoding)()
        start = len(mark)  # offset in the file of the next byte that is to be decoded
        chunk = chunk[start:]
        last = False
        while not last:
            following = stream.read(_PIECE_BYTES)
            last = not following
            waiting = len(decoder.getstate()[0])  # bytes of a character that is not complete
            try:
                text = decoder.decode(chunk, last)
            except UnicodeDecodeError as error:
                where = start - waiting + error.start
                raise ValueError(_other_encoding(file, encoding, where, error.reason)) from error
            if "\0" in text:
                raise ValueError(_null_characters(file))
            if text:
                yield text
            start += len(chunk)
            chunk = following


def _mark_of(start: bytes) -> tuple[bytes, str]:
    found = (pair for pair in _MARKS if start.startswith(pair[0]))
    return next(found, (b"", "utf-8"))


def _null_characters(file: DataFile) -> str:
    return (
        f"{file.shown} holds null characters, as binary files do, and UTF-16 without a byte order"
        " mark; expected UTF-8 text: convert it, such as by iconv -f utf-16le -t utf-8, or leave it"
        " out (--exclude in a folder)."
    )


def _other_encoding(file: DataFile, encoding: str, offset: int, reason: str) -> str:
    name = encoding.upper().removesuffix("-LE").removesuffix("-BE")
    return (
        f"{file.shown} is not {name} text (at byte offset {offset}: {reason}); convert it to UTF-8,"
        " such as by iconv -f latin1 -t utf-8 if it is Latin-1, or leave it out (--exclude in a"
        " folder)."
    )


def lines(pieces: Iterable[str]) -> Iterator[str]:
    r"""Cuts a text into its lines.

    Args:
        pieces: of the text.

    Yields:
        Lines, each with its "\n". Nothing else ends one, but in a text without any "\n" a "\r"
        does, as on old Macs.
    """
    begun: list[str] = []
    old_mac = True
    for piece in pieces:
        first, *others = piece.split("\n")
        begun.append(first)
        for other in others:
            old_mac = False
            yield "".join(begun) + "\n"
            begun = [other]
    rest = "".join(begun)
    yield from re.findall(r"[^\r]*\r|[^\r]+", rest) if old_mac else filter(None, [rest])


def without_line_end(line: str) -> str:
    r"""A line without the "\n", "\r\n" or "\r" at its end."""
    return line.removesuffix("\n").removesuffix("\r")


def why_no_text(file: DataFile) -> str | None:
    """What a file is if it holds no characters, by what it begins with.

    Text of another encoding counts as text: it is somebody's, and not to be passed over.

    Args:
        file: whose first bytes are read.

    Returns:
        "empty file", "picture" or "binary file"; None for text.

    Raises:
        ValueError: if the file cannot be read.
    """
    with file.open() as stream:
        start = stream.read(_LOOK_BYTES)
    mark, encoding = _mark_of(start)
    if len(start) == len(mark):
        return "empty file"
    if not _binary(start, encoding):
        return None
    kind = mimetypes.guess_type(file.path.name if file.member is None else file.member)[0] or ""
    return "picture" if kind.startswith("image/") else "binary file"


def _binary(start: bytes, encoding: str) -> bool:
    if encoding != "utf-8":
        return False
    if b"\0" in start:
        return not _may_be_utf16(start)
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return len(start.translate(None, _NEVER_TEXT)) < len(start)
    return False


def _may_be_utf16(start: bytes) -> bool:
    """Whether bytes are characters of UTF-16 without a byte order mark, half of them Latin."""
    in_front = start[::2].count(0)  # where Latin letters have theirs
    behind = start[1::2].count(0)
    if in_front == behind or 4 * max(in_front, behind) < len(start):
        return False
    decoder = codecs.getincrementaldecoder("utf-16-be" if in_front > behind else "utf-16-le")()
    try:
        text = decoder.decode(start)
    except UnicodeDecodeError:
        return False
    return all(character.isprintable() or character.isspace() for character in text)
