"""How a training step chooses timesteps: uniformly, or more often where the loss is large.

With probabilities p_t and weights w_t = 1 / (T p_t), E_p[w_t L_t] = mean over t of L_t for any p.
The variance is least for p_t proportional to sqrt(E[L_t^2]), estimated from the last losses seen at
each t (arXiv 2102.09672, section 3.3 and equation 18). The bound's terms differ by orders of
magnitude, so this is what makes loss "vlb" trainable.
"""

from typing import Any, Protocol

import torch
from torch import Tensor

from ardm.training import check_integer, gather_rows

from .checks import check_number


class Timesteps(Protocol):
    """A distribution over the timesteps 0..T-1, which may learn from losses."""

    num_timesteps: int

    def probabilities(self) -> Tensor:
        """p_t, float64 (T,)."""

    def update(self, t: Tensor, losses: Tensor) -> None:
        """Learns from the losses (B,) that were seen at the timesteps t, int64 (B,)."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from such a state."""


class UniformTimesteps:
    """All timesteps alike.

    Args:
        num_timesteps: T.

    Raises:
        ValueError: if there is none.
    """

    def __init__(self, num_timesteps: int):
        self.num_timesteps = check_integer("num_timesteps", num_timesteps, 1)

    def probabilities(self) -> Tensor:
        """p_t, float64 (T,)."""
        return torch.full((self.num_timesteps,), 1 / self.num_timesteps, dtype=torch.float64)

    def update(self, t: Tensor, losses: Tensor) -> None:
        """Learns nothing from losses."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on as before."""


class LossSecondMomentTimesteps:
    """Timesteps with probabilities after the second moment of their loss.

    Until every timestep has its full history they are uniform. All processes hold equal histories:
    `update` gathers what all of them saw. Register it with
    `accelerator.register_for_checkpointing`, and a resumed run goes on with its history.

    Args:
        num_timesteps: T.
        history_length: losses kept for each timestep.
        uniform_share: share of the probability that is spread evenly, so that none is ever 0.

    Raises:
        ValueError: if a setting is out of range.
    """

    def __init__(self, num_timesteps: int, history_length: int = 10, uniform_share: float = 0.001):
        self.num_timesteps = check_integer("num_timesteps", num_timesteps, 1)
        self.history_length = check_integer("history_length", history_length, 1)
        unit = "a number in [0, 1]"
        check_number("uniform_share", uniform_share, lambda share: 0 <= share <= 1, unit)
        self.uniform_share = uniform_share
        # the newest at the end
        self.history = torch.zeros(num_timesteps, history_length, dtype=torch.float64)
        self.counts = torch.zeros(num_timesteps, dtype=torch.long)

    def probabilities(self) -> Tensor:
        """p_t, float64 (T,)."""
        even = torch.full((self.num_timesteps,), 1 / self.num_timesteps, dtype=torch.float64)
        if self.counts.min() < self.history_length:
            return even
        moments = self.history.square().mean(1).sqrt()
        if moments.sum() == 0:
            return even
        return (1 - self.uniform_share) * moments / moments.sum() + self.uniform_share * even

    def update(self, t: Tensor, losses: Tensor) -> None:
        """Takes in what this step saw; call it on every process at the same time.

        Losses that are not finite are left out.

        Args:
            t: int64 (B,), of this process; B may differ between processes.
            losses: (B,), unweighted.
        """
        t, losses = _gathered(t.detach(), losses.detach().double())
        assert not len(t) or 0 <= int(t.min()) <= int(t.max()) < self.num_timesteps
        for timestep, loss in zip(t.tolist(), losses.tolist(), strict=True):
            newest = self.history.new_tensor([loss])
            self.history[timestep] = torch.cat((self.history[timestep, 1:], newest))
            self.counts[timestep] += 1

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs."""
        return {"history": self.history.clone(), "counts": self.counts.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from what [`LossSecondMomentTimesteps.state_dict`] gave.

        Args:
            state: the history and how many losses each timestep has had.

        Raises:
            ValueError: if it is of another number of timesteps or length of history.
        """
        found = tuple(state["history"].shape) if {"history", "counts"} <= state.keys() else None
        if found != tuple(self.history.shape):
            raise ValueError(
                f"the saved history has shape {found}; expected {tuple(self.history.shape)}."
            )
        self.history = state["history"].clone()
        self.counts = state["counts"].clone()


def stratified_timesteps(probabilities: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Timesteps by the inverse of the cumulative probabilities.

    Evenly spread uniforms give evenly spread timesteps.

    Args:
        probabilities: p_t, float64 (T,).
        uniforms: float64 (B,), in [0, 1).

    Returns:
        t, int64 (B,), and the weights 1 / (T p_t), float64 (B,).
    """
    cumulative = probabilities.cumsum(0)
    t = torch.searchsorted(cumulative / cumulative[-1], uniforms, right=True)
    t = t.clamp(max=len(probabilities) - 1)
    return t, 1 / (len(probabilities) * probabilities[t])


def _gathered(t: Tensor, losses: Tensor) -> tuple[Tensor, Tensor]:
    """The finite losses of all processes, in their order; batches may differ in length."""
    finite = losses.isfinite()
    pairs = gather_rows(torch.stack((t[finite].double(), losses[finite]), dim=1))
    return pairs[:, 0].long(), pairs[:, 1]
