"""What a run shows of its model: samples, the same noise by every sampler, a table of FID."""

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from torch import Tensor

from ..denoisers import Denoiser
from ..diffusion import GaussianDiffusion
from ..drawing import balanced_labels, draw_images
from ..metrics import ImageQuality
from ..samplers import SamplingState
from ..steps import STEPS
from .sample_quality import SampleEvaluation

logger = logging.getLogger(__name__)

# what a card compares unless it is told: the literature's samplers, in its order
COMPARED = ("ddpm", "ddpm, fixed_small", "ddpm, fixed_large", "ddim", "heun", "dpm_solver++")
_SAMPLE_ROWS = 4
_COMPARED = 20  # images of each sampler and number of steps
_MOST_STEPS = 250


def sample_grids(
    model: Denoiser,
    diffusion: GaussianDiffusion,
    image_shape: tuple[int, int, int],
    num_classes: int | None,
    *,
    steps: Iterable[int] = (10, 25, 50, 250),
    seed: int = 0,
    callback: Callable[[SamplingState], object] | None = None,
) -> tuple[Tensor, dict[str, dict[str, Tensor]]]:
    """Draws samples, and the same few images at several numbers of steps by each sampler.

    Args:
        model: of the diffusion.
        diffusion: of the model.
        image_shape: (C, H, W).
        num_classes: labels go through all of them in turn; None = no labels.
        steps: numbers of steps; those beyond the diffusion's are left out.
        seed: of the noise, the same in every grid.
        callback: of the sampling of the four rows.

    Returns:
        Four rows of samples (4, columns, C, H, W) by the model's own process, in 250 steps or all
        that there are; and for each sampler and number of steps 20 images (20, C, H, W).
    """
    grid = partial(_grid, model, diffusion, image_shape, num_classes, seed)
    most = diffusion.num_timesteps
    counts = [count for count in steps if count <= most] or [most]
    own = [name for name in COMPARED if name in STEPS]  # of the model's own variance
    comparison = {
        sampler: {
            f"{count} steps": grid(_COMPARED, sampler=sampler, steps=count) for count in counts
        }
        for sampler in own
    }
    num_columns = min(num_classes or 8, 10)
    shown = {"steps": min(_MOST_STEPS, most), "callback": callback}
    samples = grid(_SAMPLE_ROWS * num_columns, **shown)
    return samples.unflatten(0, (_SAMPLE_ROWS, num_columns)), comparison


def _grid(
    model: Denoiser,
    diffusion: GaussianDiffusion,
    image_shape: tuple[int, ...],
    num_classes: int | None,
    seed: int,
    num_images: int,
    **options: Any,
) -> Tensor:
    """The first images of a seed, (N, C, H, W)."""
    batches = draw_images(
        model,
        diffusion,
        num_images,
        image_shape,
        seed=seed,
        labels=balanced_labels(num_images, num_classes),
        batch_size=num_images,
        **options,
    )
    ((_, images),) = batches
    return images


def measure_quality(
    evaluation: SampleEvaluation | None,
    model: Denoiser,
    diffusion: GaussianDiffusion,
    steps: Iterable[int | str],
    samplers: Iterable[str] = COMPARED,
) -> list[tuple[str, int | str, ImageQuality]]:
    """FID and its kin for some samplers and numbers of steps; to be called on all processes.

    Args:
        evaluation: of samples; None = nothing is measured.
        model: of the diffusion.
        diffusion: of the model.
        steps: numbers of steps, or respacings.
        samplers: names in `SAMPLERS`.

    Returns:
        Sampler, steps and figures of each.
    """
    rows: list[tuple[str, int | str, ImageQuality]] = []
    if evaluation is None:
        return rows
    for sampler in samplers:
        for count in steps:
            quality = evaluation(model, diffusion, sampler, count)
            rows.append((sampler, count, quality))
            logger.info(
                "%-18s %5s steps  FID %.3f  KID %.5f", sampler, count, quality.fid, quality.kid
            )
    return rows
