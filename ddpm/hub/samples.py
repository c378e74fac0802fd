"""Samples of a model while it is trained, as a picture: what a tracker shows at evaluations."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from torch import Tensor

from ..denoisers import Denoiser
from ..diffusion import GaussianDiffusion
from ..drawing import balanced_labels, draw_images, draw_upsampled
from .pictures import image_grid

if TYPE_CHECKING:
    from PIL.Image import Image

_SHOWN = 10
_STEPS = 25  # of DDIM: quick, and good enough to be looked at


def tracked_samples(
    diffusion: GaussianDiffusion, image_shape: tuple[int, int, int], num_classes: int | None
) -> "Callable[[Denoiser], dict[str, Image]]":
    """Makes what draws a row of samples, from the same noise at every call.

    Args:
        diffusion: of the model.
        image_shape: (C, H, W).
        num_classes: labels go through all of them in turn; None = no labels.

    Returns:
        model -> {"samples": a PIL image}, the value of `samples_fn` for `ardm.training.train`.
    """

    def draw(model: Denoiser) -> "dict[str, Image]":
        batches = draw_images(
            model,
            diffusion,
            _SHOWN,
            image_shape,
            labels=balanced_labels(_SHOWN, num_classes),
            batch_size=_SHOWN,
            sampler="ddim",
            steps=min(_STEPS, diffusion.num_timesteps),
            progress=False,
        )
        return _row_of(batches)

    return draw


def tracked_upsamples(
    diffusion: GaussianDiffusion, low_res: Tensor, labels: Tensor | None
) -> "Callable[[Denoiser], dict[str, Image]]":
    """Makes what enlarges a row of small images, with the same noise at every call.

    Args:
        diffusion: of the model.
        low_res: the small images (N, C, S, S).
        labels: int64 (N,), or None.

    Returns:
        As [`tracked_samples`].
    """

    def draw(model: Denoiser) -> "dict[str, Image]":
        batches = draw_upsampled(
            model,
            diffusion,
            low_res,
            labels=labels,
            batch_size=len(low_res),
            sampler="ddim",
            steps=min(_STEPS, diffusion.num_timesteps),
            progress=False,
        )
        return _row_of(batches)

    return draw


def _row_of(batches: Iterable[tuple[Tensor, Tensor]]) -> "dict[str, Image]":
    """The only batch, as one row."""
    ((_, images),) = batches
    return {"samples": image_grid(images, len(images))}
