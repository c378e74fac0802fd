"""Gradients: what lies between the backward pass and the optimiser's step.

They are scaled down where their norm is too large, and a step whose gradient is not finite is
skipped: one bad batch costs a step, not the run. Many in a row mean that the run has diverged.
"""

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn

from .sharding import gathered

if TYPE_CHECKING:
    from accelerate import Accelerator

logger = logging.getLogger(__name__)
_MAX_SKIPPED_STEPS = 20  # in a row


class Gradients:
    """The gradients of a run's parameters.

    Args:
        params: of the prepared model.
        accelerator: knows how gradients are scaled.
        max_norm: they are scaled down to it; 0 = no clipping.
        checkpoints: where they are, for those whose run has diverged.
    """

    def __init__(
        self,
        params: Sequence[nn.Parameter],
        accelerator: "Accelerator",
        max_norm: float,
        checkpoints: Path,
    ):
        self.params = params
        self.accelerator = accelerator
        self.max_norm = max_norm or math.inf
        self.checkpoints = checkpoints
        self.num_skipped_in_a_row = 0
        self.norm = math.nan  # of the last step, before clipping

    def clip(self, step: int) -> bool:
        """Scales the gradients down if their norm is too large.

        Args:
            step: for messages.

        Returns:
            Whether they are finite; the step is to be skipped otherwise.

        Raises:
            RuntimeError: if too many steps in a row were skipped.
        """
        self.norm = float(self._clip())
        if math.isfinite(self.norm):
            self.num_skipped_in_a_row = 0
            return True
        self.num_skipped_in_a_row += 1
        if self.accelerator.scaler is None:  # in fp16 it is how the scaler finds its scale
            logger.warning("step %d: the gradient is not finite; the step is skipped.", step)
        if self.num_skipped_in_a_row > _MAX_SKIPPED_STEPS:
            raise RuntimeError(
                f"the gradient was not finite for {self.num_skipped_in_a_row} steps in a row, up"
                f" to step {step}; lower the learning rate. The last good checkpoint is in"
                f" {self.checkpoints}."
            )
        return False

    def clear(self) -> None:
        """What `zero_grad` does, without half a millisecond of wrappers."""
        for param in self.params:
            param.grad = None

    def _clip(self) -> Tensor:
        """The norm before clipping."""
        self.accelerator.unscale_gradients()
        norm = nn.utils.get_total_norm([p.grad for p in self.params if p.grad is not None])
        norm = gathered(norm, kept=True)
        if norm > self.max_norm:  # else it would multiply all of them by 1
            nn.utils.clip_grads_with_norm_(self.params, self.max_norm, norm)
        return norm
