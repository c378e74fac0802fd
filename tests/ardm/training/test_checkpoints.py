"""Checkpoints are whole or absent: damage of any kind is found, nothing good is removed for it."""

import errno
import os
import random
import shutil
import stat
import warnings

import pytest

from ardm.training import checkpoints
from ardm.training.checkpoints import CheckpointFolder, find_fault


def write(folder, step, text="weights"):
    path = folder.writing_path(step)
    (path / "inner").mkdir(parents=True)
    (path / "model").write_text(f"{text} of {step}" * 20)
    (path / "inner" / "run.json").write_text(f"{step}")
    folder.seal(step)
    return folder.path(step)


@pytest.fixture
def folder(tmp_path):
    return CheckpointFolder(tmp_path)


def steps(folder):
    return sorted(int(path.name.removeprefix("step-")) for path in folder.root.glob("step-*"))


def test_no_checkpoint_yet(folder):
    assert folder.newest() is None
    folder.discard_unfinished()
    assert folder.set_aside(0) is None and folder.num_bytes() == 0


def test_the_newest_by_number(folder):
    folder.keep = 9
    for step in (20, 3, 100):
        assert write(folder, step) == folder.path(step)
        assert find_fault(folder.path(step)) is None
    assert folder.newest() == folder.path(100)
    for step in (10**8, 10**8 - 1):  # more digits than the padding
        write(folder, step)
    assert folder.newest() == folder.path(10**8)


def test_only_the_newest_are_kept(folder):
    for step in range(1, 6):
        write(folder, step)
        assert steps(folder) == list(range(max(1, step - 1), step + 1))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
def test_a_checkpoint_is_shared_as_the_umask_has_it(folder):
    weights = folder.writing_path(1) / "model.safetensors"
    weights.parent.mkdir(parents=True)
    weights.touch(mode=0o600)  # as safetensors makes it
    before = os.umask(0o027)
    try:
        folder.seal(1)
    finally:
        os.umask(before)
    files = [*folder.path(1).iterdir()]
    assert len(files) == 2 and find_fault(folder.path(1)) is None
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o640}


def test_folders_of_the_user_are_left_alone(folder):
    mine = folder.root / "step-best"
    mine.mkdir(parents=True)
    for step in (1, 2, 3):
        write(folder, step)
    assert mine.exists() and folder.newest() == folder.path(3)
    folder.set_aside(0)
    assert mine.exists()


def test_what_is_unfinished_does_not_count_and_is_removed(folder):
    write(folder, 1)
    folder.writing_path(2).mkdir()
    (folder.writing_path(2) / "model").write_text("half")
    assert folder.newest() == folder.path(1)
    folder.discard_unfinished()
    assert not folder.writing_path(2).exists() and folder.newest() == folder.path(1)


def test_sealing_replaces_a_checkpoint_of_the_same_step(folder):
    write(folder, 1, "old")
    path = write(folder, 1, "new")
    assert (path / "model").read_text().startswith("new") and find_fault(path) is None


def truncate(path):
    file = path / "model"
    file.write_bytes(file.read_bytes()[:-1])


def empty(path):
    (path / "model").write_bytes(b"")


def grow(path):
    with open(path / "model", "a") as file:
        file.write("x")


def drop(path):
    (path / "inner" / "run.json").unlink()


def flip(path):
    content = bytearray((path / "model").read_bytes())
    content[len(content) // 2] ^= 1
    (path / "model").write_bytes(content)


def drop_manifest(path):
    (path / "manifest.json").unlink()


def truncate_manifest(path):
    file = path / "manifest.json"
    file.write_text(file.read_text()[:-5])


def garble_manifest(path):
    (path / "manifest.json").write_bytes(b"\xff\x00")


def null_manifest(path):
    (path / "manifest.json").write_text("null")


def folder_in_place_of_a_file(path):
    (path / "model").unlink()
    (path / "model").mkdir()


DAMAGES = [
    truncate,
    empty,
    grow,
    drop,
    flip,
    drop_manifest,
    truncate_manifest,
    garble_manifest,
    null_manifest,
    folder_in_place_of_a_file,
    shutil.rmtree,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_one_is_reported_and_the_one_before_it_used(folder, damage):
    good = write(folder, 1)
    bad = write(folder, 2)
    damage(bad)
    assert find_fault(bad) is not None
    if not bad.exists():
        assert folder.newest() == good
        return
    with pytest.warns(UserWarning, match="step-00000002 is damaged .*; an earlier one is used"):
        assert folder.newest() == good
    damage(good)
    with pytest.warns(UserWarning) as reported:
        assert folder.newest() is None
    assert len(reported) == 2


def test_any_flipped_bit_is_found(folder):
    path = write(folder, 1)
    rng = random.Random(0)
    for _ in range(60):
        file = path / rng.choice(["model", "inner/run.json"])
        content = file.read_bytes()
        damaged = bytearray(content)
        damaged[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        file.write_bytes(damaged)
        assert find_fault(path) is not None
        file.write_bytes(content)
    assert find_fault(path) is None


def test_a_flipped_bit_of_the_manifest_is_found_or_harmless(folder):
    (folder.writing_path(1)).mkdir(parents=True)
    (folder.writing_path(1) / "model").write_text("weights")
    folder.seal(1)
    path = folder.path(1)
    manifest = path / "manifest.json"
    content = manifest.read_bytes()
    num_found = 0
    for index in range(len(content)):
        for bit in range(8):
            damaged = bytearray(content)
            damaged[index] ^= 1 << bit
            manifest.write_bytes(damaged)
            num_found += find_fault(path) is not None
    assert num_found > 0.8 * 8 * len(content)  # the rest: blanks that became other blanks


# ------------------------------------------------- later checkpoints than the one a run starts at


def test_later_ones_are_moved_aside_and_kept_whole(folder):
    folder.keep = 9
    for step in (20, 40, 60):
        write(folder, step)
    aside = folder.set_aside(20)
    assert aside == folder.root / "replaced-1"
    assert sorted(path.name for path in aside.iterdir()) == ["step-00000040", "step-00000060"]
    assert all(find_fault(path) is None for path in aside.iterdir())
    assert steps(folder) == [20]
    assert folder.set_aside(20) is None
    folder.keep = 2
    for step in (40, 60):
        write(folder, step, "new")
    assert steps(folder) == [40, 60] and folder.newest() == folder.path(60)
    assert folder.set_aside(0) == folder.root / "replaced-2"
    assert len(list(aside.iterdir())) == 2


def test_a_kill_while_pruning_costs_nothing(folder, monkeypatch):
    write(folder, 1)
    write(folder, 2)

    def killed(path):
        (path / "model").unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        write(folder, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert folder.newest() == folder.path(3)
    assert find_fault(folder.path(2)) is None


@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
def test_an_error_while_sealing_leaves_the_one_before(folder, monkeypatch, call):
    write(folder, 1)
    (folder.writing_path(2)).mkdir()
    (folder.writing_path(2) / "model").write_text("x")

    def fail(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="No space"):
        folder.seal(2)
    monkeypatch.undo()
    assert folder.newest() == folder.path(1) and steps(folder) == [1]


def test_room_that_is_taken_already(folder):
    before = write(folder, 1)
    size = folder.num_bytes()
    files = [before / "model", before / "inner" / "run.json"]
    assert size == sum(file.stat().st_size for file in files)
    write(folder, 2)
    folder.set_aside(1)
    assert folder.num_bytes() == size


# ---------------------------------------------------------------------------------------- locks
def test_a_lock_keeps_others_out_until_it_is_freed(folder):
    folder.lock()
    other = CheckpointFolder(folder.root.parent)
    with pytest.raises(ValueError, match="another run is writing to"):
        other.lock()
    folder.unlock()
    other.lock()
    other.unlock()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EIO])
def test_a_file_system_without_locks_is_told_in_one_line(folder, monkeypatch, number):
    def refuse(*args):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    expected = rf"the lock .*\.training\.lock, .* cannot be used: .*{os.strerror(number)}"
    with pytest.raises(ValueError, match=expected) as refused:
        folder.lock()
    assert "another output_dir" in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("obstacle", ["folder", "read-only"])
def test_a_lock_that_cannot_be_made_is_told_in_one_line(folder, monkeypatch, obstacle):
    path = folder.root.parent / ".training.lock"
    if obstacle == "folder":
        path.mkdir()
    else:

        def refuse(*args):
            raise OSError(errno.EROFS, "Read-only file system", str(path))

        monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(ValueError, match=r"the lock .*\.training\.lock, .* cannot be used: "):
        folder.lock()


def test_the_last_step_counts_damaged_ones(folder):
    assert folder.last_step() is None
    for step in (3, 20):
        write(folder, step)
    (folder.path(20) / "model").unlink()
    assert folder.last_step() == 20
