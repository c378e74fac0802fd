"""The card of a text model: README.md of its folder, YAML front matter and Markdown.

It repeats what it is told and leaves out what it is not told; nothing is measured or guessed here.
What all packages' cards have in common is in [`ardm.training.card_parts`].
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..training.card_parts import (
    UNNAMED,
    RunFigures,
    bullets,
    fenced,
    front_matter,
    paragraphs,
    sections,
    table,
    training,
    versions,
    with_error,
)
from ..training.local_paths import public
from .use_cards import LOADING, usage

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

_TAGS = ("ardm", "masked-diffusion", "text-diffusion", "order-agnostic", "custom_code")
FILM = "generation.gif"
_ALT_TEXTS = {FILM: "How a text comes about, pass by pass"}


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A figure of the bound on held-out data, in bits.

    Args:
        dataset: name of the data; of a path, its last component is kept.
        num_windows: windows scored.
        bits_per_token: value and standard error.
        bits_per_character: value and standard error.
        refusal: why there is no figure by character, in words.
    """

    dataset: str
    num_windows: int
    bits_per_token: tuple[float, float]
    bits_per_character: tuple[float, float] | None = None
    refusal: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "dataset", public(self.dataset))

    @classmethod
    def of(
        cls,
        dataset: str,
        num_windows: int,
        figures: Mapping[str, tuple[float, float]],
        refusal: str | None = None,
    ) -> "Evaluation":
        """From the figures of `ardm.evaluation.HeldOutWindows`.

        Args:
            dataset: name of the data.
            num_windows: windows scored.
            figures: value and standard error of "bits per token" and, where it is known, of
                "bits per character".
            refusal: why it is not, in words.

        Returns:
            What a card tells of them.
        """
        return cls(
            dataset=dataset,
            num_windows=num_windows,
            bits_per_token=figures["bits per token"],
            bits_per_character=figures.get("bits per character"),
            refusal=refusal,
        )


@dataclass(frozen=True, kw_only=True)
class CardFigures(RunFigures):
    """All that a card says; what keeps its default is not mentioned.

    Args:
        sequence_length: tokens of a training window.
        evaluation: on held-out texts.
        samples: generated texts.
        infilled: texts of which the middle, in [[ ]], was generated.
        stages: how tokens are revealed, in words.
        loading: how `model` and `tokenizer` are loaded, Markdown; None = as any model of text.
        use: what is done with them, Markdown; None = as with any model of text.
        adopted_class: of a model that was adopted, the class that it is of.
        base_model: the model that it was made from, by its name on the Hub.
    """

    sequence_length: int | None = None
    evaluation: Evaluation | None = None
    samples: Sequence[str] = ()
    infilled: Sequence[str] = ()
    stages: str | None = None
    loading: str | None = None
    use: str | None = None
    adopted_class: str | None = None
    base_model: str | None = None


def model_card(figures: CardFigures) -> str:
    """Writes a card.

    Args:
        figures: what is known of the model.

    Returns:
        The text of README.md.
    """
    evaluation = figures.evaluation
    parts = {
        "Use": ((figures.loading or LOADING) + (figures.use or usage())).replace(
            "MODEL_NAME", figures.model_name or UNNAMED
        ),
        "Training data": figures.training_data,
        "Training": training(figures),
        "Evaluation": _bounds(evaluation) if evaluation else None,
        "Samples": "\n\n".join(map(fenced, figures.samples)),
        "Infilling": _infilling(figures.infilled),
        "Limitations": figures.limitations,
        "Versions": versions(),
        "Citation": CITATION,
    }
    results = [_result(evaluation)] if evaluation else []
    matter: dict[str, Any] = {"tags": _TAGS, "results": results, "base_model": figures.base_model}
    adopted = figures.adopted_class
    card = paragraphs(
        front_matter(figures, pipeline_tag="fill-mask", **matter),
        f"# {figures.model_name or (f'{adopted} as an ARDM' if adopted else 'ARDM')}",
        adopted and _ADOPTED.replace("CLASS", adopted),
        _ABOUT,
        bullets(_size_facts(figures)),
        *(f"![{_ALT_TEXTS.get(name, name)}]({name})" for name in figures.pictures),
        sections(parts),
    )
    return card + "\n"


def _result(evaluation: Evaluation) -> "EvalResult":
    """The bound by character where there is one, else by token."""
    unit = "token" if evaluation.bits_per_character is None else "character"
    return bound_result(
        evaluation.bits_per_character or evaluation.bits_per_token,
        unit=unit,
        task="fill-mask",
        dataset=evaluation.dataset,
        num_scored=evaluation.num_windows,
    )


def bound_result(
    bits: tuple[float, float], *, unit: str, task: str, dataset: str, num_scored: int | None
) -> "EvalResult":
    """A bound as the Hub's model index has it, which knows of no errors: named and among `args`.

    Args:
        bits: value and standard error, NaN where it is not known.
        unit: what the bits are of.
        task: the Hub's name of it.
        dataset: that was scored, by name.
        num_scored: of its rows.

    Returns:
        An entry of the model index.
    """
    from huggingface_hub import EvalResult

    value, error = (float(number) for number in bits)
    metric_name = f"bits per {unit}, upper bound (NELBO)"
    metric_args: dict[str, object] = {"num_scored": num_scored}
    if not math.isnan(error):
        metric_name += f" ± {error:.4f}"
        metric_args["standard_error"] = error
    return EvalResult(
        task_type=task,
        dataset_type=dataset,
        dataset_name=dataset,
        dataset_split="validation",
        metric_type=f"bits_per_{unit}",
        metric_name=metric_name,
        metric_value=value,
        metric_args=metric_args,
    )


def _size_facts(figures: CardFigures) -> dict[str, object]:
    count = figures.num_parameters
    return {
        "Base model": figures.base_model,
        "Parameters": None if count is None else f"{count:,}",
        "Tokens in a training window": figures.sequence_length,
        "Tokens are revealed": figures.stages,
    }


def _bounds(evaluation: Evaluation) -> str:
    bounds = {
        "bits per token": evaluation.bits_per_token,
        "bits per character": evaluation.bits_per_character,
    }
    rows = [(name, with_error(*bound)) for name, bound in bounds.items() if bound]
    scored = f"{evaluation.num_windows:,} validation windows of {evaluation.dataset}"
    meaning = "; ± is one standard error" * any("±" in value for _, value in rows)
    refusal = evaluation.refusal
    return paragraphs(
        f"{scored}{meaning}.",
        table(["Metric", "Upper bound (NELBO)"], rows),
        refusal and f"The bound is one on the tokens alone, with {refusal}.",
    )


def _infilling(infilled: Sequence[str]) -> str:
    if not infilled:
        return ""
    return paragraphs(
        "The text in [[ ]] was generated, the rest was given.", *map(fenced, infilled)
    )


_ADOPTED = "A `CLASS` of transformers, adopted: its weights make the network of what follows."

_ABOUT = """\
An order-agnostic autoregressive diffusion model
(ARDM, [arXiv 2110.02037](https://arxiv.org/abs/2110.02037)): a bidirectional transformer that
predicts masked tokens from the known ones, trained over uniformly random orders. It generates text
in any order and several tokens a step, fills gaps between known text, and bounds the likelihood of
a text.
"""

CITATION = """\
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
