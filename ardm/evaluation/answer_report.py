"""Answers, held out: what they cost given their prompts, and what is answered to these.

    bits per answer token = sum of the bounds of A positions / sum of answers' tokens with one EOS

The EOS behind an answer's end are paid for, too, and are no units: a network that has learned how
long answers are needs next to nothing for them. Turns of one chat are not independent: errors are
over chats.

Shapes: W rows.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..data.answers import Turn
from ..data.padding import padded
from ..metrics.bits import Estimate, bits_per_unit, ratio_of_sums
from ..training.card_parts import with_error
from .bound import BoundEvaluation
from .ragged_bound import sums_by_record

_PROMPTS_AT_ONCE = 32
_BLOCK = 32  # tokens, of a longer answer


class AnswerBound:
    """The bound of a model on held-out answers, the same masks each time it is called.

    Args:
        rows: of [`ardm.data.answers.make_answer_rows`].
        max_rows: how many of the first ones are taken.
        seed: key of the masks.
    """

    def __init__(self, rows: Any, max_rows: int | None = 500, seed: int = 0):
        self.bound = BoundEvaluation(rows, max_rows, seed=seed)
        taken = rows[: len(self.bound)]
        self.num_tokens = taken["num_answer_tokens"]
        self.chats = taken["chat"]

    def __len__(self) -> int:
        return len(self.bound)

    def figure(self, nats_W: Tensor) -> Estimate:
        """Bits per answer token.

        Args:
            nats_W: float64 (W,), of each row.

        Returns:
            Value and standard error over chats.
        """
        sums = (sums_by_record(values, self.chats) for values in (nats_W, self.num_tokens))
        return bits_per_unit(*sums)

    def measure(self, model: nn.Module, num_samples: int | None = None) -> Estimate:
        """The bound of a model; to be called on all processes.

        Args:
            model: as for `nelbo`.
            num_samples: masked versions of each row; None = 2.

        Returns:
            As [`AnswerBound.figure`].
        """
        return self.figure(self.bound.nats(model, num_samples))

    def __call__(self, model: nn.Module) -> dict[str, float]:
        """What a training logs: nats per answer token, and their standard error."""
        value, error = self.measure(model)
        return {"eval_loss": value * math.log(2), "eval_standard_error": error * math.log(2)}


def answering(answer_length: int, seed: int) -> dict[str, Any]:
    """The options of `generate` with which prompts are answered: what is surest first.

    Args:
        answer_length: masks of an answer.
        seed: key of ties.

    Returns:
        Values by name.
    """
    return {
        "max_new_tokens": answer_length,
        "block_length": min(_BLOCK, answer_length),
        "order": "confidence",
        "do_sample": False,
        "seed": seed,
    }


def write_answers(model: Any, tokenizer: Any, turns: Sequence[Turn], **options: Any) -> list[str]:
    """What a model answers to prompts, without special tokens.

    Args:
        model: has `generate`.
        tokenizer: its tokenizer.
        turns: whose prompts are answered.
        **options: of `generate`, with `max_new_tokens`; an answer ends at its first EOS.

    Returns:
        An answer for each.
    """
    answers: list[str] = []
    for begin in range(0, len(turns), _PROMPTS_AT_ONCE):
        prompts = [turn.prompt_ids for turn in turns[begin:][:_PROMPTS_AT_ONCE]]
        ids, mask = (each.to(model.device) for each in padded(prompts, "left"))
        filled = model.generate(input_ids=ids, attention_mask=mask, **options)
        new = filled[:, ids.shape[1] :]
        answers += (text.strip() for text in tokenizer.batch_decode(new, skip_special_tokens=True))
    return answers


def share_right(answers: Sequence[str], turns: Sequence[Turn], tokenizer: Any) -> Estimate:
    """How many answers are word for word those of the data.

    Args:
        answers: of a model.
        turns: with the answers of the data.
        tokenizer: which wrote the former.

    Returns:
        The share and its standard error over chats; the error is NaN where every chat has the same
        share, as if all are right: how far others may be from it, they do not tell.
    """
    wanted = tokenizer.batch_decode([turn.answer_ids for turn in turns], skip_special_tokens=True)
    right = [given == text.strip() for given, text in zip(answers, wanted, strict=True)]
    chats = torch.tensor([turn.chat for turn in turns])
    right_by_chat = sums_by_record(torch.tensor(right, dtype=torch.float64), chats)
    share, error = ratio_of_sums(right_by_chat, sums_by_record(torch.ones_like(chats), chats))
    return Estimate(share, error if error > 0 else math.nan)


def right_in_words(answers: Sequence[str], turns: Sequence[Turn], tokenizer: Any) -> str:
    """How many prompts are answered right, as a report says it.

    Args:
        answers: as for [`share_right`].
        turns: the same.
        tokenizer: the same.

    Returns:
        "190 of 200 held-out prompts (0.950 +- 0.015) are answered ...", without the share where its
        error is not known.
    """
    share = share_right(answers, turns, tokenizer)
    known = ""
    if not math.isnan(share.standard_error):
        known = f" ({with_error(*share, 3, '+-')})"
    number = f"{round(share.value * len(turns))} of {len(turns)}"
    return f"{number} held-out prompts{known} are answered word for word as in the data"


def shown_answers(turns: Sequence[Turn], answers: Sequence[str]) -> list[str]:
    """Questions with the answers that were generated, as a card shows them.

    Args:
        turns: the questions.
        answers: to each.

    Returns:
        Texts of a line for each message, the answer in [[ ]].
    """
    return [
        "\n".join(f"{each['role']}: {each.get('content', '')}" for each in turn.messages)
        + f"\nassistant: [[{answer}]]"
        for turn, answer in zip(turns, answers, strict=True)
    ]
