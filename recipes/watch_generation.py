"""Shows a saved model at work, live and as a page and a picture: each token at the pass it comes.

    python recipes/watch_generation.py                                # what `make demo` left
    python recipes/watch_generation.py --prompt "The statement _________ is executed." --seed 1
    python recipes/watch_generation.py --resample_steps 16 --resample_order least_confident

A gap in the prompt is three or more underscores, one token each, or the tokenizer's own mask token.
Without a prompt and --max_new_tokens: one text of the model's full length. Writes generation.html,
which opens in any browser, and order.png, the order as a heat map, to --output_dir. Any CPU;
seconds, most of them --delay.
"""

import argparse
import re
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ardm.generation_config_ardm import ORDER_NAMES, RESAMPLE_NAMES
from ardm.hub import DEMO_FOLDER, load_folder
from ardm.training import check_writable, quieten, run_recipe
from ardm.training.local_paths import public
from ardm.viewing import TerminalView, Trace, plot_order, write_page

# of `generate`, which checks them; not given = its own default
SETTINGS: dict[str, dict[str, Any]] = {
    "max_new_tokens": {"type": int, "help": "tokens to append to the prompt"},
    "order": {"choices": ORDER_NAMES, "help": "in which tokens are generated (random)"},
    "tokens_per_step": {"type": int, "help": "tokens of a pass (1)"},
    "steps": {"type": int, "help": "instead of tokens_per_step: number of passes"},
    "threshold": {"type": float, "help": "a pass also takes whatever is at least this probable"},
    "entropy_bound": {
        "type": float,
        "help": "a pass also takes tokens up to this much entropy, in nats",
    },
    "resample_steps": {"type": int, "help": "passes that predict some tokens again"},
    "resample_fraction": {"type": float, "help": "how many of the generated tokens in each"},
    "resample_order": {"choices": RESAMPLE_NAMES, "help": "which tokens these are (random)"},
    "block_length": {"type": int, "help": "generate in blocks of so many tokens, left to right"},
    "temperature": {"type": float, "help": "of the tokens' distribution (1)"},
    "top_p": {"type": float, "help": "only the likeliest tokens of this total probability"},
    "guidance_scale": {"type": float, "help": "1 = off"},
    "seed": {"type": int, "default": 0, "help": "of all that is drawn (0)"},
}


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model_name_or_path", default=DEMO_FOLDER, help="a folder, or user/name on the Hub")
    add("--prompt", help="a text with gaps: ___, one token for each underscore")
    for name, options in SETTINGS.items():
        add(f"--{name}", **options)
    add("--delay", type=float, default=0.05, help="seconds a pass is shown on a terminal (0.05)")
    add("--output_dir", default="runs/watch", help="for the page and the picture (runs/watch)")
    return parser.parse_args(argv)


def encode_prompt(
    prompt: str | None, tokenizer: PreTrainedTokenizerBase, max_new_tokens: int | None
) -> Tensor | None:
    """The prompt's ids (1, L) with masks for its gaps; None without one."""
    if prompt is None:
        return None
    text = re.sub("_{3,}", lambda gap: str(tokenizer.mask_token) * len(gap[0]), prompt)
    # without what a tokenizer puts around a text: the model was trained on none of it
    encoded = tokenizer(text, add_special_tokens=False, return_tensors="pt")
    ids = encoded.input_ids.long()  # floats if the text is empty
    if not max_new_tokens and not (ids == tokenizer.mask_token_id).any():
        raise ValueError(
            f"prompt {prompt!r} has no gap; expected ___ in it,"
            " or --max_new_tokens for text behind it."
        )
    return ids


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    check_writable(args.output_dir)
    quieten(True)
    model, tokenizer = load_folder(args.model_name_or_path)
    view = TerminalView(tokenizer, args.delay)
    prompt = encode_prompt(args.prompt, tokenizer, args.max_new_tokens)
    settings = {name: value for name in SETTINGS if (value := getattr(args, name)) is not None}

    with view:
        output = model.generate(
            prompt,
            streamer=view,
            return_dict_in_generate=True,
            output_history=True,
            **settings,
        )
    trace = Trace.of(tokenizer, output, path=view.path)

    folder = Path(args.output_dir)
    described = (f"{name} {value}" for name, value in settings.items())
    caption = ", ".join([public(args.model_name_or_path), *described])
    write_page(trace, folder / "generation.html", caption)
    plot_order(trace, folder / "order.png")
    print(f"\nThe page is {folder / 'generation.html'}, the picture {folder / 'order.png'}.")


if __name__ == "__main__":
    run_recipe(main)
