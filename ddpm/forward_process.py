"""ForwardProcess: the process q that turns an image into noise, by small steps, as float64 tables.

    q(x_t | x_{t-1})      = N(sqrt(1 - beta_t) x_{t-1}, beta_t I)                 equation 2
    q(x_t | x_0)          = N(sqrt(ab_t) x_0, (1 - ab_t) I)                       equation 4
    q(x_{t-1} | x_t, x_0) = N(coef1_t x_0 + coef2_t x_t, posterior_variance_t I)  equations 6, 7

(arXiv 2006.11239.) ab_t = alphas_cumprod[t], the product of 1 - beta up to t. t = 0..T-1 is an
index into the betas; x_{-1} is the image. What is computed from images has their dtype. Images are
(B, C, H, W), but any (B, ...) will do.
"""

from typing import Any

import torch
from torch import Tensor

from .schedules import check_betas
from .tables import Table
from .variances import LogVariances


class ForwardProcess:
    """The tables of a schedule, and what can be drawn from q.

    Args:
        betas: (T,), taken as float64.
        alphas_cumprod: float64 (T,) where they are known better than as a product; None = the
            product.
        timesteps: int64 (T,), which of another chain these are; None = 0..T-1.
        told: (T,), what a network is told of them; None = `timesteps`.

    Raises:
        ValueError: if betas are no schedule.
    """

    def __init__(
        self,
        betas: Tensor,
        alphas_cumprod: Tensor | None = None,
        timesteps: Tensor | None = None,
        told: Tensor | None = None,
    ):
        betas = check_betas(betas)
        self.betas = betas
        self.alphas_cumprod = (1 - betas).cumprod(0) if alphas_cumprod is None else alphas_cumprod
        self.timesteps = torch.arange(len(betas)) if timesteps is None else timesteps
        self._told = self.timesteps if told is None else told
        self._times: dict[torch.device, Tensor] = {}
        self.alphas_cumprod_prev = torch.cat((torch.ones_like(betas[:1]), self.alphas_cumprod[:-1]))
        noise = 1 - self.alphas_cumprod
        noise_prev = 1 - self.alphas_cumprod_prev
        # equation 7
        self.posterior_variance = betas * noise_prev / noise
        self.posterior_mean_coef1 = betas * self.alphas_cumprod_prev.sqrt() / noise  # of x_0
        self.posterior_mean_coef2 = noise_prev * (1 - betas).sqrt() / noise  # of x_t
        self._signal = Table(self.alphas_cumprod.sqrt())
        self._noise = Table(noise.sqrt())
        self._keep = Table((1 - betas).sqrt())
        self._add = Table(betas.sqrt())
        self._coef1 = Table(self.posterior_mean_coef1)
        self._coef2 = Table(self.posterior_mean_coef2)
        self.small_variance = Table(self.posterior_variance)
        self.log_variances = LogVariances(betas, self.posterior_variance)

    @property
    def num_timesteps(self) -> int:
        """T, the number of steps of this chain."""
        return len(self.betas)

    @property
    def rescale_timesteps(self) -> bool:
        """Whether a network is told t * 1000 / T, float32, in place of t."""
        return self._told.is_floating_point()

    def network_times(self, t: Tensor | int, x: Tensor) -> Tensor:
        """What a network is told of t, on the device of x: int64 (B,), or float32 if rescaled."""
        if isinstance(t, int):
            told = self._told[t]
            return torch.full((len(x),), told.item(), dtype=told.dtype, device=x.device)
        if x.device not in self._times:
            self._times[x.device] = self._told.to(x.device)
        return self._times[x.device][t]

    def q_sample(self, x0: Tensor, t: Tensor | int, noise: Tensor | None = None) -> Tensor:
        """Draws from q(x_t | x_0), equation 4.

        Args:
            x0: images (B, C, H, W).
            t: int64 (B,) or one number, 0..T-1.
            noise: standard normal, like `x0`; None = drawn here.

        Returns:
            x_t, like `x0`.

        Raises:
            ValueError: if timesteps or noise are not as they should be.
        """
        noise = self._noise_for(x0, t, noise)
        return self._signal.at(t, x0) * x0 + self._noise.at(t, x0) * noise

    def q_step(self, x_previous: Tensor, t: Tensor | int, noise: Tensor | None = None) -> Tensor:
        """Draws from q(x_t | x_{t-1}), equation 2: one step of the forward process.

        Args:
            x_previous: x_{t-1}, (B, C, H, W).
            t: int64 (B,) or one number, 0..T-1.
            noise: standard normal, like `x_previous`; None = drawn here.

        Returns:
            x_t, like `x_previous`.

        Raises:
            ValueError: if timesteps or noise are not as they should be.
        """
        noise = self._noise_for(x_previous, t, noise)
        return self._keep.at(t, x_previous) * x_previous + self._add.at(t, x_previous) * noise

    def q_posterior(
        self, x0: Tensor, x_t: Tensor, t: Tensor | int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Moments of q(x_{t-1} | x_t, x_0), equations 6 and 7.

        Args:
            x0: images (B, C, H, W).
            x_t: the same, noised.
            t: int64 (B,) or one number, 0..T-1.

        Returns:
            Mean, variance and log-variance, all (B, C, H, W). At t = 0 the variance is 0 and the
            log-variance that of t = 1.

        Raises:
            ValueError: if timesteps are not as they should be.
        """
        self.check_times(t, x0)
        mean = self.posterior_mean(x0, x_t, t)
        variance = expanded_like(self.small_variance.at(t, mean), mean)
        log_variance = expanded_like(self.log_variances.small.at(t, mean), mean)
        return mean, variance, log_variance

    def posterior_mean(self, x0: Tensor, x_t: Tensor, t: Tensor | int) -> Tensor:
        """coef1_t x_0 + coef2_t x_t, the mean of q(x_{t-1} | x_t, x_0), (B, C, H, W)."""
        return self._coef1.at(t, x0) * x0 + self._coef2.at(t, x0) * x_t

    def moved_image(self, x0: Tensor, shift: Tensor, t: Tensor | int) -> Tensor:
        """The x_0 whose posterior mean lies `shift` further: x_0 + shift / coef1_t."""
        return x0 + shift / self._coef1.at(t, x0)

    def check_times(self, t: Any, x: Tensor) -> None:
        """Raises ValueError unless t is a number or int64 (B,), in 0..T-1 (looked at on CPUs)."""
        if isinstance(t, Tensor):
            if t.shape != x.shape[:1] or t.dtype != torch.long:
                raise ValueError(
                    f"t is {t.dtype} of shape {tuple(t.shape)}; expected int64 ({len(x)},)."
                )
            seen = t.device.type == "cpu" and len(t) > 0
            wrong = seen and not 0 <= int(t.min()) <= int(t.max()) < self.num_timesteps
        else:
            wrong = not isinstance(t, int) or isinstance(t, bool) or not 0 <= t < self.num_timesteps
        if wrong:
            given = f"{t.min()}..{t.max()}" if isinstance(t, Tensor) else repr(t)
            raise ValueError(f"t is {given}; expected 0..{self.num_timesteps - 1}.")

    def _noise_for(self, x: Tensor, t: Tensor | int, noise: Tensor | None) -> Tensor:
        self.check_times(t, x)
        return torch.randn_like(x) if noise is None else check_noise(noise, tuple(x.shape))


def rescaled_timesteps(num_timesteps: int) -> Tensor:
    """t * 1000 / T for all t, float32 (T,), as improved-diffusion tells its networks."""
    return (torch.arange(num_timesteps, dtype=torch.float64) * 1000 / num_timesteps).float()


def check_noise(noise: Any, shape: tuple[int, ...]) -> Tensor:
    """The noise, once it is found to be floats of the images' shape.

    Args:
        noise: what was given.
        shape: of the images.

    Returns:
        The noise.

    Raises:
        ValueError: if it is something else.
    """
    if not isinstance(noise, Tensor):
        raise ValueError(f"noise is a {type(noise).__name__}; expected floats of shape {shape}.")
    if not noise.is_floating_point() or noise.shape != shape:
        raise ValueError(
            f"noise is {noise.dtype} {tuple(noise.shape)};"
            f" expected floats of shape {shape}, that of the images."
        )
    return noise


def expanded_like(value: Tensor | float, x: Tensor) -> Tensor:
    """A table's entries as a tensor of the shape of x."""
    return (value if isinstance(value, Tensor) else x.new_full((), value)).expand_as(x)
