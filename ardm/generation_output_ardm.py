"""ARDMGenerationOutput: what `generate` gives."""

from dataclasses import dataclass

from torch import Tensor
from transformers.modeling_outputs import ModelOutput


@dataclass
class ARDMGenerationOutput(ModelOutput):
    """What [`ARDMGenerationMixin.generate`] returns with `return_dict_in_generate=True`.

    Args:
        sequences: int64 (B, L), the ids.
        order: int64 (B, L), the row's step (from 0) that wrote each position last, -1 where it was
            given or lies behind the row's end. A row's steps are the passes that fill some of its
            positions. In spite of its name a rank, with ties: `order.argsort(dim=1, stable=True)`
            is the order, of several stages that in which positions were finished.
        log_probs: float64 (B, L), nats: log-probability with which each token was drawn (the
            model's own where `do_sample` is False), 0 where `order` is -1.
        num_forward_passes: calls of the network, resampling included (one with guidance has twice
            the rows).
        tokens_per_forward: generated tokens per row and call.
        history: with `output_history`, the canvas after each pass: `num_forward_passes` tensors
            int64 (B, L), of several stages with the ids of coarse values.
    """

    sequences: Tensor | None = None
    order: Tensor | None = None
    log_probs: Tensor | None = None
    num_forward_passes: int | None = None
    tokens_per_forward: float | None = None
    history: tuple[Tensor, ...] | None = None
