"""A file is all old or all new, whatever happens."""

import json
import math
import os

import pytest

from ardm.training.files import write_json_atomically, write_text_atomically


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


def test_json_holds_null_where_a_number_is_not_finite(tmp_path):
    path, nan, infinity = tmp_path / "figures.json", math.nan, math.inf
    write_json_atomically(
        path, {"a": [1, nan, (2.5, -infinity)], "b": {"c": infinity, "d": True}, "e": "NaN ±"}
    )
    read = json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert read == {"a": [1, None, [2.5, None]], "b": {"c": None, "d": True}, "e": "NaN ±"}
    assert read["b"]["d"] is True and isinstance(read["a"][0], int)
