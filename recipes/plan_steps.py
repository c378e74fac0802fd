"""What do 4 tokens a step cost? Measures the loss by number of known tokens, and plans steps by it.

    python recipes/plan_steps.py                          # what `make demo` left, on its own data
    python recipes/plan_steps.py --validation_file mine.txt --max_eval_windows 512 --num_orders 4
    accelerate launch --num_processes 2 --cpu recipes/plan_steps.py

Afterwards `model.generate(plan="optimal", steps=32)` spends its steps where they gain most. Written
into the model's folder (or --output_dir): per_step_losses in generation_config.json, with errors
and results in per_step_losses.json; per_step_losses.png; quality_against_steps.png: the bound under
the optimal, cosine and uniform plan of each number of steps, and what they take. Plans are scored
on windows that did not choose them. Demo model, 2 CPU cores: 75 s.
"""

import argparse
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ardm import ARDMForMaskedLM, StepLosses, measure_step_losses
from ardm.data import add_held_out_arguments, corpus_from, load_held_out
from ardm.evaluation import (
    HeldOutWindows,
    compare_plans,
    plot_quality_against_steps,
    plot_step_losses,
    save_step_losses,
    step_budgets,
    table,
)
from ardm.hub import DEMO_FOLDER, load_folder
from ardm.training import (
    check_integer,
    check_writable,
    process_state,
    quieten,
    recipe_parser,
    run_recipe,
)
from ardm.training.card_parts import machine
from ardm.training.timing import medians_in_turn


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = recipe_parser(__doc__)
    add = parser.add_argument
    add("--model_name_or_path", default=DEMO_FOLDER, help="a folder, or user/name on the Hub")
    add_held_out_arguments(parser)
    add("--max_eval_windows", type=int, default=128, help="windows to measure on")
    add("--num_orders", type=int, default=1, help="of each window at each number of known tokens")
    add("--repeats", type=int, default=3, help="of the time, for the median")
    add("--seed", type=int, default=0, help="of the orders")
    add("--output_dir", help="default: the model's folder, or runs/plan for a model of the Hub")
    args = parser.parse_args(argv)
    # needed last; every other number is checked when it is first used
    check_integer("repeats", args.repeats, 1)
    return args


def measure(
    args: argparse.Namespace, model: ARDMForMaskedLM, windows: HeldOutWindows
) -> StepLosses:
    def nats_by_step(model: ARDMForMaskedLM, input_ids: Tensor, numbers: Tensor) -> Tensor:
        losses = measure_step_losses(
            model,
            input_ids,
            num_orders=args.num_orders,
            row_numbers=numbers,
            generator=torch.Generator().manual_seed(args.seed),
        )
        return losses.sequence_nats if losses.reveal_nats is None else losses.reveal_nats

    num_stages, length = model.stages.num_stages, int(windows.num_tokens.max())
    if model.stages.interleaved:
        shape = (num_stages * length, num_stages * (num_stages + 1) // 2)
        return StepLosses.of_reveals(windows.measure(model, nats_by_step, shape, True))
    curves = (num_stages, length) if num_stages > 1 else (length,)
    return StepLosses(windows.measure(model, nats_by_step, curves, True))


def seconds_by_budget(
    model: ARDMForMaskedLM, length: int, budgets: list[int], repeats: int
) -> dict[int, float]:
    """What one sequence takes to write in each number of steps, when eight are written at once."""
    masks = torch.full((8, length), model.config.mask_token_id, device=model.device)

    def once(steps: int) -> tuple[float]:
        began = time.perf_counter()
        written: Any = model.generate(masks, seed=0, plan="optimal", steps=steps)
        written.cpu()  # waits for a GPU
        return ((time.perf_counter() - began) / len(masks),)

    medians = medians_in_turn({steps: partial(once, steps) for steps in budgets}, repeats)
    return {steps: seconds for steps, (seconds,) in medians.items()}


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    corpus = corpus_from(args)
    state = process_state()
    quieten(state.is_main_process)
    model, tokenizer = load_folder(args.model_name_or_path)
    local = Path(args.model_name_or_path)
    folder = Path(args.output_dir or (local if local.is_dir() else "runs/plan"))
    check_writable(folder)
    with state.main_process_first():  # one process fills the data cache, the others read it
        held_out = load_held_out(corpus, model, tokenizer)
    windows = HeldOutWindows(held_out, args.max_eval_windows)
    length = int(windows.num_tokens.max())
    if len(windows) < 4:
        raise ValueError(
            f"there are {len(windows)} windows of {length} tokens;"
            " expected at least 4, two in each half."
        )

    losses = measure(args, model.to(state.device), windows)
    if not state.is_main_process:
        return
    chosen_on, priced_on = losses[0::2], losses[1::2]
    num_stages = model.stages.num_stages
    reveals = length * num_stages
    budgets = step_budgets(reveals, num_stages)
    model.generation_config.per_step_losses = losses.for_plans.tolist()
    seconds = seconds_by_budget(model, length, budgets, args.repeats)
    rows = [compare_plans(n, chosen_on, priced_on) | {"seconds": seconds[n]} for n in budgets]

    about = {"num_orders": args.num_orders, "seed": args.seed, "machine": machine()}
    about |= {"data": corpus.held_out_name, "date": time.strftime("%Y-%m-%d")}
    about |= {"sequence_length": length, "lost_text": asdict(windows.lost), "budgets": rows}
    save_step_losses(folder, model.generation_config, losses, about)
    print(f"{len(windows)} windows of {length} tokens, {corpus.held_out_name}.")
    print("Upper bounds on one half of them, plans from the other.")
    if windows.lost:
        print(f"The losses are of the tokens alone: {windows.lost}.")
    print(f"\n{table(rows, reveals)}\n")
    print(f"per_step_losses are in {folder / 'generation_config.json'}:", end=" ")
    print(f'generate(plan="optimal", steps=N) uses them for up to {length} masks.')
    unit = "token" if num_stages == 1 else "reveal"
    plot_step_losses(losses.nats, losses.standard_error, folder / "per_step_losses.png", unit)
    picture = folder / "quality_against_steps.png"
    plot_quality_against_steps(rows, reveals, picture, corpus.held_out_name, unit)


if __name__ == "__main__":
    run_recipe(main)
