"""Corpus: which text, and how it is cut; from flags such as `--train_file` to windows of ids.

The flags end here: what reads the text takes the values of a [`Corpus`].
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass, fields
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from ..training import check_integer
from ..training.local_paths import public
from ..training.model_folders import find_model, loading
from .framing import Frame
from .paths import is_address
from .pieces import documents_of
from .texts import load_texts, load_validation_texts
from .tokenization import build_tokenizer, with_mask_token
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
_USUAL_LENGTH = 512  # tokens of a window, where a model takes a book
_SHOWN_DOCUMENTS = 10_000  # of a stream, to learn a tokenizer from


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


# -------------------------------------------------------------------------------------- windows
def load_corpus(
    corpus: Corpus,
    tokenizer: PreTrainedTokenizerBase | None = None,
    model: _Model | None = None,
) -> tuple[PreTrainedTokenizerBase, dict[str, Dataset | IterableDataset]]:
    """Reads the texts, learns a tokenizer if none is given, and cuts windows.

    Args:
        corpus: which text.
        tokenizer: a model's own, in place of the corpus's.
        model: the same; what its configuration has as `given_token_ids`, and the tokenizer sets
            around a text, is around each window.

    Returns:
        The tokenizer, and windows as [`make_windows`] makes them under "train" and "validation".

    Raises:
        ValueError: if there is no data, it cannot be read, or it does not fit the tokenizer.
    """
    length = check_integer("sequence_length", corpus.sequence_length, 1)
    saved = tokenizer or _saved_tokenizer(corpus.tokenizer)  # before the text is read
    texts = load_texts(**_texts_of(corpus), streaming=corpus.streaming)
    tokenizer = saved or _learned_tokenizer(corpus, texts["train"])
    windows = {
        name: _framed_windows(split, tokenizer, length, model, _called(corpus, name))
        for name, split in texts.items()
    }
    return tokenizer, windows


def _framed_windows(
    texts: Any,
    tokenizer: PreTrainedTokenizerBase,
    length: int,
    model: _Model | int | None,
    called: dict[str, Any],
) -> Any:
    """Windows of `length` tokens; those that the tokenizer sets around a text are given."""
    given = getattr(getattr(model, "config", None), "given_token_ids", None)
    frame = Frame.of(tokenizer, given) if given else Frame()
    if length <= frame.num_tokens:
        raise ValueError(
            f"sequence_length is {length}, of which the tokenizer sets {frame.num_tokens} around a"
            " text; expected more."
        )
    return frame.around(make_windows(texts, tokenizer, length - frame.num_tokens, **called))


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
    if corpus.validation_file:
        training = ("dataset_name", "dataset_config_name", "train_file", "validation_fraction")
        texts = load_validation_texts(**{k: named[k] for k in named.keys() - set(training)})
    else:
        texts = load_texts(**named)
    called = _called(corpus, "validation")
    return _framed_windows(texts["validation"], tokenizer, length, model, called)


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
    longest, usual = _longest(model)
    length = usual if corpus.sequence_length is None else corpus.sequence_length
    if not 1 <= length <= longest:
        raise ValueError(
            f"sequence_length is {length}; expected 1..{longest},"
            " the model's max_position_embeddings."
        )
    return length


def _longest(model: _Model | int) -> tuple[int, int]:
    """The most tokens that a model takes, and of an adopted one what is usual unless asked for."""
    if isinstance(model, int):
        return model, model
    longest = getattr(model, "longest_sequence", None)  # of an adopted one
    if longest is None:
        longest = model.config.max_position_embeddings
        return longest, longest
    return longest, min(longest, _USUAL_LENGTH)


def _texts_of(corpus: Corpus) -> dict[str, Any]:
    return {name: getattr(corpus, name) for name in (*_TEXTS, "line_by_line")}


def _called(corpus: Corpus, split: str) -> dict[str, Any]:
    """What a text is called where it is too short for a window, and what may be done."""
    shorter = "a smaller sequence_length"
    if split == "train":
        return {"name": "the training text", "way_out": f"; give more text or {shorter}."}
    if corpus.validation_file:
        return {"name": "the validation text", "way_out": f"; give more text or {shorter}."}
    own = "a validation_file, more text, a greater validation_fraction"
    return {"name": "the held-out part", "way_out": f"; give {own} or {shorter}."}


def _saved_tokenizer(name: str) -> PreTrainedTokenizerBase | None:
    if name in _KINDS:
        return None
    try:
        found = find_model(name, "tokenizer.json", "tokenizer")
        with loading(found, "tokenizer"):
            return with_mask_token(AutoTokenizer.from_pretrained(found))
    except ValueError as error:
        expected = "expected char, byte, bpe or a saved tokenizer"
        raise ValueError(f"tokenizer is {name!r}; {expected}: {error}") from error


def _learned_tokenizer(corpus: Corpus, texts: Dataset | IterableDataset) -> PreTrainedTokenizerBase:
    documents: Iterable[str] = (
        islice((row["text"] for row in texts), _SHOWN_DOCUMENTS)
        if corpus.streaming
        else chain.from_iterable(documents_of(texts, "text"))
    )
    return build_tokenizer(
        corpus.tokenizer,
        chain(documents, [SEPARATOR]),
        corpus.vocab_size,
        model_max_length=corpus.sequence_length,
    )
