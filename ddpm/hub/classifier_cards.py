"""The card of a classifier of noisy images: README.md of its folder.

It repeats what it is told, to the digit; nothing is measured or guessed here.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ardm.training import card_parts as parts
from ardm.training.local_paths import public

from ..classification import NUM_QUARTILES, TOP, AccuracyByNoise, quartiles
from ..forward_process import ForwardProcess
from ..models.classifier import NoisyClassifier
from .card_figures import ImageModelFigures
from .cards import (
    CITATION,
    WITH_PACKAGE,
    WITHOUT_PACKAGE,
    class_table,
    from_the_hub,
    size_facts,
)

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

ACCURACY_CURVE = "accuracy.png"
_TASK = "image-classification"


@dataclass(frozen=True, kw_only=True)
class ClassifierFigures(ImageModelFigures):
    """All that a classifier's card says; what keeps its default is left out.

    Args:
        noised: whether it was trained on noisy images.
        process: settings of the process q that noised them, by name.
        diffusion_name: of the saved diffusion model that it was made for; of a path its last
            component is kept.
        accuracy: on held-out images.
        held_out: what these are called; of a path its last component is kept.
    """

    noised: bool = True
    process: Mapping[str, object] = field(default_factory=dict)
    diffusion_name: str | None = None
    accuracy: AccuracyByNoise | None = None
    held_out: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "diffusion_name", public(self.diffusion_name))
        object.__setattr__(self, "held_out", public(self.held_out))


def classifier_facts(
    model: NoisyClassifier, process: ForwardProcess, *, noised: bool
) -> dict[str, Any]:
    """What a card says of a classifier and the noise that it knows.

    Args:
        model: the classifier.
        process: that noised its images.
        noised: whether it did.

    Returns:
        Fields of [`ClassifierFigures`].
    """
    config = model.config
    return {
        "num_parameters": model.num_parameters(),
        "image_size": config.image_size,
        "num_channels": config.in_channels,
        "class_names": config.class_names,
        "noised": noised,
        "process": _process_facts(process),
    }


def _process_facts(process: ForwardProcess) -> dict[str, object]:
    signal = float(process.alphas_cumprod[-1].sqrt())
    return {
        "num_timesteps": process.num_timesteps,
        "betas": f"{process.betas[0]:.4g} to {process.betas[-1]:.4g}",
        "share of the image in the last x_t": f"{signal:.4g}",
    }


def classifier_card(figures: ClassifierFigures) -> str:
    """Writes a card.

    Args:
        figures: what is known of the classifier.

    Returns:
        The text of README.md.
    """
    text = {
        "Use": parts.paragraphs(
            _USE,
            WITH_PACKAGE,
            parts.fenced(_use(figures), "python"),
            WITHOUT_PACKAGE,
            parts.fenced(_use_alone(figures), "python"),
        ),
        "Training data": parts.paragraphs(
            figures.training_data,
            None if figures.num_images is None else f"{figures.num_images:,} images.",
            class_table(figures.class_names or ()),
        ),
        "Noise": _noise(figures),
        "Training": parts.training(figures),
        "Evaluation": _evaluation(figures),
        "Limitations": figures.limitations,
        "Versions": parts.versions(),
        "Citation": parts.fenced(CITATION.strip(), "bibtex"),
    }
    tags = ["ddpm", "diffusion", "classifier-guidance", "image-classification", "custom_code"]
    matter = parts.front_matter(figures, pipeline_tag=_TASK, tags=tags, results=_results(figures))
    shown = [f"![Accuracy against the timestep]({name})" for name in figures.pictures]
    body = parts.paragraphs(
        matter,
        f"# {figures.model_name or 'Classifier of noisy images'}",
        _ABOUT,
        parts.bullets(size_facts(figures)),
        *shown,
        parts.sections(text),
    )
    return body + "\n"


def _results(figures: ClassifierFigures) -> "list[EvalResult]":
    """The accuracy without noise, as the Hub's model index has it."""
    from huggingface_hub import EvalResult

    if figures.accuracy is None or figures.held_out is None:
        return []
    result = EvalResult(
        task_type=_TASK,
        dataset_name=figures.held_out,
        dataset_type=figures.held_out,
        dataset_split="validation",
        metric_type="accuracy",
        metric_value=figures.accuracy.clean_accuracy,
        metric_name="accuracy without noise",
        metric_args={"standard_error": _clean_error(figures.accuracy)},
    )
    return [result]


def _noise(figures: ClassifierFigures) -> str:
    seen = "Trained on images without noise: it can guide where little noise is left, at most."
    made_for = figures.diffusion_name
    return parts.paragraphs(
        None if figures.noised else seen,
        f"Made for the diffusion of `{made_for}`." if made_for else None,
        parts.table(["Setting", "Value"], list(figures.process.items())),
    )


def _evaluation(figures: ClassifierFigures) -> str:
    by_noise = figures.accuracy
    if by_noise is None:
        return ""
    bounds = [number * by_noise.num_timesteps / NUM_QUARTILES for number in range(5)]
    quarters = [f"t in [{low:g}, {high:g})" for low, high in pairwise(bounds)]
    columns = {
        "Noise": ["without noise", *quarters, "all timesteps"],
        "Accuracy": _percent(by_noise.clean_accuracy, by_noise.accuracy),
    }
    if by_noise.num_classes > TOP:
        top5 = _percent(by_noise.clean_top5_accuracy, by_noise.top5_accuracy)
        columns[f"Among the first {TOP}"] = top5
    losses = _summary(by_noise.clean_cross_entropy, by_noise.cross_entropy)
    columns["Cross-entropy, nats"] = [f"{loss:.4f}" for loss in losses]
    return parts.paragraphs(
        f"{by_noise.num_images:,} images of {figures.held_out or 'held-out data'}, each noised at"
        f" {len(by_noise.accuracy)} timesteps that are spread evenly.",
        parts.table(list(columns), list(zip(*columns.values(), strict=True))),
        f"Without noise the accuracy's standard error is {100 * _clean_error(by_noise):.1f} %."
        f" Chance: {100 / by_noise.num_classes:.4g} %, as there are {by_noise.num_classes}"
        " classes.",
    )


def _clean_error(by_noise: AccuracyByNoise) -> float:
    """One standard error of the accuracy without noise, a share of independent images."""
    share = by_noise.clean_accuracy
    return math.sqrt(share * (1 - share) / by_noise.num_images)


def _summary(clean: float, by_timestep: Sequence[float]) -> list[float]:
    """Without noise, by quarter of the timesteps, over all of them."""
    return [clean, *quartiles(by_timestep), sum(by_timestep) / len(by_timestep)]


def _percent(clean: float, by_timestep: Sequence[float]) -> list[str]:
    return [f"{100 * share:.1f} %" for share in _summary(clean, by_timestep)]


def _use(figures: ClassifierFigures) -> str:
    name = figures.model_name or parts.UNNAMED
    size = figures.image_size or "model.config.image_size"
    channels = figures.num_channels or "model.config.in_channels"
    count = len(figures.class_names) if figures.class_names else "classifier.config.num_classes"
    lines = [
        "import torch",
        "from ddpm import classifier_guidance, sample",
        "from ddpm.hub import image_grid, load_classifier, load_folder",
        "",
        f'model, diffusion = load_folder("{figures.diffusion_name or "path/to/a/diffusion"}")',
        f'classifier = load_classifier("{name}")',
        f"labels = torch.arange(16) % {count}",
        "guidance = classifier_guidance(classifier, labels, scale=1.0)",
        f"shape = (16, {channels}, {size}, {size})",
        'classes = {"labels": labels} if model.config.num_classes else {}',
        "images = sample(model, shape, diffusion, steps=50, guidance=guidance, **classes)",
        'image_grid(images).save("guided.png")',
    ]
    return "\n".join(lines)


def _use_alone(figures: ClassifierFigures) -> str:
    """The same where this package is not installed."""
    count = len(figures.class_names) if figures.class_names else "classifier.config.num_classes"
    diffusion = figures.diffusion_name or "path/to/a/diffusion"
    lines = [
        "import torch",
        "from transformers import AutoModel",
        "",
        f'model = AutoModel.from_pretrained("{diffusion}", trust_remote_code=True)',
        from_the_hub("classifier", figures),
        f"labels = torch.arange(16) % {count}",
        "images = model.sample(labels=labels, classifier=classifier, steps=50)",
        "logits = classifier(images, torch.tensor(0))  # (16, K), of images without noise",
    ]
    return "\n".join(lines)


_ABOUT = """
A classifier of noisy images, p(y | x_t, t): the encoder half of an
[ADM](https://arxiv.org/abs/2105.05233) U-Net. Its gradient guides a diffusion model towards a
class.
"""
_USE = """
It guides diffusion models of images of the same size, channels and classes whose noise is that of
its training; `config.betas` says which, and the guidance checks it.
"""
