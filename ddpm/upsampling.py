"""Upsampling: a large image by a diffusion whose network also sees a small one.

    p(x | z_s, s)    the diffusion of x, given a small image z after s steps of q (conditioning.py)

("Diffusion Models Beat GANs", arXiv 2105.05233, section 4.4; "Cascaded Diffusion Models", arXiv
2106.15282, section 4.) A small image that was drawn, too, has flaws that no training image had; a
little noise hides them, s > 0, of which training has shown the network every level.

Samplers see a network with its small images bound, so that all of them, guidance and editing work
as they are. Shapes: B images (B, C, H, W), small ones (B, C, S, S).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ardm.training.integers import check_integer

from .conditioning import Conditioned, noised
from .denoisers import Denoiser, check_images
from .diffusion import GaussianDiffusion
from .noise import Generators, RowNoise, row_generators
from .samplers import check_model_and_diffusion, device_of, prepare, sample

STREAMS = ("upsampling",)  # ends the keys: the same seed gives the small image other numbers


def upsample(
    model: Any,
    low_res: Tensor,
    diffusion: GaussianDiffusion,
    *,
    labels: Tensor | None = None,
    noise_level: int = 0,
    generator: Generators = None,
    seed: int | Sequence[int] | None = None,
    **options: Any,
) -> Tensor:
    """Draws large images of small ones.

    Args:
        model: a `UNet` with a `low_resolution` S.
        low_res: small images (B, C, S, S) in [-1, 1].
        diffusion: of the model.
        labels: as for [`sample`].
        noise_level: s, steps of q that the small images go before they are shown, for a model with
            `noise_augmentation`; a small number where they were drawn by a model, too.
        generator: as for [`sample`].
        seed: as for [`sample`], of other streams: small images of the same seed share none.
        **options: the other options of [`sample`].

    Returns:
        Images (B, C, H, W), as of [`sample`].

    Raises:
        ValueError: if the model upsamples nothing, or images or an option are not as they should
            be.
    """
    check_model_and_diffusion(model, diffusion)
    config = upsampler_config(model)
    _check_small_images(low_res, config)
    check_noise_level(noise_level, config, diffusion)
    generators = row_generators(len(low_res), generator, seed, STREAMS)
    low_res = low_res.to(device_of(model))
    levels = None
    if noise_level:
        levels = torch.full((len(low_res),), noise_level, device=low_res.device)
        low_res = noised(low_res, levels, diffusion, RowNoise(generators)(low_res))
    bound = Conditioned(model, low_res, levels)
    shape = (*low_res.shape[:2], config.image_size, config.image_size)
    return sample(bound, shape, diffusion, labels=labels, generator=generators, **options)


def cascade(
    base: Denoiser,
    base_diffusion: GaussianDiffusion,
    upsampler: Any,
    upsampler_diffusion: GaussianDiffusion,
    num_images: int,
    *,
    labels: Tensor | None = None,
    seed: int | Sequence[int] | None = None,
    noise_level: int = 0,
    base_options: Mapping[str, Any] | None = None,
    upsampler_options: Mapping[str, Any] | None = None,
) -> tuple[Tensor, Tensor]:
    """Draws small images and enlarges them: [`sample`], then [`upsample`].

    Args:
        base: a denoiser of the small images.
        base_diffusion: of it.
        upsampler: a `UNet` with a `low_resolution`.
        upsampler_diffusion: of it.
        num_images: B.
        labels: int64 (B,) or None, of both stages.
        seed: as for [`sample`], of both stages.
        noise_level: as for [`upsample`].
        base_options: other options of the first stage's [`sample`]; `labels` there replaces the
            common ones.
        upsampler_options: the same of the second stage's, but `noise`.

    Returns:
        The small images (B, C, S, S), in [-1, 1], and the large ones (B, C, H, W).

    Raises:
        ValueError: if the stages do not fit together, or an option of either is not as it should
            be, before the first step.
    """
    check_model_and_diffusion(upsampler, upsampler_diffusion)
    check_stages(base, upsampler)
    config = upsampler_config(upsampler)
    num_images = check_integer("num_images", num_images, 1)
    common = {"labels": labels, "seed": seed}
    first = common | dict(base_options or {})
    second = common | dict(upsampler_options or {})
    check_noise_level(noise_level, config, upsampler_diffusion)
    prepare(upsampler, upsampler_diffusion, num_images, **second)  # not only after the first stage
    if second["labels"] is None and config.num_classes and not config.null_class:
        raise ValueError(f"labels are None; expected int64 ({num_images},) for the upsampler.")
    shape = (num_images, config.in_channels, config.low_resolution, config.low_resolution)
    low_res = sample(base, shape, base_diffusion, **first).clamp(-1, 1)
    options = {**second, "noise_level": noise_level}
    return low_res, upsample(upsampler, low_res, upsampler_diffusion, **options)


# --------------------------------------------------------------------------------------- checks
def upsampler_config(model: Any) -> Any:
    """The configuration of a network that is given small images.

    Args:
        model: the network.

    Returns:
        Its configuration.

    Raises:
        ValueError: if it is given none.
    """
    config = getattr(model, "config", None)
    if getattr(config, "low_resolution", None) is None:
        kind = type(model).__name__
        raise ValueError(
            f"the {kind} upsamples nothing (low_resolution is None); expected a UNet whose"
            " configuration has a low_resolution."
        )
    return config


def check_stages(base: Any, upsampler: Any) -> None:
    """Finds out whether one network draws what another one enlarges.

    Args:
        base: a denoiser; one without configuration is taken at its word.
        upsampler: a `UNet` with a `low_resolution`.

    Raises:
        ValueError: if sizes, channels or classes differ, or the base needs small images itself.
    """
    config = upsampler_config(upsampler)
    small = getattr(base, "config", None)
    if small is None:
        return
    if getattr(small, "low_resolution", None) is not None:
        raise ValueError(
            f"the base enlarges images of {small.low_resolution} pixels itself; expected a model"
            " that draws small images, and this one as the upsampler."
        )
    drawn = (small.image_size, small.in_channels)
    enlarged = (config.low_resolution, config.in_channels)
    if drawn != enlarged:
        raise ValueError(
            f"the base draws images of {drawn[0]} pixels and {drawn[1]} channel(s), and the"
            f" upsampler enlarges {enlarged[0]} and {enlarged[1]}; expected the same."
        )
    if config.num_classes not in (None, small.num_classes):
        raise ValueError(
            f"the base has {small.num_classes} classes and the upsampler {config.num_classes};"
            " expected the same, or an upsampler without."
        )


def check_noise_level(noise_level: Any, config: Any, diffusion: GaussianDiffusion) -> None:
    """Finds out whether a network has seen small images as noisy as that.

    Args:
        noise_level: s, as of [`upsample`].
        config: of the network.
        diffusion: of the network.

    Raises:
        ValueError: if it has not, or the diffusion is respaced.
    """
    check_integer("noise_level", noise_level, 0)
    if noise_level and not config.noise_augmentation:
        raise ValueError(
            f"noise_level is {noise_level}; expected 0, as the network has seen no noise in small"
            " images (noise_augmentation is False)."
        )
    if noise_level and len(diffusion.timesteps) <= int(diffusion.timesteps[-1]):
        raise ValueError(
            "the diffusion is respaced; expected the one that the model was trained with (and"
            " steps=...), whose steps a noise_level counts."
        )
    if noise_level > diffusion.num_timesteps:
        raise ValueError(
            f"noise_level is {noise_level}; expected 0..{diffusion.num_timesteps}, the steps of"
            " the diffusion."
        )
    most = getattr(config, "max_noise_level", None)
    if most is not None and noise_level > most:
        raise ValueError(
            f"noise_level is {noise_level}; expected 0..{most}, what the network has seen in"
            " training (its max_noise_level)."
        )


def _check_small_images(low_res: Any, config: Any) -> None:
    check_images(low_res, flat=False)
    expected = (config.in_channels, config.low_resolution, config.low_resolution)
    if low_res.shape[1:] != expected:
        raise ValueError(
            f"low_res has shape {tuple(low_res.shape)}; expected"
            f" (B, {', '.join(map(str, expected))}), what the network enlarges."
        )
