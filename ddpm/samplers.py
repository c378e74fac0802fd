"""sample: from noise to images, by one loop whose step is the sampler.

The loop follows a path of levels l = number of steps left: N, N - 1, ..., 0, where x at level l is
x_t for t = l - 1 and level 0 is the image. Down is a step of the sampler (steps.py), up is a step
of q: so sampling, image-to-image (a path that begins lower) and inpainting (a path that goes back
up, editing.py) are the same loop. Source: arXiv 2006.11239, algorithm 2; the rest in steps.py.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ardm.training.integers import check_integer
from ardm.training.progress import evaluating, progress_bar

from .checks import check_choice, is_number
from .denoisers import Denoiser, check_classes, check_finite, check_labels, check_model
from .diffusion import GaussianDiffusion
from .forward_process import check_noise
from .guidance import Guides, guided
from .noise import Generators, RowNoise, row_generators
from .predictions import clipping
from .predictors import Predictor
from .respacing import Respacing
from .steps import STEPS, Predict, Step

_LARGEST = 2**63 - 1  # numbers that a tensor can hold


class SamplingState(NamedTuple):
    """What a callback sees after each step: x, the image that it aims at, steps done, the level."""

    x: Tensor
    x0: Tensor
    step: int
    num_steps: int
    level: int


@dataclass
class Sampling:
    """A chain, a sampler and where randomness comes from, ready to follow paths of levels."""

    model: Denoiser
    diffusion: GaussianDiffusion
    predict: Predict
    step: Step
    noise: RowNoise
    callback: Callable[[SamplingState], object] | None
    progress: bool | None

    @torch.no_grad()
    def follow(
        self,
        levels: Sequence[int],
        x: Tensor,
        constrain: Callable[[Tensor, int], Tensor] | None = None,
    ) -> Tensor:
        """Takes x along a path of levels.

        Args:
            levels: each one off its neighbours; the first is where x stands.
            x: (B, C, H, W).
            constrain: (x, level) -> x, applied at every level that a step of the sampler reaches.

        Returns:
            x at the last level.

        Raises:
            ValueError: if a value is not finite, as of a network whose weights are not.
        """
        moves = list(itertools.pairwise(levels))
        bar = progress_bar(moves, what="sampling", shown=self.progress)
        with evaluating(self.model):
            for number, (level, following) in enumerate(bar):
                if following > level:
                    x = self.diffusion.q_step(x, level, self.noise(x))
                    continue
                x, x0 = self.step(self.predict, x, level - 1)
                if constrain is not None:
                    x = constrain(x, following)
                if self.callback is not None:
                    self.callback(SamplingState(x, x0, number + 1, len(moves), following))
        return check_finite("the images", x)


def prepare(
    model: Denoiser,
    diffusion: GaussianDiffusion,
    num_images: int,
    *,
    sampler: str = "ddpm",
    steps: Respacing | None = None,
    eta: float = 0.0,
    labels: Tensor | None = None,
    guidance: Guides | None = None,
    clip: bool | str = True,
    generator: Generators = None,
    seed: int | Sequence[int] | None = None,
    callback: Callable[[SamplingState], object] | None = None,
    progress: bool | None = None,
) -> Sampling:
    """Checks the options of [`sample`] and makes the objects that they stand for.

    Args:
        model: as for [`sample`], and so are all others but
        diffusion: not respaced yet,
        num_images: B.
        sampler: name.
        steps: number of steps.
        eta: of "ddim".
        labels: int64 (B,).
        guidance: steers the predictor.
        clip: of predicted images.
        generator: one, or one an image.
        seed: a number, or one an image.
        callback: called after each step.
        progress: whether to show a bar.

    Returns:
        [`Sampling`].

    Raises:
        ValueError: if an option is not as it should be.
    """
    check_model_and_diffusion(model, diffusion)
    check_choice("sampler", sampler, STEPS)
    most = 1 if sampler == "ddim" else 0
    if not is_number(eta, lambda share: 0 <= share <= most):
        raise ValueError(
            f"eta is {eta!r} and the sampler {sampler!r};"
            " expected 0, or with 'ddim' a number in [0, 1]."
        )
    if labels is not None:
        check_labels(labels, num_images, device_of(model))
    check_classes(labels, model)
    if callback is not None and not callable(callback):
        raise ValueError(f"callback is a {type(callback).__name__}; expected a function, or None.")
    spaced = diffusion if steps is None else diffusion.respace(steps)
    noise = RowNoise(row_generators(num_images, generator, seed), ahead=16)
    reads_mean = STEPS[sampler].reads == "mean"
    plain = Predictor(model, spaced, labels, clipping(clip), reads_mean, num_images)
    options = {"eta": eta} if sampler == "ddim" else {}
    return Sampling(
        model=model,
        diffusion=spaced,
        predict=guided(plain, guidance),
        step=STEPS[sampler](spaced, noise, **options),
        noise=noise,
        callback=callback,
        progress=progress,
    )


def sample(
    model: Denoiser,
    shape: Sequence[int],
    diffusion: GaussianDiffusion,
    *,
    sampler: str = "ddpm",
    steps: Respacing | None = None,
    eta: float = 0.0,
    labels: Tensor | None = None,
    guidance: Guides | None = None,
    clip: bool | str = True,
    generator: Generators = None,
    seed: int | Sequence[int] | None = None,
    noise: Tensor | None = None,
    callback: Callable[[SamplingState], object] | None = None,
    progress: bool | None = None,
) -> Tensor:
    """Draws images from a model.

    Args:
        model: `model(x, t, labels=None)`; a module is put into evaluation mode meanwhile.
        shape: (B, C, H, W).
        diffusion: of the model.
        sampler: "ddpm" (ancestral, with the diffusion's variance), "ddim", "heun" (two network
            calls a step), "dpm_solver++" (2M), "dpm_solver++3m", "unipc2", "unipc3" or
            "sde_dpm_solver++" (2M); see steps.py.
        steps: how many, evenly spaced and beginning at T - 1; another spacing as "trailing25",
            "leading25", "karras25", "logsnr25", "ddim25" or "10,10,10"; a list of timesteps (see
            respacing.py); None = all of the diffusion's.
        eta: of "ddim": 0 = deterministic, 1 = as much noise as "ddpm" with variance "fixed_small".
        labels: int64 (B,) for a class-conditional model.
        guidance: [`classifier_guidance`], [`classifier_free_guidance`], [`autoguidance`], several
            of them in a list, which add up; or a function that, given the [`Predictor`], returns
            what takes its place: a function of (x, t) that gives a [`Reverse`], such as `lambda
            predict: lambda x, t: move(predict(x, t))` where move(p) is `p.with_mean(p.mean + ...)`.
        clip: of the predicted image at each step: True or "static" = to [-1, 1], "dynamic" (arXiv
            2205.11487), False.
        generator: of all noise, or one for each image.
        seed: a number: image r draws from the stream of (seed, r); or one number an image, whose
            stream it is. An image then does not depend on the others of its batch. Not together
            with `generator`.
        noise: x at the first step, (B, C, H, W), instead of a draw.
        callback: called with a [`SamplingState`] after each step.
        progress: whether to show a progress bar; None = on a terminal.

    Returns:
        Images (B, C, H, W) in [-1, 1] (unless `clip` is False), on the model's device; float32, or
        like `noise`.

    Raises:
        ValueError: if an option is not as it should be.
    """
    check_model_and_diffusion(model, diffusion)
    sizes = _checked_shape(shape)
    if noise is not None:
        check_finite("noise", check_noise(noise, sizes), "a draw from N(0, 1)")
    sampling = prepare(
        model,
        diffusion,
        sizes[0],
        sampler=sampler,
        steps=steps,
        eta=eta,
        labels=labels,
        guidance=guidance,
        clip=clip,
        generator=generator,
        seed=seed,
        callback=callback,
        progress=progress,
    )
    if noise is None:
        noise = sampling.noise(torch.empty(sizes, device=device_of(model)))
    return sampling.follow(range(sampling.diffusion.num_timesteps, -1, -1), noise)


def device_of(model: Denoiser) -> torch.device:
    """The device of a model's parameters; the default one for any other callable."""
    parameter = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    return torch.get_default_device() if parameter is None else parameter.device


def check_model_and_diffusion(model: Any, diffusion: Any) -> None:
    """Finds out whether both are what they should be and in their places.

    Args:
        model: a denoiser.
        diffusion: a [`GaussianDiffusion`].

    Raises:
        ValueError: if they are not.
    """
    check_model(model)
    if not isinstance(diffusion, GaussianDiffusion):
        raise ValueError(
            f"the diffusion is a {type(diffusion).__name__}; expected a GaussianDiffusion, after"
            " the model and the shape or images: sample(model, shape, diffusion)."
        )


def _checked_shape(shape: Any) -> tuple[int, ...]:
    if not isinstance(shape, Sequence) or isinstance(shape, str) or len(shape) < 2:
        raise ValueError(f"shape is {shape!r}; expected (B, C, H, W), positive integers.")
    sizes = tuple(check_integer(f"shape is {shape}: a size", size, 1) for size in shape)
    if math.prod(sizes) > _LARGEST:
        raise ValueError(f"shape is {shape}; expected fewer numbers than a tensor can hold.")
    return sizes
