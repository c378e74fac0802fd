"""Flags of stages: whether a new model reveals values at once or level by level."""

import argparse
from typing import Any

from ..vocabulary import PARAMETRIZATIONS, STAGE_ORDERS

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
        help="values of a stage: digits in this base, the most significant first",
    )
    add("--stage_order", choices=STAGE_ORDERS, default=STAGE_ORDERS[0], help="of all positions")
    add(
        "--parametrization",
        choices=PARAMETRIZATIONS,
        default=PARAMETRIZATIONS[0],
        help="logits of all values, or of a stage's alone",
    )


def stage_settings(args: argparse.Namespace) -> dict[str, Any]:
    """What a new network's configuration says of stages.

    Args:
        args: with the flags of [`add_stage_arguments`].

    Returns:
        Fields of `ARDMConfig`. One stage has no base.
    """
    settings = {name: getattr(args, name) for name in STAGES}
    return settings | ({"branching_factor": None} if args.num_stages == 1 else {})
