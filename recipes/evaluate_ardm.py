"""How likely is a text? Bits per token, character and byte, and perplexity, of a saved model, each
with its interval.

    python recipes/evaluate_ardm.py                                # what `make demo` left in runs/ardm, on its own data
    python recipes/evaluate_ardm.py --validation_file mine.txt     # any text
    python recipes/evaluate_ardm.py --order confidence             # exact, in one order
    python recipes/evaluate_ardm.py --order confidence --steps 32  # exact, of what `generate` writes in 32 steps
    accelerate launch --num_processes 2 --cpu recipes/evaluate_ardm.py --num_samples all

Without --order: the NELBO, an upper bound on -log p that averages over all orders, from
--num_samples draws a window.
With one: the exact -log p of the model that visits the positions in this order, no bound. Whole
    windows of the text are
scored, the same on any number of processes; 95 % intervals are over windows and draws. Demo: 10 s;
exact 75 s.
"""

import argparse
import time
from pathlib import Path
from typing import Any

from torch import Tensor

from ardm import log_prob, uniform_plan
from ardm.data.arguments import add_held_out_arguments, held_out_name, load_held_out
from ardm.evaluation.bound import BoundEvaluation
from ardm.hub.folder import DEMO_FOLDER, load_saved
from ardm.masked_losses import require_positive
from ardm.metrics.bits import describe
from ardm.training.files import check_writable
from ardm.training.files import write_json_atomically
from ardm.training.launching import process_state, run_recipe
from ardm.training.loop import quieten

ORDERS = ("left_to_right", "right_to_left", "confidence", "margin", "entropy")


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model_name_or_path", default=DEMO_FOLDER, help="a folder, or user/name on the Hub"
    )
    add_held_out_arguments(parser)
    parser.add_argument(
        "--num_samples", help="of the bound: draws a window, or all = every mask count (default: 8)"
    )
    parser.add_argument(
        "--order", choices=ORDERS, help="exact -log p in this order, instead of the bound over all"
    )
    parser.add_argument(
        "--steps",
        type=int,
        help="with --order: so many groups of equal size, not one token at a time",
    )
    parser.add_argument("--max_eval_windows", type=int, help="score the first ones alone")
    parser.add_argument("--seed", type=int, default=0, help="of the bound's draws")
    parser.add_argument("--output_file", help="also write the figures to this JSON file")
    args = parser.parse_args(argv)
    if args.num_samples is not None and args.order is not None:
        raise ValueError(
            f"num_samples is {args.num_samples} with an order; nothing is drawn for an exact"
            " likelihood."
        )
    args.num_samples = "8" if args.num_samples is None else args.num_samples
    if args.num_samples != "all":
        args.num_samples = (
            int(args.num_samples) if args.num_samples.isdecimal() else args.num_samples
        )
        require_positive("num_samples", args.num_samples, " or 'all'")
    if args.steps is not None and args.order is None:
        raise ValueError(
            f"steps is {args.steps} without an order; expected --order {'|'.join(ORDERS)}"
            " beside it."
        )
    return args


def nats(args: argparse.Namespace, model: Any, windows: BoundEvaluation) -> Tensor:
    """-log p of each window, or its bound, float64 (W,)."""
    if args.order is None:
        return windows.nats(model, show_progress=True)
    plan = None if args.steps is None else uniform_plan(args.sequence_length, args.steps)
    return windows.score(
        model,
        lambda model, ids, _: -log_prob(model, ids, args.order, plan=plan),
        show_progress=True,
    )


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    began = time.perf_counter()
    state = process_state()
    quieten(state.is_main_process)
    if args.output_file:
        check_writable(Path(args.output_file).parent)
    model, tokenizer = load_saved(args.model_name_or_path)
    with state.main_process_first():  # one process fills the data cache, the others read it
        held_out = load_held_out(args, model, tokenizer)
    windows = BoundEvaluation(held_out, args.max_eval_windows, args.num_samples, args.seed)
    figures = windows.figures(nats(args, model.to(state.device), windows))
    if not state.is_main_process:
        return
    at_once = "one token at a time" if args.steps is None else f"in {args.steps} steps"
    what = "NELBO over all orders" if args.order is None else f"-log p, {args.order}, {at_once}"
    kind = "upper bound" if args.order is None else "exact"
    print(f"{what}: {len(windows)} windows of {args.sequence_length} tokens, {held_out_name(args)}")
    print(*(f"  {describe(figure, unit, kind)}" for unit, figure in figures.items()), sep="\n")
    if args.output_file:
        about = {
            "what": what,
            "kind": kind,
            "num_windows": len(windows),
            "sequence_length": args.sequence_length,
        }
        about |= {
            "data": held_out_name(args),
            "num_samples": args.num_samples if args.order is None else None,
        }
        about |= {
            "model": args.model_name_or_path,
            "seed": args.seed,
            "seconds": round(time.perf_counter() - began, 1),
        }
        rows = {
            unit: {**figure._asdict(), "interval": figure.interval}
            for unit, figure in figures.items()
        }
        write_json_atomically(args.output_file, about | {"figures": rows})


if __name__ == "__main__":
    run_recipe(main)
