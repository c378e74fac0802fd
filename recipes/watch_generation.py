"""Shows a saved model at work, live and as a page and a picture: each token at the pass it comes.

    python recipes/watch_generation.py                                # what `make demo` left
    python recipes/watch_generation.py --prompt "The statement _________ is executed." --seed 1
    python recipes/watch_generation.py --resample_steps 16 --resample_order least_confident

A gap in the prompt is three or more underscores, one token each, [[12]] for 12 tokens, or the
tokenizer's own mask token. Without a prompt and --max_new_tokens: one text of the model's full
length. Writes generation.html, which opens in any browser, and order.png, the order as a heat map,
to --output_dir. Any CPU; seconds, most of them --delay.
"""

import argparse
from pathlib import Path

from ardm.data.framing import frame_of
from ardm.data.gaps import encode_gaps
from ardm.evaluation import generation_arguments
from ardm.hub import DEMO_FOLDER, load_folder
from ardm.networks import longest_sequence
from ardm.training import check_writable, quieten, recipe_parser, run_recipe
from ardm.training.local_paths import public
from ardm.viewing import TerminalView, Trace, plot_order, write_page


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = recipe_parser(__doc__)
    parser.flag_of_words = "--prompt"
    add = parser.add_argument
    add("--model_name_or_path", default=DEMO_FOLDER, help="a folder, or user/name on the Hub")
    add("--prompt", help="a text with gaps: ___, one token for each underscore, or [[12]] for 12")
    generation_arguments.add_generation_arguments(parser)
    add("--delay", type=float, default=0.05, help="seconds a pass is shown on a terminal (0.05)")
    add("--output_dir", default="runs/watch", help="for the page and the picture (runs/watch)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    check_writable(args.output_dir)
    quieten(True)
    model, tokenizer = load_folder(args.model_name_or_path)
    view = TerminalView(tokenizer, args.delay)
    settings = generation_arguments.generation_settings(args)
    called = dict(settings)
    prompt = None
    if args.prompt is not None:
        prompt = encode_gaps(
            args.prompt,
            tokenizer,
            max_tokens=longest_sequence(model),
            around=frame_of(model, tokenizer),
            max_new_tokens=called.pop("max_new_tokens", None),
        )

    with view:
        output = model.generate(
            prompt,
            streamer=view,
            return_dict_in_generate=True,
            output_history=True,
            **called,
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
