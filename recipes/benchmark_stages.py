"""What stages are worth: bits at equal training time, all at once or coarse to fine, and few steps.

    python recipes/benchmark_stages.py
    python recipes/benchmark_stages.py --mnist mnist.npz --wiki27 wiki27 --seconds 90 180 180

Plain models beside digits in base 2, 4 and 16, stagewise and interleaved, on scikit-learn's digits
(8 x 8, 17 values), MNIST (14 x 14, 256 values) and wiki27 (128 of 27 letters): the same CPU seconds
of training on the same network. Printed: the bound on held-out rows, and what their optimal plan
costs in 8 steps a stage and in 32 in all, by log-probabilities of random arrangements on rows that
did not choose it. Without --mnist and --wiki27 digits alone: 2 CPU cores, 20 minutes.
"""

import argparse
import lzma
import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ardm import ARDMConfig, ARDMForMaskedLM, log_prob, measure_step_losses, nelbo
from ardm.data.images import ImageFormat, ImageTokens
from ardm.evaluation.bound import BoundEvaluation
from ardm.objective import RandomRatioObjective
from ardm.training import TrainingConfig, muon_adamw, quieten, recipe_parser, run_recipe, train
from ddpm.data import load_images
from ddpm.evaluation.image_sets import stacked

SIZES: dict[str, Any] = {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4}


class Data(NamedTuple):
    name: str
    train: Any
    held_out: list[dict[str, torch.Tensor]]
    settings: dict[str, Any]
    num_values: int
    batch_size: int


def pixels(name: str, num_values: int, most: int, batch_size: int, **source: Any) -> Data:
    images = load_images(class_conditional=False, **source)
    assert images["validation"] is not None
    form = ImageFormat(images["train"].image_shape, num_values)
    parts = stacked(images["train"])[0], stacked(images["validation"], most)[0]
    rows, held_out = (ImageTokens(form.encode(part), form) for part in parts)
    return Data(name, rows, [*held_out], form.model_settings, num_values, batch_size)


def text(folder: Path, most: int) -> Data:
    parts = []
    for name, count in (("train", 20_000_000), ("valid", 5_000_000)):
        with lzma.open(folder / f"{name}.txt.xz") as file:
            letters = torch.frombuffer(bytearray(file.read(count)), dtype=torch.uint8)
        ids = (letters[: len(letters) // 128 * 128].clamp(min=96) - 96).long().view(-1, 128)
        parts.append([{"input_ids": row} for row in ids])
    settings = {"vocab_size": 28, "mask_token_id": 27, "max_position_embeddings": 128}
    return Data("wiki27", parts[0], parts[1][:: len(parts[1]) // most][:most], settings, 27, 16)


def kinds(num_values: int) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "plain", {}
    for base in (2, 4, 16):
        num_stages = math.ceil(math.log(num_values, base) - 1e-9)
        for order in ("stagewise", "interleaved"):
            how = {"branching_factor": base, "num_stages": num_stages, "stage_order": order}
            yield f"base {base}, {num_stages} stages, {order}", how


def fit(data: Data, how: dict[str, Any], steps: int) -> tuple[ARDMForMaskedLM, float]:
    """The model after so many steps, and the CPU seconds that they took."""
    torch.manual_seed(0)
    model = ARDMForMaskedLM(ARDMConfig(**data.settings, **SIZES, intermediate_size=344, **how))
    objective = RandomRatioObjective(model.config.mask_token_id, 0, 1.0, 0.5)
    optimizer = muon_adamw(model, 1e-2, muon_learning_rate=0.02)
    with tempfile.TemporaryDirectory() as folder:
        config = TrainingConfig(folder, steps, data.batch_size, checkpointing_steps=0)
        began = time.process_time()
        train(model, objective, data.train, config=config, optimizer=optimizer)
    return model.eval(), time.process_time() - began


def arrangements(model: ARDMForMaskedLM, shape: torch.Size, seed: int) -> torch.Tensor:
    """A random order for each row: (B, L), (B, S, L), or interleaved (B, S*L)."""
    uniforms = torch.rand(
        shape[0], model.stages.num_stages, shape[1], generator=torch.Generator().manual_seed(seed)
    )
    if model.stages.interleaved:
        return uniforms.flatten(1).argsort(1) % shape[1]
    return uniforms.argsort(2) if model.stages.num_stages > 1 else uniforms[:, 0].argsort(1)


def few_steps(model: ARDMForMaskedLM, rows: torch.Tensor, num_rows: int, *budgets: int) -> str:
    """Bits a token that optimal plans cost beyond all steps, chosen on other rows."""
    choosing, pricing = rows[num_rows : num_rows + num_rows // 4], rows[:num_rows]
    generator = torch.Generator().manual_seed(0)
    losses = measure_step_losses(model, choosing, generator=generator)
    all_steps = nelbo(model, pricing, num_samples=64, generator=generator).nats
    drawn = [arrangements(model, pricing.shape, seed) for seed in (1, 2)]
    costs = []
    for budget in budgets:
        plan = losses.optimal_plan(budget)
        nats = torch.stack([-log_prob(model, pricing, order, plan=plan) for order in drawn])
        extra = (nats.mean(0) - all_steps) / rows.shape[1] / math.log(2)
        error = extra.std() / math.sqrt(len(extra))
        costs.append(f"{budget:2d} steps {extra.mean():+.3f} +- {error:.3f}")
    return "   ".join(costs)


def measured(data: Data, how: dict[str, Any], seconds: float, args: argparse.Namespace) -> str:
    _, taken = fit(data, how, 40)
    steps = int(0.93 * 40 * seconds / taken)
    model, taken = fit(data, how, steps)
    evaluate = BoundEvaluation(data.held_out, None, num_samples=8, seed=1234)
    bits = evaluate.figures(evaluate.nats(model))["bits per token"]
    budgets = sorted({8 * model.stages.num_stages, 32})
    found = f"{steps:5d} steps, {taken:4.0f} s   {bits.value:.3f} +- {bits.standard_error:.3f} bits"
    return f"{found}   {few_steps(model, evaluate.input_ids, args.rows, *budgets)}"


def main() -> None:
    parser = recipe_parser(__doc__)
    add = parser.add_argument
    add("--mnist", help="uint8 images in .npz or .npy, beside the digits")
    add("--wiki27", type=Path, help="folder with train.txt.xz and valid.txt.xz, beside the digits")
    add("--seconds", type=float, nargs="+", default=[90.0], help="of training, for each data set")
    add(
        "--rows",
        type=int,
        default=32,
        help="held-out rows that price plans; a quarter as many choose",
    )
    args = parser.parse_args()
    quieten(False)
    sets = [pixels("digits", 17, 179, 32)]
    if args.mnist:
        sets.append(pixels("mnist", 256, 300, 8, train_file=args.mnist, image_size=14))
    if args.wiki27:
        sets.append(text(args.wiki27, 600))
    for data, seconds in zip(sets, args.seconds + args.seconds[-1:] * 2, strict=False):
        for name, how in kinds(data.num_values):
            print(f"{data.name:7s} {name:32s} {measured(data, how, seconds, args)}", flush=True)


if __name__ == "__main__":
    run_recipe(main)
