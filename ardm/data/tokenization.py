"""Tokenizers built from nothing: characters, bytes and byte-level byte-pair encoding.

decode(encode(text)) = text for every text (of the alphabet, for characters). Data symbols have the
ids 0 .. K-1 and the special tokens follow, so that the mask id is never an index into the data's
categories.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeAlias, Union

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from .columns import text_column_of
from .pieces import documents_of, pieces_of

if TYPE_CHECKING:  # datasets takes a second to import
    from datasets import Dataset, IterableDataset

UNK = "[UNK]"
MASK = "[MASK]"
PAD = "[PAD]"
BYTES = 256

Texts: TypeAlias = Union[str, Iterable[str], "Dataset", "IterableDataset"]


def build_tokenizer(
    kind: str,
    texts: Texts,
    vocab_size: int | None = None,
    *,
    model_max_length: int | None = None,
) -> PreTrainedTokenizerFast:
    """Builds a lossless tokenizer with `[MASK]` and `[PAD]`.

    Args:
        kind: `"char"`, one token for each distinct character, by code point, and `[UNK]` for any
            other; `"byte"`, the 256 bytes of UTF-8, id = byte; `"bpe"`, byte-level byte-pair
            encoding trained here.
        texts: what to take the alphabet or the merges from (unused by `"byte"`): a text, several,
            or a data set, whose column `text` or only column of strings is taken.
        vocab_size: number of embedding rows, special tokens included. For `"bpe"` the most there
            may be (4096 by default; few texts give fewer merges); the other kinds have one possible
            size, so leave it out.
        model_max_length: the longest sequence of the model, written to the tokenizer's files.

    Returns:
        A tokenizer that adds no special tokens by itself; `len(tokenizer)` is the number of
        embedding rows.

    Raises:
        ValueError: an unknown kind, no text to learn from or what is none, or a `vocab_size` that
            does not fit the kind.
    """
    builders = {"char": _char_backend, "byte": _byte_backend, "bpe": _bpe_backend}
    if kind not in builders:
        raise ValueError(f"kind is {kind!r}, expected one of {', '.join(map(repr, builders))}")
    backend = builders[kind](_pieces(texts), vocab_size)
    backend.add_special_tokens([MASK, PAD])
    if kind != "bpe" and vocab_size not in (None, backend.get_vocab_size()):
        raise ValueError(
            f"vocab_size is {vocab_size},"
            f" but {kind!r} has {backend.get_vocab_size()} tokens here; omit it"
        )
    unk_token = {"unk_token": UNK} if kind == "char" else {}
    length = {} if model_max_length is None else {"model_max_length": model_max_length}
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        mask_token=MASK,
        pad_token=PAD,
        clean_up_tokenization_spaces=False,
        **unk_token,
        **length,
    )


def _pieces(texts: Texts) -> Iterator[str]:
    """The texts in pieces, one at a time, whatever they come in."""
    for document in _documents(texts):
        if isinstance(document, str):
            yield from pieces_of(document)
        elif document is not None:
            raise ValueError(f"a text is {str(document)[:40]!r}, expected a string")


def _documents(texts: Texts) -> Iterable[object]:
    if isinstance(texts, str):
        return [texts]
    if isinstance(texts, Mapping):
        raise ValueError(f"texts is a mapping of {list(texts)}, expected one of its values")
    if not hasattr(texts, "select_columns"):  # no data set
        return texts
    column = text_column_of(texts)
    if hasattr(texts, "num_rows"):
        return chain.from_iterable(documents_of(texts, column))
    rows: Iterable[Any] = texts
    return (row[column] for row in rows)


def _char_backend(pieces: Iterator[str], vocab_size: int | None) -> Tokenizer:
    found: set[str] = set()
    for piece in pieces:
        found.update(piece)
    alphabet = sorted(found)
    if not alphabet:
        raise ValueError("texts hold no characters, expected some to take the alphabet from")
    vocab = {symbol: i for i, symbol in enumerate([*alphabet, UNK])}
    # BPE without merges is a table of characters; WordLevel behind a splitting regex is four times
    # slower
    backend = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token=UNK, fuse_unk=False))
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens([UNK])
    return backend


def _byte_backend(pieces: Iterator[str], vocab_size: int | None) -> Tokenizer:
    # GPT-2's alphabet: printable bytes are themselves, the others in order the code points from 256
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    hidden_bytes = sorted(set(range(BYTES)) - {ord(symbol) for symbol in alphabet})
    vocab = {symbol: ord(symbol) for symbol in alphabet if ord(symbol) < BYTES}
    stand_ins = (symbol for symbol in alphabet if ord(symbol) >= BYTES)
    vocab |= dict(zip(stand_ins, hidden_bytes, strict=True))
    backend = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    return backend


def _bpe_backend(pieces: Iterator[str], vocab_size: int | None) -> Tokenizer:
    num_specials = 2
    vocab_size = 4096 if vocab_size is None else vocab_size
    if vocab_size < BYTES + num_specials:
        raise ValueError(
            f"vocab_size is {vocab_size}, expected at least {BYTES + num_specials}:"
            " 256 bytes and specials"
        )
    first = next(filter(None, pieces), "")
    if not first:
        raise ValueError("texts hold no characters, expected some to train on")
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - num_specials,
        min_frequency=2,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(chain([first], pieces), trainer=trainer)
    return backend


def vocabulary_size(tokenizer: PreTrainedTokenizerBase) -> int:
    """How many ids a tokenizer has, with the gaps between them: the highest and one.

    Args:
        tokenizer: any.

    Returns:
        The number; 0 of an empty vocabulary.
    """
    return max(tokenizer.get_vocab().values(), default=-1) + 1


def with_mask_token(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Gives a tokenizer a mask token, as those of GPT-2, Llama or Qwen have none.

    Args:
        tokenizer: any; one without a mask token is changed in place.

    Returns:
        The same tokenizer.
    """
    if tokenizer.mask_token is None:
        tokenizer.add_special_tokens({"mask_token": MASK})
    return tokenizer
