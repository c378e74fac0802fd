"""Corpus: which text, and how it is cut; from flags such as `--train_file` to windows of ids.

The flags end here: what reads the text takes the values of a [`Corpus`].
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from ..training import check_integer
from ..training.local_paths import public
from .texts import load_texts
from .tokenization import build_tokenizer
from .windows import SEPARATOR, make_windows

if TYPE_CHECKING:  # datasets takes a second to import
    from datasets import Dataset, IterableDataset

_KINDS = ("char", "byte", "bpe")
_TEXTS: dict[str, tuple[type, str]] = {
    "dataset_name": (
        str,
        "a `datasets` name or a local data set; nothing = the embedded Python documentation",
    ),
    "dataset_config_name": (str, "its configuration"),
    "train_file": (str, "a text, json, csv or parquet file, or a directory of text files"),
    "validation_file": (
        str,
        "the same for validation; nothing = the end of the training text is held out",
    ),
    "validation_fraction": (float, "how much of it"),
    "text_column": (str, "the column of text; nothing = `text` or the only column of strings"),
}
_TOKENS: dict[str, tuple[type, str]] = {
    "tokenizer": (
        str,
        "char, byte or bpe, learned from the training text, or a saved tokenizer's folder",
    ),
    "vocab_size": (int, "size of a bpe vocabulary"),
    "sequence_length": (int, "tokens of a window"),
}
_SHOWN_DOCUMENTS = 10_000  # of a stream, to learn a tokenizer from


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Which text, and how it is cut; the fields are the flags. The default is the embedded text.

    Args:
        dataset_name: as for [`ardm.data.load_texts`], like the next five.
        dataset_config_name: the configuration of `dataset_name`.
        train_file: a text, a table of texts or a directory of texts.
        validation_file: the same, for validation.
        validation_fraction: the part held out at the end without a validation split or file.
        text_column: the column of the texts.
        tokenizer: "char", "byte" or "bpe", learned from the training text, or the folder of a
            saved tokenizer.
        vocab_size: of "bpe".
        sequence_length: tokens of a window; None = the most that a saved model takes.
        streaming: read the text while training.
    """

    dataset_name: str | None = None
    dataset_config_name: str | None = None
    train_file: str | None = None
    validation_file: str | None = None
    validation_fraction: float = 0.05
    text_column: str | None = None
    tokenizer: str = "char"
    vocab_size: int | None = None
    sequence_length: int | None = 128
    streaming: bool = False

    @property
    def name(self) -> str:
        """What the text is called on a card: a name, no path of this machine."""
        given = self.dataset_name or self.train_file
        return public(given) if given else "Python documentation topics (standard library)"

    @property
    def held_out_name(self) -> str:
        """What the validation text is called in a report: a name, no path of this machine."""
        return public(self.validation_file or "") or f"held-out part of {self.name}"


class _Model(Protocol):
    """What has a `max_position_embeddings` in its configuration."""

    @property
    def config(self) -> Any: ...


# ---------------------------------------------------------------------------------------- flags
def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of a text to train on.

    Args:
        parser: the recipe's parser.
    """
    group = _add_flags(parser, _TEXTS | _TOKENS)
    group.add_argument("--streaming", action="store_true", help="read the data set while training")


def add_held_out_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of a text to score a saved model on.

    Args:
        parser: the recipe's parser.
    """
    group = _add_flags(parser, _TEXTS)
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
        group.add_argument(f"--{name}", type=kind, default=default, help=described)
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
    return Corpus(**{each.name: given[each.name] for each in fields(Corpus) if each.name in given})


# -------------------------------------------------------------------------------------- windows
def load_corpus(
    corpus: Corpus, tokenizer: PreTrainedTokenizerBase | None = None
) -> tuple[PreTrainedTokenizerBase, dict[str, Dataset | IterableDataset]]:
    """Reads the texts, learns a tokenizer if none is given, and cuts windows.

    Args:
        corpus: which text.
        tokenizer: a model's own, in place of the corpus's.

    Returns:
        The tokenizer, and windows as [`make_windows`] makes them under "train" and "validation".

    Raises:
        ValueError: if there is no data, it cannot be read, or it does not fit the tokenizer.
    """
    length = check_integer("sequence_length", corpus.sequence_length, 1)
    texts = load_texts(**_texts_of(corpus), streaming=corpus.streaming)
    tokenizer = tokenizer or _tokenizer(corpus, texts["train"])
    windows = {name: make_windows(split, tokenizer, length) for name, split in texts.items()}
    return tokenizer, windows


def load_held_out(
    corpus: Corpus, model: _Model | int, tokenizer: PreTrainedTokenizerBase
) -> Dataset | IterableDataset:
    """Reads the validation text for a saved model.

    A `validation_file` needs no training text beside it.

    Args:
        corpus: which text.
        model: whose longest sequence a window may have, or the number itself.
        tokenizer: the model's.

    Returns:
        Windows as [`make_windows`] makes them.

    Raises:
        ValueError: if there is no data, it cannot be read, or its windows do not fit the model.
    """
    length = window_length(corpus, model)
    named = _texts_of(corpus)
    if corpus.validation_file and not corpus.train_file and not corpus.dataset_name:
        named["train_file"] = corpus.validation_file
    return make_windows(load_texts(**named)["validation"], tokenizer, length)


def window_length(corpus: Corpus, model: _Model | int) -> int:
    """The tokens of a window for a saved model: what the corpus says, or the most it takes.

    Args:
        corpus: has a `sequence_length`.
        model: whose longest sequence a window may have, or the number itself.

    Returns:
        The number.

    Raises:
        ValueError: if the model does not take so many.
    """
    longest = model if isinstance(model, int) else model.config.max_position_embeddings
    length = longest if corpus.sequence_length is None else corpus.sequence_length
    if not 1 <= length <= longest:
        raise ValueError(
            f"sequence_length is {length}; expected 1..{longest},"
            " the model's max_position_embeddings."
        )
    return length


def _texts_of(corpus: Corpus) -> dict[str, Any]:
    return {name: getattr(corpus, name) for name in _TEXTS}


def _tokenizer(corpus: Corpus, texts: Dataset | IterableDataset) -> PreTrainedTokenizerBase:
    if corpus.tokenizer not in _KINDS:
        try:
            return AutoTokenizer.from_pretrained(corpus.tokenizer)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"tokenizer is {corpus.tokenizer!r};"
                f" expected char, byte, bpe or a saved tokenizer ({error})."
            ) from error
    shown = _SHOWN_DOCUMENTS if corpus.streaming else None
    documents = islice((row["text"] for row in texts), shown)
    return build_tokenizer(
        corpus.tokenizer,
        [*(text for text in documents if text), SEPARATOR],
        corpus.vocab_size,
        model_max_length=corpus.sequence_length,
    )
