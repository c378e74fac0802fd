"""GaussianDiffusion: the two processes q and p of a schedule, with p's loss and its likelihood.

q is forward_process.py, p reverse_process.py; losses are in losses.py, the bound in likelihood.py.
Shapes: B images (B, C, H, W), T timesteps.
"""

import torch
from torch import Tensor

from .checks import check_choice
from .denoisers import Denoiser, check_images
from .likelihood import BitsPerDim, bits_per_dim, prior_bits
from .losses import LOSSES, Noised
from .reverse_process import Reverse, ReverseProcess

__all__ = ["BitsPerDim", "GaussianDiffusion", "Reverse"]


class GaussianDiffusion(ReverseProcess):
    """A noise schedule, what the network's output means, and what it is trained for.

    Args:
        betas: (T,) of the schedule, taken as float64.
        prediction: what the network predicts: "epsilon" (the noise), "sample" (the image),
            "v_prediction" or "previous" (the mean of x_{t-1}); see predictions.py.
        variance: of p: "fixed_small", "fixed_large", "learned" or "learned_range"; see
            variances.py. With a fixed one, a second half of the network's output is ignored.
        loss: what `losses` gives: "simple", "hybrid" or "vlb"; see losses.py.
        min_snr_gamma: caps the weight of nearly clean images in the simple loss (5 is usual); None
            = all weights are 1.
        rescale_timesteps: tell the network t * 1000 / T, float32, in place of t, T being that of
            the whole chain; the networks of arXiv 2102.09672 with T = 4000 are told so.

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
        rescale_timesteps: bool = False,
    ):
        check_choice("loss", loss, LOSSES)
        super().__init__(
            betas,
            prediction,
            variance,
            min_snr_gamma=min_snr_gamma,
            rescale_timesteps=rescale_timesteps,
        )
        self.loss = loss

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
            model: as for `p_mean_variance`.
            x0: images (B, C, H, W) in [-1, 1].
            t: int64 (B,), 0..T-1.
            noise: standard normal, like `x0`; None = drawn here.
            labels: int64 (B,), or None.

        Returns:
            (B,); see losses.py for its unit.

        Raises:
            ValueError: if images (at least one), timesteps, labels or the network's output are not
                as they should be.
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
        """The bound on -log2 p(image), all T terms, each with fresh noise: T network calls.

        Args:
            model: as for `p_mean_variance`.
            x0: images (B, C, H, W), grey values k / 127.5 - 1.
            labels: int64 (B,), or None.
            clip: of the predicted image, as in `p_mean_variance`.
            generator: of the noise, on the device of the images or the CPU.
            progress: whether to show a progress bar; None = on a terminal.

        Returns:
            [`BitsPerDim`].

        Raises:
            ValueError: if images (at least one), labels or the network's output are not as they
                should be, or the bound is not finite.
        """
        return bits_per_dim(
            self, model, x0, labels, clip=clip, generator=generator, progress=progress
        )

    def prior_bits(self, x0: Tensor) -> Tensor:
        """KL(q(x_{T-1} | x_0) || N(0, I)), which no network can change.

        Args:
            x0: images (B, C, H, W).

        Returns:
            float64 (B,), bits per dimension.
        """
        return prior_bits(self, x0)
