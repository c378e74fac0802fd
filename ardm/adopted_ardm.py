"""AdoptedLanguageModel: a model of transformers' own class as the network of an ARDM.

    logits(p) = head(h_p)           h = the hidden states of its network, given the whole canvas
    logits(p) = head(h_{p-1})       with `right_shift_logits`: of one that predicted next tokens;
                                    the first real token is predicted from its own state

(Dream's convention, arXiv 2508.15487.) The class of the model is not changed and none of its code
copied: the head is asked for the wanted positions alone by choosing hidden states on the way to it.

Shapes: B batch, L length, C width, V vocabulary, N positions of all rows, K positions of a row.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, cached_property
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import MaskedLMOutput
from transformers.utils.generic import can_return_tuple

from .bound_loss import LossInputs, rule_out
from .code_files import CarriesCode
from .generation_ardm import ARDMGenerationMixin
from .generation_config_ardm import ARDMGenerationConfig
from .id_checks import check_attention_mask
from .likelihood_ardm import ARDMLikelihoodMixin
from .model_classes import check_no_padding, parameters_of
from .networks import longest_sequence, padding_row, select_positions
from .stages import Stages
from .vocabulary import stages_of

# of repositories with code of their own that add the mask they are given to the scores (B, H, L, L)
_PAIRWISE_MASKS = {"Dream"}
# what Auto classes load from a saved one, for those who run its code: see adoption.py
AUTO_MAP = {"AutoModelForMaskedLM": "adoption.AdoptedForMaskedLM"}


class AdoptedLanguageModel(ARDMGenerationMixin, ARDMLikelihoodMixin, CarriesCode):
    """What an adopted model has beyond its own class; see [`ardm.adopt`]. Comes before it."""

    config: Any
    auto_map = AUTO_MAP
    generation_config_class = ARDMGenerationConfig
    adopted_from: Any  # the model's own class
    takes_padding: bool  # rows mean the same beside it
    head_is_pointwise = True  # logits at a position are a function of its hidden state alone
    accepts_loss_kwargs = True

    @classmethod
    def can_generate(cls) -> bool:
        """Whether `generate` is there, as transformers asks."""
        return True

    @property
    def stages(self) -> Stages:
        """How values are revealed: from the mask to the token."""
        return stages_of(self.config)

    @cached_property
    def longest_sequence(self) -> int:
        """The most tokens of a sequence; 2^31 without a limit."""
        return longest_sequence(self) or 2**31

    @cached_property
    def _padding_row(self) -> int | None:
        return padding_row(self)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Copies and pickles name the model's own class: this one is made at run time."""
        return _empty, (self.adopted_from,), {**vars(self)}

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
        **kwargs: Any,
    ) -> MaskedLMOutput:
        """Logits, and the bound's loss if labels are given, as [`ARDMForMaskedLM.forward`].

        Args:
            input_ids: int64 (B, L), mask ids where tokens are hidden.
            attention_mask: (B, L), 1 on real tokens, 0 on padding on either side.
            position_ids: int64 (B, L), as the model's own class takes them; default: places among
                each row's real tokens.
            inputs_embeds: (B, L, C) instead of ids.
            labels: int64 (B, L), the hidden tokens' ids, -100 elsewhere.
            logits_positions: the positions whose logits are wanted, bool (B, L) or without labels
                int64 (B, K).
            num_maskable: int64 (B,), each row's weight in the loss; default: its real tokens.
            num_items_in_batch: number of labels over all accumulation steps and processes.
            **kwargs: passed on.

        Returns:
            `logits` (B, L, V), (N, V) or (B, K, V), -inf at ids that are never generated; `loss`,
            nats per token.

        Raises:
            ValueError: on ids, masks, labels and positions that do not fit each other, on a
                sequence longer than the model's positions, or on padding if the model would read
                it.
        """
        stages = stages_of(self.config)
        asked = LossInputs(labels, logits_positions, num_maskable, num_items_in_batch)
        asked = asked.checked(self.config, stages, input_ids, inputs_embeds)
        like = input_ids if inputs_embeds is None else inputs_embeds[..., 0]
        if like is None:
            raise ValueError("got neither input_ids nor inputs_embeds; expected one of them.")
        check_attention_mask(attention_mask, like)
        if like.shape[1] > self.longest_sequence:
            raise ValueError(
                f"the sequence has {like.shape[1]} positions; expected at most"
                f" max_position_embeddings={self.longest_sequence}."
            )
        inputs = self._inputs_of_class(like, attention_mask, position_ids)
        given = {"input_ids": input_ids, "inputs_embeds": inputs_embeds}
        inputs |= {name: value for name, value in given.items() if value is not None}
        wanted = _Wanted(logits_positions, self._sources(like, attention_mask))
        with self._choosing(wanted):
            outputs = super().forward(**inputs, return_dict=True, **kwargs)  # type: ignore[misc]
        logits = rule_out(wanted.logits(outputs.logits), self.config)
        return MaskedLMOutput(
            loss=asked.loss(logits, stages, input_ids, attention_mask),
            logits=asked.returned_logits(logits),
            hidden_states=outputs.get("hidden_states"),
            attentions=outputs.get("attentions"),
        )

    def _inputs_of_class(
        self, like: Tensor, attention_mask: Tensor | None, position_ids: Tensor | None
    ) -> dict[str, Any]:
        """Masks and places as the model's own class wants them."""
        taken = parameters_of(self.adopted_from)
        inputs: dict[str, Any] = {"use_cache": False} if "use_cache" in taken else {}
        is_table = attention_mask is not None and attention_mask.ndim == 2
        if position_ids is None and is_table and "position_ids" in taken:
            position_ids = (attention_mask.long().cumsum(1) - 1).clamp(min=0)  # type: ignore[union-attr]
            padding = self._padding_row
            if padding is not None:
                position_ids = position_ids + padding + 1
        if position_ids is not None:
            inputs["position_ids"] = position_ids
        if not self.takes_padding:
            check_no_padding(self.adopted_from, attention_mask)
            return inputs
        if is_table and self.config.model_type in _PAIRWISE_MASKS:
            real_BL = attention_mask.bool()  # type: ignore[union-attr]
            # padding sees itself, or its scores were a softmax of nothing
            itself_LL = torch.eye(like.shape[1], dtype=torch.bool, device=like.device)
            attention_mask = (real_BL[:, None, None] & real_BL[:, None, :, None]) | itself_LL
        return inputs | {"attention_mask": attention_mask}

    def _sources(self, like: Tensor, attention_mask: Tensor | None) -> Tensor | None:
        """int64 (B, L), the position whose hidden state predicts each; None: its own."""
        if not getattr(self.config, "right_shift_logits", False):
            return None
        place_BL = torch.arange(like.shape[1], device=like.device).expand(like.shape)
        real_BL = torch.ones_like(place_BL, dtype=torch.bool)
        if attention_mask is not None and attention_mask.ndim == 2:
            real_BL = attention_mask.bool()
        # the last real place up to here, seen from the next one
        last_BL = torch.where(real_BL, place_BL, -1).cummax(1).values
        before_BL = last_BL.roll(1, dims=1)
        before_BL[:, 0] = -1
        return torch.where(before_BL < 0, place_BL, before_BL)

    @contextmanager
    def _choosing(self, wanted: "_Wanted") -> Iterator[None]:
        """Within it, what goes from the network to the head are the wanted states alone."""
        network = self.base_model  # type: ignore[attr-defined]
        if network is self or wanted.all_as_they_are or not self.head_is_pointwise:
            yield
            return
        hook = network.register_forward_hook(wanted.choose)
        try:
            yield
        finally:
            hook.remove()


class _Wanted:
    """The positions that are asked for, and the states that predict them."""

    def __init__(self, positions: Tensor | None, source_BL: Tensor | None):
        self.positions = positions
        self.source_BL = source_BL
        self.chosen = False

    @property
    def all_as_they_are(self) -> bool:
        return self.positions is None and self.source_BL is None

    def of(self, values_BLX: Tensor) -> Tensor:
        """(B, L, X) -> (B, L, X), (N, X) or (B, K, X)."""
        if self.source_BL is not None:
            index_BLX = self.source_BL[..., None].expand(-1, -1, values_BLX.shape[-1])
            values_BLX = values_BLX.gather(1, index_BLX)
        return (
            values_BLX if self.positions is None else select_positions(values_BLX, self.positions)
        )

    def choose(self, network: nn.Module, inputs: Any, outputs: Any) -> Any:
        """A hook of the network: its output with the wanted hidden states in place of all."""
        states = getattr(outputs, "last_hidden_state", None)
        if states is None:
            return None
        states = self.of(states)
        # heads expect rows: N states are those of a single one
        outputs.last_hidden_state = states if states.ndim == 3 else states[None]
        self.chosen = True
        return outputs

    def logits(self, logits: Tensor) -> Tensor:
        """The wanted logits, of those that the head gave of wanted states, or of all."""
        if not self.chosen:
            return self.of(logits)
        is_flat = self.positions is not None and self.positions.dtype == torch.bool
        return logits[0] if is_flat else logits


@cache
def adopted_class(model_class: Any) -> Any:
    """The class of a model once it is adopted.

    Args:
        model_class: its own. It keeps its name, which a saved configuration tells of: so the plain
            class finds it.

    Returns:
        A subclass of it, the same at each call.
    """
    # its module, too: with it transformers saves the code of those that come with their own
    module = model_class.__module__
    own = {"adopted_from": model_class, "__module__": module, "__doc__": model_class.__doc__}
    own["takes_padding"] = "attention_mask" in parameters_of(model_class)
    # transformers looks for the name of the mixin among the bases to see that it generates
    bases = (AdoptedLanguageModel, ARDMGenerationMixin, model_class)
    return type(model_class.__name__, bases, own)


def _empty(model_class: Any) -> Any:
    """A model of an adopted class without content, for copies and pickles."""
    adopted = adopted_class(model_class)
    return adopted.__new__(adopted)
