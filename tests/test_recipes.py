"""What holds for every recipe: it is short and plain, and says what it is and what is missing."""

import ast
import os
import re
import tokenize
from pathlib import Path

import pytest

from .command_line import recipe

RECIPES = sorted((Path(__file__).parent.parent / "recipes").glob("*.py"))
every_recipe = pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
# those that run on what `make demo` leaves where no model is named
ON_THE_DEMO = [
    path for path in RECIPES if re.search("from ardm.hub import .*DEMO_FOLDER", path.read_text())
]


def main_of(path):
    return recipe(path.stem).main


@every_recipe
def test_it_is_short_and_plain(path):
    lines = path.read_text().splitlines()
    assert len(lines) <= 150
    assert max(map(len, lines)) <= 100
    with tokenize.open(path) as file:
        tokens = [*tokenize.generate_tokens(file.readline)]
    packed = [token.start for token in tokens if token.string == ";" or "fmt:" in token.string]
    assert packed == []


@every_recipe
def test_it_says_what_it_is_and_how_to_run_it(path):
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    summary, _, rest = docstring.partition("\n\n")
    assert len(summary.splitlines()) == 1 and summary.endswith((".", "?"))
    assert f"recipes/{path.name}" in rest


@every_recipe
def test_its_flags_are_of_the_parser_that_knows_its_command(path):
    assert "ArgumentParser(" not in path.read_text(), "expected ardm.training.recipe_parser"


@every_recipe
def test_nothing_is_done_when_it_is_imported(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert callable(main_of(path))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("path", ON_THE_DEMO, ids=lambda path: path.stem)
def test_without_a_model_it_says_how_to_make_one(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [str(path)])
    with pytest.raises(ValueError, match="no runs/ardm; make it with `make demo`"):
        main_of(path)([])
    assert {*os.listdir(tmp_path)} <= {"runs"}  # where watch_generation is going to write


def test_some_recipes_run_on_the_demo():
    assert {"evaluate_ardm", "lm_eval_ardm"} < {path.stem for path in ON_THE_DEMO}
