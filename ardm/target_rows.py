"""Target rows: whose probability is asked for, and what gives it.

    target = real tokens that are not given;  a canvas = the ids, target tokens at some level of
    their trees (stages.py): masks, coarse values, or themselves

Shapes: B batch, L length, N some of the rows, K positions of a row.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .checks import check_integer
from .id_checks import check_ids, check_like_ids, check_rows, check_zero_one
from .masking import maskable_tokens
from .networks import MaskedLanguageModel, PositionLogits, position_logits
from .stages import Stages
from .vocabulary import VocabularyConfig, impossible_ids, stages_of, with_given_tokens

# Tokens a call of the network unless `batch_size` says otherwise. On a CPU larger calls only leave
# the cache (measured: a quarter slower at 16,384); a GPU wants work. Logits take 20 bytes each on
# the way to float64 nats.
_TOKENS_A_CALL = {"cpu": 2_048}
_TOKENS_A_CALL_ELSEWHERE = 16_384
_LOGITS_A_CALL = 2**27


class TargetRows(NamedTuple):
    """Rows whose probability is asked for, and the network that gives it.

    Args:
        logits_at: the network, as a function of ids, attention mask and positions.
        stages: of the model.
        input_ids: int64 (B, L).
        attention_mask: (B, L), 0 on padding, or None.
        target_BL: bool (B, L), the tokens whose probability is asked for.
    """

    logits_at: PositionLogits
    stages: Stages
    input_ids: Tensor
    attention_mask: Tensor | None
    target_BL: Tensor

    @property
    def num_tokens_B(self) -> Tensor:
        """int64 (B,), target tokens."""
        return self.target_BL.sum(1)

    def at(self, row_N: Tensor) -> "TargetRows":
        """Some of the rows, of which one may come several times."""
        attention_NL = None if self.attention_mask is None else self.attention_mask[row_N]
        return self._replace(
            input_ids=self.input_ids[row_N],
            attention_mask=attention_NL,
            target_BL=self.target_BL[row_N],
        )

    def sequences_per_call(self, batch_size: int | None) -> int:
        """How many rows of its length a call takes.

        Args:
            batch_size: the caller's number; None: what memory and speed allow.

        Returns:
            At least 1.

        Raises:
            ValueError: if the caller's is less.
        """
        return sequences_per_call(batch_size, self.input_ids, self.stages.num_outputs)


def target_rows(
    model: MaskedLanguageModel,
    input_ids: Tensor,
    attention_mask: Tensor | None,
    prompt_mask: Tensor | None,
) -> TargetRows:
    """Rows whose probability is asked for, checked.

    Args:
        model: the network.
        input_ids: int64 (B, L), without masks.
        attention_mask: (B, L), 0 on padding.
        prompt_mask: (B, L), 1 on given tokens.

    Returns:
        The rows.

    Raises:
        ValueError: as [`target_tokens`].
    """
    target_BL = target_tokens(model.config, input_ids, attention_mask, prompt_mask)
    logits_at = position_logits(model)
    return TargetRows(
        logits_at, stages_of(model.config), input_ids.long(), attention_mask, target_BL
    )


def target_tokens(
    config: VocabularyConfig,
    input_ids: Tensor,
    attention_mask: Tensor | None,
    prompt_mask: Tensor | None,
) -> Tensor:
    """bool (B, L): the tokens whose probability is asked for: real ones that are not given.

    Args:
        config: of the model.
        input_ids: int64 (B, L), without masks.
        attention_mask: (B, L), 0 on padding.
        prompt_mask: (B, L), 1 on given tokens.

    Returns:
        bool (B, L).

    Raises:
        ValueError: on ids of the wrong shape, type or range, or whose probability can only be 0, on
            masks that do not fit them, a row without real tokens, or a configuration without mask
            id.
    """
    check_ids(input_ids, config.vocab_size)
    if getattr(config, "mask_token_id", None) is None:
        raise ValueError(
            "the model's configuration has no mask_token_id; expected the id that hides a token:"
            " model.config.mask_token_id = tokenizer.mask_token_id."
        )
    for name, mask in (("attention_mask", attention_mask), ("prompt_mask", prompt_mask)):
        if mask is not None:
            check_like_ids(name, mask, input_ids)
            check_zero_one(name, mask)
    prompt_mask = with_given_tokens(config, input_ids, prompt_mask)
    target_BL = maskable_tokens(input_ids, config.mask_token_id, attention_mask, prompt_mask)
    if attention_mask is not None:
        check_rows(attention_mask)
    impossible = torch.tensor([*impossible_ids(config)], device=input_ids.device)
    found = input_ids[torch.isin(input_ids, impossible) & target_BL]
    if len(found):
        token = int(found[0])
        names = {config.mask_token_id: "mask", getattr(config, "pad_token_id", None): "pad"}
        if token not in names:
            raise ValueError(
                f"input_ids holds {token}, an id that is only ever given (as classes and marks are:"
                " it stands behind num_values); expected a prompt_mask that is 1 there."
            )
        raise ValueError(
            f"input_ids holds the {names[token]} id {token} among its real tokens, whose"
            " probability is 0; expected text without it, an attention_mask that is 0 there, or a"
            " configuration that names it as the eos_token_id, too."
        )
    return target_BL


def sequences_per_call(batch_size: int | None, input_ids: Tensor, num_outputs: int) -> int:
    """The caller's number, checked to be at least 1, or as many as memory and speed allow."""
    if batch_size is not None:
        return check_integer("batch_size", batch_size, 1)
    tokens = _TOKENS_A_CALL.get(input_ids.device.type, _TOKENS_A_CALL_ELSEWHERE)
    tokens = min(tokens, _LOGITS_A_CALL // num_outputs)
    return max(1, tokens // max(input_ids.shape[1], 1))
