"""Drawing: N numbered images, each from a stream of its own, in batches, on any processes.

Process r of P draws the images r, r + P, ... Image k depends on (seed, k), its label and its small
image, not on batches or processes.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ardm.training import check_integer, gather_rows, share_of

from .denoisers import Denoiser, to_model_range, to_uint8
from .diffusion import GaussianDiffusion
from .editing import image_to_image, inpaint
from .guidance import Guides
from .noise import stream
from .samplers import device_of, sample
from .upsampling import STREAMS, upsample


def draw_images(
    model: Denoiser,
    diffusion: GaussianDiffusion,
    num_images: int,
    image_shape: tuple[int, ...],
    *,
    seed: int = 0,
    labels: Tensor | None = None,
    guidance_for: Callable[[Tensor], Guides] | None = None,
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

    def make(numbers: Tensor, **given: Any) -> Tensor:
        shape = (len(numbers), *image_shape)
        return sample(model, shape, diffusion, **given, **_guided(guidance_for, numbers), **options)

    shares = (seed, labels, batch_size, process_index, num_processes)
    yield from _numbered(make, num_images, device_of(model), *shares)


def draw_edited(
    model: Denoiser,
    diffusion: GaussianDiffusion,
    images: Tensor,
    *,
    mask: Tensor | None = None,
    seed: int = 0,
    labels: Tensor | None = None,
    guidance_for: Callable[[Tensor], Guides] | None = None,
    batch_size: int = 64,
    process_index: int = 0,
    num_processes: int = 1,
    **options: Any,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Changes this process's share of some images, or fills them in.

    Args:
        model: as for [`sample`].
        diffusion: of the model.
        images: of all processes, (N, C, H, W) in [-1, 1].
        mask: bool, broadcasts to an image (C, H, W): True where something is to be made, by
            [`inpaint`]; None = [`image_to_image`] of the whole.
        seed: of all of them.
        labels: int64 (N,), or None.
        guidance_for: as for [`draw_images`].
        batch_size: images changed side by side.
        process_index: this process.
        num_processes: of how many.
        **options: of [`inpaint`] or [`image_to_image`].

    Yields:
        Numbers of the images, int64 (B,), and the images (B, C, H, W) in [-1, 1].

    Raises:
        ValueError: if a number is out of range, labels are not N, or images, mask or an option are
            not as they should be.
    """
    device = device_of(model)

    def make(numbers: Tensor, **given: Any) -> Tensor:
        given |= _guided(guidance_for, numbers) | options
        some = images[numbers].to(device)
        if mask is None:
            return image_to_image(model, some, diffusion, **given)
        return inpaint(model, some, mask.to(device), diffusion, **given)

    shares = (seed, labels, batch_size, process_index, num_processes)
    yield from _numbered(make, len(images), device, *shares)


def draw_upsampled(
    model: Any,
    diffusion: GaussianDiffusion,
    low_res: Tensor,
    *,
    seed: int = 0,
    labels: Tensor | None = None,
    guidance_for: Callable[[Tensor], Guides] | None = None,
    batch_size: int = 64,
    process_index: int = 0,
    num_processes: int = 1,
    **options: Any,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Enlarges this process's share of some images.

    Args:
        model: as for [`upsample`].
        diffusion: of the model.
        low_res: small images of all processes, (N, C, S, S) in [-1, 1].
        seed: of all of them; the small ones may have been drawn with the same.
        labels: int64 (N,), or None.
        guidance_for: as for [`draw_images`].
        batch_size: images drawn side by side.
        process_index: this process.
        num_processes: of how many.
        **options: of [`upsample`].

    Yields:
        Numbers of the images, int64 (B,), and the images (B, C, H, W) in [-1, 1].

    Raises:
        ValueError: if a number is out of range, labels are not N, or small images or an option of
            [`upsample`] are not as they should be.
    """

    def make(numbers: Tensor, **given: Any) -> Tensor:
        given |= _guided(guidance_for, numbers) | options
        return upsample(model, low_res[numbers], diffusion, **given)

    shares = (seed, labels, batch_size, process_index, num_processes)
    yield from _numbered(make, len(low_res), device_of(model), *shares, STREAMS)


def gathered(mine: Iterable[tuple[Tensor, Tensor]], image_shape: tuple[int, ...]) -> Tensor:
    """The images that all processes draw, as files will hold them.

    Args:
        mine: what this process draws, of [`draw_images`] or [`draw_upsampled`].
        image_shape: (C, H, W).

    Returns:
        (N, C, H, W) in the order of their numbers, rounded to grey values, in [-1, 1].
    """
    batches = [(numbers, to_uint8(images.cpu())) for numbers, images in mine]
    # where there are more processes than images, one has no batch to concatenate
    no_numbers = torch.empty(0, dtype=torch.long)
    no_pixels = torch.empty(0, *image_shape, dtype=torch.uint8)
    numbers = gather_rows(torch.cat([no_numbers, *(each for each, _ in batches)]))
    pixels = gather_rows(torch.cat([no_pixels, *(each for _, each in batches)]))
    return to_model_range(pixels[numbers.argsort()])


def balanced_labels(num_images: int, num_classes: int | None) -> Tensor | None:
    """Label k mod num_classes for image k, int64 (N,); None without classes."""
    return None if num_classes is None else torch.arange(num_images) % num_classes


def chosen_labels(
    num_images: int, class_names: Sequence[str] | None, class_name: str | None = None
) -> Tensor | None:
    """Labels of one class, or of all in turn.

    Args:
        num_images: N.
        class_names: what label k is called, at k; None = there are no classes.
        class_name: the one; None = all of them.

    Returns:
        int64 (N,); None without classes.

    Raises:
        ValueError: if there is no such class.
    """
    if class_name is None:
        return balanced_labels(num_images, len(class_names) if class_names else None)
    if class_names is None:
        raise ValueError(
            f"class_name is {class_name!r}, and the model has no classes; expected None."
        )
    if class_name not in class_names:
        raise ValueError(
            f"class_name is {class_name!r}; expected one of the classes {list(class_names)}."
        )
    return torch.full((num_images,), list(class_names).index(class_name))


def _numbered(
    make: Callable[..., Tensor],
    num_images: int,
    device: torch.device,
    seed: int,
    labels: Tensor | None,
    batch_size: int,
    process_index: int,
    num_processes: int,
    key: tuple[str, ...] = (),
) -> Iterator[tuple[Tensor, Tensor]]:
    """This process's share, batch by batch: numbers, and what `make` makes of their streams.

    Nothing where there are more processes than images.

    Raises:
        ValueError: if a number is out of range, or labels are not one an image.
    """
    num_images = check_integer("num_images", num_images, 1)
    batch_size = check_integer("batch_size", batch_size, 1)
    if labels is not None and labels.shape != (num_images,):
        raise ValueError(f"labels have shape {tuple(labels.shape)}; expected ({num_images},).")
    for numbers in share_of(num_images, process_index, num_processes).split(batch_size):
        if len(numbers):
            chosen = None if labels is None else labels[numbers].to(device)
            streams = [stream(seed, number, *key, device=device) for number in numbers.tolist()]
            yield numbers, make(numbers, labels=chosen, generator=streams)


def _guided(guidance_for: Callable[[Tensor], Guides] | None, numbers: Tensor) -> dict[str, Any]:
    return {} if guidance_for is None else {"guidance": guidance_for(numbers)}
