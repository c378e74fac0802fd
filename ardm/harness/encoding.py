"""Encoding: texts as ids, within what an adopted model's tokenizer sets around a text."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..data.framing import Frame, frame_of
from ..data.padding import padded
from .requests import Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_LONGEST_REQUEST = 2048  # tokens, where an adopted model takes more


def frame_and_length(model: Any, tokenizer: "PreTrainedTokenizerBase") -> tuple[Frame, int]:
    """What stands around a text, and how many tokens the text itself may have.

    Args:
        model: whose configuration says what is only given.
        tokenizer: its tokenizer.

    Returns:
        The frame, and the most that the model takes within it; of an adopted one what is usual.
    """
    frame = frame_of(model, tokenizer)
    longest = getattr(model, "longest_sequence", None)  # of an adopted one
    if longest is None:
        return frame, model.config.max_position_embeddings - frame.num_tokens
    return frame, min(longest, _LONGEST_REQUEST) - frame.num_tokens


def ids_of(tokenizer: "PreTrainedTokenizerBase", mask_token_id: int, text: str) -> list[int]:
    """The ids of a text, with nothing around it.

    Args:
        tokenizer: of the model.
        mask_token_id: of the model.
        text: without masks.

    Returns:
        Its ids.

    Raises:
        ValueError: if it holds the mask token.
    """
    ids = tokenizer(text, add_special_tokens=False, verbose=False).input_ids
    if mask_token_id in ids:
        raise ValueError(
            f"a text holds the mask token {tokenizer.mask_token!r}; expected none: {text[:80]!r}"
        )
    return list(ids)


def canvases(prompts: Sequence[Prompt], frame: Frame, mask_token_id: int) -> tuple[Tensor, Tensor]:
    """Contexts with what is to be written behind them, side by side.

    Args:
        prompts: B prompts, of the same `max_new_tokens`, the longest canvas of L tokens.
        frame: what stands around a text.
        mask_token_id: what stands for a token to be written.

    Returns:
        Ids, int64 (B, L), 0 behind a shorter one, and bool (B, L), True where they are.
    """
    masks = [mask_token_id] * prompts[0].settings["max_new_tokens"]
    return padded([[*frame.before, *prompt.ids, *masks, *frame.after] for prompt in prompts])
