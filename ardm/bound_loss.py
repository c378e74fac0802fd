"""Bound loss: from a network's logits to the loss that every model of ours returns.

    loss = sum_b w_b mean over the masked of CE / sum_b w_b        nats per token

with w_b the number of maskable tokens of row b (arXiv 2110.02037, equation 2 reweighted): the bound
itself. `transformers.Trainer` is given its share of a loss over several batches, and logits without
infinities where it makes a loss of its own.

Shapes: B batch, L length, N masked positions, V vocabulary.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from .id_checks import IGNORED, check_labels, check_positions
from .reveals import check_below, mean_cross_entropy, mean_over_tokens, num_real
from .stages import Stages
from .vocabulary import VocabularyConfig, impossible_ids

# Logit of an impossible id under the logsumexp of the others, where -inf would make a loss of
# someone else's infinite: e^-20 is less than float32 resolves.
_FLOOR = 20.0


class LossInputs(NamedTuple):
    """What a call of a model says of its loss.

    Args:
        labels: int64 (B, L), the hidden tokens' ids, -100 elsewhere; None: no loss.
        logits_positions: the positions whose logits are wanted: bool (B, L), or without labels
            int64 (B, K); None: all.
        num_maskable: int64 (B,), each row's weight; None: its real tokens.
        num_items_in_batch: number of labels over all accumulation steps and processes.
    """

    labels: Tensor | None = None
    logits_positions: Tensor | None = None
    num_maskable: Tensor | None = None
    num_items_in_batch: Tensor | int | None = None

    def checked(
        self, config: VocabularyConfig, stages: Stages, input_ids: Any, inputs_embeds: Any
    ) -> "LossInputs":
        """These, once they fit each other and the ids.

        Args:
            config: of the model.
            stages: of the model.
            input_ids: int64 (B, L), the canvas; or
            inputs_embeds: (B, L, C).

        Returns:
            These, with labels of int64.

        Raises:
            ValueError: if they do not fit together, on labels of another shape, or (on a CPU) that
                are impossible, or on labels without ids where there are several stages.
        """
        labels = self.labels
        if labels is not None:
            like = input_ids if inputs_embeds is None else inputs_embeds[..., 0]
            check_labels(labels, config.vocab_size, impossible_ids(config), like)
            if stages.tree is not None:
                check_below(labels, input_ids, self.logits_positions, stages)
            labels = labels.long()  # cross-entropy takes no int32
        elif self.num_items_in_batch is not None and stages.tree is not None:
            raise ValueError(
                "num_items_in_batch comes without labels, for a loss of the caller's own (as of"
                " label_smoothing_factor or compute_loss_func); expected the model's own loss where"
                " there are stages."
            )
        if self.logits_positions is not None:
            like = input_ids if labels is None else labels
            check_positions(self.logits_positions, like, bool_only=labels is not None)
        return self._replace(labels=labels)

    def loss(
        self,
        logits: Tensor,
        stages: Stages,
        input_ids: Tensor | None,
        attention_mask: Tensor | None,
    ) -> Tensor | None:
        """The bound's loss; None without labels.

        Args:
            logits: (B, L, V), or (N, V) at `logits_positions`.
            stages: of the model.
            input_ids: int64 (B, L), the canvas, which stages need.
            attention_mask: (B, L), 0 on padding.

        Returns:
            A scalar, nats per token.
        """
        if self.labels is None:
            return None
        weights_B = self.num_maskable
        if weights_B is None and self.num_items_in_batch is None:
            weights_B = num_real(self.labels, attention_mask) * (self.labels != IGNORED).any(1)
        nats_B = mean_cross_entropy(logits, self.labels, self.logits_positions, stages, input_ids)
        nats_B = nats_B * stages.num_stages  # reveals of a token
        return mean_over_tokens(nats_B, self.labels, weights_B, self.num_items_in_batch)

    def returned_logits(self, logits: Tensor) -> Tensor:
        """The logits to return: without infinities for a caller's own loss, as Trainer's."""
        if self.labels is not None or self.num_items_in_batch is None:
            return logits
        floor = logits.logsumexp(-1, keepdim=True) - _FLOOR
        return torch.where(logits == -torch.inf, floor, logits)


def rule_out(logits: Tensor, config: VocabularyConfig) -> Tensor:
    """Logits, changed in place, with -inf at ids that are never generated.

    Args:
        logits: (..., V).
        config: of the model.

    Returns:
        The same tensor.
    """
    impossible = [*impossible_ids(config)]
    # one by one, one or two are no copies from the host
    for ids in impossible if len(impossible) < 3 else [impossible]:
        logits[..., ids] = -torch.inf
    return logits
