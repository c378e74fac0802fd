"""ARDMModel and ARDMForMaskedLM: the bidirectional transformer f(x) of an order-agnostic ARDM.

One network call gives, for every masked position at once, p(x_p | the known tokens) (arXiv
2110.02037, section 3). There is no time input: the number of masks is visible in x, and the optimum
does not need it (arXiv 2406.03736).

The blocks (layers_ardm.py) are pre-norm and without biases. Output projections start at 0, so that
a fresh network predicts the uniform distribution over the data symbols exactly.

With several stages (stages.py) positions hold coarse values as well, whose ids come behind those of
the vocabulary and have embeddings of their own; logits are of the vocabulary all the same, or with
direct ones of each position's next reveal. No input tells the stage: the ids do.

Shapes: B batch, L length, C width, V vocabulary, N selected positions.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_outputs import BaseModelOutput, MaskedLMOutput
from transformers.utils.generic import can_return_tuple, merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from .bound_loss import LossInputs, rule_out
from .configuration_ardm import ARDMConfig
from .generation_ardm import ARDMGenerationMixin
from .generation_config_ardm import ARDMGenerationConfig
from .id_checks import check_attention_mask, check_ids, is_looked_at
from .layers_ardm import ARDMLayer, ARDMOutputProjection, ARDMRMSNorm, rotary_angles
from .likelihood_ardm import ARDMLikelihoodMixin
from .networks import select_positions
from .pretrained_ardm import ARDMPreTrainedModel
from .stages import Stages
from .vocabulary import stages_of


class ARDMModel(ARDMPreTrainedModel):
    """The transformer without a head: ids in, one vector a position out.

    Args:
        config: sizes of the network.
    """

    # a model with head loads without it, silently
    _keys_to_ignore_on_load_unexpected = [r"lm_head\.weight"]

    def __init__(self, config: ARDMConfig):
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        num_coarse = stages_of(config).num_nodes - config.vocab_size
        self.embed_coarse = nn.Embedding(num_coarse, config.hidden_size) if num_coarse else None
        self.layers = nn.ModuleList(ARDMLayer(config) for _ in range(config.num_hidden_layers))
        self.norm = ARDMRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_init()

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_positions: Tensor | None = None,
        **kwargs: object,
    ) -> BaseModelOutput:
        """Encodes a batch of partly masked sequences.

        Args:
            input_ids: int64 (B, L); this or `inputs_embeds`.
            attention_mask: (B, L), 1 on real tokens and 0 on padding (either side), or a 4-D mask
                for the attention, which hides nothing from the convolution.
            position_ids: int64 (B, L) or (1, L); default: places among each row's real tokens.
            inputs_embeds: (B, L, C) instead of ids.
            output_positions: the positions that are wanted, bool (B, L) or int64 (B, K); None =
                all.
            **kwargs: `output_hidden_states`, `output_attentions`, `return_dict`, arguments of the
                attention kernel.

        Returns:
            `last_hidden_state`, normalised: (B, L, C), or (N, C) / (B, K, C) at `output_positions`.

        Raises:
            ValueError: on both or neither of ids and embeddings, no rows, a sequence longer than
                the model's positions, a 2-D attention mask of another shape, or (on a CPU) ids out
                of range, a 2-D mask of other numbers than 0 and 1, or a row in which nothing is
                seen.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError(
                "got both or neither of input_ids and inputs_embeds; expected exactly one of them."
            )
        hidden_states = self._embed(input_ids) if inputs_embeds is None else inputs_embeds
        num_rows, length = hidden_states.shape[:2]
        if num_rows == 0:  # an attention of nothing is an error of its own, if a dark one
            raise ValueError("the batch has no rows; expected at least one.")
        if length > self.config.max_position_embeddings:
            raise ValueError(
                f"the sequence has {length} positions; expected at most "
                f"max_position_embeddings={self.config.max_position_embeddings}."
            )
        check_attention_mask(attention_mask, hidden_states[..., 0])
        real_BL1 = None
        if attention_mask is not None and attention_mask.ndim == 2:
            real_BL1 = attention_mask[:, :, None].to(hidden_states.dtype)
            if position_ids is None:
                position_ids = (attention_mask.long().cumsum(1) - 1).clamp(min=0)
        if position_ids is None:
            position_ids = torch.arange(length, device=hidden_states.device)[None]
        rotary = rotary_angles(self.config, position_ids, hidden_states.dtype)
        mask = create_bidirectional_mask(
            config=self.config, inputs_embeds=hidden_states, attention_mask=attention_mask
        )
        last = len(self.layers) - 1
        for index, layer in enumerate(self.layers):
            positions = output_positions if index == last else None
            hidden_states = layer(hidden_states, mask, rotary, real_BL1, positions, **kwargs)
        if last < 0 and output_positions is not None:
            hidden_states = select_positions(hidden_states, output_positions)
        return BaseModelOutput(last_hidden_state=self.norm(hidden_states))

    def _embed(self, input_ids: Any) -> Tensor:
        """(B, L, C), of ids of the vocabulary and, where there are stages, of coarse values."""
        first_coarse = self.config.vocab_size
        num_coarse = 0 if self.embed_coarse is None else self.embed_coarse.num_embeddings
        if is_looked_at(input_ids):
            last = "the last coarse value" if num_coarse else "vocab_size - 1"
            check_ids(input_ids, first_coarse + num_coarse, last=last)
        if self.embed_coarse is None:
            return self.embed_tokens(input_ids)
        tokens = self.embed_tokens(input_ids.clamp(max=first_coarse - 1))
        coarse = self.embed_coarse((input_ids - first_coarse).clamp(min=0))
        return torch.where((input_ids < first_coarse)[..., None], tokens, coarse)


class ARDMForMaskedLM(ARDMGenerationMixin, ARDMLikelihoodMixin, ARDMPreTrainedModel):
    """The network of an ARDM: logits of masked positions given the known ones; `generate`, `nelbo`.

    Args:
        config: sizes of the network.
    """

    generation_config_class = ARDMGenerationConfig
    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}

    def __init__(self, config: ARDMConfig):
        super().__init__(config)
        self.model = ARDMModel(config)
        self._stages = stages_of(config)  # at hand: `forward` may be compiled
        self.lm_head = ARDMOutputProjection(config.hidden_size, self._stages.num_outputs)
        self.post_init()

    @property
    def stages(self) -> Stages:
        """How values are revealed: the tree of coarse ones, and what belongs to it."""
        return stages_of(self.config)

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        self.lm_head = new_embeddings

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        logits_positions: Tensor | None = None,
        num_maskable: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **kwargs: object,
    ) -> MaskedLMOutput:
        """Logits, and the bound's loss if labels are given.

        Args:
            input_ids: int64 (B, L), mask ids where tokens are hidden; with several stages ids of
                coarse values, too.
            attention_mask: see [`ARDMModel.forward`].
            position_ids: see [`ARDMModel.forward`].
            inputs_embeds: see [`ARDMModel.forward`].
            labels: int64 (B, L), the hidden tokens' ids, -100 elsewhere, also at padding. With
                several stages ids of the vocabulary, -100 where the next reveal cannot be.
            logits_positions: the positions whose logits are wanted; others are never computed. bool
                (B, L), for N true entries: logits are (N, V), in row-major order; or int64 (B, K):
                logits are (B, K, V). With labels it must be bool, and the loss is over these
                positions alone.
            num_maskable: int64 (B,), the number of maskable tokens of each row, its weight in the
                loss; default: its real tokens. Needed where a prompt is outside the loss.
            num_items_in_batch: number of labels (other than -100) over all accumulation steps and
                processes, as Trainer counts them: the loss is this batch's share of theirs. Without
                `num_maskable` a row then weighs as many as its labels, so that every label counts
                the same, as in any masked language model, however batches are split.
            **kwargs: passed to [`ARDMModel.forward`].

        Returns:
            `logits` (B, L, V), (N, V) or (B, K, V), -inf at the mask id and at an id that is only
            padding (direct ones of all stages' children in place of V); or so low that their
            probability is below 1e-8, if `num_items_in_batch` comes without labels: the caller's
            own loss, as Trainer's `label_smoothing_factor`, must be
            finite. `loss`, nats per token: the mean cross-entropy over each row's masked tokens,
            averaged over rows weighted by their number of maskable tokens (arXiv 2110.02037,
            equation 2 reweighted).

        Raises:
            ValueError: as [`ARDMModel.forward`], if `logits_positions` and labels do not fit
                together, on labels of another shape, or (on a CPU) on labels that are impossible,
                or on labels without `input_ids` where there are several stages.
        """
        stages = self._stages
        asked = LossInputs(labels, logits_positions, num_maskable, num_items_in_batch)
        asked = asked.checked(self.config, stages, input_ids, inputs_embeds)
        outputs = self.model(
            input_ids,
            attention_mask,
            position_ids,
            inputs_embeds,
            output_positions=logits_positions,
            **kwargs,
        )
        logits = self.lm_head(outputs.last_hidden_state)
        if not stages.direct:  # which has no logits of impossible ids
            logits = rule_out(logits, self.config)
        return MaskedLMOutput(
            loss=asked.loss(logits, stages, input_ids, attention_mask),
            logits=asked.returned_logits(logits),
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )
