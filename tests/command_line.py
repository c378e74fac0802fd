"""Recipes in this process, as a user runs them: the module of one, and a line of flags as words."""

import importlib.util
from pathlib import Path
from types import ModuleType

RECIPES = Path(__file__).parents[1] / "recipes"


def recipe(name: str) -> ModuleType:
    """The module of a recipe, anew each time, so that a test may replace its functions."""
    spec = importlib.util.spec_from_file_location(name, RECIPES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def words(*flags: object) -> list[str]:
    """A command line: of texts the words, everything else as one."""
    split = (flag.split() if isinstance(flag, str) else [str(flag)] for flag in flags)
    return [word for each in split for word in each]
