"""How much of `generate` is spent outside the network, what it spares it, how fast it writes.

    python recipes/benchmark_generation.py
    python recipes/benchmark_generation.py --repeats 5 --compile    # or --cuda_graphs

2 CPU cores, about 5 minutes, then the same on a GPU if there is one; medians of repeats in turn,
the first of which may compile and record. Batch 8, L = 128, 4 layers of random weights. Prints

- total / inside: a call of `generate` over the time inside the network's forward, of which only the
  first steps fill 1 or 4 tokens, where most positions are there to choose from; expect 1.02 and
  1.01 at width 192 and 768;
- tokens/s of the batch at width 192, and the memory that a pass leaves to the next: only a history
  grows with them, and the plan, 40 bytes a row;
- for 50,000 tokens, the speed over that of computing all logits at each step; expect 1.5 at least.
"""

from functools import partial
from itertools import product
from typing import Any

import torch
from transformers.modeling_outputs import MaskedLMOutput

from ardm import ARDMConfig, ARDMForMaskedLM
from ardm.generation_config_ardm import ORDER_NAMES
from ardm.layers_ardm import select_positions
from ardm.training import recipe_parser, run_recipe
from ardm.training.timing import Stopwatch, live_bytes, medians_in_turn

BATCH = 8
LENGTH = 128
MASK = 27
VOCABULARY = 50_000
SIZES = {192: (6, 512, 32, 1.02), 768: (12, 2048, 3, 1.01)}  # width: heads, MLP, steps, target
CALLS: dict[str, dict[str, Any]] = {
    **{name: {"order": name} for name in ORDER_NAMES},
    "permutation": {"order": 37 * torch.arange(LENGTH) % LENGTH},
    "callable": {"order": lambda logits, *_: logits.amax(-1)},
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
    width: int, vocab_size: int, device: str, compiling: dict[str, Any], all_logits: bool = False
) -> tuple[Any, Stopwatch]:
    """A model of random weights, and what times its forward and its `generate`."""
    torch.compiler.reset()  # or the networks before count as recompilations of this one
    torch.manual_seed(0)
    config = ARDMConfig(
        vocab_size=vocab_size,
        mask_token_id=MASK,
        hidden_size=width,
        num_hidden_layers=4,
        num_attention_heads=SIZES[width][0],
        intermediate_size=SIZES[width][1],
        max_position_embeddings=LENGTH,
    )
    model: Any = ARDMForMaskedLM(config).eval().to(device)
    for parameter in model.parameters():
        if not parameter.any():  # starts at 0: all positions of a fresh network tie
            torch.nn.init.normal_(parameter, 0.0, 1.4 * width**-0.5)
    forward = torch.compile(model.forward, dynamic=True, **compiling)

    def wasteful(logits_positions: torch.Tensor, **inputs: Any) -> MaskedLMOutput:
        logits = select_positions(forward(**inputs).logits, logits_positions)
        return MaskedLMOutput(logits=logits)

    model.forward = wasteful if all_logits else forward
    watch = Stopwatch()
    watch.over_all((model, "forward"), (model, "generate"))
    return model, watch


def call(
    model: Any, watch: Stopwatch, tokens: int, steps: int = LENGTH, masks: int = LENGTH, **more: Any
) -> tuple[float, float]:
    """Seconds of `generate` for rows that end in so many masks, and total / inside."""
    plan = [tokens] * min(steps, masks // tokens)
    while sum(plan) < masks:
        plan.append(64 - sum(plan) % 64)  # up to the end of a block
    places = torch.arange(LENGTH, device=model.device).expand(BATCH, -1)
    ids = torch.where(places < LENGTH - masks, places % MASK, MASK)
    watch.clear()
    model.generate(ids, seed=0, plan=plan, **more)
    return watch.seconds("generate"), watch.seconds("generate") / watch.seconds("forward")


def measure_overhead(width: int, repeats: int, device: str, compiling: dict[str, Any]) -> None:
    steps, target = SIZES[width][2:]
    timed = partial(call, *network(width, MASK + 1, device, compiling))
    settings = product(CALLS, (1, 4))
    calls = {(name, k): partial(timed, k, steps, **CALLS[name]) for name, k in settings}
    figures = medians_in_turn(calls, repeats)
    print(f"{device}, width {width}: total / inside at 1 and 4 tokens a step, target {target}")
    for name in CALLS:
        print(f"  {name:14s} {figures[name, 1][1]:.3f}  {figures[name, 4][1]:.3f}")


def measure_speed_and_memory(repeats: int, device: str, compiling: dict[str, Any]) -> None:
    model, watch = network(min(SIZES), MASK + 1, device, compiling)
    calls = {k: partial(call, model, watch, k) for k in (1, 4, 16)}
    for k, (seconds, _) in medians_in_turn(calls, repeats).items():
        print(f"{device}, {k} a step: {BATCH * LENGTH / seconds:.0f} tokens/s")
    sizes: list[int] = []
    model.register_forward_pre_hook(lambda *_: sizes.append(live_bytes()))
    for history, k in product((False, True), (16, 2)):
        sizes.clear()
        before = live_bytes()
        call(model, watch, k, output_history=history, return_dict_in_generate=True)
        kept = f"{(max(sizes) - before) / 1e3:.0f} kB kept of {len(sizes)} passes"
        print(f"{device}, output_history={history}: {kept}")


def measure_spared_logits(repeats: int, device: str, compiling: dict[str, Any]) -> None:
    calls = {}
    for wasteful in (False, True):
        built = network(min(SIZES), VOCABULARY, device, compiling, wasteful)
        calls[wasteful] = partial(call, *built, 1, masks=8)
    took = medians_in_turn(calls, repeats)
    times = f"{took[True][0] / took[False][0]:.1f} times as fast as with all logits"
    print(f"{device}, vocabulary {VOCABULARY}: {times}")


def main(argv: list[str] | None = None) -> None:
    parser = recipe_parser(__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument("--compile", dest="mode", action="store_const", const="default")
    modes.add_argument("--cuda_graphs", dest="mode", action="store_const", const="reduce-overhead")
    args = parser.parse_args(argv)
    compiling = {"mode": args.mode, "disable": args.mode is None}
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        for width in SIZES:
            measure_overhead(width, args.repeats, device, compiling)
        measure_speed_and_memory(args.repeats, device, compiling)
        measure_spared_logits(args.repeats, device, compiling)


if __name__ == "__main__":
    run_recipe(main)
