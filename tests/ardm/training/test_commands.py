"""Commands run the recipes' files, and recipes speak of themselves by the command."""

import sys
from pathlib import Path

import pytest

import ardm.__main__
import ddpm.__main__
from ardm.training import commands
from ardm.training.commands import program, recipe_file, recipe_parser, run_command
from ardm.training.local_paths import command

ROOT = Path(__file__).parents[3]
TABLES = {"ardm": ardm.__main__.COMMANDS, "ddpm": ddpm.__main__.COMMANDS}
RECIPE = '''\
"""Tells what it was given.

    python recipes/tell.py --x 3     # once
    accelerate launch --cpu recipes/tell.py
"""

import sys
from ardm.training.commands import program, recipe_parser

parser = recipe_parser(__doc__)
parser.add_argument("--x", type=int, default=1)
if __name__ == "__main__":
    args = parser.parse_args()
    print(args.x, sys.argv, program(), args.command_words)
'''


@pytest.fixture(autouse=True)
def _as_before(monkeypatch):
    """A command is told to the process once; here to several tests."""
    monkeypatch.setattr(commands, "_called", [])
    monkeypatch.setattr(commands, "_names", {})
    monkeypatch.setattr(sys, "argv", ["pytest"])


@pytest.fixture
def tell(tmp_path, monkeypatch):
    """A recipe in a folder of its own, and the command for it."""
    (tmp_path / "tell.py").write_text(RECIPE)
    monkeypatch.setattr(commands, "_FOLDERS", (tmp_path / "nowhere", tmp_path))
    return {"say": "tell"}


# ------------------------------------------------------------------------------------- the tables
@pytest.mark.parametrize("package", TABLES)
def test_every_command_is_a_recipe_and_is_listed_with_its_first_line(package, capsys):
    table = TABLES[package]
    assert len(set(table.values())) == len(table)
    run_command(package, table, [])
    lines = capsys.readouterr().out.splitlines()
    for name, file in table.items():
        path = ROOT / "recipes" / f"{file}.py"
        assert recipe_file(file) == path
        first = path.read_text().split('"""')[1].split("\n")[0]
        assert [line for line in lines if line.split()[:1] == [name] and line.endswith(first)]


def test_every_recipe_that_is_no_measurement_of_the_project_is_a_command():
    listed = {file for table in TABLES.values() for file in table.values()}
    there = {path.stem for path in (ROOT / "recipes").glob("*.py")}
    assert {name for name in there - listed if not name.startswith("benchmark_")} == {"draw_readme"}


@pytest.mark.parametrize("package", TABLES)
def test_the_version_is_that_of_both(package, capsys):
    run_command(package, TABLES[package], ["--version"])
    assert capsys.readouterr().out == f"{package} {ardm.__version__}\n"
    assert ddpm.__version__ == ardm.__version__


@pytest.mark.parametrize(
    ("word", "hint"),
    [("trian", r" \(did you mean train\?\); expected"), ("qqq", "; expected one of train, ")],
)
def test_an_unknown_command_names_the_nearest(word, hint):
    with pytest.raises(SystemExit, match=f"error: ardm has no command '{word}'{hint}"):
        run_command("ardm", TABLES["ardm"], [word])


# ------------------------------------------------------------------------------------- the recipe
def test_the_recipe_is_run_as_a_program_and_speaks_by_the_command(tell, tmp_path, capsys):
    run_command("ardm", tell, ["say", "--x", "5"])
    path = str(tmp_path / "tell.py")
    again = ["-m", "ardm", "say"]
    expected = f"5 {[path, '--x', '5']} {again} {[*again, '--x', '5']}\n"
    assert capsys.readouterr().out == expected
    with pytest.raises(SystemExit, match="0"):
        run_command("ardm", tell, ["say", "--help"])
    told = capsys.readouterr().out
    assert told.startswith("usage: python -m ardm say [-h]")
    assert "    python -m ardm say --x 3     # once\n" in told
    assert "    accelerate launch --cpu -m ardm say\n" in told and "recipes/" not in told
    with pytest.raises(SystemExit, match="2"):
        run_command("ardm", tell, ["say", "--y", "3"])
    told = "error: unknown --y (did you mean --x?); python -m ardm say --help lists all flags.\n"
    assert capsys.readouterr().err == told


def test_ctrl_c_before_the_recipe_catches_it_is_one_line(tell, tmp_path):
    (tmp_path / "tell.py").write_text("raise KeyboardInterrupt")
    with pytest.raises(SystemExit, match=r"stopped: by Ctrl-C\."):
        run_command("ardm", tell, ["say"])


def test_a_recipe_that_is_not_there_is_named(tell):
    with pytest.raises(FileNotFoundError, match=r"there is no other\.py in .*nowhere or "):
        run_command("ardm", {"say": "other"}, ["say"])


# ---------------------------------------------------------------------------- flags and defaults
def parser_of_all_kinds():
    parser = recipe_parser("About.")
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("-n", "--number", type=int)
    parser.add_argument("--names", nargs="+", default="none")
    parser.add_argument("--several", nargs="*", type=int, default=[1, 2])
    parser.add_argument("--on", action="store_true")
    parser.add_argument("--mode", action="store_const", const="fast", default="slow")
    parser.add_argument("--flip", action=commands.argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--maybe", action=commands.argparse.BooleanOptionalAction)
    return parser


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("", ""),
        ("--rate 1e-1 --several 1 2 --flip", ""),
        ("--rate .2 -n 3", "--rate 0.2 --number 3"),
        ("--rate=-2 --number -3", "--rate=-2.0 --number=-3"),
        ("--names a b --several", "--names a b --several"),
        ("--on --mode --no-flip --no-maybe", "--on --mode --no-flip --no-maybe"),
        ("--maybe", "--maybe"),
    ],
)
def test_the_command_says_what_differs_from_the_defaults_and_means_the_same(given, said):
    parser = parser_of_all_kinds()
    args = parser.parse_args(given.split())
    assert args.command_words == ["pytest", *said.split()]
    assert parser.parse_args(said.split()) == args
    assert command(args.command_words) == f"accelerate launch recipes/pytest {said}".strip()
    assert parser.parse_args(["--names", "none"]).command_words == ["pytest"]  # the default alone


def test_a_command_of_a_package_can_be_typed_again():
    words = ["-m", "ardm", "train", "--train_file", "/home/secret/a.txt"]
    assert command(words) == "accelerate launch -m ardm train --train_file a.txt"


def test_a_file_is_the_program_where_there_is_no_command(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["recipes/x.py", "--y"])
    assert program() == ["recipes/x.py"]
    assert recipe_parser("python recipes/x.py").format_usage() == "usage: x.py [-h]\n"
