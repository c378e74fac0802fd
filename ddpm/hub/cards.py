"""The card of an image diffusion model: README.md of its folder, YAML front matter and Markdown.

It repeats what it is told, to the digit; nothing is measured or guessed here.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ardm.training import card_parts as parts

from .card_figures import METRICS, CardFigures, ImageModelFigures, SampleQuality

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

_TASK = "unconditional-image-generation"  # the Hub has no tag of its own for class labels
_UPSAMPLING_TASK = "image-to-image"
_CAPTIONS = {
    "samples.png": "Samples, not selected",
    "trajectory.gif": "From noise to images",
    "steps.png": "The same noise, by sampler and number of steps",
    "upsampled.png": "Held-out images made small, and what the model makes of them, not selected",
    "cascade.png": "Small images drawn by another model, enlarged by this one, not selected",
}


def model_card(figures: CardFigures) -> str:
    """Writes a card.

    Args:
        figures: what is known of the model.

    Returns:
        The text of README.md.
    """
    conditional = ["class-conditional"] if figures.class_names else []
    upsampler = figures.low_resolution is not None
    kind = "super-resolution" if upsampler else "image-generation"
    task = _UPSAMPLING_TASK if upsampler else _TASK
    tags = ["ddpm", "diffusion", kind, *conditional, "custom_code"]
    shown = [f"![{_CAPTIONS.get(name, name)}]({name})" for name in figures.pictures]
    text = {
        "Use": parts.paragraphs(
            WITH_PACKAGE,
            parts.fenced(_use(figures), "python"),
            WITHOUT_PACKAGE,
            parts.fenced(_use_alone(figures), "python"),
        ),
        "Training data": parts.paragraphs(
            figures.training_data,
            None if figures.num_images is None else f"{figures.num_images:,} images.",
            class_table(figures.class_names or ()),
            _dropped(figures.label_dropout),
        ),
        "Diffusion": parts.table(["Setting", "Value"], list(figures.diffusion.items())),
        "Training": parts.training(figures),
        "Evaluation": parts.paragraphs(_likelihood(figures), _quality(figures)),
        "Limitations": figures.limitations,
        "Versions": parts.versions(),
        "Citation": parts.fenced(CITATION.strip(), "bibtex"),
    }
    body = parts.paragraphs(
        parts.front_matter(figures, pipeline_tag=task, tags=tags, results=_results(figures, task)),
        f"# {figures.model_name or ('DDPM upsampler' if upsampler else 'DDPM')}",
        _ABOUT + (_ABOUT_UPSAMPLING if upsampler else ""),
        parts.bullets(size_facts(figures)),
        *shown,
        parts.sections(text),
    )
    return body + "\n"


def _results(figures: CardFigures, task: str) -> "list[EvalResult]":
    """The likelihood and the best FID, as the Hub's model index has them."""
    from huggingface_hub import EvalResult

    results = []
    bound = figures.likelihood
    if bound is not None:
        result = EvalResult(
            task_type=task,
            dataset_name=bound.dataset,
            dataset_type=bound.dataset,
            dataset_split="validation",
            metric_type="bits_per_dim",
            metric_value=bound.bits_per_dim,
            metric_name="bits per dimension, upper bound",
            metric_args=_error(bound.standard_error),
        )
        results.append(result)
    measured = [row.fid for row in figures.quality if row.fid is not None]
    if measured and figures.training_data:
        result = EvalResult(
            task_type=task,
            dataset_name=figures.training_data,
            dataset_type=figures.training_data,
            metric_type="fid",
            metric_value=min(measured),
            metric_name=f"FID ({figures.extractor})" if figures.extractor else "FID",
        )
        results.append(result)
    return results


def _error(standard_error: float) -> dict[str, float] | None:
    return None if math.isnan(standard_error) else {"standard_error": standard_error}


def size_facts(figures: ImageModelFigures) -> dict[str, object]:
    """How large a network and its images are, by name."""
    size = figures.image_size and f"{figures.image_size} x {figures.image_size} pixels"
    small = figures.low_resolution and f"{figures.low_resolution} x {figures.low_resolution} pixels"
    colours = {1: "grey", 3: "RGB"}.get(figures.num_channels or 0)
    return {
        "Parameters": None if figures.num_parameters is None else f"{figures.num_parameters:,}",
        "Images": ", ".join(fact for fact in (size, colours) if fact) or None,
        "Small images": small,
        "Classes": figures.class_names and len(figures.class_names),
    }


def class_table(names: Sequence[str]) -> str:
    """What labels mean, as a table, folded away if it is long; nothing where they say it."""
    rows = list(enumerate(names))
    if all(str(label) == name for label, name in rows):  # a table would say nothing
        return ""
    listed = parts.table(["Label", "Class"], rows)
    if len(rows) <= 20:
        return listed
    return parts.folded(f"{len(rows)} classes", listed)


def _dropped(share: float) -> str:
    if not share:
        return ""
    return (
        f"Labels dropped in training, at random: {100 * share:.4g} %. So the model knows images"
        " without class, too, for [classifier-free guidance](https://arxiv.org/abs/2207.12598)."
    )


def _likelihood(figures: CardFigures) -> str:
    bound = figures.likelihood
    if bound is None:
        return ""
    value = parts.with_error(bound.bits_per_dim, bound.standard_error)
    scored = f"{bound.num_images:,} images of {bound.dataset}"
    meaning = "; ± is one standard error" * ("±" in value)
    given = " given the small image" * (figures.low_resolution is not None)
    return f"Bits per dimension{given}, upper bound: **{value}**, {scored}{meaning}."


def _quality(figures: CardFigures) -> str:
    rows = figures.quality
    if not rows:
        return ""
    measured = {
        name: title
        for name, title in METRICS.items()
        if any(getattr(row, name) is not None for row in rows)
    }
    cells = [[row.sampler, row.steps, *(_measured(row, name) for name in measured)] for row in rows]
    how = {
        "Generated images": figures.num_generated and f"{figures.num_generated:,} a row",
        "Real images": figures.num_real and f"{figures.num_real:,}",
        "Features": figures.extractor,
        "Seed of the samples": figures.quality_seed,
    }
    return parts.paragraphs(
        parts.table(["Sampler", "Steps", *measured.values()], cells),
        parts.bullets(how),
        _CAVEAT if measured else None,
        _ERRORS if any(row.kid_standard_error is not None for row in rows) else None,
    )


def _measured(row: SampleQuality, name: str) -> str:
    """A figure, with its standard error where there is one."""
    value, error = getattr(row, name), getattr(row, f"{name}_standard_error", None)
    if value is None:
        return ""
    return f"{value:.4g}" if error is None else f"{value:.4g} ± {error:.2g}"


def _use(figures: CardFigures) -> str:
    name = figures.model_name or parts.UNNAMED
    upsampler = figures.low_resolution is not None
    size = figures.low_resolution or figures.image_size or "model.config.image_size"
    shape = f"(16, {figures.num_channels or 'model.config.in_channels'}, {size}, {size})"
    options = 'sampler="ddim", steps=50'
    function, given = ("upsample", "low_res") if upsampler else ("sample", shape)
    names = ["classifier_free_guidance", function] if figures.null_class else [function]
    lines = [
        *(["import torch"] if figures.class_names or upsampler else []),
        f"from ddpm import {', '.join(names)}",
        "from ddpm.hub import image_grid, load_folder",
        "",
        f'model, diffusion = load_folder("{name}")',
    ]
    if upsampler:
        lines.append(f"low_res = torch.rand{shape} * 2 - 1  # your small images, in [-1, 1]")
    if figures.class_names:
        lines.append(f"labels = torch.arange(16) % {len(figures.class_names)}")
        options += ", labels=labels"
    if figures.null_class:
        lines.append("guidance = classifier_free_guidance(2.0)")
        options += ", guidance=guidance"
    lines += [
        f"images = {function}(model, {given}, diffusion, {options})",
        'image_grid(images).save("samples.png")',
    ]
    return "\n".join(lines)


def _use_alone(figures: CardFigures) -> str:
    """The same where this package is not installed."""
    upsampler = figures.low_resolution is not None
    given = "low_res=low_res" if upsampler else "16"
    lines = [
        "import torch",
        "from transformers import AutoModel",
        "",
        from_the_hub("model", figures),
    ]
    if upsampler:
        channels = figures.num_channels or "model.config.in_channels"
        shape = f"(16, {channels}, {figures.low_resolution}, {figures.low_resolution})"
        lines.append(f"low_res = torch.rand{shape} * 2 - 1  # your small images, in [-1, 1]")
    options = 'sampler="ddim", steps=50'
    if figures.class_names:
        lines.append(f"labels = torch.arange(16) % {len(figures.class_names)}")
        options += ", labels=labels"
    if figures.null_class:
        options += ", guidance_scale=2.0"
    lines += [
        f"images = model.sample({given}, {options})  # in [-1, 1]",
        "pixels = ((images + 1) * 127.5).round().to(torch.uint8)  # (16, C, H, W)",
    ]
    return "\n".join(lines)


def from_the_hub(variable: str, figures: ImageModelFigures) -> str:
    """The line that loads a model by the code beside its weights."""
    name = figures.model_name or parts.UNNAMED
    return f'{variable} = AutoModel.from_pretrained("{name}", trust_remote_code=True)'


WITH_PACKAGE = "With [ardm-ddpm](https://github.com/ardm-ddpm/ardm-ddpm) installed:"
WITHOUT_PACKAGE = """
Without it, with torch and transformers alone, by the code that lies beside the weights:
"""
_ERRORS = "± is one standard error."
_CAVEAT = "FID depends on the number of images and on the features: compare like with like only."
_ABOUT = """
A Gaussian diffusion model of images ([DDPM](https://arxiv.org/abs/2006.11239)): a U-Net of the
[ADM](https://arxiv.org/abs/2105.05233) family that turns noise into an image step by step.
"""
_ABOUT_UPSAMPLING = """
It enlarges: at every step it sees a small image, and draws a large one that the small one could be
made of.
"""
CITATION = """
@inproceedings{dhariwal2021diffusion,
  title     = {Diffusion Models Beat {GAN}s on Image Synthesis},
  author    = {Dhariwal, Prafulla and Nichol, Alexander},
  booktitle = {Advances in Neural Information Processing Systems},
  year      = {2021},
  url       = {https://arxiv.org/abs/2105.05233}
}
"""
