"""Traces: which token of a text was written where, at which pass, and how probable it was.

    trace = (x_0; e_1, ..., e_S)
    e_k   = the events (position, token or back to mask, log p) of pass k
    x_0   = the given tokens alone
    x_k   = x_{k-1} with the events e_k applied; x_S is the text

A position that was written more than once was resampled. Steps count from 0, as in
`ARDMGenerationOutput.order`; the frame x_k is what the canvas shows after k passes.
"""

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerBase

_ALPHABET = set(pre_tokenizers.ByteLevel.alphabet())
_PICTURES = {"\n": "⏎", "\t": "⇥", "\r": "↵", "\f": "↡"}  # matplotlib has them, too


@dataclass(frozen=True)
class Event:
    """What one pass did to one position.

    Args:
        step: of the pass, from 0.
        position: in the sequence, from 0.
        token: the id that was written; None = the position was sent back to mask and is still
            hidden.
        log_prob: nats, with which the token was drawn; NaN = not known.
    """

    step: int
    position: int
    token: int | None
    log_prob: float = math.nan


class Pieces(dict[int, str]):
    """The text of each token, by id, in legible characters; filled as it is asked for.

    Args:
        tokenizer: any of transformers'.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase):
        super().__init__()
        self.tokenizer = tokenizer
        # behind a mask token, as decoders treat a text's first token in their own way (WordPiece,
        # SentencePiece)
        self.anchor = [] if tokenizer.mask_token_id is None else [tokenizer.mask_token_id]
        self.anchor_text = self._decode([])
        if tokenizer.unk_token_id is not None:
            self[tokenizer.unk_token_id] = "\ufffd"  # one cell, as an unknown character is one

    def __missing__(self, token: int) -> str:
        text = self._decode([token])
        text = text.removeprefix(self.anchor_text)
        if "\ufffd" in text:  # some bytes of a character
            text = _bytes_of(str(self.tokenizer.convert_ids_to_tokens(token)))
        self[token] = legible(text)
        return self[token]

    def _decode(self, tokens: list[int]) -> str:
        return str(self.tokenizer.decode([*self.anchor, *tokens], skip_special_tokens=False))


def _bytes_of(token: str) -> str:
    """The bytes that a token of byte-level vocabularies stands for; another token as it is."""
    printable = {ord(symbol) for symbol in _ALPHABET if ord(symbol) < 256}
    others = sorted(set(range(256)) - printable)  # written as the code points from 256 on
    if not set(token) <= _ALPHABET:
        return token
    values = (ord(symbol) if ord(symbol) < 256 else others[ord(symbol) - 256] for symbol in token)
    return "".join(chr(value) if 32 <= value < 127 else f"<{value:02X}>" for value in values)


def legible(text: str) -> str:
    """The text with a sign for what moves the cursor, steers a terminal or cannot be seen.

    Args:
        text: any text, trusted or not.

    Returns:
        One line, in which every character has a width.
    """
    return "".join(character if character == " " else _sign(character) for character in text)


def _sign(character: str) -> str:
    if character in _PICTURES:
        return _PICTURES[character]
    if character < " ":
        return chr(0x2400 + ord(character))  # Unicode's pictures of control characters
    if unicodedata.category(character) in ("Mn", "Me"):
        return "◌" + character
    return character if character.isprintable() else f"<{ord(character):X}>"


class Trace:
    """The path of one sequence from its given tokens to its text. It grows: `add` appends a pass.

    Args:
        tokenizer: of the model, with a mask token.
        canvas: int64 (L,), at any time.
        order: int64 (L,), -1 where the token was given.

    Attributes:
        start: the given tokens' ids, None where one is to be generated: x_0.
        steps: the events of each pass.
        pieces: text by id.

    Raises:
        ValueError: if the tokenizer has no mask token, or the shapes differ.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, canvas: Tensor, order: Tensor):
        if tokenizer.mask_token_id is None:
            raise ValueError(
                f"{type(tokenizer).__name__} has no mask token;"
                " expected one to tell what is hidden."
            )
        if canvas.ndim != 1 or canvas.shape != order.shape:
            raise ValueError(
                f"canvas is {tuple(canvas.shape)} and order {tuple(order.shape)};"
                " expected both (L,)."
            )
        self.tokenizer = tokenizer
        self.pieces = Pieces(tokenizer)
        self.mask_token_id = tokenizer.mask_token_id
        self._canvas = torch.where(order < 0, canvas, self.mask_token_id)
        self.start = self.last_frame
        self.steps: list[list[Event]] = []

    @classmethod
    def of(
        cls,
        tokenizer: PreTrainedTokenizerBase,
        output: Any,
        row: int = 0,
        path: Sequence[tuple[Tensor, Tensor]] | None = None,
    ) -> "Trace":
        """The trace of one row of what `generate` returned, without padding.

        Args:
            tokenizer: of the model, with a mask token.
            output: [`ARDMGenerationOutput`] of a call with `output_history=True`.
            row: which.
            path: order and log-probabilities (L,) after each pass, as [`TerminalView`] keeps them.
                None: those at the end are all that is known, so that the tokens that were replaced
                later have no probability.

        Returns:
            A trace of `num_forward_passes` steps.

        Raises:
            ValueError: if there is no history or no such row, or the path is of other passes or
                positions.
        """
        history = getattr(output, "history", None)
        if history is None:
            raise ValueError(
                f"{type(output).__name__} has no history; expected what generate(...,"
                " return_dict_in_generate=True, output_history=True) returns."
            )
        if not 0 <= row < len(output.sequences):
            raise ValueError(f"row is {row}; expected one of the {len(output.sequences)} rows.")
        last = output.sequences[row].cpu()
        order = output.order[row].cpu()
        log_probs = output.log_probs[row].cpu()
        passes = [(order, log_probs.where(order == step, math.nan)) for step in range(len(history))]
        if path is not None:
            got = [len(place) for place, _ in path]
            if got != [len(last)] * len(history):
                raise ValueError(
                    f"path has {len(path)} passes over {max(got, default=0)} positions; expected"
                    f" {len(history)} over {len(last)}, like the history."
                )
            passes = list(path)
        kept = (last != tokenizer.pad_token_id) | (order >= 0)
        trace = cls(tokenizer, last[kept], order[kept])
        highest = max(tokenizer.get_vocab().values())
        for canvas, (order_then, log_probs_then) in zip(history, passes, strict=True):
            # a coarse value of a model with stages is no token yet
            shown = canvas[row].cpu()[kept]
            shown = shown.masked_fill(shown > highest, trace.mask_token_id)
            trace.add(shown, order_then[kept], log_probs_then[kept])
        return trace

    def add(self, canvas: Tensor, order: Tensor, log_probs: Tensor) -> None:
        """Appends a pass.

        Args:
            canvas: int64 (L,), after it.
            order: int64 (L,), the step that wrote each position last, by now or at the end of the
                generation.
            log_probs: float64 (L,), nats, of the tokens that this pass wrote; others are not looked
                at.

        Raises:
            ValueError: if the canvas has another length than before.
        """
        if canvas.shape != self._canvas.shape:
            raise ValueError(
                f"the canvas has {len(canvas)} positions; expected {len(self._canvas)} as before."
            )
        step = len(self.steps)
        hidden = canvas == self.mask_token_id
        drawn = (order == step) & ~hidden  # perhaps the same token again
        events = []
        for position in ((canvas != self._canvas) | drawn).nonzero()[:, 0].tolist():
            if hidden[position]:
                events.append(Event(step, position, None))
                continue
            token = int(canvas[position])
            events.append(Event(step, position, token, float(log_probs[position])))
        self.steps.append(events)
        self._canvas = canvas.clone()

    def cut(self, length: int) -> None:
        """Keeps the first positions only: what lies behind the end of a text is none of it.

        Args:
            length: how many.
        """
        self.start = self.start[:length]
        self._canvas = self._canvas[:length]
        self.steps = [
            [event for event in events if event.position < length] for events in self.steps
        ]

    @property
    def num_steps(self) -> int:
        """Forward passes so far."""
        return len(self.steps)

    @property
    def last_frame(self) -> list[int | None]:
        """The ids after all passes so far, None where hidden."""
        return [None if token == self.mask_token_id else token for token in self._canvas.tolist()]

    @property
    def text(self) -> str:
        """The tokenizer's own decoding of the last frame, hidden positions left out."""
        known = [token for token in self.last_frame if token is not None]
        return str(self.tokenizer.decode(known))

    def frame(self, passes: int) -> list[int | None]:
        """The ids after so many passes, None where hidden: x_k.

        Args:
            passes: k, from 0 to `num_steps`.

        Returns:
            L ids.

        Raises:
            ValueError: if there were not so many passes.
        """
        if not 0 <= passes <= self.num_steps:
            raise ValueError(f"passes is {passes}; expected 0 to {self.num_steps}.")
        tokens = list(self.start)
        for events in self.steps[:passes]:
            for event in events:
                tokens[event.position] = event.token
        return tokens

    def writings(self) -> list[list[Event]]:
        """For each position its tokens' events, first to last.

        Returns:
            L lists: empty where the token was given, several events where the position was
            resampled.
        """
        found: list[list[Event]] = [[] for _ in self.start]
        for events in self.steps:
            for event in events:
                if event.token is not None:
                    found[event.position].append(event)
        return found
