"""Images that a model of pixels makes: samples, completions, and how they come about.

A canvas in the making is shown as it stands: a known pixel as it is, a coarse one as the mean of
the values that it may still become, and what has not been touched in a colour of its own.

Shapes: N images, C channels, H height, W width, L pixel values, F frames.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..data.images import ImageFormat
from ..modeling_ardm import ARDMForMaskedLM
from ..stages import Stages

_UNTOUCHED = (70, 110, 180)  # a blue that is no grey
_COMPLETIONS = 4
_STEPS = 256  # of an image; one reveal a step would take minutes of larger ones
_FRAMES = 60


def node_values(stages: Stages, num_values: int) -> Tensor:
    """float64 (M,): of each node of a tree of values the mean of those below it; NaN of others."""
    values = torch.arange(num_values)
    sums_M = torch.zeros(stages.num_nodes, dtype=torch.float64)
    counts_M = torch.zeros_like(sums_M)
    for level in range(1, stages.num_stages + 1):
        nodes = stages.coarsen(values, level)
        sums_M.index_add_(0, nodes, values.double())
        counts_M.index_add_(0, nodes, torch.ones_like(values, dtype=torch.float64))
    return sums_M / counts_M


def show(canvases: Tensor, image_format: ImageFormat, stages: Stages) -> Tensor:
    """Canvases in the making as colour images.

    Args:
        canvases: int64 (N, sequence length), of nodes.
        image_format: of the images.
        stages: of the model.

    Returns:
        uint8 (N, 3, H, W); blue where any channel is untouched.
    """
    pixels = canvases[:, : image_format.num_pixels].cpu()
    values = node_values(stages, image_format.num_values)[pixels]
    images = image_format.decode(values.nan_to_num(0)).expand(-1, 3, -1, -1).clone()
    channels, height, width = image_format.shape
    untouched = (pixels == stages.mask_token_id).view(-1, height, width, channels).any(-1)
    colour = torch.tensor(_UNTOUCHED, dtype=torch.uint8)[None, :, None, None]
    return torch.where(untouched[:, None], colour, images)


def draw_images(
    model: ARDMForMaskedLM,
    image_format: ImageFormat,
    num_images: int,
    labels: Sequence[int] | None = None,
    **settings: Any,
) -> Tensor:
    """Images from nothing.

    Args:
        model: of such images.
        image_format: theirs.
        num_images: N.
        labels: their classes; None with classes = each in turn.
        **settings: of `generate`.

    Returns:
        uint8 (N, C, H, W).
    """
    canvas = blank(model, image_format, num_images, labels)
    ids: Any = model.generate(canvas, **settings)
    return image_format.decode(ids.cpu())


def blank(
    model: ARDMForMaskedLM,
    image_format: ImageFormat,
    num_images: int,
    labels: Sequence[int] | None = None,
) -> Tensor:
    """Canvases of which all is to be generated, on the model's device; see [`draw_images`]."""
    if labels is None and image_format.num_classes:
        labels = [number % image_format.num_classes for number in range(num_images)]
    return image_format.canvas(num_images, labels).to(model.device)


def halves(input_ids: Tensor, image_format: ImageFormat) -> Tensor:
    """Sequences whose lower half is to be generated anew.

    Args:
        input_ids: int64 (N, sequence length).
        image_format: of the images.

    Returns:
        int64 (N, sequence length).
    """
    canvas = input_ids.clone()
    height = image_format.shape[1]
    begin = image_format.num_pixels // height * ((height + 1) // 2)
    canvas[:, begin : image_format.num_pixels] = image_format.num_values
    return canvas


def film(
    model: ARDMForMaskedLM, image_format: ImageFormat, canvas: Tensor, **settings: Any
) -> list[Tensor]:
    """The states that some images pass through.

    Args:
        model: of such images.
        image_format: theirs.
        canvas: int64 (N, sequence length).
        **settings: of `generate`.

    Returns:
        F images uint8 (N, 3, H, W), of [`show`]: at most 60, spread evenly, the last one among
        them.
    """
    output: Any = model.generate(
        canvas, return_dict_in_generate=True, output_history=True, **settings
    )
    states = [canvas, *output.history]
    some = states[:: -max(1, math.ceil(len(states) / _FRAMES))][::-1]
    return [show(state, image_format, model.stages) for state in some]


def sharpening(
    model: ARDMForMaskedLM, image_format: ImageFormat, canvas: Tensor, **settings: Any
) -> list[Tensor]:
    """What some images are after each stage; interleaved, by so many reveals of each value.

    Args:
        model: of such images.
        image_format: theirs.
        canvas: int64 (N, sequence length).
        **settings: of `generate`.

    Returns:
        S images uint8 (N, 3, H, W), of [`show`].
    """
    ids: Any = model.generate(canvas, **settings)
    stages = model.stages
    states = [
        stages.coarsen(ids, level).where(canvas == stages.mask_token_id, canvas)
        for level in range(1, stages.num_stages + 1)
    ]
    return [show(state, image_format, stages) for state in states]


def drawings(
    model: ARDMForMaskedLM,
    image_format: ImageFormat,
    given: Tensor,
    width: int,
    guidance_scale: float = 1.0,
) -> dict[str, Any]:
    """What a trained model shows of itself, in at most 256 steps an image.

    Args:
        model: of images.
        image_format: theirs.
        given: int64 (n, sequence length), images to complete, on the model's device.
        width: w, images of a row of samples.
        guidance_scale: of `generate`.

    Returns:
        "samples", uint8 (4w, C, H, W); "order", the states that w images pass through, a list of
        uint8 (w, 3, H, W); and by the name of each row uint8 (n or w, 3, H, W): "inpainting", the
        images, what is given of them, and completions; "sharpening", each of
        several stages.
    """
    settings: dict[str, Any] = {"guidance_scale": guidance_scale}
    if image_format.num_pixels * model.stages.num_stages > _STEPS:
        settings["steps"] = _STEPS
    canvas = blank(model, image_format, width)
    lower = halves(given, image_format)
    rows = {"real": show(given, image_format, model.stages)}
    rows["given"] = show(lower, image_format, model.stages)
    for seed in range(_COMPLETIONS):
        ids: Any = model.generate(lower, seed=seed, **settings)
        rows[f"drawn, seed {seed}"] = show(ids, image_format, model.stages)
    shown: dict[str, Any] = {
        "samples": draw_images(model, image_format, 4 * width, seed=0, **settings),
        "order": film(model, image_format, canvas, seed=0, **settings),
        "inpainting": rows,
    }
    if model.stages.num_stages > 1:
        states = sharpening(model, image_format, canvas, seed=0, **settings)
        shown["sharpening"] = {f"stage {s + 1}": state for s, state in enumerate(states)}
    return shown
