"""Flags of a training, beside those of its data and of the loop: network, objective, what for."""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from ..training import given_flags
from ..training.hub_arguments import add_hub_arguments, check_hub_arguments
from ..training.model_folders import find_model, model_type_of
from .stage_arguments import STAGES

NETWORK = {
    "hidden_size": 192,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "intermediate_size": 512,
}
OBJECTIVE = ("weight_power", "start_ratio")
SIZES = (*NETWORK, "hidden_dropout", *STAGES)
# For a network that someone else has trained, unless flags say otherwise: AdamW alone at a rate at
# which it is not forgotten, and the bound's own ratios from the beginning.
OF_ADOPTED: dict[str, Any] = {
    "learning_rate": 1e-4,
    "muon_learning_rate": None,
    "start_ratio": 1.0,
}
_VALUES = ("tokenizer", "vocab_size", "value_tree", "num_values")
_OVERRULED = (*SIZES, *_VALUES)  # by a saved model
_OF_A_SAVED_MODEL = (*_OVERRULED, "alphabet")  # which recipes read off it


def add_model_arguments(
    parser: argparse.ArgumentParser,
    network: Mapping[str, int | float] = NETWORK,
    scored: str = "windows",
) -> None:
    """Adds the flags of a training.

    Args:
        parser: the recipe's parser.
        network: default sizes of a new model, fields of `ARDMConfig`.
        scored: what the held-out data are cut into.
    """
    group = parser.add_argument_group("model")
    add = group.add_argument
    add("--model_name_or_path", help="go on from a saved model, with its tokens and sizes")
    for name, size in network.items():
        add(f"--{name}", type=type(size), default=size, help=f"of a new model (default: {size})")
    add_hub_arguments(group)
    add = parser.add_argument_group("objective").add_argument
    add("--muon_learning_rate", type=float, default=0.02, help="of the blocks' matrices")
    add("--weight_power", type=float, default=1.0, help="by mask ratio; 0 = the bound's own")
    add("--start_ratio", type=float, default=0.5, help="highest mask ratio at first; 1 = no limit")
    add = parser.add_argument_group("evaluation").add_argument
    add(f"--max_eval_{scored}", type=int, default=500, help=f"held-out {scored} to score")


def parse(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """Reads the flags of a training; one that would have no effect is refused.

    Args:
        parser: with the flags of [`add_model_arguments`] and of the data.
        argv: the words; None = those of this process.

    Returns:
        The flags. The `sequence_length` of a saved model is None unless it is given: its own.

    Raises:
        ValueError: if sizes, values or a tokenizer are given to a saved model, which has its own,
            or an upload would fail.
    """
    args = parser.parse_args(argv)
    check_hub_arguments(args)
    if args.model_name_or_path is None:
        return args
    said = given_flags(parser, argv, [name for name in _OF_A_SAVED_MODEL if name in args])
    if said:
        raise ValueError(
            f"got {' '.join(said)} and a model_name_or_path, which has its own;"
            " leave out the one or the other."
        )
    if "sequence_length" in args and not given_flags(parser, argv, ["sequence_length"]):
        args.sequence_length = None
    return args


def parse_adopting(
    parser: argparse.ArgumentParser, argv: Sequence[str] | None
) -> argparse.Namespace:
    """Reads the flags of a training that may begin with someone else's model.

    Args:
        parser: as for [`parse`]; gets `--trust_remote_code`.
        argv: the words; None = those of this process.

    Returns:
        As [`parse`]; of a model that is adopted, [`OF_ADOPTED`] are other defaults.
    """
    trusted = "run code that comes with a model_name_or_path of someone else's"
    parser.add_argument("--trust_remote_code", action="store_true", help=trusted)
    args = parse(parser, argv)
    if args.model_name_or_path and model_type_of(find_model(args.model_name_or_path)) != "ardm":
        said = given_flags(parser, argv, [*OF_ADOPTED])
        unsaid = {name: OF_ADOPTED[name] for name in OF_ADOPTED if f"--{name}" not in said}
        vars(args).update(unsaid)
    return args


def run_flags(args: argparse.Namespace) -> dict[str, Any]:
    """The flags that a training followed, by name.

    Args:
        args: all flags of the recipe.

    Returns:
        All of them, but for those that a saved model overrules.
    """
    unused = _OVERRULED if args.model_name_or_path else ()
    return {name: value for name, value in vars(args).items() if name not in unused}
