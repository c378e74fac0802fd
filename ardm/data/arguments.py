"""Corpus: which text, and how it is cut; from flags such as `--train_file` to windows of ids.

The flags end here: what reads the text takes the values of a [`Corpus`].
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ..training.local_paths import public
from .paths import is_address

TEXT_FLAGS: dict[str, tuple[type, str]] = {
    "dataset_name": (
        str,
        "a `datasets` name or a local data set; nothing = the embedded Python documentation",
    ),
    "dataset_config_name": (str, "its configuration"),
    "train_file": (
        str,
        "texts, json, csv, tsv, parquet or FASTA, folders of them, patterns, addresses",
    ),
    "validation_file": (
        str,
        "the same for validation; nothing = the data's own validation or test part, or its end",
    ),
    "validation_fraction": (float, "how much of it"),
    "text_column": (str, "the column of text; nothing = `text` or the only column of strings"),
    "include": (str, "patterns of the files to read in folders; nothing = all"),
    "exclude": (str, "patterns of the files to pass over in folders"),
}
_SEVERAL = ("train_file", "validation_file", "include", "exclude")
_PATTERNS = ("include", "exclude")
_TOKENS: dict[str, tuple[type, str]] = {
    "tokenizer": (
        str,
        "char, byte or bpe, learned from the training text, or a saved tokenizer's folder",
    ),
    "vocab_size": (int, "size of a bpe vocabulary"),
    "sequence_length": (int, "tokens of a window"),
}
_NAMED_FILES = 3  # on a card


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Which text, and how it is cut; the fields are the flags. The default is the embedded text.

    Args:
        dataset_name: as for [`ardm.data.load_texts`], like the next eight.
        dataset_config_name: the configuration of `dataset_name`.
        train_file: a text, a table of texts, a folder of them, a pattern or an address, or several.
        validation_file: the same, for validation.
        validation_fraction: the part held out at the end without a validation split or file.
        text_column: the column of the texts.
        include: patterns of the files to read in folders.
        exclude: patterns of the files to pass over.
        line_by_line: each line of a text is a document.
        tokenizer: "char", "byte" or "bpe", learned from the training text, or the folder of a
            saved tokenizer.
        vocab_size: of "bpe".
        sequence_length: tokens of a window; None = the most that a saved model takes.
        streaming: read the text while training.
    """

    dataset_name: str | None = None
    dataset_config_name: str | None = None
    train_file: str | tuple[str, ...] | None = None
    validation_file: str | tuple[str, ...] | None = None
    validation_fraction: float = 0.05
    text_column: str | None = None
    include: tuple[str, ...] | None = None
    exclude: tuple[str, ...] | None = None
    line_by_line: bool = False
    tokenizer: str = "char"
    vocab_size: int | None = None
    sequence_length: int | None = 128
    streaming: bool = False

    @property
    def name(self) -> str:
        """What the text is called on a card: a name, no path of this machine."""
        given = public(self.dataset_name) or _names(self.train_file)
        return given or "Python documentation topics (standard library)"

    @property
    def held_out_name(self) -> str:
        """What the validation text is called in a report: a name, no path of this machine."""
        return _names(self.validation_file) or f"held-out part of {self.name}"


def _names(given: str | tuple[str, ...] | None) -> str:
    """Of one or a few paths their names, of many the first one's and how many more there are."""
    paths = [given] if isinstance(given, str) else list(given or ())
    names = [public(path if is_address(path) else Path(path)) for path in paths[:_NAMED_FILES]]
    more = len(paths) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")


# ---------------------------------------------------------------------------------------- flags
def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of a text to train on.

    Args:
        parser: the recipe's parser.
    """
    group = _add_flags(parser, TEXT_FLAGS | _TOKENS)
    group.add_argument("--streaming", action="store_true", help="read the data set while training")


def add_held_out_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of a text to score a saved model on.

    Args:
        parser: the recipe's parser.
    """
    group = _add_flags(parser, TEXT_FLAGS)
    group.add_argument(
        "--sequence_length", type=int, help="tokens of a window (default: the most the model takes)"
    )


def _add_flags(
    parser: argparse.ArgumentParser, flags: dict[str, tuple[type, str]]
) -> argparse._ArgumentGroup:
    defaults = {field.name: field.default for field in fields(Corpus)}
    group = parser.add_argument_group("data")
    for name, (kind, text) in flags.items():
        default = defaults[name]
        described = f"{text} (default: {default})"
        several: dict[str, Any] = {"nargs": "+"} if name in _SEVERAL else {}
        group.add_argument(f"--{name}", type=kind, default=default, help=described, **several)
    if "train_file" in flags:
        described = "each line of a text is a document; otherwise each file is one"
        group.add_argument("--line_by_line", action="store_true", help=described)
    return group


def corpus_from(args: argparse.Namespace) -> Corpus:
    """The text that flags say.

    Args:
        args: parsed flags of [`add_data_arguments`] or [`add_held_out_arguments`], perhaps among
            others.

    Returns:
        The text; fields without a flag have their defaults.
    """
    given = vars(args)
    values = {each.name: given[each.name] for each in fields(Corpus) if each.name in given}
    for name in values.keys() & set(_SEVERAL):
        if isinstance(values[name], list):
            values[name] = tuple(values[name])
            if len(values[name]) == 1 and name not in _PATTERNS:
                (values[name],) = values[name]
    return Corpus(**values)
