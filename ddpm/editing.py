"""Images that begin as other images: changed, filled in, turned into their noise, and blended.

    image_to_image   noise an image up to a level, and sample from there
    inpaint          after each step the known part is put back, noised as much as the rest; going
                     up and down again several times lets the rest agree with it
    ddim_invert      the path of "ddim" from an image to the noise that gives it
    interpolate      between the noises of two images, on the sphere, and back

Sources: arXiv 2108.01073, section 3; arXiv 2201.09865, algorithm 1; arXiv 2010.02502, sections 4.3
and 5.3. All but ddim_invert take the options of `sample` except `noise`; levels and the loop are
explained in samplers.py.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from ardm.training import check_integer, evaluating, progress_bar

from .checks import check_number
from .denoisers import Denoiser, check_classes, check_finite, check_images
from .diffusion import GaussianDiffusion
from .guidance import Guides, guided
from .predictions import clipping
from .predictors import Predictor
from .respacing import Respacing
from .samplers import check_model_and_diffusion, prepare, sample


def image_to_image(
    model: Denoiser,
    images: Tensor,
    diffusion: GaussianDiffusion,
    *,
    strength: float = 0.5,
    **options: Any,
) -> Tensor:
    """Samples that resemble given images.

    Args:
        model: as for `sample`.
        images: (B, C, H, W) in [-1, 1].
        diffusion: of the model.
        strength: share of the steps that are gone back, in (0, 1]: 1 leaves next to nothing of the
            image.
        **options: of `sample`, but `noise`.

    Returns:
        Images (B, C, H, W).

    Raises:
        ValueError: if images or an option are not as they should be.
    """
    check_number("strength", strength, lambda share: 0 < share <= 1, "a number in (0, 1]")
    check_model_and_diffusion(model, diffusion)
    check_images(images)
    sampling = prepare(model, diffusion, len(images), **options)
    level = max(1, round(strength * sampling.diffusion.num_timesteps))
    start = sampling.diffusion.q_sample(images, level - 1, sampling.noise(images))
    return sampling.follow(range(level, -1, -1), start)


def inpaint(
    model: Denoiser,
    images: Tensor,
    mask: Tensor,
    diffusion: GaussianDiffusion,
    *,
    jump_length: int = 10,
    num_passes: int = 1,
    **options: Any,
) -> Tensor:
    """Fills in a part of images.

    Args:
        model: as for `sample`.
        images: (B, C, H, W) in [-1, 1]; what they hold where the mask is True does not matter.
        mask: bool, broadcasts to the images: True where something is to be made.
        diffusion: of the model.
        jump_length: steps of a stretch that is gone several times.
        num_passes: how often each stretch is gone; the paper takes 10, and 10 times the network
            calls.
        **options: of `sample`, but `noise`.

    Returns:
        Images (B, C, H, W), the known part as it was.

    Raises:
        ValueError: if images, mask or an option are not as they should be.
    """
    check_model_and_diffusion(model, diffusion)
    check_images(images, limit=math.inf)  # what lies under the mask may be anything
    _check_mask(mask, images)
    check_images(images, known=~mask)
    check_integer("jump_length", jump_length, 1)
    check_integer("num_passes", num_passes, 1)
    sampling = prepare(model, diffusion, len(images), **options)

    def keep_known(x: Tensor, level: int) -> Tensor:
        known = images
        if level > 0:
            known = sampling.diffusion.q_sample(images, level - 1, sampling.noise(images))
        return torch.where(mask, x, known)

    path = repainting_path(sampling.diffusion.num_timesteps, jump_length, num_passes)
    return sampling.follow(path, keep_known(sampling.noise(images), path[0]), keep_known)


def _check_mask(mask: Any, images: Tensor) -> None:
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        given = mask.dtype if isinstance(mask, Tensor) else f"a {type(mask).__name__}"
        raise ValueError(
            f"mask is {given}; expected a bool tensor, True where something is to be made."
        )
    sizes = zip(mask.shape[::-1], images.shape[::-1], strict=False)
    if mask.ndim > images.ndim or any(size not in (1, whole) for size, whole in sizes):
        raise ValueError(
            f"mask has shape {tuple(mask.shape)}; expected one that broadcasts to"
            f" {tuple(images.shape)}."
        )


def repainting_path(num_steps: int, jump_length: int, num_passes: int) -> list[int]:
    """Levels from num_steps to 0, every stretch gone down `num_passes` times.

    Args:
        num_steps: N.
        jump_length: steps of a stretch; the last one may be shorter.
        num_passes: times.

    Returns:
        The levels, each one off its neighbours.
    """
    path = [num_steps]
    while path[-1] > 0:
        top = path[-1]
        bottom = max(0, path[-1] - jump_length)
        down = list(range(top - 1, bottom - 1, -1))
        up = list(range(bottom + 1, top + 1))
        path += (down + up) * (num_passes - 1) + down
    return path


@torch.no_grad()
def ddim_invert(
    model: Denoiser,
    images: Tensor,
    diffusion: GaussianDiffusion,
    *,
    steps: Respacing | None = None,
    labels: Tensor | None = None,
    eta: float = 0.0,
    guidance: Guides | None = None,
    clip: bool | str = False,
    progress: bool | None = None,
) -> Tensor:
    """The noise from which "ddim" makes given images, up to an error that falls as 1 / steps.

    Each step of the sampler is gone backwards with the image that the network predicts where it
    stands: between the levels l and l + 1, from the noise that it finds at level l; for the first
    step, from the clean image, at level 1's t.

    Args:
        model: as for `sample`.
        images: (B, C, H, W) in [-1, 1].
        diffusion: of the model.
        steps: how many, as for `sample`.
        labels: int64 (B,), or None.
        eta: only 0: noise that is drawn cannot be undone.
        guidance: as for `sample`.
        clip: of the predicted images, as for `sample`.
        progress: whether to show a progress bar; None = on a terminal.

    Returns:
        x_{T-1}, (B, C, H, W): `sample(..., sampler="ddim", noise=..., clip=False)` makes the images
        of it.

    Raises:
        ValueError: if images or an option are not as they should be.
    """
    if eta != 0:
        raise ValueError(
            f"eta is {eta}; expected 0: only the deterministic sampler can be inverted."
        )
    check_model_and_diffusion(model, diffusion)
    check_images(images, limit=math.inf)
    chain = diffusion if steps is None else diffusion.respace(steps)
    check_classes(labels, model)
    plain = Predictor(
        model, chain, labels, clipping(clip), reads_mean=False, num_images=len(images)
    )
    predict = guided(plain, guidance)
    signal = chain.alphas_cumprod.sqrt().tolist()
    spread = (1 - chain.alphas_cumprod).sqrt().tolist()
    x = images
    with evaluating(model):
        for t in progress_bar(range(chain.num_timesteps), what="inverting", shown=progress):
            here = max(t - 1, 0)  # where x stands
            x0 = predict(x, here).x0
            epsilon = chain.epsilon(x0, x, here)
            x = signal[t] * (images if t == 0 else x0) + spread[t] * epsilon
    return check_finite("the noised images", x)


def interpolate(
    model: Denoiser,
    first: Tensor,
    second: Tensor,
    diffusion: GaussianDiffusion,
    *,
    weights: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
    steps: Respacing | None = None,
    labels: Tensor | None = None,
    guidance: Guides | None = None,
    clip: bool | str = False,
    **options: Any,
) -> Tensor:
    """Images on the way from one to another.

    Args:
        model: as for `sample`.
        first: images (B, C, H, W) in [-1, 1].
        second: images of the same shape.
        diffusion: of the model.
        weights: places on the way, 0 = first, 1 = second.
        steps: how many, as for `sample`.
        labels: int64 (B,), or None.
        guidance: as for `sample`, on both ways.
        clip: of the predicted images, on both ways: else the ends would not be the images.
        **options: of `sample`, but `noise`; the sampler is "ddim".

    Returns:
        (len(weights), B, C, H, W).

    Raises:
        ValueError: if images or an option are not as they should be.
    """
    check_model_and_diffusion(model, diffusion)
    check_images(first, limit=math.inf)
    check_images(second, limit=math.inf)
    if first.shape != second.shape:
        raise ValueError(
            f"the images have shapes {tuple(first.shape)} and {tuple(second.shape)};"
            " expected the same."
        )
    weights = list(weights) if isinstance(weights, Iterable) else []
    if not weights:
        raise ValueError("there are no weights; expected at least one number.")
    for weight in weights:
        check_number("a weight", weight, lambda _: True, "a number")
    if options.setdefault("sampler", "ddim") != "ddim":
        raise ValueError(
            f"sampler is {options['sampler']!r}; expected 'ddim', the one that can be inverted."
        )
    common: dict[str, Any] = {
        "steps": steps,
        "labels": labels,
        "guidance": guidance,
        "clip": clip,
    }
    # finds what is wrong before the work
    prepare(model, diffusion, len(first), **common, **options)
    start = ddim_invert(model, first, diffusion, **common)
    end = ddim_invert(model, second, diffusion, **common)
    between = [
        sample(model, first.shape, diffusion, noise=slerp(start, end, w), **common, **options)
        for w in weights
    ]
    return torch.stack(between)


def slerp(first: Tensor, second: Tensor, weight: float) -> Tensor:
    """Spherical interpolation of each row: noise stays as long as noise is.

    Args:
        first: (B, ...).
        second: of the same shape.
        weight: 0 = first, 1 = second.

    Returns:
        Like `first`.
    """
    shape = (-1, *[1] * (first.ndim - 1))
    one = first.flatten(1)
    other = second.flatten(1)
    cosine = (one * other).sum(1) / (one.norm(dim=1) * other.norm(dim=1)).clamp(min=1e-12)
    # of nearly equal rows: the plain mean
    angle = cosine.clamp(-1, 1).acos().clamp(min=1e-4).view(shape)
    angle = angle.clamp(max=math.pi - 1e-4)
    return (((1 - weight) * angle).sin() * first + (weight * angle).sin() * second) / angle.sin()
