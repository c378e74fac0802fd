"""GaussianDiffusion: the reverse process p that a network defines, its losses and its bound on the
likelihood.

    p(x_{t-1} | x_t) = N(coef1_t x0_hat + coef2_t x_t, e^log_variance I)                arXiv 2006.11239, equation 7

x0_hat is the image that the network's output stands for (predictions.py). Everything goes through
it: it is clipped, and mean, noise and bound follow. The network is told `timesteps[t]`, which is
not t in a respaced chain.
Tables and q itself are in forward_process.py. Shapes: B images (B, C, H, W), T timesteps.
"""

import copy
import math
from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from .denoisers import Denoiser, call_network, check_images, evaluating
from .forward_process import ForwardProcess, like
from .gaussians import gaussian_kl
from .losses import LOSSES, Noised, bound_bits
from .predictions import PREDICTIONS, clipping, prediction_tables
from .progress import with_progress
from .respacing import kept_timesteps
from .tables import Table
from .variances import LEARNED, VARIANCES


class Reverse:
    """p(x_{t-1} | x_t): the image x0 that it aims at, its mean and its log-variance, all (B, C, H,
    W).

    Mean and log-variance are computed when they are asked for: deterministic samplers never do.

    Args:
        diffusion: the chain.
        x_t: where it stands.
        t: int64 (B,) or one number, 0..T-1.
        x0: the image, clipped or not.
        rest: the second half of the network's output, or nothing (B, 0, H, W).
    """

    def __init__(
        self, diffusion: "GaussianDiffusion", x_t: Tensor, t: Tensor | int, x0: Tensor, rest: Tensor
    ):
        self.diffusion = diffusion
        self.x_t = x_t
        self.t = t
        self.x0 = x0
        self.rest = rest

    @cached_property
    def mean(self) -> Tensor:
        """coef1_t x0 + coef2_t x_t."""
        return self.diffusion.posterior_mean(self.x0, self.x_t, self.t)

    @cached_property
    def log_variance(self) -> Tensor:
        """Natural logarithm, by the diffusion's variance."""
        variance = VARIANCES[self.diffusion.variance]
        return like(variance(self.diffusion.log_variances, self.t, self.rest), self.x0)

    def with_x0(self, x0: Tensor) -> "Reverse":
        """The same aimed at another image, which moves the mean."""
        return Reverse(self.diffusion, self.x_t, self.t, x0, self.rest)

    def with_mean(self, mean: Tensor) -> "Reverse":
        """The same with another mean, aimed at the same image."""
        moved = self.with_x0(self.x0)
        moved.mean = mean
        return moved


class BitsPerDim(NamedTuple):
    """The bound on -log2 p(image), bits per dimension, float64: total (B,) = prior (B,) + sum of
    per_step (B, T).

    `per_step[:, 0]` is the decoder's term, `per_step[:, t]` the divergence of the step from t to t
    - 1.
    """

    total: Tensor
    prior: Tensor
    per_step: Tensor


class GaussianDiffusion(ForwardProcess):
    """A noise schedule, and what the network's output means.

    Args:
        betas: (T,) of the schedule, taken as float64.
        prediction: what the network predicts: "epsilon" (the noise), "sample" (the image),
            "v_prediction" or "previous" (the mean of x_{t-1}); see predictions.py.
        variance: of p: "fixed_small", "fixed_large", "learned" or "learned_range"; see
            variances.py. With a fixed one, a second half of the network's output is ignored.
        loss: what `losses` gives: "simple", "hybrid" or "vlb"; see losses.py.
        min_snr_gamma: caps the weight of nearly clean images in the simple loss (5 is usual); None
            = all weights are 1.

    Raises:
        ValueError: if a name is unknown, betas are no schedule, or the network could say nothing at
            the last step.
    """

    def __init__(
        self,
        betas: Tensor,
        prediction: str = "epsilon",
        variance: str = "learned_range",
        loss: str = "hybrid",
        *,
        min_snr_gamma: float | None = None,
    ):
        choices = (
            ("prediction", prediction, PREDICTIONS),
            ("variance", variance, VARIANCES),
            ("loss", loss, LOSSES),
        )
        for name, value, known in choices:
            if not isinstance(value, str) or value not in known:
                raise ValueError(
                    f"{name} is {value!r}; expected one of {', '.join(map(repr, known))}."
                )
        if min_snr_gamma is not None and not min_snr_gamma > 0:
            raise ValueError(
                f"min_snr_gamma is {min_snr_gamma}; expected a number above 0, or None."
            )
        super().__init__(betas)
        if prediction == "epsilon" and self.betas[-1] == 1:
            raise ValueError(
                "prediction is 'epsilon' and the last beta is 1, so that x_{T-1} is nothing but"
                " noise and a prediction of it tells nothing of the image; expected 'v_prediction'"
                " or 'sample'."
            )
        self.prediction = prediction
        self.variance = variance
        self.loss = loss
        self.min_snr_gamma = min_snr_gamma
        self._times: dict[torch.device, Tensor] = {}
        # What the network means does not change when steps are left out: "previous" is of its own
        # chain.
        coefficients = (self.posterior_mean_coef1, self.posterior_mean_coef2)
        self._predicted = prediction_tables(prediction, self.alphas_cumprod, *coefficients)
        self.loss_weights = None if min_snr_gamma is None else self._capped_weights(min_snr_gamma)

    def _capped_weights(self, gamma: float) -> Table:
        snr = self.alphas_cumprod / (1 - self.alphas_cumprod)
        return Table(snr.clamp(max=gamma) * self._predicted.x0_from_output.values**2)

    def respace(self, respacing: str | int) -> "GaussianDiffusion":
        """The same process seen at some of its timesteps only: alpha_bar there is the same, bit for
        bit.

        Args:
            respacing: "250" or 250, "ddim25", "10,10,10"; see respacing.py.

        Returns:
            A diffusion over those steps, whose `timesteps` are what the network is told.

        Raises:
            ValueError: if the respacing cannot be read or kept.
        """
        kept = torch.tensor(kept_timesteps(self.num_timesteps, respacing))
        alphas_cumprod = self.alphas_cumprod[kept]
        previous = torch.cat((torch.ones_like(alphas_cumprod[:1]), alphas_cumprod[:-1]))
        adjacent = kept.diff(prepend=torch.tensor([-1])) == 1
        spaced = copy.copy(self)
        # a step of the old chain keeps its very beta: what 1 - ab_t / ab_{t-1} gives is off by
        # rounding
        betas = torch.where(adjacent, self.betas[kept], 1 - alphas_cumprod / previous)
        ForwardProcess.__init__(spaced, betas, alphas_cumprod, self.timesteps[kept])
        spaced._times = {}
        spaced._predicted = type(self._predicted)(
            *(Table(table.values[kept]) for table in self._predicted)
        )
        spaced.loss_weights = (
            None if self.loss_weights is None else Table(self.loss_weights.values[kept])
        )
        return spaced

    def with_variance(self, variance: str) -> "GaussianDiffusion":
        """The same process with another variance of p, to sample a network with; see variances.py.

        Args:
            variance: its name.

        Returns:
            A diffusion that shares the tables.

        Raises:
            ValueError: if there is no such variance.
        """
        if variance not in VARIANCES:
            raise ValueError(
                f"variance is {variance!r}; expected one of {', '.join(map(repr, VARIANCES))}."
            )
        other = copy.copy(self)
        other.variance = variance
        return other

    # -------------------------------------------------------------------------------- the process p
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
                `timesteps[t]`.
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
        """The network's output (B, C or 2C, H, W), its shape checked; arguments as in
        `p_mean_variance`.
        """
        if isinstance(t, int):
            times = torch.full((len(x_t),), int(self.timesteps[t]), device=x_t.device)
        else:
            if x_t.device not in self._times:
                self._times[x_t.device] = self.timesteps.to(x_t.device)
            times = self._times[x_t.device][t]
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
        """The noise in x_t if its image is x0: (x_t - sqrt(ab_t) x_0) / sqrt(1 - ab_t), (B, C, H,
        W).
        """
        return (x_t - self._signal.at(t, x0) * x0) / self._noise.at(t, x0)

    # ----------------------------------------------------------------------------------- likelihood
    def losses(
        self,
        model: Denoiser,
        x0: Tensor,
        t: Tensor,
        noise: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> Tensor:
        """The loss of each image at its timestep.

        Args:
            model: as for [`GaussianDiffusion.p_mean_variance`].
            x0: images (B, C, H, W) in [-1, 1].
            t: int64 (B,), 0..T-1.
            noise: standard normal, like `x0`; None = drawn here.
            labels: int64 (B,), or None.

        Returns:
            (B,); see losses.py for its unit.

        Raises:
            ValueError: if images, timesteps or the network's output are not as they should be.
        """
        check_images(x0)
        if not isinstance(t, Tensor):
            raise ValueError(f"t is a {type(t).__name__}; expected an int64 tensor ({len(x0)},).")
        noise = torch.randn_like(x0) if noise is None else noise
        batch = Noised(x0, t, noise, self.q_sample(x0, t, noise))
        return LOSSES[self.loss](self, batch, self.call(model, batch.x_t, t, labels))

    @torch.no_grad()
    def bits_per_dim(
        self,
        model: Denoiser,
        x0: Tensor,
        labels: Tensor | None = None,
        *,
        clip: bool | str = True,
        generator: torch.Generator | None = None,
        progress: bool | None = None,
    ) -> BitsPerDim:
        """The variational bound on -log2 p(image), all T terms, each with fresh noise (one network
        call a timestep).

        Args:
            model: as for [`GaussianDiffusion.p_mean_variance`].
            x0: images (B, C, H, W), grey values k / 127.5 - 1.
            labels: int64 (B,), or None.
            clip: of the predicted image, as in `p_mean_variance`.
            generator: of the noise, on the device of the images or the CPU.
            progress: whether to show a progress bar; None = on a terminal.

        Returns:
            [`BitsPerDim`].

        Raises:
            ValueError: if images or the network's output are not as they should be.
        """
        check_images(x0)
        clip_x0 = clipping(clip)
        terms = []
        with evaluating(model):
            for t in with_progress(range(self.num_timesteps), "bound", progress):
                device = x0.device if generator is None else generator.device
                noise = torch.randn(
                    x0.shape, generator=generator, dtype=x0.dtype, device=device
                ).to(x0.device)
                x_t = self.q_sample(x0, t, noise)
                p = self.reverse(self.call(model, x_t, t, labels), x_t, t, clip_x0)
                terms.append(
                    bound_bits(x0, t, self.q_posterior(x0, x_t, t), p.mean, p.log_variance).double()
                )
        prior = self.prior_bits(x0)
        per_step = torch.stack(terms, dim=1)
        return BitsPerDim(prior + per_step.sum(1), prior, per_step)

    def prior_bits(self, x0: Tensor) -> Tensor:
        """KL(q(x_{T-1} | x_0) || N(0, I)), which no network can change: bits per dimension, float64
        (B,).
        """
        last = self.num_timesteps - 1
        log_variance = (1 - self.alphas_cumprod[last]).log()
        nats = gaussian_kl(
            self._signal.at(last, x0) * x0.double(), log_variance.to(x0.device), 0.0, 0.0
        )
        return nats.flatten(1).mean(1) / math.log(2)
