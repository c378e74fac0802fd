"""The card of an image diffusion model: README.md of its folder, YAML front matter and Markdown.

It repeats what it is told, to the digit, and leaves out what it is not told; nothing is measured or
guessed here.
"""

import platform
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

_METRICS = {"fid": "FID", "kid": "KID", "precision": "precision", "recall": "recall"}
_CAPTIONS = {
    "samples.png": "Samples, not selected",
    "steps.png": "The same noise, by sampler and number of steps",
    "trajectory.gif": "From noise to images",
}


@dataclass(frozen=True, kw_only=True)
class Likelihood:
    """The bound on held-out images, as `BoundEvaluation` estimates it."""

    dataset: str
    num_images: int
    bits_per_dim: float
    standard_error: float


@dataclass(frozen=True, kw_only=True)
class SampleQuality:
    """Distances of generated images from real ones, for one sampler and number of steps; None = not
    measured.
    """

    sampler: str
    steps: int | str
    fid: float | None = None
    kid: float | None = None
    precision: float | None = None
    recall: float | None = None


@dataclass(frozen=True, kw_only=True)
class CardFigures:
    """All that a card says; what keeps its default is not mentioned.

    Args:
        model_name: "user/name" on the Hub.
        num_parameters: of the network.
        image_size: pixels a side.
        num_channels: 1 or 3.
        training_data: a name or sentence, Markdown.
        datasets: ids on the Hub.
        class_names: what label k is called, at k.
        diffusion: schedule, prediction, variance, loss, ... by name.
        hyperparameters: of the training, by name.
        command: that trains this model.
        seed: of the training.
        machine: in words.
        date: ISO format.
        wall_clock_seconds: of the training.
        likelihood: on held-out images.
        quality: a row each of the table.
        num_generated: images behind every row.
        num_real: images that they are compared with.
        extractor: name of the features.
        quality_seed: of the sampling.
        pictures: file names beside the card.
        loss_curve: file name beside the card.
        limitations: Markdown.
        license: SPDX-like id of the Hub.
    """

    model_name: str | None = None
    num_parameters: int | None = None
    image_size: int | None = None
    num_channels: int | None = None
    training_data: str | None = None
    datasets: Sequence[str] = ()
    class_names: Sequence[str] | None = None
    diffusion: Mapping[str, object] = field(default_factory=dict)
    hyperparameters: Mapping[str, object] = field(default_factory=dict)
    command: str | None = None
    seed: int | None = None
    machine: str | None = None
    date: str | None = None
    wall_clock_seconds: float | None = None
    likelihood: Likelihood | None = None
    quality: Sequence[SampleQuality] = ()
    num_generated: int | None = None
    num_real: int | None = None
    extractor: str | None = None
    quality_seed: int | None = None
    pictures: Sequence[str] = ()
    loss_curve: str | None = None
    limitations: str | None = None
    license: str = "apache-2.0"


def model_card(figures: CardFigures) -> str:
    """Writes a card.

    Args:
        figures: what is known of the model.

    Returns:
        The text of README.md.
    """
    parts = [
        f"---\n{_front_matter(figures)}\n---",
        f"# {figures.model_name or 'DDPM'}",
        _ABOUT.strip(),
        _bullets(_size_facts(figures)),
        *(f"![{_CAPTIONS.get(name, name)}]({name})" for name in figures.pictures),
        _section("Use", _use(figures)),
        _section("Training data", figures.training_data or "", _classes(figures.class_names)),
        _section("Diffusion", _table(["Setting", "Value"], list(figures.diffusion.items()))),
        _section("Training", *_training(figures)),
        _section("Evaluation", _likelihood(figures.likelihood), *_quality(figures)),
        _section("Limitations", figures.limitations or ""),
        _section("Versions", _bullets(_versions())),
        _section("Citation", _CITATION.strip()),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def run_flags(args: Namespace) -> dict[str, object]:
    """The flags of a run that may stand on a card: no paths of this machine, none that were not
    given.

    Args:
        args: parsed flags.

    Returns:
        Value by name.
    """
    private = ("_dir", "_file", "_path", "_hub", "_model_id", "_checkpoint")
    return {
        name: value
        for name, value in vars(args).items()
        if value is not None and not name.endswith(private)
    }


def _section(title: str, *paragraphs: str) -> str:
    text = "\n\n".join(paragraph for paragraph in paragraphs if paragraph)
    return text and f"## {title}\n\n{text}"


def _front_matter(figures: CardFigures) -> str:
    conditional = ["class-conditional"] if figures.class_names else []
    return ModelCardData(
        model_name=figures.model_name,
        license=figures.license,
        library_name="transformers",
        pipeline_tag="unconditional-image-generation",  # the Hub has no tag of its own for class labels
        tags=["ddpm", "diffusion", "image-generation", *conditional],
        datasets=list(figures.datasets) or None,
        eval_results=_results(figures) if figures.model_name else None,
    ).to_yaml()


def _results(figures: CardFigures) -> list[EvalResult] | None:
    """The likelihood and the best FID, as the Hub's model index has them."""
    common: dict[str, Any] = {"task_type": "unconditional-image-generation"}
    results = []
    bound = figures.likelihood
    if bound is not None:
        where: dict[str, Any] = {
            "dataset_name": bound.dataset,
            "dataset_type": bound.dataset,
            "dataset_split": "validation",
        }
        value: dict[str, Any] = {"metric_type": "bits_per_dim", "metric_value": bound.bits_per_dim}
        results.append(
            EvalResult(**common, **where, **value, metric_name="bits per dimension, upper bound")
        )
    measured = [row.fid for row in figures.quality if row.fid is not None]
    if measured and figures.training_data:
        where = {"dataset_name": figures.training_data, "dataset_type": figures.training_data}
        name = f"FID ({figures.extractor})" if figures.extractor else "FID"
        results.append(
            EvalResult(
                **common, **where, metric_type="fid", metric_value=min(measured), metric_name=name
            )
        )
    return results or None


def _size_facts(figures: CardFigures) -> dict[str, object]:
    size = figures.image_size
    channels = {1: "gray", 3: "RGB"}.get(figures.num_channels or 0)
    return {
        "Parameters": None if figures.num_parameters is None else f"{figures.num_parameters:,}",
        "Images": (
            ", ".join(filter(None, (f"{size} x {size} pixels" if size else None, channels))) or None
        ),
        "Classes": figures.class_names and len(figures.class_names),
    }


def _classes(names: Sequence[str] | None) -> str:
    rows = [(label, name) for label, name in enumerate(names or ())]
    if all(str(label) == name for label, name in rows):
        return ""
    table = _table(["Label", "Class"], rows)
    return (
        table
        if len(rows) <= 20
        else f"<details><summary>{len(rows)} classes</summary>\n\n{table}\n\n</details>"
    )


def _training(figures: CardFigures) -> list[str]:
    seconds = figures.wall_clock_seconds
    facts = {
        "Seed": figures.seed,
        "Machine": figures.machine,
        "Date": figures.date,
        "Wall-clock": None if seconds is None else f"{seconds / 60:.1f} min",
    }
    return [
        f"```bash\n{figures.command}\n```" if figures.command else "",
        _bullets(facts),
        _table(["Hyperparameter", "Value"], list(figures.hyperparameters.items())),
        f"![Loss curve]({figures.loss_curve})" if figures.loss_curve else "",
    ]


def _likelihood(bound: Likelihood | None) -> str:
    if bound is None:
        return ""
    value = f"{bound.bits_per_dim:.4f} ± {bound.standard_error:.4f}"
    scored = f"{bound.num_images:,} images of {bound.dataset}"
    return f"Bits per dimension, upper bound: **{value}** (one standard error), {scored}."


def _quality(figures: CardFigures) -> list[str]:
    if not figures.quality:
        return []
    measured = [
        name for name in _METRICS if any(getattr(row, name) is not None for row in figures.quality)
    ]
    rows = [
        [row.sampler, row.steps, *map(_number, (getattr(row, n) for n in measured))]
        for row in figures.quality
    ]
    how = {
        "Generated images": figures.num_generated and f"{figures.num_generated:,} a row",
        "Real images": figures.num_real and f"{figures.num_real:,}",
        "Features": figures.extractor,
        "Seed of the samples": figures.quality_seed,
    }
    note = (
        "FID depends on the number of images and on the features: compare like with like only."
        if measured
        else ""
    )
    return [
        _table(["Sampler", "Steps", *(_METRICS[name] for name in measured)], rows),
        _bullets(how),
        note,
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _bullets(facts: Mapping[str, object]) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in facts.items() if value is not None)


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    if not rows:
        return ""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        "| " + " | ".join(_escaped(str(cell)) for cell in line) + " |" for line in lines
    )


def _escaped(text: str) -> str:
    """A cell ends at a pipe and a row at a line's end; `<` would begin HTML."""
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").split())


def _versions() -> dict[str, object]:
    found: dict[str, object] = {"Python": platform.python_version()}
    for package in ("ardm", "torch", "transformers"):  # ddpm is a part of the distribution ardm
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # run from a source tree
            continue
    return found


def _use(figures: CardFigures) -> str:
    size = figures.image_size or "model.config.image_size"
    channels = figures.num_channels or "model.config.in_channels"
    labels = ""
    setup = ""
    if figures.class_names:
        setup = f"labels = torch.arange(16) % {len(figures.class_names)}\n"
        labels = ", labels=labels"
    lines = [
        "import torch\n" if setup else "",
        (
            "from ddpm import sample\nfrom ddpm.hub import load_folder\nfrom ddpm.pictures import"
            " image_grid\n\n"
        ),
        f'model, diffusion = load_folder("{figures.model_name or "path/to/this/folder"}")\n',
        setup,
        (
            f'images = sample(model, (16, {channels}, {size}, {size}), diffusion, sampler="ddim",'
            f" steps=50{labels})\n"
        ),
        'image_grid(images).save("samples.png")',
    ]
    return f"```python\n{''.join(lines)}\n```"


_ABOUT = """
A Gaussian diffusion model of images ([DDPM](https://arxiv.org/abs/2006.11239)): a U-Net of the
[ADM](https://arxiv.org/abs/2105.05233) family that turns noise into an image step by step.
"""

_CITATION = """
```bibtex
@inproceedings{dhariwal2021diffusion,
  title     = {Diffusion Models Beat {GAN}s on Image Synthesis},
  author    = {Dhariwal, Prafulla and Nichol, Alexander},
  booktitle = {Advances in Neural Information Processing Systems},
  year      = {2021},
  url       = {https://arxiv.org/abs/2105.05233}
}
```
"""
