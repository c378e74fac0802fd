"""The figures of this project as a metric of the `evaluate` library; loads offline.

    metric = evaluate.load(ardm.metrics.__path__[0], "bits_per_character")
    metric.compute(nats=bound.nats, num_characters=lengths)

The configurations are the names in [`FIGURES`]; from a checkout the folder is "ardm/metrics".

`evaluate` looks in a folder for the file of the folder's name, and copies it into its cache of
modules with the siblings that are imported here at the margin, and none that only those import; it
takes a comment behind such an import for an address. It loads the first class here that is a
metric, so its own `Metric` must not be among the names of this module.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import evaluate
import torch
from datasets import Features, Value

from .bits import Estimate, PositiveEstimate, bits_per_unit, perplexity
from .external_scorers import Scorer
from .generative_perplexity import GenerativePerplexity, generative_perplexity
from .sample_statistics import sample_statistics
from .scorer_kinds import scorer_kind
from .scorer_rows import Row

__all__ = [
    "FIGURES",
    "Figure",
    "ReportedFigure",
    # for evaluate, which copies the files that are imported here and no others
    "Row",
    "Scorer",
    "scorer_kind",
]

_UNTOLD = ("num_unknown", "num_changed")  # characters
_Formula = Callable[[torch.Tensor, torch.Tensor], Estimate | PositiveEstimate]


@dataclass(frozen=True)
class Figure:
    """What a configuration computes.

    Args:
        inputs: names and types of its columns; of several possibilities the first that fits.
        compute: takes the columns as lists, and options by name.
        usage: what to pass and what comes out.
    """

    inputs: Sequence[Mapping[str, Any]]
    compute: Callable[..., dict[str, Any]]
    usage: str


def _results(estimate: Estimate | PositiveEstimate) -> dict[str, float]:
    low, high = estimate.interval
    return {**estimate._asdict(), "interval_low": low, "interval_high": high}


def _bound(formula: _Formula, unit: str, count: str, **columns: Any) -> dict[str, Any]:
    nats = torch.tensor(columns.pop("nats"), dtype=torch.float64)
    num_units = torch.tensor(columns.pop(count), dtype=torch.float64)
    if count != "num_tokens":
        _check_told(unit, {name: columns.pop(name, 0) for name in _UNTOLD})
    if columns:
        raise ValueError(f"there is no option {sorted(columns)}; expected nats and {count} alone.")
    if not ((num_units >= 0) & num_units.isfinite() & ~nats.isnan()).all():
        raise ValueError(
            f"{count} is negative or not finite, or nats is NaN, in a sequence; expected numbers."
        )
    return {**_results(formula(nats, num_units)), "unit": unit, "kind": "upper bound"}


def _check_told(unit: str, untold: Mapping[str, Any]) -> None:
    """Nats of tokens are none of the characters that these do not tell."""
    for name, counts in untold.items():
        if (number := float(torch.as_tensor(counts, dtype=torch.float64).sum())) > 0:
            raise ValueError(
                f"{name} is {number:g}; expected 0 for {unit}, as the nats are of the tokens alone,"
                " which do not tell these characters: take bits_per_token."
            )


def _bound_figure(formula: _Formula, unit: str, count: str) -> Figure:
    return Figure(
        inputs=[{"nats": Value("float64"), count: Value("float64")}],
        compute=partial(_bound, formula, unit, count),
        usage=(
            f"nats: upper bounds on -log p of each sequence, as nelbo gives them; {count}: of each"
            " sequence. Gives value, standard_error, interval_low and interval_high (95 %) in"
            f" {unit}; NaN errors for a single sequence. By character and byte also num_unknown and"
            " num_changed, as ardm.data.make_windows counts them: above 0 the figure is refused."
        ),
    )


def _sample_statistics(
    predictions: Sequence[Any],
    tokenizer: Callable[[str], Sequence[Any]] = str.split,
    **options: Any,
) -> dict[str, Any]:
    samples = [tokenizer(sample) if isinstance(sample, str) else sample for sample in predictions]
    return dict(sample_statistics(samples, **options))


def _generative_perplexity(
    predictions: Sequence[str], model_name_or_path: Any = None, model: Any = None, **options: Any
) -> dict[str, Any]:
    scorer = model_name_or_path if model is None else model
    if scorer is None:
        raise ValueError("there is no scorer; expected model_name_or_path, or model and tokenizer.")
    figures = generative_perplexity(predictions, scorer, **options)
    reference = {} if figures.reference is None else _with_entropy(figures.reference)
    prefix = "pseudo-" if figures.scorer_kind == "masked" else ""
    return {
        **_with_entropy(figures),
        "unit": "perplexity per token of the scorer",
        "kind": f"generative {prefix}perplexity",
        **{f"reference_{name}": figure for name, figure in reference.items()},
        "has_low_entropy": figures.has_low_entropy,
        "note": figures.note,
    }


def _with_entropy(figures: GenerativePerplexity) -> dict[str, Any]:
    entropy, error = figures.mean_unigram_entropy_nats
    return {
        **_results(figures.perplexity),
        "mean_unigram_entropy_nats": entropy,
        "mean_unigram_entropy_standard_error_nats": error,
        "mean_num_tokens": figures.mean_num_tokens,
        "lost_share": figures.lost_share,
    }


FIGURES: dict[str, Figure] = {
    "bits_per_token": _bound_figure(bits_per_unit, "bits per token", "num_tokens"),
    "bits_per_character": _bound_figure(bits_per_unit, "bits per character", "num_characters"),
    "bits_per_byte": _bound_figure(bits_per_unit, "bits per byte", "num_bytes"),
    "perplexity": _bound_figure(perplexity, "perplexity per token", "num_tokens"),
    "sample_statistics": Figure(
        inputs=[{"predictions": Value("string")}, {"predictions": [Value("int64")]}],
        compute=_sample_statistics,
        usage=(
            "predictions: texts, or lists of token ids;"
            " tokenizer: callable that splits a text into tokens, by default into words at white"
            " space; self_bleu_order: n of self-BLEU-n, by default left out."
        ),
    ),
    "generative_perplexity": Figure(
        inputs=[{"predictions": Value("string")}],
        compute=_generative_perplexity,
        usage=(
            "predictions: texts; model_name_or_path: the scorer, or model and tokenizer themselves;"
            " reference_texts: real texts to compare with; kind, batch_size, max_length, stride."
        ),
    ),
}


class ReportedFigure(evaluate.Metric):
    """One of `FIGURES`, by the name of the configuration; bits per token if there is none."""

    def _info(self) -> evaluate.MetricInfo:
        name = "bits_per_token" if self.config_name == "default" else self.config_name
        if name not in FIGURES:
            raise ValueError(
                f"the configuration is {name!r}; expected one of {', '.join(map(repr, FIGURES))}."
            )
        self.figure = FIGURES[name]
        features = [Features(inputs) for inputs in self.figure.inputs]
        return evaluate.MetricInfo(
            description="Bounds on -log-likelihoods in bits, and statistics of generated samples.",
            citation="",
            inputs_description=self.figure.usage,
            features=features if len(features) > 1 else features[0],
            reference_urls=["https://arxiv.org/abs/2110.02037", "https://arxiv.org/abs/2409.02908"],
        )

    def add_batch(self, *, predictions: Any = None, references: Any = None, **inputs: Any) -> None:
        """As in `evaluate`, which would go on with missing columns or stop at something unrelated.

        Args:
            predictions: texts or ids, where the figure is of samples.
            references: none of the figures has any.
            **inputs: the columns of the other figures.

        Raises:
            ValueError: if a column is missing or empty, or not of texts or lists of ids.
        """
        for name, kind in self.figure.inputs[0].items():
            column = predictions if name == "predictions" else inputs.get(name)
            if column is None or isinstance(column, str) or len(column) == 0:
                raise ValueError(
                    f"{name} is {column!r}; expected at least one. {self.figure.usage}"
                )
            is_sample = isinstance(column[0], str) or hasattr(column[0], "__len__")
            if kind == Value("string") and not is_sample:
                raise ValueError(
                    f"{name} holds {column[0]!r}; expected samples. {self.figure.usage}"
                )
        super().add_batch(predictions=predictions, references=references, **inputs)

    def _compute(self, **columns_and_options: Any) -> dict[str, Any]:
        return self.figure.compute(**columns_and_options)
