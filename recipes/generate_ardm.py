"""Writes text with a saved model: fills gaps, continues a prompt, or writes without one.

    python recipes/generate_ardm.py --num_return_sequences 3          # what `make demo` left
    python recipes/generate_ardm.py --prompt "The statement __________ is executed." --seed 1
    python recipes/generate_ardm.py --prompt "The value" --max_new_tokens 40 --tokens_per_step 4
    python recipes/generate_ardm.py --prompt_file prompts.jsonl --output_file written.jsonl
    echo "The ______ of a list" | python recipes/generate_ardm.py --prompt_file - --output_file -

A gap is three or more underscores, one token each, [[12]] for 12 tokens, or the tokenizer's own
mask token. Without a prompt: a text of --max_new_tokens, or of the model's full length. Texts are
printed; --output_file gets JSON lines, with each text's prompt, seed, steps and log-probability,
`-` prints them. The prompt number p (from 0) has the seed `seed + p`: neither other prompts nor the
batch size change what is written. Any CPU or one GPU; seconds a text.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

from ardm import ARDMForMaskedLM
from ardm.data.framing import frame_of
from ardm.data.gaps import encode_gaps
from ardm.data.padding import padded
from ardm.evaluation import generation_arguments
from ardm.hub import DEMO_FOLDER, load_folder
from ardm.networks import longest_sequence
from ardm.training import (
    check_integer,
    process_state,
    progress_bar,
    quieten,
    recipe_parser,
    replacing,
    run_recipe,
)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = recipe_parser(__doc__)
    parser.flag_of_words = "--prompt"
    add = parser.add_argument
    add("--model_name_or_path", default=DEMO_FOLDER, help="a folder, or user/name on the Hub")
    add("--trust_remote_code", action="store_true", help="run code that comes with such a model")
    add("--prompt", nargs="+", help="texts with gaps: ___, a token each, or [[12]] for 12")
    add("--prompt_file", help="prompts, a line each, or .jsonl with a field prompt; - = stdin")
    add("--num_return_sequences", type=int, default=1, help="texts for each prompt (1)")
    add("--batch_size", type=int, default=16, help="texts at a time, if not of one prompt (16)")
    add("--output_file", help="JSON lines, in place of texts on the terminal; - = stdout")
    generation_arguments.add_generation_arguments(parser)
    args = parser.parse_args(argv)
    if args.prompt and args.prompt_file:
        raise ValueError("got --prompt and --prompt_file; expected at most one of them.")
    check_integer("num_return_sequences", args.num_return_sequences, 1)
    check_integer("batch_size", args.batch_size, 1)
    return args


def written(
    model: ARDMForMaskedLM,
    tokenizer: Any,
    prompts: list[tuple[int, str | None, list[int]]],
    args: argparse.Namespace,
) -> Iterator[dict[str, Any]]:
    """What is written to some prompts, each with its number and its ids."""
    settings = generation_arguments.generation_settings(args)
    settings["seed"] = [args.seed + number for number, _, _ in prompts]
    inputs: dict[str, Any] = {}
    if prompts[0][1] is not None:
        settings.pop("max_new_tokens", None)  # they are among the ids
        rows_BL, real_BL = padded([ids for _, _, ids in prompts])
        inputs = {"input_ids": rows_BL.to(model.device), "attention_mask": real_BL.to(model.device)}
    copies = args.num_return_sequences
    output: Any = model.generate(
        **inputs, num_return_sequences=copies, return_dict_in_generate=True, **settings
    )
    rows = zip(output.sequences.cpu(), output.order.cpu(), output.log_probs.cpu(), strict=True)
    for row, (sequence, order, log_probs) in enumerate(rows):
        number, prompt, ids = prompts[row // copies]
        kept = sequence[: len(ids) or None]
        yield {
            "prompt": prompt,
            "text": tokenizer.decode(kept[kept != tokenizer.pad_token_id], True),
            "seed": args.seed + number,
            "sample": row % copies,
            "num_generated": int((order >= 0).sum()),
            "num_steps": int(order.max()) + 1,
            "log_prob": float(log_probs.sum()),  # nats, of the tokens in the order they came
        }


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    quieten(True)
    state = process_state()
    if state.num_processes > 1:
        raise ValueError(f"got {state.num_processes} processes; texts are written by one.")
    given = args.prompt or []
    if args.prompt_file:
        given = generation_arguments.read_prompts(args.prompt_file)
    model, tokenizer = load_folder(
        args.model_name_or_path, trust_remote_code=args.trust_remote_code
    )
    model.to(state.device)
    options: dict[str, Any] = {"max_tokens": longest_sequence(model)}
    options |= {"around": frame_of(model, tokenizer), "max_new_tokens": args.max_new_tokens}
    prompts: list[tuple[int, str | None, list[int]]] = [
        (number, prompt, encode_gaps(prompt, tokenizer, **options)[0].tolist())
        for number, prompt in enumerate(given)
    ]
    prompts = prompts or [(0, None, [])]
    at_once = max(1, args.batch_size // args.num_return_sequences)
    batches = [prompts[start : start + at_once] for start in range(0, len(prompts), at_once)]
    to_file = args.output_file not in (None, "-")
    with replacing(args.output_file) if to_file else nullcontext(sys.stdout.buffer) as file:
        for batch in progress_bar(batches, what="Generating", shown=None if to_file else False):
            for row in written(model, tokenizer, batch, args):
                line = json.dumps(row, ensure_ascii=False) if args.output_file else row["text"]
                file.write(f"{line}\n".encode())
            file.flush()


if __name__ == "__main__":
    run_recipe(main)
