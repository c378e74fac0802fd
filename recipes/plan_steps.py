"""What do 4 tokens a step cost? Measures a saved model's loss by number of known tokens, and plans
steps by it.

    python recipes/plan_steps.py                                   # what `make demo` left in runs/ardm, on its own data
    python recipes/plan_steps.py --validation_file mine.txt --max_eval_windows 512 --num_orders 4
    accelerate launch --num_processes 2 --cpu recipes/plan_steps.py

Afterwards `model.generate(plan="optimal", steps=32)` spends its steps where they gain most. Written
into the model's folder (or --output_dir): per_step_losses in generation_config.json, with errors
and results in per_step_losses.json; per_step_losses.png; quality_against_steps.png: the bound under
the optimal, cosine and uniform plan of each number of
steps, and what they take. Plans are scored on windows that did not choose them. Demo model, 2 CPU
    cores: 75 s.
"""

import argparse
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ardm import StepLosses, measure_step_losses
from ardm.data.arguments import add_held_out_arguments, held_out_name, load_held_out
from ardm.evaluation.bound import ScoredWindows
from ardm.evaluation.step_report import (
    compare_plans,
    plot_quality_against_steps,
    plot_step_losses,
    save_step_losses,
    table,
)
from ardm.hub.cards import machine
from ardm.hub.folder import DEMO_FOLDER, load_saved
from ardm.masked_losses import require_positive
from ardm.training.files import check_writable
from ardm.training.launching import process_state, run_recipe
from ardm.training.loop import quieten
from ardm.training.timing import medians_in_turn


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model_name_or_path", default=DEMO_FOLDER, help="a folder, or user/name on the Hub"
    )
    add_held_out_arguments(parser)
    parser.add_argument("--max_eval_windows", type=int, default=128, help="windows to measure on")
    parser.add_argument(
        "--num_orders", type=int, default=1, help="of each window at each number of known tokens"
    )
    parser.add_argument("--repeats", type=int, default=3, help="of the time, for the median")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--output_dir", help="default: the model's folder, or runs/plan for a model of the Hub"
    )
    args = parser.parse_args(argv)
    require_positive(
        "repeats", args.repeats
    )  # needed last; every other number is checked when it is first used
    return args


def measure(args: argparse.Namespace, model: Any, windows: ScoredWindows) -> StepLosses:
    def score(model: Any, input_ids: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        source = torch.Generator().manual_seed(args.seed)
        options: Any = {"num_orders": args.num_orders, "row_numbers": numbers, "generator": source}
        return measure_step_losses(model, input_ids, **options).sequence_nats

    return StepLosses(windows.score(model, score, (args.sequence_length,), show_progress=True))


def seconds(
    model: Any, length: int, budgets: list[int], repeats: int
) -> dict[int, tuple[float, ...]]:
    masks = torch.full(
        (8, length), model.config.mask_token_id, device=model.device
    )  # eight are written at once

    def once(steps: int) -> tuple[float]:
        began = time.perf_counter()
        model.generate(masks, seed=0, plan="optimal", steps=steps).cpu()  # waits for a GPU
        return ((time.perf_counter() - began) / len(masks),)

    return medians_in_turn({steps: partial(once, steps) for steps in budgets}, repeats)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    state = process_state()
    quieten(state.is_main_process)
    model, tokenizer = load_saved(args.model_name_or_path)
    local = Path(args.model_name_or_path)
    folder = Path(args.output_dir or (local if local.is_dir() else "runs/plan"))
    check_writable(folder)
    with state.main_process_first():
        windows = ScoredWindows(load_held_out(args, model, tokenizer), args.max_eval_windows)
    length = args.sequence_length
    if len(windows) < 4:
        raise ValueError(
            f"there are {len(windows)} windows of {length} tokens; expected at least 4, two in each"
            " half."
        )
    losses = measure(args, model.to(state.device), windows)
    if not state.is_main_process:
        return
    halves = [StepLosses(losses.sequence_nats[half::2]) for half in (0, 1)]
    budgets = [2**k for k in range(length.bit_length()) if 2**k < length] + [length]
    model.generation_config.per_step_losses = losses.nats.tolist()
    rows = [
        {**compare_plans(n, *halves), "seconds": s}
        for n, (s,) in seconds(model, length, budgets, args.repeats).items()
    ]
    about = {
        "data": held_out_name(args),
        "num_orders": args.num_orders,
        "seed": args.seed,
        "machine": machine(),
    }
    about |= {"date": time.strftime("%Y-%m-%d"), "sequence_length": length, "budgets": rows}
    save_step_losses(folder, model.generation_config, losses, about)
    print(
        f"{len(windows)} windows of {length} tokens, {held_out_name(args)}.\nUpper bounds on one"
        f" half of them, plans from the other.\n\n{table(rows, length)}"
    )
    print(
        f'\nper_step_losses are in {folder / "generation_config.json"}: generate(plan="optimal",'
        f" steps=N) uses them for up to {length} masks."
    )
    plot_step_losses(losses.nats, losses.standard_error, folder / "per_step_losses.png")
    plot_quality_against_steps(
        rows, length, folder / "quality_against_steps.png", held_out_name(args)
    )


if __name__ == "__main__":
    run_recipe(main)
