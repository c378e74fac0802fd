"""Laws of characters: every one of a text is read once, and what is no text is named."""

import codecs

import pytest

from ardm.data import characters as module
from ardm.data.characters import characters, lines, why_no_text, without_line_end
from ardm.data.compression import DataFile

TEXT = "The quick - naïve, 東京, 😀.\r\n\r\n  Over\tthe\x0b\x0c\u2028\x85\rlazy dog.\n" * 5
ENCODINGS = {
    "utf-8": b"",
    "utf-8-sig": codecs.BOM_UTF8,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}


@pytest.fixture
def file(write):
    def file(data, name="a.txt"):
        path = write(name, data)
        return DataFile(path, str(path))

    return file


@pytest.fixture(params=[1, 3, 7, 2**20])
def piece(request, monkeypatch):
    monkeypatch.setattr(module, "_PIECE_BYTES", max(4, request.param))  # a mark is in the first
    return request.param


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_text_is_read_wherever_pieces_end(encoding, piece, file):
    content = TEXT.encode("utf-8" if encoding == "utf-8-sig" else encoding)
    read = list(characters(file(ENCODINGS[encoding] + content)))
    assert "".join(read) == TEXT and "" not in read


def test_only_the_first_mark_is_dropped(file):
    assert "".join(characters(file(codecs.BOM_UTF8 * 2 + b"a"))) == "\ufeffa"


@pytest.mark.parametrize("offset", [0, 1, 6, 7, 8, 100])
@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_bytes_of_another_encoding_are_named_by_their_place(offset, mark, piece, file):
    content = mark + b"x" * offset + "é".encode("latin-1") + b" and so on"
    with pytest.raises(ValueError, match=rf"a\.txt is not UTF-8.* offset {len(mark) + offset}: "):
        list(characters(file(content)))


def test_a_character_cut_off_at_the_end_is_named(piece, file):
    with pytest.raises(ValueError, match="offset 3: unexpected end"):
        list(characters(file("abc東".encode()[:-1])))


def test_null_characters_are_refused(piece, file):
    for content in (b"abc\0def", *map("naïve abc".encode, ("utf-16-le", "utf-16-be"))):
        with pytest.raises(ValueError, match="null characters"):
            list(characters(file(content)))


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
def test_lines_end_at_line_feeds_alone(size):
    pieces = [TEXT[i : i + size] for i in range(0, len(TEXT), size)]
    cut = list(lines(pieces))
    assert "".join(cut) == TEXT and [line[-1] for line in cut] == ["\n"] * 15
    assert list(lines([*pieces, "rest"])) == [*cut, "rest"]
    assert list(lines([])) == []


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
@pytest.mark.parametrize("end", ["", "rest"])
def test_lines_of_old_macs_end_at_returns(size, end):
    text = "one\r\rtwo, 東京\r" + end
    pieces = [text[i : i + size] for i in range(0, len(text), size)]
    assert list(lines(pieces)) == ["one\r", "\r", "two, 東京\r", *filter(None, [end])]


@pytest.mark.parametrize(
    ("line", "expected"),
    [("a\n", "a"), ("a\r\n", "a"), ("a\r", "a"), ("\n", ""), ("\r\n", ""), ("a\n\n", "a\n")],
)
def test_one_line_end_is_taken_off(line, expected):
    assert without_line_end(line) == expected


KINDS = {
    "a.png": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "picture"),
    "a.JPG": (b"\xff\xd8\xff\xe0\0\x10JFIF", "picture"),
    "a.bin": (b"\0\1\2", "binary file"),
    "late.bin": (b"text" * 1000 + b"\0", "binary file"),
    "random": (bytes(range(128, 256)) + b"\x01\x02", "binary file"),
    "Thumbs.db": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "binary file"),
    "empty.txt": (b"", "empty file"),
    "mark.txt": (codecs.BOM_UTF8, "empty file"),
    "logo.svg": (b"<svg/>", None),
    "code.ts": (b"let x = 1", None),
    "latin.txt": ("naïve".encode("latin-1"), None),  # somebody's text: to be refused, not skipped
    "wide.txt": ("text".encode("utf-16"), None),
    "unmarked-le.txt": ("naïve text\r\n".encode("utf-16-le"), None),
    "unmarked-be.txt": ("naïve text, 東京 😀\n".encode("utf-16-be"), None),
    "cut-wide.txt": (("abc" * 8 + "d" + "😀" * 5).encode("utf-16-le") * 2**11, None),
    "numbers.bin": (b"\x01\0\x02\0\x03\0", "binary file"),
    "samples.bin": (b"\x00\xd8\x41\x00" * 9, "binary file"),
    "colour.log": (b"\x1b[31mred\x1b[0m\x08\x0c", None),
    "cut.txt": ("東".encode() * 2**15, None),  # the look ends within a character
}


@pytest.mark.parametrize("name", KINDS)
def test_kind_is_told_by_content(name, file):
    content, kind = KINDS[name]
    assert why_no_text(file(content, name)) == kind
