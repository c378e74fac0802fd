"""Flags of a training on sequences of residues, beside those of its files, network and loop."""

import argparse
from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from ..data import Corpus, add_held_out_arguments, corpus_from, window_length
from ..data.fasta import SYNTHETIC, UNKNOWN_LETTERS
from ..data.residues import ALPHABETS, kind_of, residue_class_table, residue_ids
from ..data.sequence_rows import LONGER
from ..modeling_ardm import ARDMForMaskedLM
from ..training import check_integer, given_flags
from ..vocabulary import STAGE_ORDERS
from . import arguments

SEQUENCE_LENGTH = 64
LIMITATIONS = """\
A row is `[BOS]`, residues, `[EOS]`; a piece of a longer sequence has no mark where it was cut.
Marks and the number of residues are given, never generated: to fill a gap, write
`"[BOS]MKV" + tokenizer.mask_token * 20 + "LLG[EOS]"`. Bounds are given the number of residues.
"""


def add_protein_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of the sequences and of their coarse values.

    Args:
        parser: the recipe's parser.
    """
    add_held_out_arguments(parser)
    add = parser.add_argument_group("residues").add_argument
    add("--alphabet", choices=("auto", *ALPHABETS), default="auto", help="auto: by the letters")
    described = "letters outside the alphabet: refuse, or map to X (of bases N)"
    add("--unknown_residues", choices=UNKNOWN_LETTERS, default="refuse", help=described)
    described = "sequences of more than sequence_length - 2 residues: crop into rows, or refuse"
    add("--longer", choices=LONGER, default="crop", help=described)
    described = "1 = plain; 2 = by classes of residues; 3 (proteins) = by classes of classes"
    add("--num_stages", type=int, default=1, help=described)
    described = "all residues come through a stage together, or each on its own"
    add("--stage_order", choices=STAGE_ORDERS, default=STAGE_ORDERS[0], help=described)
    add("--num_samples", type=int, default=4, help="new sequences that are shown")
    arguments.add_model_arguments(parser)


def parse(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """Reads the flags; one that would have no effect is refused.

    Args:
        parser: with the flags of [`add_protein_arguments`].
        argv: the words; None = those of this process.

    Returns:
        The flags; `sequence_length` is that of a new model, or None: a saved model's own.

    Raises:
        ValueError: if what a saved model has is given, or a flag needs another one.
    """
    args = arguments.parse(parser, argv)
    check_integer("num_stages", args.num_stages, 1)
    check_integer("num_samples", args.num_samples, 1)
    if args.num_stages == 1 and given_flags(parser, argv, ["stage_order"]):
        raise ValueError(
            f"got --stage_order {args.stage_order} with num_stages=1; expected several stages."
        )
    if args.sequence_length is None and not args.model_name_or_path:
        args.sequence_length = SEQUENCE_LENGTH
    return args


def take_over(
    args: argparse.Namespace, model: ARDMForMaskedLM, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Sets the flags of what a saved model has itself.

    Args:
        args: of [`parse`], changed in place.
        model: the saved model.
        tokenizer: its tokenizer.

    Raises:
        ValueError: if it is no model of residues, or takes no such long rows.
    """
    args.alphabet = kind_of(tokenizer)
    args.sequence_length = window_length(corpus_from(args), model)


def data_name(corpus: Corpus) -> str:
    """What the sequences are called on a card."""
    synthetic = corpus.train_file is None and corpus.dataset_name is None
    return SYNTHETIC if synthetic else corpus.name


def network_settings(
    args: argparse.Namespace, tokenizer: PreTrainedTokenizerBase
) -> dict[str, Any]:
    """Fields of `ARDMConfig` for a new model of residues, beside the ids that are special.

    Args:
        args: of [`parse`].
        tokenizer: of the residues.

    Returns:
        Sizes, which ids are values, and their tree.
    """
    sizes = {name: getattr(args, name) for name in arguments.NETWORK}
    settings = sizes | residue_ids(tokenizer)
    if args.num_stages > 1:
        settings["value_tree"] = residue_class_table(kind_of(tokenizer), args.num_stages)
        settings["stage_order"] = args.stage_order
    return settings
