"""Streaming: shows a text while it is generated, through transformers' streamers.

A streamer gets the prompt first (`put`). One with `put_draft` (`TextDiffusionStreamer`) then gets
the whole canvas behind the prompt after each step, mask ids where it is still hidden, and the
finished text at the end. Any other (`TextStreamer`) gets the text as far as it is complete, up to
the first gap; all at the end if tokens may change later.
"""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from .canvas import Canvas


class Streamer(Protocol):
    """What transformers' `TextStreamer` and its like have; those of drafts `put_draft` as well."""

    def put(self, value: Tensor) -> None: ...

    def end(self) -> None: ...


class Streaming:
    """Feeds one row to a streamer.

    Args:
        streamer: has `put` and `end`; if it has `put_draft(value, **kwargs)` drafts go there: int64
            (1, N), the N positions behind the prompt; with `logits=` (1, N, V) if its
            `_takes_logits` is true, and with `order=` and `log_probs=` (1, N) if its `_takes_path`
            is.
        canvas: one row, before the first step.
        revised: whether tokens that are written may change later.

    Raises:
        ValueError: if there is not exactly one row, or the object is no streamer.
    """

    def __init__(self, streamer: Streamer, canvas: Canvas, revised: bool = False):
        if not (hasattr(streamer, "put") and hasattr(streamer, "end")):
            raise ValueError(
                f"streamer is a {type(streamer).__name__}; expected an object with `put` and `end`."
            )
        if len(canvas.ids) != 1:
            raise ValueError(
                f"a streamer shows one row, got {len(canvas.ids)}; expected a batch of 1."
            )
        self.streamer = streamer
        self.canvas = canvas
        self.revised = revised
        self.put_draft: Callable[..., None] | None = getattr(streamer, "put_draft", None)
        drafts = self.put_draft is not None
        self.takes_logits = drafts and getattr(streamer, "_takes_logits", False)
        self.takes_path = drafts and getattr(streamer, "_takes_path", False)
        self.prompt = self._complete()
        self.shown = self.prompt
        streamer.put(self._text(canvas.token_ids)[: self.prompt][None])

    def update(self, logits: Tensor | None, end: int | None) -> None:
        """After a step: a new draft, or what has become complete since.

        Args:
            logits: (1, L, V) of the step, if the streamer takes them.
            end: where the text ends, in real tokens, if that is known.
        """
        if self.put_draft is not None:
            draft = {"value": self._text(self.canvas.token_ids)[None, self.prompt :]}
            if self.takes_logits and logits is not None:
                draft["logits"] = logits[:, self.canvas.real_BL[0]][:, self.prompt :].cpu()
            if self.takes_path:
                draft["order"] = self._text(self.canvas.order_BL)[None, self.prompt :]
                draft["log_probs"] = self._text(self.canvas.log_probs_BL)[None, self.prompt :]
            self.put_draft(**draft)
        elif not self.revised:
            self._put(min(self._complete(), len(self.canvas.ids[0]) if end is None else end))

    def end(self) -> None:
        """The rest of the text, and the end."""
        self._put(self._complete())
        self.streamer.end()

    def _put(self, complete: int) -> None:
        if complete > self.shown:
            self.streamer.put(self._text(self.canvas.token_ids)[self.shown : complete])
            self.shown = complete

    def _text(self, values_BL: Tensor) -> Tensor:
        """The row without padding, on the CPU."""
        return values_BL[0, self.canvas.real_BL[0]].cpu()

    def _complete(self) -> int:
        """How many tokens there are before the first hidden one."""
        hidden = self._text(self.canvas.hidden_BL).to(torch.int8)
        return int(hidden.argmax()) if hidden.any() else len(hidden)
