"""How much of `generate` is spent outside the network, what it spares the network, and how fast it
writes.

    python recipes/benchmark_generation.py
    python recipes/benchmark_generation.py --repeats 5 --compile    # or --cuda_graphs; the network's forward

2 CPU cores, about 5 minutes, then the same on a GPU if there is one; medians of repeats in turn,
the first of which may compile and record. Batch 8, L = 128, 4 layers of random weights, width 192
and 768. Figures: README.md.
- total / inside: a call of `generate` over the time inside the network's forward; targets 1.02 and
  1.01. The first 32 steps (3 at width 768) fill 1 or 4 tokens, where most positions are there to
  choose from; two more fill the rest.
- width 192: tokens/s of the batch; memory that a pass leaves to the next: only a history grows with
  them, and the plan, 40 bytes a row; and, for 50,000 tokens, speed over that of computing all
  logits at each step, target 1.5.
"""

import argparse
from functools import partial
from itertools import product
from typing import Any

import torch
from transformers.modeling_outputs import MaskedLMOutput

from ardm import ARDMConfig, ARDMForMaskedLM
from ardm.layers_ardm import select_positions
from ardm.training.launching import run_recipe
from ardm.training.timing import Stopwatch, live_bytes, medians_in_turn

BATCH = 8
LENGTH = 128
MASK = 27
VOCABULARY = 50_000
SIZES = {
    192: (6, 512, 32, 1.02),
    768: (12, 2048, 3, 1.01),
}  # width: heads, MLP, steps measured, target
NAMES = ("random", "left_to_right", "right_to_left", "confidence", "margin", "entropy")
CALLS: dict[str, dict[str, Any]] = {name: {"order": name} for name in NAMES} | {
    "permutation": {"order": 37 * torch.arange(LENGTH) % LENGTH},
    "callable": {"order": lambda x, *_: x.amax(-1)},
    "threshold": {"order": "confidence", "threshold": 0.5},
    "guidance_scale": {"guidance_scale": 2.0, "masks": 64},
    "entropy_bound": {"order": "confidence", "entropy_bound": 12.0},
    "block_length": {"block_length": 64},
    "resample_steps": {"resample_steps": 4},
    "remdm": {"resample_steps": 4, "resample_order": "remdm_conf"},
    "eos_token_id": {"eos_token_id": 0},
    "top_p": {"top_p": 0.9},
}


def network(
    width: int, vocab_size: int, device: str, compiling: dict, all_logits: bool = False
) -> Any:
    torch.compiler.reset()  # or the networks before count as recompilations of this one
    torch.manual_seed(0)
    sizes: Any = {
        "num_attention_heads": SIZES[width][0],
        "intermediate_size": SIZES[width][1],
        "num_hidden_layers": 4,
    }
    sizes |= {"hidden_size": width, "vocab_size": vocab_size, "max_position_embeddings": LENGTH}
    model = ARDMForMaskedLM(ARDMConfig(mask_token_id=MASK, **sizes)).eval().to(device)
    watch = Stopwatch()
    for parameter in model.parameters():
        if not parameter.any():  # starts at 0: all positions of a fresh network tie
            torch.nn.init.normal_(parameter, 0.0, 1.4 * width**-0.5)
    model.forward = torch.compile(model.forward, dynamic=True, **compiling)
    if all_logits:
        model.forward = lambda logits_positions, forward=model.forward, **inputs: MaskedLMOutput(
            logits=select_positions(forward(**inputs).logits, logits_positions)
        )
    watch.over_all((model, "forward"), (model, "generate"))
    return model, watch


def call(
    model: Any,
    watch: Stopwatch,
    tokens: int,
    steps: int = LENGTH,
    masks: int = LENGTH,
    **settings: Any,
) -> Any:
    """Seconds of `generate` for rows that end in so many masks, and total / inside."""
    watch.clear()
    plan = [tokens] * min(steps, masks // tokens)
    while sum(plan) < masks:
        plan.append(64 - sum(plan) % 64)  # up to the end of a block
    places = torch.arange(LENGTH, device=model.device).expand(BATCH, -1)
    model.generate(
        torch.where(places < LENGTH - masks, places % MASK, MASK), seed=0, plan=plan, **settings
    )
    return watch.seconds("generate"), watch.seconds("generate") / watch.seconds("forward")


def measure(repeats: int, device: str, compiling: dict) -> None:
    for width, (*_, steps, target) in SIZES.items():
        timed = partial(call, *network(width, MASK + 1, device, compiling))
        calls: Any = {
            (name, k): partial(timed, k, steps, **CALLS[name]) for name, k in product(CALLS, (1, 4))
        }
        ratio = {call: ratio for call, (_, ratio) in medians_in_turn(calls, repeats).items()}
        print(f"{device}, width {width}: total / inside at 1 and 4 tokens a step, target {target}")
        for name in CALLS:
            print(f"  {name:14s} {ratio[name, 1]:.3f}  {ratio[name, 4]:.3f}")
    model, watch = network(min(SIZES), MASK + 1, device, compiling)
    for k, (seconds, _) in medians_in_turn(
        {k: partial(call, model, watch, k) for k in (1, 4, 16)}, repeats
    ).items():
        print(f"{device}, {k} a step: {BATCH * LENGTH / seconds:.0f} tokens/s")
    sizes: list[int] = []
    model.register_forward_pre_hook(lambda *_: sizes.append(live_bytes()))
    for history, k in product((False, True), (16, 2)):
        sizes[:] = []
        before = live_bytes()
        call(model, watch, k, output_history=history, return_dict_in_generate=True)
        print(
            f"{device}, output_history={history}: {(max(sizes) - before) / 1e3:.0f} kB kept of"
            f" {len(sizes)} passes"
        )
    big = [
        partial(call, *network(min(SIZES), VOCABULARY, device, compiling, naive))
        for naive in (False, True)
    ]
    took = medians_in_turn(
        {naive: partial(big[naive], 1, masks=8) for naive in (False, True)}, repeats
    )
    print(
        f"{device}, vocabulary {VOCABULARY}: {took[True][0] / took[False][0]:.1f} times as fast as"
        " with all logits"
    )


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument(
        "--compile", dest="mode", action="store_const", const="default", help="dynamic shapes"
    )
    modes.add_argument(
        "--cuda_graphs",
        dest="mode",
        action="store_const",
        const="reduce-overhead",
        help="compiled too",
    )
    args = parser.parse_args(argv)
    for device in ["cpu", *["cuda"] * torch.cuda.is_available()]:
        measure(args.repeats, device, {"mode": args.mode, "disable": args.mode is None})


if __name__ == "__main__":
    run_recipe(main)
