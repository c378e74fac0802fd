"""Predictor: the network as samplers ask it, (x_t, t) -> p(x_{t-1} | x_t).

A guidance is a function that is given the predictor and gives what takes its place (guides.py).
Samplers read the image, the mean or the variance of what comes back, each what its step needs
(steps.py); as a `Reverse` keeps image and mean together, what a guidance says of one reaches all.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .denoisers import Denoiser, call_network, check_finite
from .diffusion import GaussianDiffusion
from .reverse_process import Reverse


class Predictor:
    """Calls the network: (x_t, t) -> p(x_{t-1} | x_t).

    A guidance wraps this object, and reads from it what it needs.

    Args:
        model: a denoiser.
        diffusion: the chain that is sampled.
        labels: int64 (B,), or None.
        clip: function of the predicted image.
        reads_mean: whether the sampler reads the mean of p, or the image alone.
        num_images: B, where it is known beforehand: guides are then checked before all steps.
    """

    def __init__(
        self,
        model: Denoiser,
        diffusion: GaussianDiffusion,
        labels: Tensor | None,
        clip: Callable[[Tensor], Tensor],
        reads_mean: bool = True,
        num_images: int | None = None,
    ):
        self.model = model
        self.diffusion = diffusion
        self.labels = labels
        self.clip = clip
        self.reads_mean = reads_mean
        self.num_images = num_images

    def __call__(self, x: Tensor, t: int) -> Reverse:
        """p(x_{t-1} | x_t) for all images at one t."""
        return self.reverse(self.output(x, t), x, t)

    def output(self, x: Tensor, t: int, labels: Tensor | None = None) -> Tensor:
        """What the network says, (B, C or 2C, H, W); labels None = those of the sampling."""
        chosen = self.labels if labels is None else labels
        return self._finite(self.diffusion.call(self.model, x, t, chosen), t)

    def outputs(self, x: Tensor, t: int, others: Sequence[Tensor]) -> Sequence[Tensor]:
        """The same for the labels of the sampling and for others, int64 (B,) each, by one call."""
        if not others:
            return [self.output(x, t)]
        assert self.labels is not None
        copies = 1 + len(others)
        labels = torch.cat([self.labels, *others])
        return self.output(torch.cat([x] * copies), t, labels).chunk(copies)

    def ask(self, model: Denoiser, x: Tensor, t: int, labels: Tensor | None) -> Tensor:
        """What another network of the same diffusion says, with a variance or without."""
        times = self.diffusion.network_times(t, x)
        return self._finite(call_network(model, x, times, labels, learned_variance=False), t)

    def _finite(self, output: Tensor, t: int) -> Tensor:
        if output.device.type == "cpu":  # at once, not after all steps
            check_finite(f"the network's outputs at t = {t}", output)
        return output

    def reverse(self, output: Tensor, x: Tensor, t: int) -> Reverse:
        """p(x_{t-1} | x_t) from what the network said."""
        return self.diffusion.reverse(output, x, t, self.clip)
