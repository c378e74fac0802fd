"""Endings: where a row's text stops - at an end-of-sequence token, or where a `StoppingCriteria` says so.

    end = the shortest beginning of the row that ends in an EOS token, or for which a criterion holds

Only generated tokens behind the last given one can end a row: an EOS in a gap is a token like others. A row whose
beginning up to its end is complete is finished, whatever is still hidden behind; what lies behind becomes padding.
So the result is that of a full generation, cut; finishing early only saves work.

Shapes: B batch, L length, P places (a row's real tokens, without padding).
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .canvas import Canvas


class Endings:
    """Follows where each row ends.

    Args:
        canvas: the rows, before the first step.
        eos_token_ids: ids that end a row.
        criteria: (ids (B, P), scores) -> bool (B,), asked for each beginning of the text that holds a generated token
            in turn; it ends in the last column, with padding on the left; scores is None. The longest one is asked
            about again after each step, so that a time limit is seen.
        pad_token_id: what is put behind an end.
    """

    def __init__(
        self,
        canvas: Canvas,
        eos_token_ids: Sequence[int],
        criteria: Callable[..., Any] | None,
        pad_token_id: int,
    ):
        self.canvas, self.criteria, self.pad_token_id = canvas, criteria, pad_token_id
        self.eos = torch.tensor(eos_token_ids, dtype=torch.long, device=canvas.ids.device)
        self.never = canvas.ids.shape[1] + 1
        given_end_BL = ((canvas.place_BL + 1) * canvas.given_BL) if canvas.ids.shape[1] else canvas.place_BL
        self.begin_B = given_end_BL.amax(1) if canvas.ids.shape[1] else given_end_BL.new_zeros(len(canvas.ids))
        self.end_B = torch.full_like(self.begin_B, self.never)  # number of places that stay
        self.asked_B = self.begin_B.clone()  # the longest beginning that the criteria have seen

    @property
    def finished_B(self) -> Tensor:
        """bool (B,): rows whose end is known."""
        return self.end_B < self.never

    def update(self) -> None:
        """Looks for ends in what is complete by now."""
        canvas = self.canvas
        complete_B = canvas.place_BL.masked_fill(~canvas.hidden_BL, self.never).amin(1)  # places before the first gap
        complete_B = torch.minimum(complete_B, canvas.real_BL.sum(1))
        if len(self.eos):
            is_end_BL = torch.isin(canvas.ids, self.eos) & canvas.real_BL & (canvas.place_BL < complete_B[:, None])
            is_end_BL &= canvas.place_BL >= self.begin_B[:, None]
            first_B = (canvas.place_BL + 1).masked_fill(~is_end_BL, self.never).amin(1)
            self.end_B = torch.minimum(self.end_B, first_B)
        if self.criteria is not None:
            self._ask(self.criteria, torch.minimum(complete_B, self.end_B))

    def _ask(self, criteria: Callable[..., Any], complete_B: Tensor) -> None:
        """Asks for every beginning up to the complete one that has not been asked for."""
        ask_B = complete_B > self.begin_B
        if not ask_B.any():
            return
        for more in range(max(1, int((complete_B - self.asked_B).amax()))):
            length_B = torch.minimum(self.asked_B + more + 1, complete_B).clamp(min=0)
            stop_B = torch.as_tensor(criteria(self._beginnings(length_B), None), device=length_B.device).bool()
            stop_B = stop_B.expand_as(length_B) & ask_B & ~self.finished_B
            self.end_B = torch.where(stop_B, length_B, self.end_B)
        self.asked_B = torch.maximum(self.asked_B, complete_B)

    def _beginnings(self, length_B: Tensor) -> Tensor:
        """The first `length` real tokens of each row, right-aligned: int64 (B, P)."""
        position_BL = (~self.canvas.real_BL).to(torch.int8).argsort(dim=1, stable=True)  # of each place
        width = int(length_B.amax())
        place_BP = torch.arange(width, device=length_B.device) + (length_B[:, None] - width)
        tokens_BP = self.canvas.ids.gather(1, position_BL.gather(1, place_BP.clamp(min=0)))
        return tokens_BP.masked_fill(place_BP < 0, self.pad_token_id)

    def cut(self) -> None:
        """Pads what lies behind each row's end; it counts as not generated."""
        canvas = self.canvas
        behind_BL = canvas.real_BL & (canvas.place_BL >= self.end_B[:, None])
        canvas.ids = canvas.ids.masked_fill(behind_BL, self.pad_token_id)
        canvas.order_BL = canvas.order_BL.masked_fill(behind_BL, -1)
        canvas.log_probs_BL = canvas.log_probs_BL.masked_fill(behind_BL, 0.0)
        canvas.hidden_BL = canvas.hidden_BL & ~behind_BL
        canvas.real_BL = canvas.real_BL & ~behind_BL
