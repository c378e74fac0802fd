"""Flags of `generate`, and the prompts of a file."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ..generation_config_ardm import ORDER_NAMES, RESAMPLE_NAMES
from ..named_plans import PLAN_NAMES

# of `generate`, which checks them; not given = the model's own
SETTINGS: dict[str, dict[str, Any]] = {
    "max_new_tokens": {"type": int, "help": "tokens to append to the prompt"},
    "order": {"choices": ORDER_NAMES, "help": "in which tokens are generated (random)"},
    "order_temperature": {"type": float, "help": "noise on an order that looks at the model (0)"},
    "tokens_per_step": {"type": int, "help": "tokens of a pass (1)"},
    "steps": {"type": int, "help": "instead of tokens_per_step: number of passes"},
    "plan": {"choices": PLAN_NAMES, "help": "how tokens are shared out over --steps (uniform)"},
    "threshold": {"type": float, "help": "a pass also takes whatever is at least this probable"},
    "entropy_bound": {
        "type": float,
        "help": "a pass also takes tokens up to this much entropy, in nats",
    },
    "resample_steps": {"type": int, "help": "passes that predict some tokens again"},
    "resample_fraction": {"type": float, "help": "how many of the generated tokens in each (0.1)"},
    "resample_order": {"choices": RESAMPLE_NAMES, "help": "which tokens these are (random)"},
    "block_length": {"type": int, "help": "generate in blocks of so many tokens, left to right"},
    "do_sample": {
        "action": argparse.BooleanOptionalAction,
        "help": "draw tokens, or take the likeliest (draw)",
    },
    "temperature": {"type": float, "help": "of the tokens' distribution (1)"},
    "top_k": {"type": int, "help": "only so many of the likeliest tokens"},
    "top_p": {"type": float, "help": "only the likeliest tokens of this total probability"},
    "min_p": {"type": float, "help": "only tokens of this probability over the likeliest's"},
    "guidance_scale": {"type": float, "help": "against the prompt hidden; 1 = off"},
    "seed": {"type": int, "default": 0, "help": "of all that is drawn (0)"},
}


def add_generation_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the settings of `generate` that can be written as words.

    Args:
        parser: the recipe's parser.
    """
    group = parser.add_argument_group("generation")
    for name, options in SETTINGS.items():
        group.add_argument(f"--{name}", **options)


def generation_settings(args: argparse.Namespace) -> dict[str, Any]:
    """The settings that were given: keyword values of `generate`."""
    return {name: value for name in SETTINGS if (value := getattr(args, name)) is not None}


def read_prompts(path: str) -> list[str]:
    """Prompts of a file: a line each, or in JSON lines the field "prompt".

    Args:
        path: a text file, or one of JSON lines that is called so (.jsonl); "-" = standard input,
            whose lines are JSON if the first one is an object.

    Returns:
        The prompts, without empty lines.

    Raises:
        ValueError: if there is none, or a line is no JSON object with a prompt.
    """
    content = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    lines = [(number, line) for number, line in enumerate(content.split("\n"), 1) if line.strip()]
    if not lines:
        raise ValueError(f"{path} holds no prompt; expected one a line.")
    as_json = path.endswith(".jsonl") or (path == "-" and lines[0][1].lstrip().startswith("{"))
    return [_prompt(line, f"{path}:{number}") if as_json else line for number, line in lines]


def _prompt(line: str, place: str) -> str:
    expected = 'expected a JSON object with a text as its "prompt"'
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{place}: {error}; {expected}.") from error
    if not isinstance(row, dict) or not isinstance(row.get("prompt"), str):
        raise ValueError(f"{place} is {line[:60]!r}; {expected}.")
    return row["prompt"]
