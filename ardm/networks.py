"""Networks: what the rest of the core asks of a model.

    logits(p) = f(x)_p    for every position p that is asked for, given the known tokens of x

A likelihood takes the model itself; a generation a function of ids and positions, into which the
padding, guidance and the like have gone already.
"""

from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor

# ids int64 (B, L), positions int64 (B, K) or None: all -> logits (B, K or L, V)
Network = Callable[[Tensor, Tensor | None], Tensor]


class VocabularyConfig(Protocol):
    """The part of a model's configuration that says what ids mean; it may have a `pad_token_id`."""

    vocab_size: int  # special ids included
    mask_token_id: Any  # int; ARDMConfig's type allows None, only to refuse it in words


class LogitsOutput(Protocol):
    """What a model's call returns: transformers' `MaskedLMOutput`, or anything with its logits."""

    logits: Any  # a Tensor; transformers' type allows None


class MaskedLanguageModel(Protocol):
    """A model that is called with ids and gives the logits of some positions.

    `logits_positions` bool (B, L) asks for its N true entries, logits (N, V) in row-major order;
    int64 (B, K) for K positions of each row, logits (B, K, V); None for all, (B, L, V).
    """

    @property
    def config(self) -> VocabularyConfig: ...

    def __call__(
        self,
        *,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        logits_positions: Tensor | None,
    ) -> LogitsOutput: ...
