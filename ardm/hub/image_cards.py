"""The card of a model of pixels: README.md of its folder, YAML front matter and Markdown.

It repeats what it is told and leaves out what it is not told; nothing is measured or guessed here.
What all packages' cards have in common is in [`ardm.training.card_parts`].
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..training.card_parts import (
    UNNAMED,
    WITH_PACKAGE,
    WITHOUT_PACKAGE,
    RunFigures,
    bullets,
    front_matter,
    paragraphs,
    sections,
    table,
    training,
    versions,
    with_error,
)
from ..training.local_paths import public
from .cards import CITATION, bound_result

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

_TAGS = ("ardm", "masked-diffusion", "order-agnostic", "pixels", "custom_code")


@dataclass(frozen=True, kw_only=True)
class ImageCardFigures(RunFigures):
    """All that a card says; what keeps its default is not mentioned.

    Args:
        shape: (C, H, W) of the images.
        num_values: of a channel of a pixel.
        class_names: what class k is called, at k.
        stages: how values are revealed, in words.
        held_out: name of the images scored; of a path, its last component is kept.
        num_scored: how many.
        bits_per_dimension: of these, value and standard error.
    """

    shape: tuple[int, int, int]
    num_values: int
    class_names: Sequence[str] | None = None
    stages: str | None = None
    held_out: str | None = None
    num_scored: int | None = None
    bits_per_dimension: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "held_out", public(self.held_out))


def image_model_card(figures: ImageCardFigures) -> str:
    """Writes a card.

    Args:
        figures: what is known of the model.

    Returns:
        The text of README.md.
    """
    count = figures.num_parameters
    channels, height, width = figures.shape
    facts = {
        "Parameters": None if count is None else f"{count:,}",
        "Images": f"{height} x {width} pixels, {channels} channel{'s' * (channels > 1)} of"
        f" {figures.num_values} values",
        "Classes": None if figures.class_names is None else ", ".join(figures.class_names),
        "Values are revealed": figures.stages,
    }
    scored = figures.bits_per_dimension is not None
    name = figures.model_name or UNNAMED
    parts = {
        "Use": _use(figures).replace("MODEL_NAME", name),
        "Training data": figures.training_data,
        "Training": training(figures),
        "Evaluation": _bound(figures) if scored else None,
        "Limitations": figures.limitations,
        "Versions": versions(),
        "Citation": CITATION,
    }
    card = paragraphs(
        front_matter(
            figures,
            pipeline_tag="unconditional-image-generation",
            tags=_TAGS,
            results=[_result(figures)] if scored else [],
        ),
        f"# {figures.model_name or 'ARDM of pixels'}",
        _ABOUT,
        bullets(facts),
        *(f"![{picture}]({picture})" for picture in figures.pictures),
        sections(parts),
    )
    return card + "\n"


def _use(figures: ImageCardFigures) -> str:
    """With the package, which knows what ids mean; and without, where they are what they are."""
    channels, height, width = figures.shape
    mask = figures.num_values
    texts = {"shape": f"8, {height}, {width}, {channels}", "last": mask - 1}
    if figures.class_names:
        size = channels * height * width
        texts |= {
            "canvas": _CANVAS_OF_CLASS.format(mask=mask, size=size, first=mask + 1),
            "call": "canvas, steps=16",
            "kept": "[:, :-1]",
            "bound": f"ids, prompt_mask=canvas != {mask}",
        }
    else:
        call = "num_return_sequences=8, steps=16"
        texts |= {"canvas": "", "call": call, "kept": "", "bound": "ids"}
    with_package = _USE_OF_CLASSES if figures.class_names else _USE
    return paragraphs(WITH_PACKAGE, with_package, WITHOUT_PACKAGE, _USE_WITHOUT.format(**texts))


def _bound(figures: ImageCardFigures) -> str:
    assert figures.bits_per_dimension is not None
    given = ", given its class" if figures.class_names else ""
    value = with_error(*figures.bits_per_dimension)
    meaning = "; ± is one standard error" * ("±" in value)
    return paragraphs(
        f"{figures.num_scored:,} images of {figures.held_out}{meaning}.",
        table(["Metric", "Upper bound (NELBO)"], [(f"bits per dimension{given}", value)]),
    )


def _result(figures: ImageCardFigures) -> "EvalResult":
    assert figures.bits_per_dimension is not None
    return bound_result(
        figures.bits_per_dimension,
        unit="dimension",
        task="unconditional-image-generation",
        dataset=str(figures.held_out),
        num_scored=figures.num_scored,
    )


_ABOUT = """\
An order-agnostic autoregressive diffusion model
(ARDM, [arXiv 2110.02037](https://arxiv.org/abs/2110.02037)) of pixels: a bidirectional transformer
that predicts masked values from the known ones, trained over uniformly random orders. It draws
images in any order and many values a step, completes images of which a part is given, and bounds
their likelihood.
"""

_LOAD = """\
import torch
from ardm import nelbo
from ardm.hub import load_image_folder

model, pixels = load_image_folder("MODEL_NAME")  # pixels: images to ids, and back
"""

_USE = f"""\
```python
{_LOAD}
# eight new images, in random order, sixteen steps
ids = model.generate(pixels.canvas(8), steps=16)
images = pixels.decode(ids)  # uint8 (N, C, H, W)

# the lower half of an image drawn anew: each mask is generated, nothing else is touched
given = pixels.encode(images[:1])
given[:, pixels.num_pixels // 2 :] = model.config.mask_token_id
completed = pixels.decode(model.generate(given, num_return_sequences=4))

print(nelbo(model, pixels.encode(images)).bits_per_token)  # an upper bound, bits per dimension
```
"""

_USE_OF_CLASSES = f"""\
```python
{_LOAD}
# eight new images of class 0, in random order, sixteen steps, a little more typical of it
ids = model.generate(pixels.canvas(8, labels=[0] * 8), steps=16, guidance_scale=1.5)
images = pixels.decode(ids)  # uint8 (N, C, H, W)

# the lower half of an image drawn anew: each mask is generated, nothing else is touched
given = pixels.encode(images[:1], labels=torch.tensor([0]))
given[:, pixels.num_pixels // 2 : pixels.num_pixels] = model.config.mask_token_id
completed = pixels.decode(model.generate(given, num_return_sequences=4))

# an upper bound on bits per dimension; the class is given, not scored
ids = pixels.encode(images, labels=torch.zeros(8, dtype=torch.long))
print(nelbo(model, ids, prompt_mask=pixels.prompt_mask(8)).bits_per_token)
```
"""

_USE_WITHOUT = """\
```python
import torch
from transformers import AutoModelForMaskedLM

model = AutoModelForMaskedLM.from_pretrained("MODEL_NAME", trust_remote_code=True)
{canvas}ids = model.generate({call})
values = ids{kept}.view({shape})  # rows, columns, channels: 0 is black, {last} white
print(model.nelbo({bound}).bits_per_token)  # an upper bound
```
"""

_CANVAS_OF_CLASS = """\
canvas = torch.full((8, {size} + 1), {mask})  # the mask id everywhere ...
canvas[:, -1] = {first}  # ... but behind the pixels the class k, {first} + k
"""
