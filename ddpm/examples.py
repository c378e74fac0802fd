"""Numbered examples: what is random about example k of a training, as functions of (seed, k).

    u_k = (k mod G) / G + shift_s  mod 1,    s = k div G

where G examples are one step, so that the u of a step are spread evenly over all processes (a
low-discrepancy sampler, arXiv 2107.00630, appendix I.1). Everything else comes from a stream of its
own for each kind and number: how a step is split into micro-batches and processes changes nothing.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from .denoisers import to_model_range
from .noise import RowNoise, stream

# kinds of draws: no two share a stream
_STEP = 0
_NOISE = 1
FLIP = 2
LABEL = 3
CROP = 4
CONDITION = 5


def spread_uniforms(seed: int, numbers: Sequence[int], global_batch_size: int) -> Tensor:
    """One number an example, evenly spread over its step.

    Args:
        seed: of the run.
        numbers: of the examples, all of one step.
        global_batch_size: G, examples of a step.

    Returns:
        u_k, float64 (B,), in [0, 1).
    """
    generator = stream(seed, _STEP, numbers[0] // global_batch_size)
    shift = torch.rand((), generator=generator, dtype=torch.float64)
    places = (torch.tensor(numbers) % global_batch_size).double()
    return (places / global_batch_size + shift) % 1


def example_noise(seed: int, numbers: Sequence[int], images: Tensor) -> Tensor:
    """Standard normal noise of each example.

    Args:
        seed: of the run.
        numbers: of the examples.
        images: of these examples, floats (B, C, H, W).

    Returns:
        The noise, like the images.
    """
    return RowNoise([stream(seed, _NOISE, number, device=images.device) for number in numbers])(
        images
    )


def example_uniforms(seed: int, kind: int, numbers: Sequence[int], count: int = 1) -> Tensor:
    """Uniform numbers of each example, on the CPU.

    Args:
        seed: of the run.
        kind: what for: `FLIP`, `LABEL` or `CROP`.
        numbers: of the examples.
        count: how many for each of them.

    Returns:
        float32 (B, count), in [0, 1).
    """
    return torch.stack(
        [torch.rand(count, generator=stream(seed, kind, number)) for number in numbers]
    )


def example_images(images: Tensor, numbers: Sequence[int]) -> Tensor:
    """The images of a batch, as models see them.

    Args:
        images: uint8, or floats in [-1, 1], (B, C, H, W).
        numbers: of the examples.

    Returns:
        Floats in [-1, 1].

    Raises:
        ValueError: if there is none.
    """
    if not numbers:
        raise ValueError("the batch is empty; expected at least one image.")
    return images if images.is_floating_point() else to_model_range(images)
