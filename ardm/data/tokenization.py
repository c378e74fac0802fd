"""Tokenizers built from nothing: characters, bytes and byte-level byte-pair encoding.

decode(encode(text)) = text for every text (of the alphabet, for characters). Data symbols have the
ids 0 .. K-1 and the special tokens follow, so that the mask id is never an index into the data's
categories.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

UNK = "[UNK]"
MASK = "[MASK]"
PAD = "[PAD]"
BYTES = 256

_PIECE_CHARACTERS = 2**16
# Byte-level BPE splits text here whatever surrounds the place: cutting there changes no token.
_CUTS = (re.compile(r"(?<=\S\n)(?=\S)"), re.compile(r"(?<=\S)(?= \S)"))


def build_tokenizer(
    kind: str,
    texts: Iterable[str] | str,
    vocab_size: int | None = None,
    *,
    model_max_length: int | None = None,
) -> PreTrainedTokenizerFast:
    """Builds a lossless tokenizer with `[MASK]` and `[PAD]`.

    Args:
        kind: `"char"`, one token for each distinct character, by code point, and `[UNK]` for any
            other; `"byte"`, the 256 bytes of UTF-8, id = byte; `"bpe"`, byte-level byte-pair
            encoding trained here.
        texts: what to take the alphabet or the merges from (unused by `"byte"`).
        vocab_size: number of embedding rows, special tokens included. For `"bpe"` the most there
            may be (4096 by default; few texts give fewer merges); the other kinds have one possible
            size, so leave it out.
        model_max_length: the longest sequence of the model, written to the tokenizer's files.

    Returns:
        A tokenizer that adds no special tokens by itself; `len(tokenizer)` is the number of
        embedding rows.

    Raises:
        ValueError: an unknown kind, no text to learn from, or a `vocab_size` that does not fit the
            kind.
    """
    builders = {"char": _char_backend, "byte": _byte_backend, "bpe": _bpe_backend}
    if kind not in builders:
        raise ValueError(f"kind is {kind!r}, expected one of {', '.join(map(repr, builders))}")
    backend = builders[kind]([texts] if isinstance(texts, str) else texts, vocab_size)
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


def _char_backend(texts: Iterable[str], vocab_size: int | None) -> Tokenizer:
    alphabet = sorted(set().union(*texts))
    if not alphabet:
        raise ValueError("texts hold no characters, expected some to take the alphabet from")
    vocab = {symbol: i for i, symbol in enumerate([*alphabet, UNK])}
    # BPE without merges is a table of characters; WordLevel behind a splitting regex is four times
    # slower
    backend = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token=UNK, fuse_unk=False))
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens([UNK])
    return backend


def _byte_backend(texts: Iterable[str], vocab_size: int | None) -> Tokenizer:
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


def _bpe_backend(texts: Iterable[str], vocab_size: int | None) -> Tokenizer:
    num_specials = 2
    vocab_size = 4096 if vocab_size is None else vocab_size
    if vocab_size < BYTES + num_specials:
        raise ValueError(
            f"vocab_size is {vocab_size}, expected at least {BYTES + num_specials}:"
            " 256 bytes and specials"
        )
    pieces = (piece for text in texts for piece in pieces_of(text))
    first = next(pieces, "")
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


def pieces_of(text: str) -> Iterator[str]:
    """Cuts a long text into pieces that a tokenizer takes in one go, in time linear in the text.

    Args:
        text: any text.

    Yields:
        Pieces of at most 2**17 characters, whose concatenation is the text. They end at a line
        break, or else before a word; only text that has neither for 2**16 characters is cut
        anywhere.
    """
    start = 0
    while len(text) - start > 2 * _PIECE_CHARACTERS:
        window = (start + _PIECE_CHARACTERS, start + 2 * _PIECE_CHARACTERS)
        cuts = (cut.start() for pattern in _CUTS if (cut := pattern.search(text, *window)))
        end = next(cuts, window[1])
        yield text[start:end]
        start = end
    yield text[start:]
