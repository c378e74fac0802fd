"""Laws of packed files: unpacked they are what was packed, and damage is named."""

import bz2
import gzip
import lzma
import zipfile

import pyarrow
import pytest

from ardm.data.compression import DataFile, is_archive, shown, zip_members

CONTENT = "naïve, 東京\n".encode() * 200
PACKERS = {
    ".gz": gzip.compress,
    ".GZ": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".lzma": lambda content: lzma.compress(content, lzma.FORMAT_ALONE),
    ".zst": lambda content: pyarrow.compress(content, codec="zstd", asbytes=True),
}
packers = pytest.mark.parametrize("suffix", PACKERS)


def read(file):
    with file.open() as stream:
        return stream.read()


@packers
def test_packed_is_unpacked(suffix, write):
    path = write(f"a.txt{suffix}", PACKERS[suffix](CONTENT))
    assert read(DataFile(path, "a")) == CONTENT
    assert DataFile(path, "a").suffix == ".txt"


@packers
@pytest.mark.parametrize("fault", ["other", "cut"])
def test_damage_is_named(suffix, fault, write):
    content = b"no such thing " * 5 if fault == "other" else PACKERS[suffix](CONTENT)[:-12]
    path = write(f"bad.txt{suffix}", content)
    with pytest.raises(ValueError, match=r"bad.*cannot be read, is it corrupt"):
        read(DataFile(path, "bad"))


def test_files_of_others_and_missing_ones_are_named(write, monkeypatch):
    path = write("a.txt", "a")

    def forbid(*_):
        raise PermissionError(13, "Permission denied")

    with pytest.raises(ValueError, match="gone does not exist"):
        read(DataFile(path.with_name("gone"), "gone"))
    monkeypatch.setattr("builtins.open", forbid)
    with pytest.raises(ValueError, match=r"mine may not be read \(Permission denied\)"):
        read(DataFile(path, "mine"))


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("a.txt", ".txt"),
        ("a.JSONL", ".jsonl"),
        ("a.csv.gz", ".csv"),
        ("v1.0", ".0"),
        ("plain", ""),
        ("x.gz", ""),
    ],
)
def test_format_is_the_last_suffix_that_is_no_packers(name, suffix, tmp_path):
    assert DataFile(tmp_path / name, name).suffix == suffix
    assert DataFile(tmp_path / "hash", "x", address=f"/data/{name}").suffix == suffix
    assert DataFile(tmp_path / "x.zip", "x", member=f"in/{name}").suffix == suffix


def test_zip_is_its_files(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("b/2.txt", CONTENT)
        archive.writestr("a.txt.gz", gzip.compress(CONTENT))
        archive.mkdir("c") if hasattr(archive, "mkdir") else archive.writestr("c/", "")
    files = zip_members(path, "a.zip")
    assert [file.name for file in files] == ["a.zip/a.txt.gz", "a.zip/b/2.txt"]
    assert [file.suffix for file in files] == [".txt", ".txt"]
    assert [read(file) for file in files] == [CONTENT, CONTENT]
    path.write_bytes(b"PK nothing")
    with pytest.raises(ValueError, match=r"a\.zip cannot be read"):
        zip_members(path, "a.zip")


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.TGZ", "a.7z", "a.rar"])
def test_archives_are_told(name):
    assert is_archive(name) and not is_archive("tar.txt") and not is_archive("a.zip")


def test_any_path_can_be_printed():
    assert shown("é/\udcff.txt").encode("utf-8") == "é/\\udcff.txt".encode()
