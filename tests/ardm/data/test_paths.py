"""Laws of paths: what exists is itself whatever its characters, and what is not read is counted."""

import os
import re

import pytest

from ardm.data.paths import Choice, files_at, is_address, local_path, matching, may_be_on_the_hub
from ardm.data.reports import TextReport

ODD_NAMES = [
    "set[1]",
    "set[!a]",
    "a*b",
    "what?",
    "{x,y}",
    "~tilde",
    "per%20cent",
    "hash#tag",
    "é 日",
]


def names_at(path, choice=None):
    report = TextReport()
    files = files_at(path, report)
    if choice is not None:
        files = choice.of(files, report)
    return [file.name for file in files], {
        key: sorted(each) for key, each in report.skipped.items()
    }


# --------------------------------------------------------------------------------------- patterns
@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_path_that_exists_is_itself(name, write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = write(f"{name}/{name}.txt", "right").parent
    for decoy in ("set1", "setb", "axb", "whatx", "x"):
        write(f"{decoy}/{decoy}.txt", "wrong")
        write(f"{name}/{decoy}.txt", "wrong")
    file = folder / f"{name}.txt"
    for given in (folder, str(folder), os.path.relpath(folder), f"{folder}/"):
        assert [os.path.realpath(path) for path in matching(given, TextReport())] == [str(folder)]
    assert matching(file.as_uri(), TextReport()) == matching(str(file), TextReport()) == [file]
    # ... and as the beginning of a pattern
    fitting = matching(f"{folder}/*.txt", TextReport())
    assert file in fitting and len(fitting) == 6 and {path.parent for path in fitting} == {folder}


def test_brackets_are_no_pattern(write):
    folder = write("set1/a1.txt", "wrong").parent.parent
    for missing in ("set[1]", "set[1]/a1.txt", "set1/a[0-9].txt"):
        assert matching(folder / missing, TextReport()) == [folder / missing]  # to be refused
    with pytest.raises(ValueError, match=r"a\[0-9\]\*\.txt fits no file"):
        matching(f"{folder}/set1/a[0-9]*.txt", TextReport())


def test_patterns_are_sorted_and_name_no_file_twice(write):
    for name in ("b.txt", "a.txt", "deep/c.txt", "deep/er/d.txt", "e.md"):
        folder = write(f"x/{name}", name).parent
    folder = write("x/a.txt", "a.txt").parent
    (folder / "deep" / "loop").symlink_to("..")
    found = [path.relative_to(folder).as_posix() for path in matching(f"{folder}/*", TextReport())]
    assert found == ["a.txt", "b.txt", "deep", "e.md"]
    found = matching(f"{folder}/**/*.txt", TextReport())
    assert [path.name for path in found] == ["a.txt", "b.txt", "c.txt", "d.txt"]
    assert len(matching(f"{folder}/**", TextReport())) == 5
    assert len(matching(f"{folder}/?.txt", TextReport())) == 2


def test_home_and_file_addresses(write, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "files"))
    path = write("a b.txt", "text")
    assert local_path("~/a b.txt") == path
    assert local_path(path.as_uri()) == path
    assert not is_address(path.as_uri()) and not is_address(str(path)) and not is_address("a:b")
    assert is_address("https://host/a.txt") and is_address("hf://datasets/u/n/a.txt")
    assert local_path("~nobody-of-this-name/a.txt").name == "a.txt"  # to be refused as missing
    assert local_path("file://localhost" + path.as_uri().removeprefix("file://")) == path


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ("", "a path is ''"),
        ("a\0b", "is no path .*null"),
        ("a" * 5000, "is no path .File name too long"),
        ("file://host/a.txt", "names the machine 'host'.*file:///host/a.txt"),
    ],
)
def test_what_can_be_no_path_is_refused(given, match):
    with pytest.raises(ValueError, match=match) as caught:
        local_path(given)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *[(name, True) for name in ("user/name", "squad", "A-b/c.d_e", "allenai/c4", "user/v1.0")],
        *[(name, False) for name in ("./name", "../name", "/a/b", "~/a", "a/b/c", "a b", "a/b/")],
        *[(name, False) for name in ("a.txt", "a/b.jsonl", "a.CSV", "x/*.txt", "a\\b", "")],
        ("file:///a", False),
    ],
)
def test_names_of_the_hub_are_told_from_paths(name, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert may_be_on_the_hub(name) == expected
    (tmp_path / "user").mkdir()  # a folder that is here makes paths of what would lie in it
    assert may_be_on_the_hub(name) == (expected and not name.startswith("user/"))


# ---------------------------------------------------------------------------------------- folders
def test_folder_is_its_files_and_the_rest_is_counted(write):
    kept = ["a.txt", "b/c.md", "b/x.txt/inner", "no suffix", "Über.txt"]
    for name in kept:
        root = write(f"d/{name}", name)
    root = write("d/a.txt", "a.txt").parent
    for litter in (
        ".hidden",
        ".git/config",
        "Thumbs.db",
        "b/desktop.ini",
        "b/.DS_Store",
        "t.tar.gz",
    ):
        write(f"d/{litter}", "x")
    write("d/__MACOSX/a.txt", "x")
    write("d/@eaDir/a.txt", "x")
    os.mkfifo(root / "pipe")
    (root / "broken").symlink_to("nowhere")
    (root / "b" / "loop").symlink_to("..")
    (root / "z-again").symlink_to("a.txt")
    names, skipped = names_at(root)
    assert sorted(names) == sorted(kept)
    assert skipped == {
        "hidden file": [".hidden", "b/.DS_Store"],
        "hidden folder": [".git/"],
        "file of the system": ["@eaDir/", "Thumbs.db", "__MACOSX/", "b/desktop.ini"],
        "archive": ["t.tar.gz"],
        "pipe or device": ["pipe"],
        "broken link": ["broken"],
        "link to what is read anyway": ["b/loop", "z-again"],
    }


def test_links_to_elsewhere_are_followed(write):
    root = write("d/a.txt", "a").parent
    elsewhere = write("elsewhere/b.txt", "b").parent
    (root / "folder").symlink_to(elsewhere)
    (root / "c.txt").symlink_to(write("single.txt", "c"))
    assert names_at(root) == (["a.txt", "c.txt", "folder/b.txt"], {})


def test_names_that_are_no_utf8_are_read_and_printed(write):
    root = write("d/a.txt", "a").parent
    with open(os.fsencode(root) + b"/\xff\xfe.txt", "w") as file:
        file.write("odd")
    report = TextReport()
    files = files_at(root, report)
    shown = [file.shown for file in files]
    assert len(files) == 2 and all(name.encode("utf-8") for name in shown)
    with files[1].open() as stream:
        assert stream.read() == b"odd"


def test_order_is_by_path(write):
    for name in ("b/1", "a.txt", "a/2", "B", "a/1/z"):
        root = write(f"d/{name}", name)
    root = write("d/a.txt", "x").parent
    assert names_at(root)[0] == ["B", "a/1/z", "a/2", "a.txt", "b/1"]


def test_folder_that_cannot_be_read_is_refused(write, monkeypatch):
    root = write("d/sub/a.txt", "a").parent.parent
    scandir = os.scandir

    def forbidding(path):
        if os.fspath(path).endswith("sub"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", forbidding)
    with pytest.raises(ValueError, match=r"sub cannot be read \(Permission denied\)"):
        files_at(root, TextReport())


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("nothing.txt", "nothing.txt does not exist.*folder"),
        ("pipe", "pipe is a pipe or a device"),
        ("t.tar", "t.tar is an archive.*unpack"),
        ("t.tar.zst", "archive"),
        ("t.7z", "archive"),
        ("a.txt/inner.txt", "Not a directory"),
        ("void", "void holds no files"),
    ],
)
def test_paths_that_are_refused(name, match, write):
    folder = write("d/a.txt", "a").parent
    os.mkfifo(folder / "pipe")
    (folder / "void").mkdir()
    for archive in ("t.tar", "t.tar.zst", "t.7z"):
        write(f"d/{archive}", "x")
    with pytest.raises(ValueError, match=match):
        files_at(folder / name, TextReport())


# ----------------------------------------------------------------------------------------- choice
NAMES = ["README.md", "a.txt", "b[1].txt", "code/a.py", "code/deep/b.py", "code/notes.txt"]


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        ([], [], NAMES),
        (["*.txt"], [], ["a.txt", "b[1].txt", "code/notes.txt"]),
        (["a.*"], [], ["a.txt", "code/a.py"]),
        (["code"], [], NAMES[3:]),
        (["code/*.py"], ["deep"], ["code/a.py"]),
        (["*.txt", "*.md"], ["code/"], ["README.md", "a.txt", "b[1].txt"]),
        (["b[1].txt"], [], ["b[1].txt"]),
        ([], ["*.py", "README.md"], ["a.txt", "b[1].txt", "code/notes.txt"]),
    ],
)
def test_patterns_choose_by_any_part_of_the_path(include, exclude, expected, write):
    for name in NAMES:
        write(f"d/{name}", name)
    root = write("d/a.txt", "a.txt").parent
    names, skipped = names_at(root, Choice(include, exclude))
    assert names == expected
    assert sum(map(len, skipped.values())) == len(NAMES) - len(expected)


def test_patterns_that_leave_nothing_are_refused(write):
    root = write("d/a.txt", "a").parent
    for choice in (Choice(include=["*.md"]), Choice(exclude=["*"])):
        with pytest.raises(ValueError, match=re.escape("leave none of 1 files, such as a.txt")):
            names_at(root, choice)
