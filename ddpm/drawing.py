"""Drawing: N numbered images, each from a stream of its own, in batches, on any processes.

Process r of P draws the images r, r + P, ... Image k depends on (seed, k) and its label, not on
batches or processes.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ardm.training import check_integer, share_of

from .denoisers import Denoiser
from .diffusion import GaussianDiffusion
from .guides import Guidance
from .noise import stream
from .samplers import device_of, sample


def draw_images(
    model: Denoiser,
    diffusion: GaussianDiffusion,
    num_images: int,
    image_shape: tuple[int, ...],
    *,
    seed: int = 0,
    labels: Tensor | None = None,
    guidance_for: Callable[[Tensor], Guidance | Sequence[Guidance]] | None = None,
    batch_size: int = 64,
    process_index: int = 0,
    num_processes: int = 1,
    **options: Any,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Draws this process's share of some images.

    Args:
        model: as for [`sample`].
        diffusion: of the model.
        num_images: N, over all processes.
        image_shape: (C, H, W).
        seed: of all of them.
        labels: int64 (N,), or None.
        guidance_for: the guidance of a batch, given the numbers of its images, int64 (B,): labels
            and scales of a guide are one a row of the batch.
        batch_size: images drawn side by side.
        process_index: this process.
        num_processes: of how many.
        **options: of [`sample`].

    Yields:
        Numbers of the images, int64 (B,), and the images (B, C, H, W) in [-1, 1].

    Raises:
        ValueError: if a number is out of range, labels are not N, or an option of [`sample`] is not
            as it should be.
    """
    num_images = check_integer("num_images", num_images, 1)
    batch_size = check_integer("batch_size", batch_size, 1)
    if labels is not None and labels.shape != (num_images,):
        raise ValueError(f"labels have shape {tuple(labels.shape)}; expected ({num_images},).")
    device = device_of(model)
    for numbers in share_of(num_images, process_index, num_processes).split(batch_size):
        if len(numbers) == 0:  # more processes than images
            return
        chosen = None if labels is None else labels[numbers].to(device)
        streams = [stream(seed, number, device=device) for number in numbers.tolist()]
        shape = (len(numbers), *image_shape)
        if guidance_for is not None:
            options["guidance"] = guidance_for(numbers)
        images = sample(model, shape, diffusion, labels=chosen, generator=streams, **options)
        yield numbers, images


def balanced_labels(num_images: int, num_classes: int | None) -> Tensor | None:
    """Label k mod num_classes for image k, int64 (N,); None without classes."""
    return None if num_classes is None else torch.arange(num_images) % num_classes
