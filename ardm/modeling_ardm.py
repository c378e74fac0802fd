"""ARDMModel and ARDMForMaskedLM: the bidirectional transformer f(x) of an order-agnostic ARDM.

One network call gives, for every masked position at once, p(x_p | the known tokens) (arXiv
2110.02037, section 3). There is no time input: the number of masks is visible in x, and the optimum
does not need it (arXiv 2406.03736).

The blocks (layers_ardm.py) are pre-norm and without biases. Output projections start at 0, so that
a fresh network predicts the uniform distribution over the data symbols exactly.

Shapes: B batch, L length, C width, V vocabulary, N selected positions.
"""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_outputs import BaseModelOutput, MaskedLMOutput
from transformers.utils.generic import can_return_tuple, merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from .configuration_ardm import ARDMConfig
from .generation_ardm import ARDMGenerationMixin
from .generation_config_ardm import ARDMGenerationConfig
from .layers_ardm import (
    ARDMAttention,
    ARDMLayer,
    ARDMOutputProjection,
    ARDMShortConv,
    rotary_angles,
    select_positions,
)
from .masking import check_ids, mean_cross_entropy


class ARDMPreTrainedModel(PreTrainedModel):
    """Initialisation, and what transformers needs to know of the architecture."""

    config: ARDMConfig
    config_class = ARDMConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["ARDMLayer"]
    _supports_flash_attn = True
    _supports_sdpa = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_record_outputs = {"hidden_states": ARDMLayer, "attentions": ARDMAttention}

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, ARDMOutputProjection):
            init.zeros_(module.weight)
        elif isinstance(module, nn.Linear):
            init.normal_(module.weight, 0.0, module.in_features**-0.5)
        elif isinstance(module, nn.Embedding):
            # a tied head must start with small logits
            tied = self.config.tie_word_embeddings
            init.normal_(module.weight, 0.0, self.config.hidden_size**-0.5 if tied else 1.0)
        elif isinstance(module, nn.RMSNorm):
            init.ones_(module.weight)
        elif isinstance(module, ARDMShortConv):
            init.normal_(module.weight, 0.0, len(module.weight) ** -0.5)


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
        self.layers = nn.ModuleList(ARDMLayer(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.embed_tokens

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.embed_tokens = value  # type: ignore[assignment]

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
            ValueError: on both or neither of ids and embeddings, a sequence longer than the model's
                positions, or (on a CPU) ids out of range.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError(
                "got both or neither of input_ids and inputs_embeds; expected exactly one of them."
            )
        compiling = torch.compiler.is_compiling()
        if input_ids is not None and input_ids.device.type == "cpu" and not compiling:
            check_ids(input_ids, self.config.vocab_size)  # a GPU would have to wait for the answer
        hidden_states = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        length = hidden_states.shape[1]
        if length > self.config.max_position_embeddings:
            raise ValueError(
                f"the sequence has {length} positions; expected at most "
                f"max_position_embeddings={self.config.max_position_embeddings}."
            )
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


class ARDMForMaskedLM(ARDMGenerationMixin, ARDMPreTrainedModel):
    """The network of an ARDM: logits of all masked positions given the known ones, and `generate`.

    Args:
        config: sizes of the network.
    """

    generation_config_class = ARDMGenerationConfig
    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}

    def __init__(self, config: ARDMConfig):
        super().__init__(config)
        self.model = ARDMModel(config)
        self.lm_head = ARDMOutputProjection(config.hidden_size, config.vocab_size)
        self.post_init()

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
            input_ids: int64 (B, L), mask ids where tokens are hidden.
            attention_mask: see [`ARDMModel.forward`].
            position_ids: see [`ARDMModel.forward`].
            inputs_embeds: see [`ARDMModel.forward`].
            labels: int64 (B, L), the hidden tokens' ids, -100 elsewhere.
            logits_positions: the positions whose logits are wanted; others are never computed. bool
                (B, L), for N true entries: logits are (N, V), in row-major order; or int64 (B, K):
                logits are (B, K, V). With labels it must be bool, and the loss is over these
                positions alone.
            num_maskable: int64 (B,), the number of maskable tokens of each row, its weight in the
                loss; default: its real tokens. Needed where a prompt is outside the loss.
            num_items_in_batch: number of maskable tokens over all accumulation steps and processes,
                as Trainer passes it; the default is this batch's.
            **kwargs: passed to [`ARDMModel.forward`].

        Returns:
            `logits` (B, L, V), (N, V) or (B, K, V), -inf at the mask and pad id. `loss`, nats per
            token: the mean cross-entropy over each row's masked tokens, averaged over rows weighted
            by their number of maskable tokens (arXiv 2110.02037, equation 2 reweighted).

        Raises:
            ValueError: as [`ARDMModel.forward`], or if `logits_positions` and labels do not fit
                together.
        """
        if logits_positions is not None:
            like = input_ids if labels is None else labels
            check_positions(logits_positions, like, bool_only=labels is not None)
        outputs = self.model(
            input_ids,
            attention_mask,
            position_ids,
            inputs_embeds,
            output_positions=logits_positions,
            **kwargs,
        )
        logits = self.lm_head(outputs.last_hidden_state)
        for impossible in {self.config.mask_token_id, self.config.pad_token_id} - {None}:
            logits[..., impossible] = -torch.inf
        loss = None
        if labels is not None:
            if num_maskable is None:
                num_maskable = num_real(labels, attention_mask)
            total = num_items_in_batch
            if total is None:
                total = num_maskable.sum().clamp(min=1)
            nats_B = mean_cross_entropy(logits, labels, logits_positions)
            loss = (nats_B * num_maskable).sum() / total
        return MaskedLMOutput(
            loss=loss,
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )


def num_real(input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
    """Number of real tokens of each row, int64 (B,): without a 2-D attention mask, all of them."""
    if attention_mask is not None and attention_mask.ndim == 2:
        return attention_mask.long().sum(1)
    return torch.full(input_ids.shape[:1], input_ids.shape[1], device=input_ids.device)


def check_positions(positions: Tensor, like: Tensor | None, bool_only: bool) -> None:
    """Raises ValueError unless bool (B, L) of the ids' shape, or, if that may be, int64 (B, K)."""
    if positions.dtype == torch.bool:
        fits = like is None or positions.shape == like.shape
    else:
        fits = positions.dtype == torch.int64 and not bool_only
    if not fits or positions.ndim != 2:
        shape = "(B, L)" if like is None else tuple(like.shape)
        raise ValueError(
            f"logits_positions is {positions.dtype} {tuple(positions.shape)}; expected bool {shape}"
            + ("." if bool_only else ", or int64 (B, K).")
        )
