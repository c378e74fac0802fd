"""Texts become windows of token ids: where they come from, how they are cut, and the flags that say
so.
"""

from .arguments import (
    add_data_arguments,
    add_held_out_arguments,
    corpus_name,
    held_out_name,
    load_corpus,
    load_held_out,
)
from .texts import embedded_text, load_texts, read_text
from .tokenization import build_tokenizer
from .windows import SEPARATOR, make_windows

__all__ = [
    "SEPARATOR",
    "add_data_arguments",
    "add_held_out_arguments",
    "build_tokenizer",
    "corpus_name",
    "embedded_text",
    "held_out_name",
    "load_corpus",
    "load_held_out",
    "load_texts",
    "make_windows",
    "read_text",
]
