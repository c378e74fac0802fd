"""Commands: recipes by short names, `python -m ardm train` for `python recipes/train_ardm.py`.

A command runs the very file of its recipe, as a program: there is no second form of it. In a source
tree the recipes lie beside the packages, in an installed package in `ardm/recipes`. A recipe that
a command has started speaks of itself by the command: in its help, in errors of its flags, on
cards, and to a launcher that starts it again.
"""

import argparse
import ast
import re
import runpy
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from .flags import WholeFlags
from .near_names import meant

_PACKAGES = Path(__file__).resolve().parents[2]
_FOLDERS = (_PACKAGES / "ardm" / "recipes", _PACKAGES / "recipes")
# "-m", the package, the command: how this process was told what to run; empty where by a file
_called: list[str] = []
# what documents call a recipe -> the same as a command
_names: dict[str, str] = {}


def run_command(package: str, commands: Mapping[str, str], argv: Sequence[str]) -> None:
    """Runs a recipe by its command; without one, lists them.

    Args:
        package: "ardm" or "ddpm".
        commands: the recipes' names by command.
        argv: the command and the recipe's flags.

    Raises:
        SystemExit: with a message, if there is no such command.
    """
    if not argv or argv[0] in ("-h", "--help"):
        print(_overview(package, commands))
        return
    if argv[0] == "--version":
        print(package, import_module(package).__version__)
        return
    name, *flags = argv
    if name not in commands:
        known = ", ".join(commands)
        raise SystemExit(
            f"error: {package} has no command {name!r}{meant(name, commands, 0.5)};"
            f" expected one of {known}."
        )
    _called[:] = ["-m", package, name]
    _names.update({f"recipes/{file}.py": f"-m {package} {each}" for each, file in commands.items()})
    path = str(recipe_file(commands[name]))
    sys.argv = [path, *flags]
    try:
        runpy.run_path(path, run_name="__main__")
    except KeyboardInterrupt:  # before the recipe itself could catch it
        raise SystemExit("stopped: by Ctrl-C.") from None


def recipe_file(name: str) -> Path:
    """Where a recipe lies.

    Args:
        name: of its file, without ".py".

    Returns:
        The file.

    Raises:
        FileNotFoundError: if it is neither in the package nor beside it.
    """
    for folder in _FOLDERS:
        if (folder / f"{name}.py").is_file():
            return folder / f"{name}.py"
    raise FileNotFoundError(f"there is no {name}.py in {' or '.join(map(str, _FOLDERS))}.")


def _overview(package: str, commands: Mapping[str, str]) -> str:
    width = max(map(len, commands))
    lines = (f"  {name:{width}}  {_summary(file)}" for name, file in commands.items())
    return "\n".join(
        [
            f"usage: python -m {package} COMMAND [--flags]",
            f"       accelerate launch -m {package} COMMAND [--flags]",
            "",
            *lines,
            "",
            f"python -m {package} COMMAND --help lists its flags.",
        ]
    )


def _summary(name: str) -> str:
    """The first line of a recipe's docstring."""
    docstring = ast.get_docstring(ast.parse(recipe_file(name).read_text(encoding="utf-8")))
    return (docstring or "").partition("\n")[0]


def program() -> list[str]:
    """The words that say to an interpreter or a launcher what this process runs, without flags.

    Returns:
        The file, or "-m", the package and the command.
    """
    return [*_called] or [sys.argv[0]]


# ------------------------------------------------------------------------- what recipes are told
class RecipeParser(WholeFlags):
    """The flags of a recipe. Made by [`recipe_parser`].

    What it parses has one value more, `command_words`: the words that say the same, without flags
    that have their defaults; see [`ardm.training.local_paths.command`].
    """

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As the base class, with `command_words`."""
        parsed = super().parse_args(args, namespace)
        words = [_typed(each, getattr(parsed, each.dest, None)) for each in self._actions]
        parsed.command_words = [*program(), *(word for typed in words for word in typed)]
        return parsed


def recipe_parser(docstring: str | None) -> RecipeParser:
    """The parser of a recipe, whose help is the recipe's docstring.

    Args:
        docstring: of the recipe. For who has called it by a command, its own commands are.

    Returns:
        A parser without flags.
    """
    text = docstring or ""
    for file, command in _names.items():
        text = re.sub(rf"(\b(?:python|launch)\b[^\n]*? ){re.escape(file)}", rf"\1{command}", text)
    as_written = argparse.RawDescriptionHelpFormatter
    name = " ".join(["python", *_called]) if _called else None
    return RecipeParser(prog=name, description=text, formatter_class=as_written)


def _typed(action: argparse.Action, value: Any) -> list[str]:
    """The words that give a flag its value; none for its default."""
    if value is None or value in (action.default, [action.default]):
        return []
    values = [str(each) for each in (value if isinstance(value, list) else [value])]
    if not action.option_strings:
        return values
    name = max(action.option_strings, key=len)
    if isinstance(action, argparse.BooleanOptionalAction):
        return [name if not value else name.replace("--no-", "--", 1)]
    if action.nargs == 0:
        return [name]
    if len(values) == 1 and values[0].startswith("-"):  # a value that looks like a flag
        return [f"{name}={values[0]}"]
    return [name, *values]
