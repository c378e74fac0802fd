"""A file is all old or all new, whatever happens."""

import os

import pytest

from ardm.files import write_text_atomically


def test_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path, monkeypatch):
    path = tmp_path / "README.md"
    write_text_atomically(path, "old ±")

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_text_atomically(path, "new")
    assert path.read_text(encoding="utf-8") == "old ±"
    assert os.listdir(tmp_path) == ["README.md"]
