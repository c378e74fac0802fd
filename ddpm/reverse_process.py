"""ReverseProcess: the process p that a network defines, and what the network's output means.

    p(x_{t-1} | x_t) = N(coef1_t x0_hat + coef2_t x_t, e^log_variance I)

(arXiv 2006.11239, equation 7.) x0_hat is the image that the output stands for (predictions.py).
Everything goes through it: it is clipped, and mean, noise and bound follow. The network is told
`timesteps[t]`, which is not t in a respaced chain, or 1000 / T of it (`rescale_timesteps`). The
tables of q are in forward_process.py.

Shapes: B images (B, C, H, W), T timesteps.
"""

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor
from typing_extensions import Self

from .checks import check_choice, check_number, check_switch
from .denoisers import Denoiser, call_network
from .forward_process import ForwardProcess, expanded_like, rescaled_timesteps
from .predictions import PREDICTIONS, capped_snr_weights, clipping, prediction_tables
from .respacing import Respacing, kept_timesteps
from .variances import LEARNED, VARIANCES


class Reverse:
    """p(x_{t-1} | x_t): the image x0 that it aims at, its mean and log-variance, all (B, C, H, W).

    The mean is coef1_t x0 + coef2_t x_t at all times, so that what is said of one is said of the
    other, and a sampler may read either. Mean and log-variance are computed when they are asked
    for: deterministic samplers never do.

    Args:
        process: the chain.
        x_t: where it stands.
        t: int64 (B,) or one number, 0..T-1.
        x0: the image, clipped or not.
        rest: the second half of the network's output, or nothing (B, 0, H, W).
        mean: the mean, where it is known to more digits than x0 gives it.
    """

    def __init__(
        self,
        process: "ReverseProcess",
        x_t: Tensor,
        t: Tensor | int,
        x0: Tensor,
        rest: Tensor,
        mean: Tensor | None = None,
    ):
        self.process = process
        self.x_t = x_t
        self.t = t
        self.rest = rest
        self._x0 = x0
        self._mean = mean

    # none of the three can be assigned: what was read before would not follow
    @property
    def x0(self) -> Tensor:
        """The image that p aims at."""
        return self._x0

    @property
    def mean(self) -> Tensor:
        """coef1_t x0 + coef2_t x_t."""
        if self._mean is None:
            self._mean = self.process.posterior_mean(self.x0, self.x_t, self.t)
        return self._mean

    @property
    def log_variance(self) -> Tensor:
        """Natural logarithm, by the process's variance."""
        variance = VARIANCES[self.process.variance]
        return expanded_like(variance(self.process.log_variances, self.t, self.rest), self.x0)

    @property
    def variance(self) -> Tensor:
        """exp(log_variance), but for "fixed_small" at t = 0: it is 0, which has no logarithm."""
        if self.process.variance == "fixed_small":
            return expanded_like(self.process.small_variance.at(self.t, self.x0), self.x0)
        return self.log_variance.exp()

    def with_x0(self, x0: Tensor) -> "Reverse":
        """The same aimed at another image, which moves the mean.

        Args:
            x0: (B, C, H, W).

        Returns:
            A new one.

        Raises:
            ValueError: if it has another shape.
        """
        self._check_shape("x0", x0)
        return Reverse(self.process, self.x_t, self.t, x0, self.rest)

    def with_mean(self, mean: Tensor) -> "Reverse":
        """The same with another mean, which moves the image by 1 / coef1_t as much.

        So a shift of the mean reaches the samplers that read the image alone. A shift of
        beta_t / sqrt(1 - beta_t) times a gradient is one of the score by that gradient, of the
        noise by -sqrt(1 - ab_t) of it and of the image by (1 - ab_t) / sqrt(ab_t) of it.

        Args:
            mean: (B, C, H, W).

        Returns:
            A new one; its image is not clipped again.

        Raises:
            ValueError: if it has another shape.
        """
        self._check_shape("mean", mean)
        x0 = self.process.moved_image(self.x0, mean - self.mean, self.t)
        return Reverse(self.process, self.x_t, self.t, x0, self.rest, mean)

    def _check_shape(self, name: str, given: Tensor) -> None:
        if not isinstance(given, Tensor) or given.shape != self.x_t.shape:
            found = tuple(given.shape) if isinstance(given, Tensor) else type(given).__name__
            raise ValueError(f"{name} is {found}; expected {tuple(self.x_t.shape)}, as x_t.")


class ReverseProcess(ForwardProcess):
    """A noise schedule and a meaning of the network's output.

    Args:
        betas: (T,) of the schedule, taken as float64.
        prediction: what the network predicts; see predictions.py.
        variance: of p; see variances.py. With a fixed one, a second half of the network's output is
            ignored.
        min_snr_gamma: caps the weight of nearly clean images, `loss_weights`; None = no weights.
        rescale_timesteps: tell the network t * 1000 / T, float32, in place of t.

    Raises:
        ValueError: if a name is unknown, betas are no schedule, or the network could say nothing at
            the last step.
    """

    def __init__(
        self,
        betas: Tensor,
        prediction: str,
        variance: str,
        *,
        min_snr_gamma: float | None = None,
        rescale_timesteps: bool = False,
    ):
        check_choice("prediction", prediction, PREDICTIONS)
        check_choice("variance", variance, VARIANCES)
        check_switch("rescale_timesteps", rescale_timesteps)
        if min_snr_gamma is not None and min_snr_gamma != math.inf:
            positive = "a number above 0, or None"
            check_number("min_snr_gamma", min_snr_gamma, lambda gamma: gamma > 0, positive)
        told = rescaled_timesteps(len(betas)) if rescale_timesteps else None
        super().__init__(betas, told=told)
        if prediction == "epsilon" and self.alphas_cumprod[-1] == 0:
            raise ValueError(
                "prediction is 'epsilon' and the last beta is 1, so that x_{T-1} is nothing but"
                " noise and a prediction of it tells nothing of the image;"
                " expected 'v_prediction' or 'sample'."
            )
        self.prediction = prediction
        self.variance = variance
        self.min_snr_gamma = min_snr_gamma
        # a respaced chain keeps both tables: "previous" means the mean of the network's own chain
        coefficients = (self.posterior_mean_coef1, self.posterior_mean_coef2)
        self._predicted = prediction_tables(prediction, self.alphas_cumprod, *coefficients)
        # a fresh network says 0: what it predicts is then no image at all where all can be seen
        self.predicts_what_is_seen = bool(self._predicted.x0_from_output.values[0].abs() > 0.5)
        self.loss_weights = None
        if min_snr_gamma is not None:
            self.loss_weights = capped_snr_weights(
                self.alphas_cumprod, self._predicted, min_snr_gamma
            )

    def respace(self, respacing: Respacing) -> Self:
        """The same process seen at some of its timesteps: alpha_bar there is the same, to the bit.

        Args:
            respacing: "250" or 250, "ddim25", "trailing25", "10,10,10", [0, 400, 999], ...; see
                respacing.py.

        Returns:
            A process over those steps, whose `timesteps` are theirs in the whole chain.

        Raises:
            ValueError: if the respacing cannot be read or kept.
        """
        kept = torch.tensor(kept_timesteps(self.num_timesteps, respacing, self.alphas_cumprod))
        alphas_cumprod = self.alphas_cumprod[kept]
        previous = torch.cat((torch.ones_like(alphas_cumprod[:1]), alphas_cumprod[:-1]))
        # a step of the old chain keeps its very beta: 1 - ab_t / ab_{t-1} is off by rounding
        adjacent = kept.diff(prepend=torch.tensor([-1])) == 1
        betas = torch.where(adjacent, self.betas[kept], 1 - alphas_cumprod / previous)
        spaced = copy.copy(self)
        # what is told stays that of the whole chain
        whole = (self.timesteps[kept], self._told[kept])
        ForwardProcess.__init__(spaced, betas, alphas_cumprod, *whole)
        spaced._predicted = self._predicted.keeping(kept)
        if self.loss_weights is not None:
            spaced.loss_weights = self.loss_weights.keeping(kept)
        return spaced

    def with_variance(self, variance: str) -> Self:
        """The same process with another variance of p, to sample a network with.

        Args:
            variance: its name; see variances.py.

        Returns:
            A process that shares the tables.

        Raises:
            ValueError: if there is no such variance.
        """
        check_choice("variance", variance, VARIANCES)
        other = copy.copy(self)
        other.variance = variance
        return other

    def p_mean_variance(
        self,
        model: Denoiser,
        x_t: Tensor,
        t: Tensor | int,
        labels: Tensor | None = None,
        *,
        clip: bool | str = True,
    ) -> Reverse:
        """p(x_{t-1} | x_t) by the network.

        Args:
            model: `model(x, t)`, or `model(x, t, labels=labels)` where labels are given, t being
                `network_times`.
            x_t: noised images (B, C, H, W).
            t: int64 (B,) or one number, 0..T-1.
            labels: int64 (B,), or None.
            clip: of the predicted image: True or "static" = to [-1, 1], "dynamic", False.

        Returns:
            [`Reverse`].

        Raises:
            ValueError: if the network's output has another shape than it should.
        """
        self.check_times(t, x_t)
        return self.reverse(self.call(model, x_t, t, labels), x_t, t, clipping(clip))

    def call(
        self, model: Denoiser, x_t: Tensor, t: Tensor | int, labels: Tensor | None = None
    ) -> Tensor:
        """The network's output (B, C or 2C, H, W), checked; arguments as of `p_mean_variance`."""
        times = self.network_times(t, x_t)
        return call_network(model, x_t, times, labels, learned_variance=self.variance in LEARNED)

    def reverse(
        self,
        output: Tensor,
        x_t: Tensor,
        t: Tensor | int,
        clip: Callable[[Tensor], Tensor] | None = None,
    ) -> Reverse:
        """p(x_{t-1} | x_t) from the network's output.

        Args:
            output: (B, C or 2C, H, W).
            x_t: what the network was given.
            t: int64 (B,) or one number, 0..T-1.
            clip: function of the predicted image; None = it stays as it is.

        Returns:
            [`Reverse`].
        """
        predicted = output[:, : x_t.shape[1]]
        rest = output[:, x_t.shape[1] :]
        tables = self._predicted
        x0 = tables.x0_from_xt.at(t, x_t) * x_t + tables.x0_from_output.at(t, x_t) * predicted
        return Reverse(self, x_t, t, x0 if clip is None else clip(x0), rest)

    def target(self, x0: Tensor, t: Tensor | int, noise: Tensor) -> Tensor:
        """What the network should say of x_t = `q_sample(x0, t, noise)`, (B, C, H, W)."""
        tables = self._predicted
        return tables.target_from_x0.at(t, x0) * x0 + tables.target_from_noise.at(t, x0) * noise

    def epsilon(self, x0: Tensor, x_t: Tensor, t: Tensor | int) -> Tensor:
        """The noise in x_t if its image is x0: (x_t - sqrt(ab_t) x_0) / sqrt(1 - ab_t)."""
        return (x_t - self._signal.at(t, x0) * x0) / self._noise.at(t, x0)
