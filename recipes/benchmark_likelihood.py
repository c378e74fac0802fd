"""How far to trust the bound: what stratified counts save, if its errors are true, how fast it is.

    python recipes/benchmark_likelihood.py                               # what `make demo` left
    python recipes/benchmark_likelihood.py --model_name_or_path my/model --validation_file mine.txt

- stratified: standard deviation of the mean loss of a batch of windows, in bits per token, when
  counts and orders are drawn anew, with counts stratified over the batch (`random_ratio_mask`, as
  in training) and independent; the ratio of the variances. What is left with stratified counts is
  the noise of the orders, which depends on model and text.
- standard errors: of many estimates of one window's bound, their spread over the root mean square
  of the reported error (1 = true), and the standard deviation of z = (estimate - truth) / error.
  For few samples an error is itself uncertain, and z has the heavier tails of a t-distribution
  although its square is right on average.
- speed: tokens of sequences that went through the network, per second.
Demo model, 2 CPU cores: 3 minutes. Figures: docs/figures.md.
"""

import argparse
import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ardm import ARDMForMaskedLM, log_prob, nelbo, random_ratio_mask
from ardm.data import add_held_out_arguments, corpus_from, load_held_out
from ardm.evaluation import HeldOutWindows
from ardm.hub import DEMO_FOLDER, load_folder
from ardm.id_checks import IGNORED
from ardm.reveals import mean_cross_entropy
from ardm.training import check_integer, process_state, quieten, recipe_parser, run_recipe

BATCH = 32
SAMPLES: tuple[Any, ...] = (8, 32, 128, "all")


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = recipe_parser(__doc__)
    add = parser.add_argument
    add("--model_name_or_path", default=DEMO_FOLDER, help="a folder, or user/name on the Hub")
    add_held_out_arguments(parser)
    add("--repeats", type=int, default=100, help="draws of a batch's mean loss")
    add("--estimates", type=int, default=200, help="of one window's bound")
    add("--seed", type=int, default=0)
    return parser.parse_args(argv)


@torch.no_grad()
def batch_means(
    model: ARDMForMaskedLM, ids: Tensor, stratified: bool, repeats: int, source: torch.Generator
) -> Tensor:
    """Mean loss of the batch under each of `repeats` maskings, float64, bits per token."""
    mask = model.config.mask_token_id
    means = []
    for _ in range(repeats):
        known = None if stratified else torch.randint(ids.shape[1], (len(ids),), generator=source)
        masked, labels = random_ratio_mask(ids, mask, num_known=known, generator=source)
        positions = labels != IGNORED
        logits = model(input_ids=masked, logits_positions=positions).logits
        losses = mean_cross_entropy(logits.double(), labels, positions)
        means.append(losses.mean() / math.log(2))
    return torch.stack(means)


def show_errors(
    model: ARDMForMaskedLM, window: Tensor, num_estimates: int, source: torch.Generator
) -> None:
    rows = window.expand(num_estimates, -1)
    bounds = {n: nelbo(model, rows, num_samples=n, generator=source) for n in SAMPLES}
    truth = bounds["all"].nats.mean()
    bits = float(truth) / math.log(2)
    print(f"standard errors, {num_estimates} estimates of a window of {bits:.1f} bits:")
    for samples, bound in bounds.items():
        ratio = bound.nats.std() / bound.standard_error.square().mean().sqrt()
        z = (bound.nats - truth) / bound.standard_error
        print(
            f"  {samples!s:>3s} samples: s.d. {bound.nats.std() / math.log(2):.3f} bits,"
            f" spread / reported {ratio:.2f}, s.d. of z {z.std():.2f}"
        )


def show_speed(model: ARDMForMaskedLM, ids: Tensor) -> None:
    few = ids[:4]
    length = ids.shape[1]
    calls: dict[str, tuple[Callable[[], object], int]] = {
        "nelbo, 8 samples": (lambda: nelbo(model, ids), 8 * ids.numel()),
        "log_prob": (lambda: log_prob(model, few, "left_to_right"), length * few.numel()),
    }
    for name, (call, num_tokens) in calls.items():
        began = time.perf_counter()
        call()
        print(f"{name}: {num_tokens / (time.perf_counter() - began):.0f} tokens/s")


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    corpus = corpus_from(args)
    state = process_state()
    check_integer("repeats", args.repeats, 1)
    check_integer("estimates", args.estimates, 1)
    quieten(True)
    model, tokenizer = load_folder(args.model_name_or_path)
    windows = HeldOutWindows(load_held_out(corpus, model, tokenizer), BATCH)
    model = model.to(state.device)
    ids = windows.input_ids.to(state.device)
    print(f"{len(ids)} windows of {ids.shape[1]} tokens, {corpus.held_out_name}")
    if windows.lost:
        print(f"the losses are of the tokens alone: {windows.lost}")

    source = torch.Generator().manual_seed(args.seed)
    stratified, independent = (
        batch_means(model, ids, one_of_each, args.repeats, source).std()
        for one_of_each in (True, False)
    )
    print(
        f"mean loss of the batch: s.d. {stratified:.4f} stratified, {independent:.4f} independent"
        f" bits per token; variances 1 : {(independent / stratified) ** 2:.1f}"
    )
    show_errors(model, ids[:1], args.estimates, source)
    show_speed(model, ids)


if __name__ == "__main__":
    run_recipe(main)
