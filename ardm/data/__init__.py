"""Texts become windows of token ids: where they come from, how they are cut, the flags for it."""

from .arguments import (
    Corpus,
    add_data_arguments,
    add_held_out_arguments,
    corpus_from,
    load_corpus,
    load_held_out,
    window_length,
)
from .lost_text import LostText, lost_in_windows, lost_text
from .reports import Splits, TextReport
from .texts import embedded_text, load_texts, load_validation_texts, read_text
from .tokenization import build_tokenizer
from .windows import SEPARATOR, make_windows

__all__ = [
    "SEPARATOR",
    "Corpus",
    "Splits",
    "TextReport",
    "LostText",
    "add_data_arguments",
    "add_held_out_arguments",
    "build_tokenizer",
    "corpus_from",
    "embedded_text",
    "load_corpus",
    "load_held_out",
    "load_texts",
    "load_validation_texts",
    "lost_in_windows",
    "lost_text",
    "make_windows",
    "read_text",
    "window_length",
]
