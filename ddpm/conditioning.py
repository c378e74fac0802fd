"""What a network is given beside x_t: small images of what it shall draw, perhaps noisy ones.

    z = mean of x over the small image's pixels          the small image of a training image
    z_s ~ q(z_s | z), s = 0..S; z_0 = z                  noise augmentation

(arXiv 2105.05233, section 4.4; arXiv 2106.15282, section 4.) s counts steps of q, the same q as of
x. Samplers and losses call `model(x, t, labels=None)`: [`Conditioned`] binds the rest.
Shapes: B images (B, C, H, W), small ones (B, C, S, S).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ardm.training.integers import check_integer

from .denoisers import Denoiser
from .forward_process import ForwardProcess
from .noise import RowNoise


def downsample(images: Tensor, low_resolution: int) -> Tensor:
    """Small images by the mean over each small pixel's area.

    Args:
        images: floats (B, C, H, W).
        low_resolution: S, at most H and W.

    Returns:
        (B, C, S, S).
    """
    return F.adaptive_avg_pool2d(images, low_resolution)


def noised(low_res: Tensor, levels: Tensor, diffusion: ForwardProcess, noise: Tensor) -> Tensor:
    """Draws from q(z_s | z), s steps of q.

    Args:
        low_res: z, floats (B, C, S, S).
        levels: s, int64 (B,), 0..T; 0 = z itself.
        diffusion: gives q; not respaced.
        noise: standard normal, like `low_res`.

    Returns:
        (B, C, S, S).
    """
    moved = diffusion.q_sample(low_res, (levels - 1).clamp(min=0), noise)
    return torch.where(levels.view(-1, 1, 1, 1) == 0, low_res, moved)


class Conditioned(nn.Module):
    """A network with the small images bound that it is given: `model(x, t, labels=None)`.

    Called with several times as many images, as by classifier-free guidance, it takes the small
    ones as often, in their order: x is then `torch.cat((x, x))`, not every image twice.

    Args:
        model: `model(x, t, labels=None, low_res=None, noise_level=None)`.
        low_res: floats (B, C, S, S).
        noise_level: int64 (B,), which the network is told; None = it is told nothing.
    """

    low_res: Tensor
    noise_level: Tensor | None

    def __init__(self, model: Any, low_res: Tensor, noise_level: Tensor | None = None):
        super().__init__()
        self.model = model
        self.config = getattr(model, "config", None)  # of classes, which guidance asks for
        self.register_buffer("low_res", low_res, persistent=False)
        self.register_buffer("noise_level", noise_level, persistent=False)

    def like(self, model: Any) -> "Conditioned":
        """Another network that is given the same; what upsamples nothing stays as it is.

        Args:
            model: the network.

        Returns:
            It with the small images bound.
        """
        if getattr(getattr(model, "config", None), "low_resolution", None) is None:
            return model
        return Conditioned(model, self.low_res, self.noise_level)

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """What the network says of x, given the small images.

        Args:
            x: (k B, C, H, W).
            t: (k B,) or ().
            labels: int64 (k B,), or None: then the network is called without the argument.

        Returns:
            (k B, C or 2C, H, W).

        Raises:
            ValueError: if the number of images is no multiple of B.
        """
        copies, rest = divmod(len(x), len(self.low_res))
        if rest:
            raise ValueError(
                f"there are {len(x)} images and {len(self.low_res)} small ones; expected one for"
                " each, or a multiple."
            )
        given = {"low_res": self.low_res.repeat(copies, 1, 1, 1)}
        if self.noise_level is not None:
            given["noise_level"] = self.noise_level.repeat(copies)
        if labels is not None:
            given["labels"] = labels
        return self.model(x, t, **given)


class OwnLowResolution:
    """The condition of training and scoring: each image is given with its own small version.

    Args:
        low_resolution: S.
        diffusion: gives q of the noise augmentation; needed if there is any.
        max_noise_level: the largest s, which is uniform in 0..max; 0 = no noise.

    Raises:
        ValueError: if a number is out of range.
    """

    def __init__(
        self,
        low_resolution: int,
        diffusion: ForwardProcess | None = None,
        max_noise_level: int = 0,
    ):
        self.low_resolution = check_integer("low_resolution", low_resolution, 1)
        self.max_noise_level = check_integer("max_noise_level", max_noise_level, 0)
        self.diffusion = diffusion
        steps = 0 if diffusion is None else diffusion.num_timesteps
        if max_noise_level > steps:
            raise ValueError(
                f"max_noise_level is {max_noise_level}; expected 0..{steps}, the steps of the"
                " diffusion."
            )

    def __call__(
        self, model: Denoiser, images: Tensor, generators: Sequence[torch.Generator]
    ) -> Denoiser:
        """The model with the images' small versions bound.

        Args:
            model: an upsampler's network.
            images: floats (B, C, H, W) in [-1, 1].
            generators: on the CPU, one an image: of level and noise.

        Returns:
            [`Conditioned`].
        """
        low_res = downsample(images, self.low_resolution)
        if self.diffusion is None or self.max_noise_level == 0:
            return Conditioned(model, low_res)
        drawn = [torch.randint(self.max_noise_level + 1, (), generator=each) for each in generators]
        levels = torch.stack(drawn).to(images.device)
        noise = RowNoise(generators)(low_res)
        return Conditioned(model, noised(low_res, levels, self.diffusion, noise), levels)

    def __repr__(self) -> str:
        return f"OwnLowResolution({self.low_resolution}, max_noise_level={self.max_noise_level})"
