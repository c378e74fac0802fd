"""Runs EleutherAI's lm-evaluation-harness with a saved model, by the harness' own command line.

    python recipes/lm_eval_ardm.py                  # a small test of what `make demo` left
    python recipes/lm_eval_ardm.py --model_name_or_path runs/mine --tasks lambada_openai
    python recipes/lm_eval_ardm.py --tasks mine --include_path folder/of/my/tasks

Needs `pip install lm-eval`. `--model ardm` is filled in; --model_name_or_path NAME is --model_args
pretrained=NAME, and ardm/harness/model.py has the other model arguments, such as num_samples.
Where no task is named nothing is downloaded: the tasks are made from the held-out end of the
embedded text. docs_choice asks which of 4 pieces of 24 characters comes behind 72 others (a guess
has acc 0.25), docs_bits for the bits per byte of pages of 256 characters (an upper bound). Any CPU;
about a minute: acc 0.45 +- 0.06, bits_per_byte 2.12.
"""

import json
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ardm.data import load_texts
from ardm.hub import DEMO_FOLDER
from ardm.training import quieten, recipe_parser, run_recipe

CONTEXT = 72  # characters, like the next two
PIECE = 24
PAGE = 256
QUESTIONS = 60
OPTIONS = 4
PAGES = 24
TASKS: dict[str, dict[str, Any]] = {
    "docs_choice": {
        "output_type": "multiple_choice",
        "doc_to_text": "context",
        "doc_to_choice": "options",
        "doc_to_target": "answer",
        "target_delimiter": "",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    },
    "docs_bits": {
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "text",
        "metric_list": [
            {"metric": "bits_per_byte", "aggregation": "bits_per_byte", "higher_is_better": False}
        ],
    },
}


def questions(text: str) -> Iterator[dict[str, Any]]:
    """Places of the text with what follows, among pieces of other places."""
    rng = random.Random(0)
    # the harness would move spaces at the end of a context to the options
    seams = [i for i in range(CONTEXT, len(text) - PIECE) if not text[i - 1].isspace()]
    for _ in range(QUESTIONS):
        seam, *others = rng.sample(seams, OPTIONS)
        options = rng.sample([text[i : i + PIECE] for i in (seam, *others)], OPTIONS)
        answer = options.index(text[seam : seam + PIECE])
        yield {"context": text[seam - CONTEXT : seam], "options": options, "answer": answer}


def write_tasks(folder: Path) -> None:
    """Tasks as the harness reads them: a file of settings, YAML or JSON, beside one of data."""
    text = load_texts()["validation"][0]["text"]
    rows = {
        "docs_choice": list(questions(text)),
        "docs_bits": [{"text": text[i * PAGE : (i + 1) * PAGE]} for i in range(PAGES)],
    }
    for name, settings in TASKS.items():
        data = folder / f"{name}.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows[name]), encoding="utf-8")
        files = {
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(data)}},
            "test_split": "test",
        }
        task = {"task": name, **files, **settings, "metadata": {"version": 1}}
        (folder / f"{name}.yaml").write_text(json.dumps(task), encoding="utf-8")


def demo_model() -> str:
    """The model of `make demo`."""
    if not Path(DEMO_FOLDER).exists():
        raise ValueError(
            f"there is no {DEMO_FOLDER}; make it with `make demo` or `python -m ardm train`,"
            " or name a model with --model_name_or_path."
        )
    return f"pretrained={DEMO_FOLDER},num_samples=16,greedy=off"


def with_model_args(words: list[str]) -> list[str]:
    """The words with --model_args pretrained=NAME for --model_name_or_path NAME."""
    flag = "--model_name_or_path"
    words = [part for word in words for part in word.split("=", word.startswith(f"{flag}="))]
    if flag not in words:
        return words
    place = words.index(flag)
    name, others = words[place + 1 : place + 2], words[:place] + words[place + 2 :]
    if not name or name[0].startswith("-"):
        raise ValueError(f"{flag} has no name behind it; expected a folder, or user/name.")
    if flag in others or any("pretrained=" in each for each in others):
        raise ValueError(f"got {flag} and another, or pretrained=...; expected one of them.")
    return ["--model_args", f"pretrained={name[0]}", *others]


def command_line(argv: list[str], folder: Path) -> list[str]:
    """The harness' own. Left out may be `run`, the model, and the tasks: `folder` gets our own."""
    has_command = bool(argv) and argv[0] in ("run", "ls", "validate")
    command, rest = (argv[0], argv[1:]) if has_command else ("run", argv)
    if command != "run" or {"--help", "-h"} & {*rest}:
        return ["lm-eval", command, *rest]
    rest = with_model_args(rest)
    named = {word.partition("=")[0] for word in rest}
    in_file = named & {"--config", "-C"}
    model = [] if in_file or named & {"--model", "-M"} else ["--model", "ardm"]
    tasks = []
    if not in_file and not named & {"--tasks", "-t"}:
        if model and not named & {"--model_args", "-a"}:
            model += ["--model_args", demo_model()]
        write_tasks(folder)
        tasks = ["--tasks", ",".join(TASKS), "--include_path", str(folder)]
    return ["lm-eval", command, *model, *tasks, *rest]


def main(argv: list[str] | None = None) -> None:
    import ardm.harness  # noqa: F401  registers the model, or says what to install

    quieten(True)
    from lm_eval.__main__ import cli_evaluate

    argv = sys.argv[1:] if argv is None else argv
    if {"-h", "--help"} & {*argv}:
        print(f"{recipe_parser(__doc__).description}\nAll else is the harness' own:\n")
    with tempfile.TemporaryDirectory() as folder:
        sys.argv = command_line(argv, Path(folder))  # where the harness looks
        cli_evaluate()


if __name__ == "__main__":
    run_recipe(main)
