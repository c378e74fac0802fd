"""What a run shows of an upsampler: small images, what it makes of them, and the real ones.

Columns are images of the classes in turn, rows what was made of them; all in [-1, 1].
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..conditioning import downsample
from ..denoisers import Denoiser, to_model_range
from ..diffusion import GaussianDiffusion
from ..upsampling import cascade, upsample
from .image_sets import Images, stacked

Rows = dict[str, dict[str, Tensor]]  # row label -> column label -> one image (1, C, H, W)

_MOST_STEPS = 250


class Shown(NamedTuple):
    """Images (N, C, H, W), their small versions (N, C, S, S), labels int64 (N,) or None, titles."""

    images: Tensor
    low_res: Tensor
    labels: Tensor | None
    titles: list[str]


def shown_images(
    dataset: Images,
    low_resolution: int,
    class_names: Sequence[str] | None = None,
    num_images: int = 10,
) -> Shown:
    """Some images of a data set, of all classes in turn.

    Args:
        dataset: the images.
        low_resolution: S.
        class_names: of its labels, or None.
        num_images: N, at most.

    Returns:
        [`Shown`].
    """
    pixels, labels = stacked(dataset)
    chosen = torch.arange(len(pixels))
    if labels is not None:
        before = (labels[:, None] == labels).tril(-1).sum(1)  # images of the same class
        chosen = torch.argsort(before * (int(labels.max()) + 1) + labels)
    chosen = chosen[:num_images]
    images = to_model_range(pixels[chosen])
    shown = None if labels is None else labels[chosen]
    return Shown(
        images, downsample(images, low_resolution), shown, _titles(shown, images, class_names)
    )


def upsampling_rows(
    model: Any,
    diffusion: GaussianDiffusion,
    shown: Shown,
    base: tuple[Denoiser, GaussianDiffusion] | None = None,
    max_noise_level: int = 0,
) -> dict[str, Rows]:
    """What a card shows of an upsampler.

    Args:
        model: the upsampler.
        diffusion: of the model.
        shown: the images.
        base: a model of the small images and its diffusion, or None.
        max_noise_level: that the model has seen; with noise, a quarter of it is shown beside none.

    Returns:
        Rows for `ddpm.hub.comparison_grid` by file name: "upsampled.png", and with a base
        "cascade.png".
    """
    rows = {"upsampled.png": upsampled_rows(model, diffusion, shown)}
    if base is not None:
        levels = sorted({0, max_noise_level // 4})
        rows["cascade.png"] = cascade_rows(*base, model, diffusion, shown, noise_levels=levels)
    return rows


def upsampled_rows(
    model: Any, diffusion: GaussianDiffusion, shown: Shown, *, seed: int = 0
) -> Rows:
    """Small images, what the model makes of them by two seeds, bilinear enlarging, real images.

    Args:
        model: an upsampler.
        diffusion: of the model.
        shown: the images.
        seed: of the first; the second has the next one.

    Returns:
        Row label -> column label -> image, as `ddpm.hub.comparison_grid` draws them.
    """
    device = next(model.parameters()).device
    labels = None if shown.labels is None else shown.labels.to(device)
    drawn = [
        upsample(
            model,
            shown.low_res,
            diffusion,
            labels=labels,
            seed=each,
            steps=min(_MOST_STEPS, diffusion.num_timesteps),
            progress=False,
        ).cpu()
        for each in (seed, seed + 1)
    ]
    size = shown.images.shape[2:]
    rows = {
        "small image": shown.low_res,
        "bilinear": F.interpolate(shown.low_res, size, mode="bilinear", align_corners=False),
        "upsampled": drawn[0],
        "another seed": drawn[1],
        "real": shown.images,
    }
    return _cells(rows, shown.titles)


def cascade_rows(
    base: Denoiser,
    base_diffusion: GaussianDiffusion,
    model: Any,
    diffusion: GaussianDiffusion,
    shown: Shown,
    *,
    noise_levels: Sequence[int] = (0,),
    seed: int = 0,
) -> Rows:
    """Small images by one model, enlarged by another.

    Args:
        base: a denoiser of the small images.
        base_diffusion: of it.
        model: an upsampler.
        diffusion: of it.
        shown: gives classes and titles.
        noise_levels: of the small images, a row each.
        seed: of all.

    Returns:
        As [`upsampled_rows`].
    """
    device = next(model.parameters()).device
    labels = None if shown.labels is None else shown.labels.to(device)
    rows = {}
    for level in noise_levels:
        low_res, images = cascade(
            base,
            base_diffusion,
            model,
            diffusion,
            len(shown.images),
            labels=labels,
            seed=seed,
            noise_level=level,
            base_options={"steps": min(_MOST_STEPS, base_diffusion.num_timesteps)},
            upsampler_options={"steps": min(_MOST_STEPS, diffusion.num_timesteps)},
        )
        rows["drawn small"] = low_res.cpu()
        rows[f"noise level {level}" if any(noise_levels) else "upsampled"] = images.cpu()
    return _cells(rows, shown.titles)


def _titles(labels: Tensor | None, images: Tensor, class_names: Sequence[str] | None) -> list[str]:
    """One an image, none twice."""
    if labels is None:
        return [str(number + 1) for number in range(len(images))]
    titles: list[str] = []
    for label in labels.tolist():
        title = class_names[label] if class_names else str(label)
        while title in titles:  # columns are told apart by their titles
            title += " "
        titles.append(title)
    return titles


def _cells(rows: dict[str, Tensor], titles: list[str]) -> Rows:
    return {
        label: dict(zip(titles, images.split(1), strict=True)) for label, images in rows.items()
    }
