"""Answers: from chats to rows of ids in which the answer is learned and the prompt is given.

    ids          prompt ........ | answer EOS EOS ... EOS | padding
    prompt_mask  1 ............1 | 0 .................. 0 | 0
    attention    1 ............1 | 1 .................. 1 | 0

An answer has A positions, of which those behind its end are EOS and are learned, too (LLaDA, arXiv
2502.09992): this is how a network that sees A masks learns how long an answer is.

Every message of the assistant is an example, with all messages before it as its prompt (LLaDA has
n pairs of a dialogue of n turns, and takes one of them). Masking several answers of one row would
be cheaper, and wrong: attention goes both ways, so an earlier answer would be read off the
questions and answers behind it, which are not there when it is generated.

Prompt and answer are tokenized apart, as they are in generation. What does not fit is left out and
counted, never cut; so is a text that spells a special token, which would be taken for the token.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..training import check_integer
from .chats import ASSISTANT, Message, Unusable, messages_of

if TYPE_CHECKING:  # datasets takes a second to import
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

_COLUMNS = ("input_ids", "attention_mask", "prompt_mask")


@dataclass(frozen=True)
class Turn:
    """A question and its answer, as texts and as ids.

    Args:
        messages: up to the answer, which is the next one.
        answer: its text as the chat template has it, up to its end.
        prompt_ids: of the messages, with what the template puts before an answer.
        answer_ids: of the answer, its one EOS included.
        chat: number of the chat.
        has_unknown: whether the tokenizer does not know all of the answer's characters.
    """

    messages: Sequence[Message]
    answer: str
    prompt_ids: list[int]
    answer_ids: list[int]
    chat: int
    has_unknown: bool = False


@dataclass
class Turns:
    """All answers of a data set.

    Args:
        turns: the answers.
        num_chats: rows that were read.
        left_out: how many rows or answers were not taken, by reason.
        first_rows: the number, from 1, of the first such row, for reasons that lie in its text.
    """

    turns: list[Turn]
    num_chats: int
    left_out: Counter[str] = field(default_factory=Counter)
    first_rows: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.turns)

    def __str__(self) -> str:
        """One line, such as "120 answers of 100 chats; left out: 3 x longer than ..."."""
        told = [f"{len(self):,} answers of {self.num_chats:,} chats"]
        if self.left_out:
            rows = {reason: f" (first: row {row})" for reason, row in self.first_rows.items()}
            reasons = (
                f"{number:,} x {reason}{rows.get(reason, '')}"
                for reason, number in self.left_out.items()
            )
            told.append(f"left out: {', '.join(reasons)}")
        if num_unknown := sum(turn.has_unknown for turn in self.turns):
            told.append(f"{num_unknown:,} hold characters that the tokenizer does not know")
        return "; ".join(told)

    @property
    def longest_answer(self) -> int:
        """Tokens of the longest answer, its EOS included."""
        return max((len(turn.answer_ids) for turn in self.turns), default=0)

    @property
    def tokens_per_answer(self) -> float:
        """Mean number of an answer's tokens, its one EOS included."""
        return sum(len(turn.answer_ids) for turn in self.turns) / max(1, len(self))

    @property
    def longest_prompt(self) -> int:
        """Tokens of the longest prompt."""
        return max((len(turn.prompt_ids) for turn in self.turns), default=0)

    def fitting(self, answer_length: int, sequence_length: int | None = None) -> Turns:
        """Those that fit a row; the others are counted.

        Args:
            answer_length: A, positions of an answer with its EOS.
            sequence_length: positions of prompt and answer; None = any number.

        Returns:
            The rest.
        """
        left_out = Counter(self.left_out)
        kept = []
        most = float("inf") if sequence_length is None else sequence_length - answer_length
        for turn in self.turns:
            if len(turn.answer_ids) > answer_length:
                left_out[f"answer and EOS of more than {answer_length} tokens"] += 1
            elif len(turn.prompt_ids) > most:
                left_out[f"prompt of more than {most} tokens"] += 1
            else:
                kept.append(turn)
        return Turns(kept, self.num_chats, left_out, dict(self.first_rows))


def read_turns(
    rows: Iterable[Mapping[str, Any]], tokenizer: PreTrainedTokenizerBase, where: str = "the data"
) -> Turns:
    """Finds the answers of chats, as ids.

    Args:
        rows: as [`ardm.data.chats.messages_of`] takes them.
        tokenizer: with a chat template and an EOS token.
        where: what has the rows, for messages.

    Returns:
        The answers, in order. Left out and counted are rows without one, and those in which a
        text spells the mask, pad or EOS token.

    Raises:
        ValueError: if a row is none, or the template changes a prompt once it is answered.
    """
    found = Turns([], 0)
    for number, row in enumerate(rows):
        found.num_chats += 1
        told = f"row {number + 1} of {where}"
        try:
            messages = messages_of(row, told)
        except Unusable as reason:
            found.left_out[str(reason)] += 1
            continue
        if not any(message["role"] == ASSISTANT for message in messages):
            found.left_out["no answer"] += 1
        for place, message in enumerate(messages):
            if message["role"] != ASSISTANT:
                continue
            if not message.get("content"):
                found.left_out["answer without a content"] += 1
            elif place == 0:
                found.left_out["answer without a question"] += 1
            else:
                turn = _turn(messages[: place + 1], tokenizer, number, told)
                if taken := _taken_for_a_token(turn, message["content"], tokenizer):
                    found.left_out[taken] += 1
                    found.first_rows.setdefault(taken, number + 1)
                else:
                    found.turns.append(turn)
    return found


def _taken_for_a_token(turn: Turn, answer: str, tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Why a turn cannot be learned: a text in it spells a token that is none of texts."""
    asked = [message.get("content", "") for message in turn.messages]
    sides = {"prompt": (turn.prompt_ids, asked), "answer": (turn.answer_ids, [answer])}
    written = (tokenizer.eos_token_id, tokenizer.bos_token_id)  # by templates, also as padding
    for side, (ids, texts) in sides.items():
        for name in ("mask", "pad"):
            token = getattr(tokenizer, f"{name}_token_id")
            if token is not None and token not in written and token in ids:
                spelled = getattr(tokenizer, f"{name}_token")
                return f"{side} with the {name} token {spelled!r} in its text"
        if any(tokenizer.eos_token in text for text in texts):
            return f"{side} with the EOS token {tokenizer.eos_token!r} in its text"
    return None


def _turn(
    messages: list[Message], tokenizer: PreTrainedTokenizerBase, chat: int, where: str
) -> Turn:
    *before, answer = messages
    prompt = _rendered(tokenizer, before, add_generation_prompt=True)
    whole = _rendered(tokenizer, [*before, answer])
    if not whole.startswith(prompt):
        raise ValueError(
            f"{where}: the chat template writes {prompt[-40:]!r} before an answer, and of the"
            f" answered chat {whole[len(prompt) - 40 :][:60]!r}; expected one that adds the answer"
            " behind the prompt: give another by --chat_template."
        )
    text = whole[len(prompt) :].partition(tokenizer.eos_token)[0]
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    prompt_ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    unknown = tokenizer.unk_token_id in ids
    return Turn(before, text, prompt_ids, [*ids, tokenizer.eos_token_id], chat, unknown)


def _rendered(tokenizer: PreTrainedTokenizerBase, messages: list[Message], **options: Any) -> str:
    return str(tokenizer.apply_chat_template(messages, tokenize=False, **options))


def make_answer_rows(
    turns: Turns, tokenizer: PreTrainedTokenizerBase, answer_length: int
) -> Dataset:
    """Makes rows of answers, as long as the longest prompt and an answer.

    Args:
        turns: that fit.
        tokenizer: with an EOS token; a pad token is not needed.
        answer_length: A.

    Returns:
        A data set in torch format with int64 `input_ids` (L,), `attention_mask` (L,), `prompt_mask`
        (L,), and `num_answer_tokens`, the answer's own with one EOS, and `chat`, numbers.

    Raises:
        ValueError: if there is no answer, or one is longer than A.
    """
    from datasets import Dataset

    answer_length = check_integer("answer_length", answer_length, 1)
    if not len(turns):
        raise ValueError(f"there is nothing to learn: {turns}; expected at least one answer.")
    if turns.longest_answer > answer_length:
        raise ValueError(
            f"an answer has {turns.longest_answer} tokens with its EOS; expected at most"
            f" answer_length={answer_length}."
        )
    length = turns.longest_prompt + answer_length
    filler = tokenizer.pad_token_id
    if filler is None:
        filler = tokenizer.eos_token_id
    columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    for turn in turns.turns:
        num_known = len(turn.prompt_ids)
        num_more = answer_length - len(turn.answer_ids)
        ids = [*turn.prompt_ids, *turn.answer_ids, *[tokenizer.eos_token_id] * num_more]
        padding = [0] * (length - len(ids))
        columns["input_ids"].append(ids + [filler] * len(padding))
        columns["attention_mask"].append([1] * len(ids) + padding)
        columns["prompt_mask"].append([1] * num_known + [0] * answer_length + padding)
    columns["num_answer_tokens"] = [len(turn.answer_ids) for turn in turns.turns]
    columns["chat"] = [turn.chat for turn in turns.turns]
    return Dataset.from_dict(columns).with_format("torch")
