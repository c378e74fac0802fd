"""A file is all old or all new, whatever happens."""

import errno
import hashlib
import itertools
import json
import math
import os
import stat
import subprocess
from collections import namedtuple
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError

from ardm.training import files
from ardm.training.files import (
    check_writable,
    fingerprint,
    replacing,
    replacing_files,
    write_atomically,
    write_json_atomically,
    write_repository,
    write_text_atomically,
)


def contents(folder):
    """Text by relative path, of all files, hidden ones too."""
    found = (path for path in Path(folder).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_text(encoding="utf-8") for path in found}


def no_space(*args):
    raise OSError(errno.ENOSPC, "No space left on device")


# ------------------------------------------------------------------------------------- one file
def test_a_file_is_replaced_when_its_block_ends(tmp_path):
    path = tmp_path / "a" / "b" / "file"  # its folders are made
    for content in ("old", "new"):
        before = contents(tmp_path).get("a/b/file")
        with replacing(path) as file:
            file.write(content.encode())
            file.flush()
            assert (path.read_text() if path.exists() else None) == before
        assert contents(tmp_path) == {"a/b/file": content}


def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    for before in ({}, {"file": "old"}):
        if before:
            path.write_text("old")
        with pytest.raises(KeyboardInterrupt), replacing(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt
        assert contents(tmp_path) == before


def test_a_full_disk_is_told_with_the_file_it_was_about(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match=r"\[Errno 28\] No space left on device: '.*README.md'"):
        write_text_atomically(tmp_path / "README.md", "new")
    with (
        pytest.raises(OSError, match=r"No space left on device: '.*model'"),
        replacing_files(tmp_path / "model") as aside,
    ):
        (aside / "weights").write_text("new")
    with (
        pytest.raises(OSError, match=r"model cannot be written: .*os error 28"),
        replacing_files(tmp_path / "model"),
    ):
        raise SafetensorError("I/O error: No space left on device (os error 28)")
    assert contents(tmp_path) == {}


def test_an_error_that_names_its_file_stays_as_it_is(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"), replacing(tmp_path / "file"):
        (tmp_path / "nowhere").read_text()
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, call):
    path = tmp_path / "README.md"
    write_text_atomically(path, "old ±")
    monkeypatch.setattr(os, call, no_space)
    with pytest.raises(OSError, match="No space"):
        write_text_atomically(path, "new")
    assert contents(tmp_path) == {"README.md": "old ±"}


def test_json_holds_null_where_a_number_is_not_finite(tmp_path):
    path = tmp_path / "figures.json"
    content = {"a": [1, math.nan, (2.5, -math.inf)], "b": {"c": math.inf, "d": True}, "e": "NaN ±"}
    write_json_atomically(path, content)
    read = json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert read == {"a": [1, None, [2.5, None]], "b": {"c": None, "d": True}, "e": "NaN ±"}
    assert read["b"]["d"] is True and isinstance(read["a"][0], int)


# --------------------------------------------------------------------------------- many at once
def test_files_come_into_place_when_the_block_ends_and_others_stay(tmp_path):
    target = tmp_path / "model"
    for text in ("old", "new"):
        before = contents(target) if target.exists() else {}
        with replacing_files(target) as aside:
            (aside / "weights").write_text(text)
            (aside / "inner").mkdir()
            (aside / "inner" / "template").write_text(text)
            inside = f"{aside.name}/"
            now = contents(target).items()
            assert {name: t for name, t in now if not name.startswith(inside)} == before
        (target / "mine").write_text("mine")
    assert contents(target) == {"weights": "new", "inner/template": "new", "mine": "mine"}
    assert {path.name for path in target.iterdir()} == {"weights", "inner", "mine"}


def test_a_block_that_fails_leaves_the_old_files_and_nothing_else(tmp_path):
    (tmp_path / "weights").write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing_files(tmp_path) as aside:
        (aside / "weights").write_text("half")
        (aside / "other").write_text("half")
        raise KeyboardInterrupt
    assert contents(tmp_path) == {"weights": "old"}
    assert len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_leaves_the_old_files(tmp_path, monkeypatch):
    (tmp_path / "weights").write_text("old")
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space"), replacing_files(tmp_path) as aside:
        (aside / "weights").write_text("new")
    assert contents(tmp_path) == {"weights": "old"}


def test_what_a_killed_save_left_is_removed(tmp_path):
    left = tmp_path / ".writing-abc" / "inner"
    left.mkdir(parents=True)
    (left / "weights").write_text("half")
    (tmp_path / ".hidden").write_text("mine")
    with replacing_files(tmp_path) as aside:
        (aside / "weights").write_text("new")
    assert contents(tmp_path) == {"weights": "new", ".hidden": "mine"}
    assert not left.parent.exists()


def test_a_save_into_the_same_folder_leaves_one_that_is_going_on_alone(tmp_path):
    with replacing_files(tmp_path) as outer:
        (outer / "weights").write_text("outer")
        with replacing_files(tmp_path) as inner:
            (inner / "weights").write_text("inner")
        assert (tmp_path / "weights").read_text() == "inner"
    assert contents(tmp_path) == {"weights": "outer"}
    other = tmp_path / f".writing-{os.getppid()}-abc"  # of a process that lives
    other.mkdir()
    with replacing_files(tmp_path):
        pass
    assert other.is_dir()


def test_what_killed_calls_left_is_removed_at_the_next_start(tmp_path):
    number = dead_process()
    for name in (".unfinished-x1", f".writing-{number}-x1", f".writing-{number}-README.md"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").write_text("half")
    (tmp_path / f".writing-{number}-file").write_text("half")
    kept = {f".writing-{os.getppid()}-file": "going on", "notes": "mine", "writing-1-a": "mine"}
    for name, text in kept.items():
        (tmp_path / name).write_text(text)
    with replacing(tmp_path / "new") as file:
        check_writable(tmp_path)
        file.write(b"whole")
    assert contents(tmp_path) == kept | {"new": "whole"}
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def dead_process():
    """The number of a process that is no more."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_a_leftover_may_be_a_file_or_a_link(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "notes").write_text("mine")
    target = tmp_path / "target"
    target.mkdir()
    (target / ".writing-x").write_text("half")
    (target / ".writing-y").symlink_to(tmp_path / "kept")
    with replacing_files(target) as aside:
        (aside / "weights").write_text("new")
    assert contents(target) == {"weights": "new"}
    assert (tmp_path / "kept" / "notes").read_text() == "mine"


@pytest.mark.parametrize("blocked", ["folder where a file goes", "file where a folder goes"])
def test_nothing_is_placed_if_something_cannot_be(tmp_path, blocked):
    (tmp_path / "a").write_text("old")
    if blocked == "folder where a file goes":
        (tmp_path / "b").mkdir()
    else:
        (tmp_path / "sub").write_text("old")
    with pytest.raises(ValueError, match="expected"), replacing_files(tmp_path) as aside:
        (aside / "a").write_text("new")
        (aside / "b").write_text("new")
        (aside / "sub").mkdir()
        (aside / "sub" / "c").write_text("new")
    assert (tmp_path / "a").read_text() == "old"


# ------------------------------------------------------------------------------ before a run starts
def test_a_writable_folder_is_made_and_left_clean(tmp_path):
    check_writable(tmp_path / "a" / "b", 1)
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_folders_that_were_made_and_not_used_are_removed(tmp_path):
    (tmp_path / "old").mkdir()
    for name in ("runs/refused/checkpoints", "runs/used", "old"):
        check_writable(tmp_path / name)
    (tmp_path / "runs" / "used" / "file").touch()
    files.remove_unused()
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert found == {"old", "runs", "runs/used", "runs/used/file"}
    check_writable(tmp_path / "again")
    (tmp_path / "again").rmdir()  # by somebody else
    files.remove_unused()


@pytest.mark.parametrize("name", ["", " ", "\n\t", "a\0b", None, 3])
def test_a_folder_without_a_name_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"output_dir is .*; expected a folder"):
        check_writable(name)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_under_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ValueError, match=r"cannot be written to.*Give another output_dir"):
            check_writable(folder, 1)


def test_a_read_only_folder(tmp_path, monkeypatch):
    def refuse(*args):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(files.Path, "write_bytes", refuse)
    with pytest.raises(ValueError, match=r"cannot be written to: .*Read-only file system"):
        check_writable(tmp_path, 1)


def test_a_full_disk_is_told_before(tmp_path, monkeypatch):
    usage = namedtuple("Usage", "total used free")(2**30, 2**30, 3 * 2**20)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: usage)
    check_writable(tmp_path, 3 * 2**20)
    with pytest.raises(ValueError, match="has 3 MiB free; this run needs about 5 MiB"):
        check_writable(tmp_path, 5 * 2**20)


# --------------------------------------------------------------------------------- fingerprints
@given(st.binary(max_size=50), st.lists(st.integers(0, 50), max_size=5))
def test_a_fingerprint_is_of_the_bytes_however_they_are_cut(content, cuts):
    places = [0, *sorted(min(cut, len(content)) for cut in cuts), len(content)]
    chunks = [content[start:stop] for start, stop in itertools.pairwise(places)]
    assert fingerprint(chunks) == fingerprint([content])
    assert fingerprint([content, b"x"]) != fingerprint([content])


def test_a_fingerprint_is_blake2b_of_16_bytes():
    assert fingerprint([]) == "cae66941d9efbd404e4d88758ea67670"
    assert fingerprint(iter([b"a", b"b"])) == hashlib.blake2b(b"ab", digest_size=16).hexdigest()


def test_a_repository_is_written_whole_or_not_at_all(tmp_path):
    def network(folder):
        (folder / "weights").write_text("new")

    def broken(folder):
        assert (folder / "weights").read_text() == "new"  # in their order
        raise OSError("no space left")

    (tmp_path / "weights").write_text("old")
    with pytest.raises(OSError, match="no space"):
        write_repository(tmp_path, {"README.md": b"card"}, network, broken)
    assert os.listdir(tmp_path) == ["weights"] and (tmp_path / "weights").read_text() == "old"
    write_repository(tmp_path, {"README.md": b"card"}, network)
    assert sorted(os.listdir(tmp_path)) == ["README.md", "weights"]
    assert (tmp_path / "weights").read_text() == "new"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize("umask", [0o022, 0o027, 0o002])
def test_files_are_shared_as_the_umask_has_it_whatever_wrote_them(tmp_path, umask):
    def save(folder):  # for its owner alone, as safetensors does
        (folder / "parts").mkdir()
        for name in ("model.safetensors", "parts/config.json"):
            (folder / name).touch(mode=0o600)

    before = os.umask(umask)
    try:
        write_repository(tmp_path / "model", {"README.md": b"text"}, save)
        write_atomically(tmp_path / "figures.json", b"{}")
    finally:
        os.umask(before)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 4
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o666 & ~umask}
