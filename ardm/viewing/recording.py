"""Recording: a streamer that keeps the trace of a text while it is generated, pass by pass."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from .traces import Trace


class Recorder:
    """Keeps the trace of one sequence: `model.generate(..., streamer=Recorder(tokenizer))`.

    Args:
        tokenizer: of the model, with a mask token.
        on_pass: is given the trace after each pass, which grows further; None: nobody is.

    Attributes:
        trace: so far; None before the first pass.
        path: order and log-probabilities (L,) after each pass, for [`Trace.of`].

    Raises:
        ValueError: if the tokenizer has no mask token.
    """

    _takes_path = True  # `generate` passes order and log-probabilities to `put_draft`

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        on_pass: Callable[[Trace], None] | None = None,
    ):
        if tokenizer.mask_token_id is None:
            raise ValueError(
                f"{type(tokenizer).__name__} has no mask token;"
                " expected one to tell what is hidden."
            )
        self.tokenizer = tokenizer
        self.on_pass = on_pass
        self.trace: Trace | None = None
        self.path: list[tuple[Tensor, Tensor]] = []
        self._prompt: Tensor | None = None

    def put(self, value: Tensor) -> None:
        """Takes the prompt, which ends before the first gap, and at last the text behind it.

        Args:
            value: int64 ids, (1, P) or (P,).
        """
        if self._prompt is None:
            self._prompt = value.flatten().cpu()
        elif self.trace is not None:  # drafts may have gone beyond the end of the text
            self.trace.cut(len(self._prompt) + value.numel())

    def put_draft(self, value: Tensor, *, order: Tensor, log_probs: Tensor, **kwargs: Any) -> None:
        """Takes the canvas behind the prompt after a pass.

        Args:
            value: int64 (1, N), mask ids where hidden.
            order: int64 (1, N), the step that wrote each position last, -1 where given.
            log_probs: float64 (1, N), nats.
            **kwargs: not used.
        """
        given = self._given()
        canvas = torch.cat((given, value[0]))
        steps = torch.cat((torch.full_like(given, -1), order[0]))
        certain = torch.zeros(len(given), dtype=log_probs.dtype)
        self.path.append((steps, torch.cat((certain, log_probs[0]))))
        if self.trace is None:
            self.trace = Trace(self.tokenizer, canvas, steps)
        self.trace.add(canvas, *self.path[-1])
        if self.on_pass is not None:
            self.on_pass(self.trace)

    def end(self) -> None:
        """Nothing more comes. If there was no pass, nothing was hidden: the trace is the prompt."""
        if self.trace is None:
            given = self._given()
            self.trace = Trace(self.tokenizer, given, torch.full_like(given, -1))

    def _given(self) -> Tensor:
        return torch.empty(0, dtype=torch.long) if self._prompt is None else self._prompt
