"""The model card: what is known of a trained model, as the README.md of its repository on the Hub.

A card says only what it is told: no figure is computed or guessed here, and what is not known is
    left out.
"""

import math
import platform
import re
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

from huggingface_hub import EvalResult, ModelCardData


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A figure of the bound on held-out data, in bits, with its standard error."""

    dataset: str  # name of the data
    num_windows: int  # windows scored
    bits_per_token: tuple[float, float]  # value and standard error
    bits_per_character: tuple[float, float] | None = None

    @classmethod
    def of(cls, dataset: str, num_windows: int, figures: Mapping[str, float]) -> "Evaluation":
        """From the figures of an `ardm.evaluation.bound.BoundEvaluation`."""
        return cls(
            dataset=dataset,
            num_windows=num_windows,
            bits_per_token=(
                figures["eval_loss"] / math.log(2),
                figures["eval_standard_error"] / math.log(2),
            ),
            bits_per_character=(
                figures["bits_per_character"],
                figures["bits_per_character_standard_error"],
            ),
        )


@dataclass(frozen=True, kw_only=True)
class CardFigures:
    """All that a model card says. A field left at its default does not appear."""

    model_name: str | None = (
        None  # the repository's id or the model's name; with it goes the model-index
    )
    num_parameters: int | None = None
    sequence_length: int | None = None  # tokens of a training window
    training_data: str | None = None  # a sentence in Markdown
    hyperparameters: Mapping[str, object] = field(default_factory=dict)
    command: str | None = None  # what to type to train this model
    seed: int | None = None
    machine: str | None = None  # the hardware, in words
    date: str | None = None  # of the training, ISO format
    wall_clock_seconds: float | None = None
    evaluation: Evaluation | None = None
    loss_curve: str | None = None  # file name of the plot, beside the card
    samples: Sequence[str] = ()  # generated texts
    infilled: Sequence[str] = ()  # texts of which the middle was generated
    limitations: str | None = None  # in Markdown
    datasets: Sequence[str] = ()  # ids on the Hub
    language: str | None = None  # ISO 639 code
    license: str = "apache-2.0"


def model_card(figures: CardFigures) -> str:
    """A Hub model card: YAML front matter, then Markdown.

    Args:
        figures: what is known of the model.

    Returns:
        The text of the model's README.md.
    """
    sections = {
        "Use": _USE.replace("MODEL_NAME", figures.model_name or "path/to/this/folder"),
        "Training data": figures.training_data,
        "Training": _training(figures),
        "Evaluation": figures.evaluation and _evaluation(figures.evaluation),
        "Samples": "\n\n".join(map(_fenced, figures.samples)),
        "Infilling": _infilling(figures),
        "Limitations": figures.limitations,
        "Versions": _versions(),
        "Citation": _CITATION,
    }
    body = "".join(f"\n## {title}\n\n{text.strip()}\n" for title, text in sections.items() if text)
    return (
        f"---\n{_front_matter(figures)}\n---\n\n#"
        f" {figures.model_name or 'ARDM'}\n\n{_about(figures)}\n{body}"
    )


def _infilling(figures: CardFigures) -> str:
    passages = "\n\n".join(map(_fenced, figures.infilled))
    return passages and f"The text in [[ ]] was generated, the rest was given.\n\n{passages}"


def hyperparameters(args: Namespace, model: Any) -> dict[str, object]:
    """The flags of a run that belong on a card: those that were given, without names of local files
    and folders.

    Args:
        args: parsed flags.
        model: whose own sizes are told, as a saved one need not have those of the flags.

    Returns:
        Value by name.
    """
    local = ("_dir", "_file", "_path", "_id", "push_to_hub", "resume_from_checkpoint")
    flags = {
        name: value
        for name, value in vars(args).items()
        if value is not None and not name.endswith(local)
    }
    return {name: getattr(model.config, name, value) for name, value in flags.items()}


def machine() -> str:
    """This machine, in words: processor, threads, accelerator."""
    import torch
    from accelerate import PartialState

    processes = PartialState().num_processes
    threads = torch.get_num_threads()
    accelerators = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return ", ".join(
        [platform.machine(), f"{processes} process(es) of {threads} CPU thread(s)", *accelerators]
    )


def _front_matter(figures: CardFigures) -> str:
    return ModelCardData(
        model_name=figures.model_name,
        license=figures.license,
        language=figures.language,
        library_name="transformers",
        pipeline_tag="fill-mask",
        tags=["ardm", "masked-diffusion", "text-diffusion", "order-agnostic"],
        datasets=list(figures.datasets) or None,
        eval_results=(
            _model_index(figures.evaluation) if figures.model_name and figures.evaluation else None
        ),
    ).to_yaml()


def _model_index(evaluation: Evaluation) -> list[EvalResult]:
    unit = "token" if evaluation.bits_per_character is None else "character"
    value, _ = evaluation.bits_per_character or evaluation.bits_per_token
    result = EvalResult(
        task_type="fill-mask",
        dataset_type=evaluation.dataset,
        dataset_name=evaluation.dataset,
        dataset_split="validation",
        metric_type=f"bits_per_{unit}",
        metric_name=f"bits per {unit}, upper bound (NELBO)",
        metric_value=float(value),
    )
    return [result]


def _about(figures: CardFigures) -> str:
    facts = {
        "Parameters": None if figures.num_parameters is None else f"{figures.num_parameters:,}",
        "Tokens in a training window": figures.sequence_length,
    }
    return f"{_ABOUT}\n{_list(facts)}"


def _training(figures: CardFigures) -> str:
    seconds = figures.wall_clock_seconds
    facts = {
        "Seed": figures.seed,
        "Machine": figures.machine,
        "Date": figures.date,
        "Wall-clock": (
            None if seconds is None else "{} min {} s".format(*divmod(round(seconds), 60))
        ),
    }
    parts = [
        figures.command and _fenced(figures.command, "bash"),
        _list(facts),
        figures.hyperparameters
        and _table(("Hyperparameter", "Value"), figures.hyperparameters.items()),
        figures.loss_curve and f"![Loss curve]({figures.loss_curve})",
    ]
    return "\n\n".join(part for part in parts if part)


def _list(facts: Mapping[str, object]) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in facts.items() if value is not None)


def _evaluation(evaluation: Evaluation) -> str:
    bounds = {
        "bits per token": evaluation.bits_per_token,
        "bits per character": evaluation.bits_per_character,
    }
    rows = [
        (name, "{:.4f} ± {:.4f}".format(*bound))
        for name, bound in bounds.items()
        if bound is not None
    ]
    table = _table(("Metric", "Upper bound (NELBO)"), rows)
    scored = f"{evaluation.num_windows:,} validation windows of {evaluation.dataset}"
    return f"{scored}; ± is one standard error.\n\n{table}"


def _table(header: tuple[str, str], rows: Iterable[tuple[str, object]]) -> str:
    lines = [" | ".join(_cell(value) for value in row) for row in (header, ("---", "---"), *rows)]
    return "\n".join(f"| {line} |" for line in lines)


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def _fenced(text: str, language: str = "text") -> str:
    """A code block whose fence is longer than any run of backticks in the text."""
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", text))])
    return f"{fence}{language}\n{text}\n{fence}"


def _versions() -> str:
    lines = [f"- Python {platform.python_version()}"]
    for package in ("ardm", "torch", "transformers"):
        try:
            lines.append(f"- {package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:  # run from a source tree: there is no version to tell
            continue
    return "\n".join(lines)


_ABOUT = """\
An order-agnostic autoregressive diffusion model (ARDM, [arXiv 2110.02037](https://arxiv.org/abs/2110.02037)):
a bidirectional transformer that predicts masked tokens from the known ones, trained over uniformly random
orders. It generates text in any order and several tokens a step, fills gaps between known text, and bounds
the likelihood of a text.
"""

_USE = """\
```python
import ardm  # makes the architecture known to transformers' Auto classes
from transformers import AutoModelForMaskedLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("MODEL_NAME")
model = AutoModelForMaskedLM.from_pretrained("MODEL_NAME")

# a new text, in random order, four tokens a step
print(tokenizer.decode(model.generate(order="random", tokens_per_step=4)[0]))

# a gap filled between known ends: each mask is generated, nothing else is touched
text = "The first part, " + tokenizer.mask_token * 20 + " and the end."
inputs = tokenizer(text, return_tensors="pt")
print(tokenizer.decode(model.generate(inputs.input_ids)[0]))
```
"""

_CITATION = """\
```bibtex
@inproceedings{hoogeboom2022autoregressive,
  title     = {Autoregressive Diffusion Models},
  author    = {Hoogeboom, Emiel and Gritsenko, Alexey A. and Bastings, Jasmijn and Poole, Ben and
               van den Berg, Rianne and Salimans, Tim},
  booktitle = {International Conference on Learning Representations},
  year      = {2022},
  url       = {https://arxiv.org/abs/2110.02037}
}
```
"""
