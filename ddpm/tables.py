"""Table: a float64 number for each timestep, given on the device and in the dtype of images."""

import torch
from torch import Tensor


class Table:
    """The numbers of all timesteps.

    Args:
        values: float64 (T,), on the CPU.
    """

    def __init__(self, values: Tensor):
        self.values = values
        self._numbers: list[float] = values.tolist()
        self._copies: dict[torch.device, Tensor] = {}

    def at(self, t: Tensor | int, like: Tensor) -> Tensor | float:
        """The numbers of some timesteps, ready to be multiplied with images.

        Args:
            t: int64 (B,), or one number for all.
            like: images (B, ...), whose device and dtype count.

        Returns:
            (B, 1, ..., 1), or a float for one number.
        """
        if isinstance(t, int):
            return self._numbers[t]
        if like.device not in self._copies:
            self._copies[like.device] = self.values.to(like.device)
        return self._copies[like.device][t].to(like.dtype).view(-1, *[1] * (like.ndim - 1))

    def keeping(self, timesteps: Tensor) -> "Table":
        """The table of a chain that keeps these timesteps only, int64 (S,)."""
        return Table(self.values[timesteps])
