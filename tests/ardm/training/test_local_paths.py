"""Nothing that is told of a run names a folder of this machine; all else is told as it is."""

import shlex
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest

from ardm.training.local_paths import command, hyperparameters, public


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working folder with some files."""
    folder = tmp_path / "secret" / "work"
    (folder / "runs" / "model").mkdir(parents=True)
    (folder / "text.txt").write_text("")
    (folder / "linked").symlink_to(tmp_path / "secret")
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("/home/secret/model", "model"),
        ("/home/secret/model/", "model"),
        ("~/secret/model", "model"),
        ("../secret/model", "model"),
        ("./secret/model", "model"),
        ("secret/../model", "model"),
        ("..", ".."),
        (".", "."),
        ("work/..", ".."),
        ("~", "~"),
        ("~secret", "~"),
        ("/", "/"),
        ("runs/model", "model"),
        ("text.txt", "text.txt"),
        ("./linked", "linked"),
        ("C:\\Users\\secret\\model", "model"),
        ("C:/Users/secret/model", "model"),
        ("\\\\secret\\share\\model\\", "model"),
        ("..\\secret\\model", "model"),
        ("file:///home/secret/model", "model"),
        ("FILE:///home/secret/model", "model"),
        ("zip://a.txt::/home/secret/b.zip", "zip://a.txt::b.zip"),
        (" /home/secret/model", " model"),
        ("'/home/secret/model'", "'model'"),
        ("[/home/secret/a, ~/secret/b]", "[a, b]"),
        ("a;/home/secret/b", "a;b"),
        ("$HOME/secret/model", "model"),
        ("%USERPROFILE%\\secret\\model", "model"),
        ("https://me:secret@host/a/b?token=secret", "https://host/a/b"),
        ("pretrained=/home/secret/model,dtype=float32", "pretrained=model,dtype=float32"),
        ("/home/secret/a,/home/secret/b", "b"),
        ("a.txt,/home/secret/b.txt", "a.txt,b.txt"),
    ],
)
def test_of_a_path_only_the_last_component_is_said(here, value, said):
    assert public(value) == said
    assert public([value, {"k": value}, (value,)]) == [said, {"k": said}, [said]]


def test_path_objects(here):
    for path in (here / "runs" / "model", Path("runs/model"), Path("nowhere/model")):
        assert public(path) == "model"
    assert public(PurePosixPath("/home/secret/model")) == "model"
    assert public(PureWindowsPath("C:\\\\secret\\\\model")) == "model"
    assert public(b"/home/secret/model") == "model"
    assert public({"/home/secret/a": {"/home/secret/b"}}) == {"a": ["b"]}


@pytest.mark.parametrize(
    "value",
    [
        "user/name",
        "gpt2",
        "https://host/a/b",
        "hf://datasets/user/name",
        "a prompt of 3/4, with = signs",
        "\\n",
        "...",
        ".5",
        "",
        "x" * 5000,
        "null \0 byte",
        0.5,
        3,
        True,
        None,
        [0.9, 0.95],
    ],
)
def test_everything_else_stays(here, value):
    assert public(value) == value


def test_hyperparameters_have_no_files_and_nothing_that_was_not_given(here):
    flags = {
        "output_dir": "/home/secret/run",
        "train_file": "text.txt",
        "model_name_or_path": "runs/model",
        "hub_model_id": "me/model",
        "push_to_hub": True,
        "resume_from_checkpoint": "latest",
        "tokenizer": "/home/secret/words",
        "dataset_name": "user/name",
        "learning_rate": 0.0,
        "compile": False,
        "validation_split": None,
    }
    assert hyperparameters(flags) == {
        "tokenizer": "words",
        "dataset_name": "user/name",
        "learning_rate": 0.0,
        "compile": False,
    }


def test_a_command_can_be_typed_again(here):
    argv = [
        "/home/secret/recipes/train.py",
        "--train_file",
        "/home/secret/a text.txt",
        "--tokenizer=/home/secret/words",
        "--source=file:///home/secret/data",
        "--dataset_name",
        "user/name",
        "--compile",
        "-n",
        "-3",
    ]
    line = command(argv)
    assert "secret" not in line
    assert shlex.split(line) == [
        "accelerate",
        "launch",
        "recipes/train.py",
        "--train_file",
        "a text.txt",
        "--tokenizer=words",
        "--source=data",
        "--dataset_name",
        "user/name",
        "--compile",
        "-n",
        "-3",
    ]


def test_a_name_on_the_hub_stays_though_a_folder_is_called_so(here):
    (here / "user" / "name").mkdir(parents=True)
    words = ["--hub_model_id", "user/name", "--hub_model_id=user/name"]
    assert shlex.split(command(["t.py", *words, "user/name"]))[3:] == [*words, "name"]


def test_a_flag_and_its_path_may_be_one_word(here):
    told = command(["C:\\secret\\t.py", "-f/home/secret/x", "--f=~/secret/y", "-n3"])
    assert shlex.split(told)[2:] == ["recipes/t.py", "-fx", "--f=y", "-n3"]
