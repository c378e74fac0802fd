"""Flags of a fine-tuning on answers, beside those of the loop, and the rows that they ask for."""

import argparse
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from ..data.answers import Turns, make_answer_rows, read_turns
from ..data.word_tasks import WORD_TASKS
from ..networks import longest_sequence
from ..training import check_integer, given_flags
from ..training.local_paths import public
from . import arguments

NETWORK = {
    "hidden_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 384,
}
# of a new model, of all weights of a saved one, of adapters beside them
LEARNING_RATES = {"new": 1e-2, "full": 1e-4, "lora": 2e-4}
_MUON = 0.02  # learning rate of a new model's matrices
_LORA = ("lora_alpha", "lora_target_modules", "lora_dropout", "merge_adapter")
_CHATS = (
    "dataset_name",
    "dataset_config_name",
    "train_file",
    "validation_file",
    "validation_fraction",
)


def add_instruct_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of chats, network, adapters and evaluation.

    Args:
        parser: the recipe's parser.
    """
    add = parser.add_argument_group("data").add_argument
    add("--dataset_name", help="chats of the Hub or of save_to_disk; nothing = tasks on words")
    add("--dataset_config_name", help="its configuration")
    files = "json, jsonl, parquet or csv with messages, or prompt and completion"
    add("--train_file", nargs="+", help=files)
    add("--validation_file", nargs="+", help="the same; nothing = a part of the data, or its end")
    add("--validation_fraction", type=float, default=0.05, help="how much of it (default: 0.05)")
    add("--chat_template", help="plain, raw or a file; nothing = the tokenizer's, or plain")
    described = (
        "token of the vocabulary that ends an answer; nothing = the tokenizer's, or a new one"
    )
    add("--eos_token", help=described)
    described = "tokens of an answer and its EOS (default: those of the longest one)"
    add("--answer_length", type=int, help=described)
    described = "most tokens of prompt and answer (default: what the model takes)"
    add("--sequence_length", type=int, help=described)
    arguments.add_model_arguments(parser, NETWORK, scored="answers")
    # a loss that is the bound; a saved model has been through the curriculum, and has AdamW
    parser.set_defaults(weight_power=0.0, start_ratio=1.0, muon_learning_rate=None)
    add = parser.add_argument_group("adapters").add_argument
    add("--lora_r", type=int, default=0, help="rank of adapters; 0 = all weights are trained")
    add("--lora_alpha", type=float, help="their weight is alpha / r (default: 2 r)")
    described = "linear layers, by the ends of their names (default: all but the head)"
    add("--lora_target_modules", nargs="+", default=(), help=described)
    add("--lora_dropout", type=float, default=0.0, help="of what adapters read")
    described = "save one model, with the adapters in its weights"
    add("--merge_adapter", action="store_true", help=described)
    add("--num_prompts", type=int, default=200, help="held-out prompts that are answered")


def parse(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """Reads the flags; one that would have no effect is refused.

    Args:
        parser: with the flags of [`add_instruct_arguments`] and of the loop.
        argv: the words; None = those of this process.

    Returns:
        The flags, with the learning rates that fit what is trained.

    Raises:
        ImportError: if adapters are asked for and peft is not installed.
        ValueError: if a number is out of range or a flag needs another one.
    """
    args = arguments.parse_adopting(parser, argv)
    check_integer("lora_r", args.lora_r, 0)
    check_integer("num_prompts", args.num_prompts, 1)
    for name in ("answer_length", "sequence_length"):
        if getattr(args, name) is not None:
            check_integer(name, getattr(args, name), 1)
    if not args.lora_r and (said := given_flags(parser, argv, _LORA)):
        raise ValueError(f"got {' '.join(said)} without adapters; expected --lora_r, too.")
    if args.lora_r and not args.model_name_or_path:
        raise ValueError(
            f"got --lora_r {args.lora_r} for a new model; expected adapters beside a saved one:"
            " name a --model_name_or_path."
        )
    if args.lora_r and args.muon_learning_rate is not None:
        raise ValueError("got --muon_learning_rate with --lora_r; expected it for whole matrices.")
    if args.lora_r and find_spec("peft") is None:  # before any data are read
        raise ImportError("--lora_r needs peft: pip install peft (or the optional extra `peft`).")
    kind = "lora" if args.lora_r else "full" if args.model_name_or_path else "new"
    if not given_flags(parser, argv, ["learning_rate"]):
        args.learning_rate = LEARNING_RATES[kind]
    if kind == "new" and args.muon_learning_rate is None:
        args.muon_learning_rate = _MUON
    return args


def data_name(args: argparse.Namespace) -> str:
    """What the chats are called on a card: a name, no path of this machine."""
    files = ", ".join(public(Path(name)) for name in args.train_file or ())
    return public(args.dataset_name) or files or WORD_TASKS


def chats_of(args: argparse.Namespace) -> dict[str, Any]:
    """The arguments of [`ardm.data.chat_files.load_chats`] that flags say."""
    return {name: getattr(args, name) for name in _CHATS}


def ends_of(args: argparse.Namespace) -> dict[str, Any]:
    """The arguments of [`ardm.data.chat_tokenizers.prepare_tokenizer`] that flags say."""
    return {
        "template": args.chat_template,
        "eos_token": args.eos_token,
        "new_token": args.lora_r == 0,  # adapters would not train its row
    }


def base_of(args: argparse.Namespace) -> str | None:
    """The model that adapters are saved without; None if a whole one is saved."""
    alone = args.lora_r > 0 and not args.merge_adapter
    return args.model_name_or_path if alone else None


def adapters_of(args: argparse.Namespace, model: Any) -> dict[str, Any]:
    """The arguments of [`ardm.hub.add_adapters`] that flags say; none without adapters.

    Args:
        args: of [`parse`].
        model: which they are put beside. One that predicted next tokens has never seen its mask.

    Returns:
        Values by name.
    """
    if not args.lora_r:
        return {}
    once_causal = getattr(model.config, "is_causal", None) is False
    return {
        "r": args.lora_r,
        "alpha": args.lora_alpha,
        "target_modules": list(args.lora_target_modules),
        "dropout": args.lora_dropout,
        "trained_tokens": [model.config.mask_token_id] if once_causal else [],
    }


def longest_row(
    args: argparse.Namespace, model: Any, turns: Mapping[str, Turns], answer_length: int
) -> int:
    """The most tokens that a row of prompt and answer may have.

    Args:
        args: of [`parse`].
        model: a saved one, or None.
        turns: "train" and "validation".
        answer_length: masks of an answer.

    Returns:
        What is asked for, or the most that a saved model takes; of one that takes any number, and
        of a new one, the longest row of the training data.

    Raises:
        ValueError: if it is more than the model takes, or leaves no room for a prompt.
    """
    asked = args.sequence_length
    most = None if model is None else longest_sequence(model)
    if asked is not None and most is not None and asked > most:
        raise ValueError(
            f"sequence_length is {asked}; expected at most {most}, what the model takes."
        )
    longest = most if asked is None else asked
    if longest is None:
        longest = turns["train"].longest_prompt + answer_length
    if longest <= answer_length:
        raise ValueError(
            f"prompt and answer have {longest} tokens, and the answer alone {answer_length};"
            " expected room for a prompt: give another --answer_length or --sequence_length."
        )
    return longest


class AnswerRows(NamedTuple):
    """What is trained on, by "train" and "validation".

    Args:
        turns: that fit.
        rows: of them, data sets.
        answer_length: masks of an answer.
        longest: the most tokens of a row.
    """

    turns: dict[str, Turns]
    rows: dict[str, Any]
    answer_length: int
    longest: int


def answer_rows(
    args: argparse.Namespace,
    chats: Mapping[str, Any],
    tokenizer: PreTrainedTokenizerBase,
    model: Any,
) -> AnswerRows:
    """Makes rows of chats; what does not fit is left out and counted by the turns.

    Args:
        args: of [`parse`].
        chats: "train" and "validation".
        tokenizer: with an EOS token and a chat template.
        model: a saved one, or None.

    Returns:
        The rows.

    Raises:
        ValueError: as [`longest_row`], or if nothing is left.
    """
    turns = {part: read_turns(rows, tokenizer, part) for part, rows in chats.items()}
    length = args.answer_length or turns["train"].longest_answer
    longest = longest_row(args, model, turns, length)
    turns = {part: found.fitting(length, longest) for part, found in turns.items()}
    rows = {part: make_answer_rows(found, tokenizer, length) for part, found in turns.items()}
    return AnswerRows(turns, rows, length, longest)
