"""Flags of stages: whether a new model reveals values at once or level by level."""

import argparse
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..data.character_classes import character_class_table
from ..data.tokenization import vocabulary_size
from ..training import given_flags
from ..vocabulary import PARAMETRIZATIONS, STAGE_ORDERS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

# tables of coarse values that a text's tokenizer tells
TABLES: dict[str, Callable[..., list[list[int]]]] = {"classes": character_class_table}
STAGES = ("num_stages", "branching_factor", "stage_order", "parametrization")


def add_stage_arguments(
    parser: argparse.ArgumentParser, num_stages: int = 1, branching_factor: int | None = None
) -> None:
    """Adds the flags of [`stage_settings`].

    Args:
        parser: the recipe's parser.
        num_stages: default of its flag.
        branching_factor: default of its flag.
    """
    add = parser.add_argument_group("stages").add_argument
    add("--num_stages", type=int, default=num_stages, help="steps in which a value is revealed")
    add(
        "--branching_factor",
        type=int,
        default=branching_factor,
        help="values of a stage: digits in this base, the most significant first (nothing = the"
        " smallest base that tells all values apart)",
    )
    add("--stage_order", choices=STAGE_ORDERS, default=STAGE_ORDERS[0], help="of all positions")
    add(
        "--parametrization",
        choices=PARAMETRIZATIONS,
        default=PARAMETRIZATIONS[0],
        help="logits of all values, or of a stage's alone",
    )


def add_table_argument(parser: argparse.ArgumentParser) -> None:
    """Adds what else a model of text may reveal first, in place of digits.

    Args:
        parser: the recipe's parser.
    """
    described = "coarse values instead of digits: classes = vowel, consonant, digit, ... (one stage"
    described += " or two before the token itself)"
    add = parser.add_argument_group("stages of text").add_argument
    add("--value_tree", choices=TABLES, help=described)


def stage_settings(
    args: argparse.Namespace, tokenizer: "PreTrainedTokenizerBase | None" = None
) -> dict[str, Any]:
    """What a new network's configuration says of stages.

    Args:
        args: with the flags of [`add_stage_arguments`] and perhaps [`add_table_argument`].
        tokenizer: of the model, which a table is made from.

    Returns:
        Fields of `ARDMConfig`.
    """
    settings = {name: getattr(args, name) for name in STAGES}
    table = getattr(args, "value_tree", None)
    if table:
        return settings | {"value_tree": TABLES[table](tokenizer)}
    if args.num_stages == 1:
        settings["branching_factor"] = None  # the default of a recipe with stages
    elif args.branching_factor is None and tokenizer is not None:
        number = _num_values(tokenizer)
        base = settings["branching_factor"] = smallest_base(number, args.num_stages)
        said = "branching_factor is %d, the smallest base whose %d digits tell %d values apart"
        logger.info(said, base, args.num_stages, number)
    return settings


def smallest_base(num_values: int, num_stages: int) -> int:
    """The smallest base in which so many digits tell so many values apart, at least 2."""
    base = 2
    while base**num_stages < num_values:
        base += 1
    return base


def _num_values(tokenizer: "PreTrainedTokenizerBase") -> int:
    """How many ids of a vocabulary, with the gaps in it, are not special."""
    named = ("mask", "pad", "bos", "eos", "unk")
    special = {getattr(tokenizer, f"{name}_token_id") for name in named} - {None}
    return vocabulary_size(tokenizer) - len(special)


def check_stages(parser: argparse.ArgumentParser, argv: list[str] | None) -> None:
    """Raises ValueError if a flag of stages would have no effect.

    Args:
        parser: of the recipe.
        argv: the words; None = those of this process.

    Raises:
        ValueError: naming it.
    """
    args = parser.parse_args(argv)
    said = given_flags(parser, argv, STAGES)
    if getattr(args, "value_tree", None) and {"--num_stages", "--branching_factor"} & {*said}:
        raise ValueError(
            f"got {' '.join(said)} and --value_tree {args.value_tree}, which has its own stages;"
            " leave out the one or the other."
        )
    one = args.num_stages == 1 and not getattr(args, "value_tree", None)
    without = [flag for flag in said if flag != "--num_stages"]
    if one and without:
        raise ValueError(
            f"got {' '.join(without)} with num_stages=1, which has nothing to arrange; expected"
            " more stages, or to leave it out."
        )
