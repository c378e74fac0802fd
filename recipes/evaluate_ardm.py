"""How likely is a text? Bits per token, character and byte, and perplexity, with intervals.

    python recipes/evaluate_ardm.py                            # what `make demo` left, on its data
    python recipes/evaluate_ardm.py --validation_file mine.txt # any text
    python recipes/evaluate_ardm.py --order confidence         # exact, in one order
    python recipes/evaluate_ardm.py --order confidence --steps 32    # as `generate` with 32 steps
    accelerate launch --num_processes 2 --cpu recipes/evaluate_ardm.py --num_samples all

Without --order: the NELBO, an upper bound on -log p that averages over all orders, from
--num_samples masked versions of a window. With one: the exact -log p of the model that visits the
positions in this order, no bound. Whole windows of the text are scored, not the rest that fills
none, the same on any number of processes; 95 % intervals are over windows and masks. Where the
tokenizer loses some of the text (unknown characters, lower case), that is said, and there is no
figure by character or byte. Demo model on 2 CPU cores: 10 s, 2.07 bits per character; exact 75 s.
"""

import argparse
import time
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from torch import Tensor

from ardm import ARDMForMaskedLM, log_prob, uniform_plan
from ardm.data import add_held_out_arguments, corpus_from, load_held_out
from ardm.evaluation import BoundEvaluation
from ardm.hub import DEMO_FOLDER, load_folder
from ardm.metrics.bits import describe
from ardm.path_likelihood import LIKELIHOOD_ORDERS
from ardm.training import (
    check_integer,
    check_writable,
    process_state,
    quieten,
    recipe_parser,
    run_recipe,
    write_json_atomically,
)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = recipe_parser(__doc__)
    add = parser.add_argument
    add("--model_name_or_path", default=DEMO_FOLDER, help="a folder, or user/name on the Hub")
    add_held_out_arguments(parser)
    add("--num_samples", help="of the bound: masks of a window, or all = every count (default: 8)")
    add("--order", choices=LIKELIHOOD_ORDERS, help="exact -log p in it, not the bound over all")
    add("--steps", type=int, help="with --order: groups of equal size, not one token at a time")
    add("--max_eval_windows", type=int, help="score the first ones alone")
    add("--seed", type=int, default=0, help="of the bound's masks")
    add("--output_file", help="also write the figures to this JSON file")
    args = parser.parse_args(argv)
    if args.num_samples is not None and args.order is not None:
        raise ValueError(
            f"num_samples is {args.num_samples} with an order;"
            " nothing is drawn for an exact likelihood."
        )
    if args.steps is not None and args.order is None:
        raise ValueError(
            f"steps is {args.steps} without an order;"
            f" expected --order {'|'.join(LIKELIHOOD_ORDERS)} beside it."
        )
    return args


def num_versions(given: str | None) -> int | Literal["all"]:
    """What --num_samples says."""
    if given == "all":
        return "all"
    number = 8 if given is None else int(given) if given.isdecimal() else given
    return check_integer("num_samples", number, 1, others=" or 'all'")


def nats(args: argparse.Namespace, model: ARDMForMaskedLM, windows: BoundEvaluation) -> Tensor:
    """-log p of each window, or its bound, float64 (W,)."""
    if args.order is None:
        return windows.nats(model, show_progress=True)
    length = int(windows.num_tokens.max())
    plan = None if args.steps is None else uniform_plan(length, args.steps)

    def exact(model: ARDMForMaskedLM, input_ids: Tensor, _: Tensor) -> Tensor:
        return -log_prob(model, input_ids, args.order, plan=plan)

    return windows.measure(model, exact, show_progress=True)


def what_and_kind(args: argparse.Namespace, lost: bool) -> tuple[str, str]:
    tokens_alone = " of the tokens alone" if lost else ""
    if args.order is None:
        return "NELBO over all orders", f"upper bound{tokens_alone}"
    at_once = "one token at a time" if args.steps is None else f"in {args.steps} steps"
    return f"-log p, {args.order}, {at_once}", f"exact{tokens_alone}"


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    num_samples = num_versions(args.num_samples)
    corpus = corpus_from(args)
    began = time.perf_counter()
    state = process_state()
    quieten(state.is_main_process)
    if args.output_file:
        check_writable(Path(args.output_file).parent)

    model, tokenizer = load_folder(args.model_name_or_path)
    with state.main_process_first():  # one process fills the data cache, the others read it
        held_out = load_held_out(corpus, model, tokenizer)
    windows = BoundEvaluation(held_out, args.max_eval_windows, num_samples, args.seed)
    figures = windows.figures(nats(args, model.to(state.device), windows))
    if not state.is_main_process:
        return

    what, kind = what_and_kind(args, bool(windows.lost))
    length = windows.sequence_length
    size = f"{len(windows)} windows of {length} tokens"
    characters = windows.num_characters
    print(f"{what}: {size} ({characters:,} characters), {corpus.held_out_name}")
    print(*(f"  {describe(figure, unit, kind)}" for unit, figure in figures.items()), sep="\n")
    if windows.lost:
        print(f"  {windows.lost.refusal}")
    if args.output_file:
        about = {
            "what": what,
            "kind": kind,
            "num_windows": len(windows),
            "num_characters": characters,
            "lost_text": asdict(windows.lost),
            "sequence_length": length,
            "data": corpus.held_out_name,
            "num_samples": num_samples if args.order is None else None,
            "model": args.model_name_or_path,
            "seed": args.seed,
            "seconds": round(time.perf_counter() - began, 1),
        }
        rows = {
            unit: {**each._asdict(), "interval": each.interval} for unit, each in figures.items()
        }
        write_json_atomically(args.output_file, about | {"figures": rows})


if __name__ == "__main__":
    run_recipe(main)
