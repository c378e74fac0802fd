"""WeightAverage: the weights' moving average, which a run is judged by and leaves behind.

    average <- d * average + (1 - d) * weights,   d = min(decay, (1 + s) / (10 + s)) after step s

The warm-up of d lets a short run forget its initial weights.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from .sharding import sharded_like


class WeightAverage:
    """The average of some parameters.

    Args:
        params: the parameters, on their device.
        decay: in [0, 1); 0 = no average, the weights themselves count.
    """

    def __init__(self, params: Sequence[Tensor], decay: float):
        self.params = list(params)
        self.decay = decay
        self.values = [param.detach().clone() for param in self.params] if decay else []

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Takes the weights in.

        Args:
            step: optimiser steps before this one.
        """
        if self.values:
            decay = min(self.decay, (1 + step) / (10 + step))
            torch._foreach_lerp_(self.values, self.params, 1 - decay)

    @torch.no_grad()
    def put_in_place(self) -> None:
        """Overwrites the weights by their average."""
        for param, value in zip(self.params, self.values, strict=False):
            param.copy_(value)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The average in place of the weights, for as long as the block lasts."""
        trained = [param.detach().clone() for param in self.params] if self.values else []
        self.put_in_place()
        try:
            yield
        finally:
            with torch.no_grad():
                for param, value in zip(self.params, trained, strict=False):
                    param.copy_(value)

    def state_dict(self) -> dict[str, Tensor]:
        """The average by the parameters' numbers."""
        return {str(i): value for i, value in enumerate(self.values)}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Goes on from what [`WeightAverage.state_dict`] gave.

        Args:
            state: of the same parameters, whole.
        """
        for index, value in enumerate(self.values):
            value.copy_(sharded_like(state[str(index)], value))
