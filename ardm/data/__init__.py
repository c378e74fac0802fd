"""Texts become windows of token ids: where they come from, how they are cut, the flags for it.

Beside texts: sequences of residues as rows of ids, and tables of coarse values of a vocabulary.
"""

from .arguments import (
    Corpus,
    add_data_arguments,
    add_held_out_arguments,
    corpus_from,
)
from .character_classes import character_class_table
from .corpora import load_corpus, load_held_out, window_length
from .fasta import Sequences, load_sequences, read_sequences
from .lost_text import LostText, lost_in_windows, lost_text
from .reports import Splits, TextReport
from .residues import residue_class_table, residue_tokenizer
from .sequence_rows import make_rows
from .texts import embedded_text, load_texts, load_validation_texts, read_text
from .tokenization import build_tokenizer
from .value_tables import cluster_table, frequency_table, value_ids
from .windows import SEPARATOR, make_windows

__all__ = [
    "SEPARATOR",
    "Corpus",
    "Sequences",
    "Splits",
    "TextReport",
    "LostText",
    "add_data_arguments",
    "add_held_out_arguments",
    "build_tokenizer",
    "character_class_table",
    "cluster_table",
    "corpus_from",
    "embedded_text",
    "frequency_table",
    "load_corpus",
    "load_held_out",
    "load_sequences",
    "load_texts",
    "load_validation_texts",
    "lost_in_windows",
    "lost_text",
    "make_rows",
    "make_windows",
    "read_sequences",
    "read_text",
    "residue_class_table",
    "residue_tokenizer",
    "value_ids",
    "window_length",
]
