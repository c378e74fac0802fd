"""Corpora: from the values of a [`Corpus`] to a tokenizer and windows of ids."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Protocol

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from ..training import check_integer
from ..training.model_folders import find_model, loading
from .arguments import TEXT_FLAGS, Corpus
from .framing import Frame, frame_of
from .pieces import documents_of
from .texts import load_texts, load_validation_texts
from .tokenization import build_tokenizer, with_mask_token
from .windows import SEPARATOR, make_windows

if TYPE_CHECKING:  # datasets takes a second to import
    from datasets import Dataset, IterableDataset

_KINDS = ("char", "byte", "bpe")
_DEFAULT_WINDOW = 512  # tokens, where an adopted model takes a book
_SHOWN_DOCUMENTS = 10_000  # of a stream, to learn a tokenizer from


class _Model(Protocol):
    """What has a `max_position_embeddings` in its configuration."""

    @property
    def config(self) -> Any: ...


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
    model: _Model | None,
    called: dict[str, Any],
) -> Any:
    """Windows of `length` tokens; those that the tokenizer sets around a text are given."""
    frame = Frame() if model is None else frame_of(model, tokenizer)
    if length <= frame.num_tokens:
        raise ValueError(
            f"sequence_length is {length}, of which the tokenizer sets {frame.num_tokens} around a"
            " text; expected more."
        )
    return frame.around(make_windows(texts, tokenizer, length - frame.num_tokens, **called))


def load_held_out(
    corpus: Corpus, model: _Model, tokenizer: PreTrainedTokenizerBase
) -> Dataset | IterableDataset:
    """Reads the validation text for a saved model.

    A `validation_file` needs no training text beside it.

    Args:
        corpus: which text.
        model: whose longest sequence a window may have.
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


def window_length(corpus: Corpus, model: _Model) -> int:
    """The tokens of a window for a saved model: what the corpus says, or the most it takes.

    Args:
        corpus: has a `sequence_length`.
        model: whose longest sequence a window may have.

    Returns:
        The number.

    Raises:
        ValueError: if the model does not take so many.
    """
    longest, usual = _longest(model)
    length = usual if corpus.sequence_length is None else corpus.sequence_length
    if not 1 <= length <= longest:
        named = getattr(model.config, "max_position_embeddings", None) == longest
        why = "the model's max_position_embeddings"
        why = why if named else f"as the model takes {longest} positions"
        raise ValueError(f"sequence_length is {length}; expected 1..{longest}, {why}.")
    return length


def _longest(model: _Model) -> tuple[int, int]:
    """The most tokens that a model takes, and of an adopted one what is usual unless asked for."""
    longest = getattr(model, "longest_sequence", None)  # of an adopted one
    if longest is None:
        longest = model.config.max_position_embeddings
        return longest, longest
    return longest, min(longest, _DEFAULT_WINDOW)


def _texts_of(corpus: Corpus) -> dict[str, Any]:
    return {name: getattr(corpus, name) for name in (*TEXT_FLAGS, "line_by_line")}


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
