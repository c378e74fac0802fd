"""What the recipes' data flags mean: from `--dataset_name` or `--train_file` to a tokenizer and
windows of ids.
"""

import argparse
from itertools import islice
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from .windows import SEPARATOR, build_tokenizer, load_texts, make_windows

_TEXTS: dict[str, tuple[Any, Any, str]] = {
    "dataset_name": (
        str,
        None,
        "a `datasets` name or a local data set; nothing = the embedded Python documentation",
    ),
    "dataset_config_name": (str, None, "its configuration"),
    "train_file": (str, None, "a text, json, csv or parquet file, or a directory of text files"),
    "validation_file": (
        str,
        None,
        "the same for validation; nothing = the end of the training text is held out",
    ),
    "validation_fraction": (float, 0.05, "how much of it"),
    "text_column": (
        str,
        None,
        "the column of text; nothing = `text` or the only column of strings",
    ),
}
_TOKENS: dict[str, tuple[Any, Any, str]] = {
    "tokenizer": (
        str,
        "char",
        "char, byte or bpe, learned from the training text, or a saved tokenizer's folder",
    ),
    "vocab_size": (int, None, "size of a bpe vocabulary"),
    "sequence_length": (int, 128, "tokens of a window"),
}
_SHOWN_DOCUMENTS = 10_000  # of a stream, to learn a tokenizer from


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that [`load_corpus`] reads.

    Args:
        parser: the recipe's parser.
    """
    group = _add_flags(parser, _TEXTS | _TOKENS)
    group.add_argument("--streaming", action="store_true", help="read the data set while training")


def add_held_out_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that [`load_held_out`] reads.

    Args:
        parser: the recipe's parser.
    """
    group = _add_flags(parser, _TEXTS)
    group.add_argument(
        "--sequence_length", type=int, help="tokens of a window (default: the most the model takes)"
    )


def _add_flags(parser: argparse.ArgumentParser, flags: dict[str, tuple[Any, Any, str]]) -> Any:
    group = parser.add_argument_group("data")
    for name, (kind, default, text) in flags.items():
        group.add_argument(
            f"--{name}", type=kind, default=default, help=f"{text} (default: {default})"
        )
    return group


def load_corpus(
    args: argparse.Namespace, tokenizer: PreTrainedTokenizerBase | None = None
) -> tuple[PreTrainedTokenizerBase, dict[str, Any]]:
    """Reads the texts, learns a tokenizer if none is given, and cuts windows.

    Args:
        args: parsed flags of [`add_data_arguments`].
        tokenizer: a model's own, in place of `--tokenizer`.

    Returns:
        The tokenizer, and windows as [`ardm.data.windows.make_windows`] makes them under "train"
        and "validation".

    Raises:
        ValueError: if there is no data, it cannot be read, or it does not fit the tokenizer.
    """
    if args.sequence_length < 1:
        raise ValueError(f"sequence_length is {args.sequence_length}; expected at least 1.")
    texts = load_texts(**{name: getattr(args, name) for name in _TEXTS}, streaming=args.streaming)
    if tokenizer is None:
        tokenizer = _tokenizer(args, texts["train"])
    return tokenizer, {
        name: make_windows(split, tokenizer, args.sequence_length) for name, split in texts.items()
    }


def load_held_out(args: argparse.Namespace, model: Any, tokenizer: PreTrainedTokenizerBase) -> Any:
    """Reads the validation text for a saved model; a `validation_file` needs no training text
    beside it.

    Args:
        args: parsed flags of [`add_held_out_arguments`]; its `sequence_length` is filled in.
        model: the model, whose longest sequence a window may have.
        tokenizer: its tokenizer.

    Returns:
        Windows as [`ardm.data.windows.make_windows`] makes them.

    Raises:
        ValueError: if there is no data, it cannot be read, or its windows do not fit the model.
    """
    longest = model.config.max_position_embeddings
    args.sequence_length = longest if args.sequence_length is None else args.sequence_length
    if not 1 <= args.sequence_length <= longest:
        raise ValueError(
            f"sequence_length is {args.sequence_length}; expected 1..{longest}, what the model"
            " takes."
        )
    named = {name: getattr(args, name) for name in _TEXTS}
    if named["validation_file"] and not named["train_file"] and not named["dataset_name"]:
        named["train_file"] = named["validation_file"]
    return make_windows(load_texts(**named)["validation"], tokenizer, args.sequence_length)


def held_out_name(args: argparse.Namespace) -> str:
    """What the validation text is called in a report: a name, no path of this machine.

    Args:
        args: parsed flags of [`add_held_out_arguments`].

    Returns:
        The name.
    """
    return (
        Path(args.validation_file).name
        if args.validation_file
        else f"held-out part of {corpus_name(args)}"
    )


def corpus_name(args: argparse.Namespace) -> str:
    """What the data is called on a card: a name, no path of this machine.

    Args:
        args: parsed flags of [`add_data_arguments`].

    Returns:
        The name.
    """
    given = args.dataset_name or args.train_file
    if not given:
        return "Python documentation topics (standard library)"
    return Path(given).name if Path(given).exists() else given


def _tokenizer(args: argparse.Namespace, train_texts: Any) -> PreTrainedTokenizerBase:
    if args.tokenizer not in ("char", "byte", "bpe"):
        try:
            return AutoTokenizer.from_pretrained(args.tokenizer)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"tokenizer is {args.tokenizer!r}; expected char, byte, bpe or a saved tokenizer"
                f" ({error})."
            ) from error
    documents = islice(
        (row["text"] for row in train_texts), _SHOWN_DOCUMENTS if args.streaming else None
    )
    return build_tokenizer(
        args.tokenizer,
        [*(text for text in documents if text), SEPARATOR],
        args.vocab_size,
        model_max_length=args.sequence_length,
    )
