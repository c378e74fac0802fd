"""Predictor: the network as samplers ask it, (x_t, t) -> p(x_{t-1} | x_t), and what guides it.

A guidance is a function that is given the predictor and gives what takes its place. Samplers read
the image, the mean or the variance of what comes back, each what its step needs (steps.py); as a
`Reverse` keeps image and mean together, what a guidance says of one reaches all of them.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from .denoisers import Denoiser, check_finite
from .diffusion import GaussianDiffusion
from .reverse_process import Reverse
from .steps import Predict


class Predictor:
    """Calls the network: (x_t, t) -> p(x_{t-1} | x_t).

    A guidance wraps this object, and reads from it what it needs.

    Args:
        model: a denoiser.
        diffusion: the chain that is sampled.
        labels: int64 (B,), or None.
        clip: function of the predicted image.
    """

    def __init__(
        self,
        model: Denoiser,
        diffusion: GaussianDiffusion,
        labels: Tensor | None,
        clip: Callable[[Tensor], Tensor],
    ):
        self.model = model
        self.diffusion = diffusion
        self.labels = labels
        self.clip = clip

    def __call__(self, x: Tensor, t: int) -> Reverse:
        """p(x_{t-1} | x_t) for all images at one t."""
        output = self.diffusion.call(self.model, x, t, self.labels)
        if output.device.type == "cpu":  # at once, not after all steps
            check_finite(f"the network's outputs at t = {t}", output)
        return self.diffusion.reverse(output, x, t, self.clip)


def guided(predictor: Predictor, guidance: Any) -> Predict:
    """The predictor, or what a guidance puts in its place.

    Args:
        predictor: of the network.
        guidance: a function of it that gives a function (x, t) -> [`Reverse`]; None = the predictor
            itself.

    Returns:
        A function of (x, t).

    Raises:
        ValueError: if the guidance is no such function; on a call, if it gives no [`Reverse`],
            which is all that samplers read.
    """
    if guidance is None:
        return predictor
    given = guidance(predictor) if callable(guidance) else guidance
    if not callable(given):
        kind = f"guidance is a {type(guidance).__name__}"
        kind = f"the guidance gave a {type(given).__name__}" if callable(guidance) else kind
        raise ValueError(
            f"{kind}; expected a function that wraps a predictor and gives a function of (x, t)."
        )

    def predict(x: Tensor, t: int) -> Reverse:
        p = given(x, t)
        if not isinstance(p, Reverse):
            raise ValueError(
                f"the guidance gave a {type(p).__name__} at t = {t}; expected what the predictor"
                " gives, changed by its `with_x0` or `with_mean`."
            )
        return p

    return predict
