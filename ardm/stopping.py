"""Stopping: where a row's text ends - at an EOS token, or where a `StoppingCriteria` says so.

    end = the shortest beginning of the row that ends in an EOS token, or that a criterion stops

Only generated tokens behind the last given one can end a row: an EOS in a gap is a token like
others. A row whose beginning up to its end is complete is finished, whatever is still hidden
behind; what lies behind becomes padding. So the result is that of a full generation, cut; finishing
early only saves work.

Shapes: B batch, L length, P places (a row's real tokens, without padding).
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .canvas import Canvas


class Stopping:
    """Follows where each row ends.

    Args:
        canvas: the rows, before the first step.
        eos_token_ids: ids that end a row.
        criteria: (ids (B, P), scores) -> bool (B,), asked for each beginning of a text that holds a
            generated token in turn: P tokens of each row, without its padding, of which the answer
            counts for the rows that have come so far; scores is None. The longest one is asked
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
        self.canvas = canvas
        self.criteria = criteria
        self.pad_token_id = pad_token_id
        self.eos = torch.tensor(eos_token_ids, dtype=torch.long, device=canvas.ids.device)
        self.never = canvas.ids.shape[1] + 1
        # 0 where nothing is given
        self.begin_B = F.pad((canvas.place_BL + 1) * canvas.given_BL, (1, 0)).amax(1)
        self.end_B = torch.full_like(self.begin_B, self.never)  # number of places that stay
        self.asked_B = self.begin_B.clone()  # the longest beginning that the criteria have seen

    @property
    def finished_B(self) -> Tensor:
        """bool (B,): rows whose end is known."""
        return self.end_B < self.never

    def update(self) -> None:
        """Looks for ends in what is complete by now."""
        canvas = self.canvas
        if canvas.ids.numel() == 0:
            return
        # places before the first gap
        complete_B = canvas.place_BL.masked_fill(~canvas.hidden_BL, self.never).amin(1)
        complete_B = torch.minimum(complete_B, canvas.real_BL.sum(1))
        end_B = self._first_eos(complete_B)
        if self.criteria is not None:
            stop_B = self._first_stop(self.criteria, torch.minimum(complete_B, end_B))
            end_B = torch.minimum(end_B, stop_B)
        self.end_B = torch.minimum(self.end_B, end_B)

    def _first_eos(self, complete_B: Tensor) -> Tensor:
        """int64 (B,): tokens up to the first generated EOS in the complete part, or `never`."""
        canvas = self.canvas
        is_eos_BL = torch.isin(canvas.ids, self.eos) & canvas.real_BL
        is_eos_BL = is_eos_BL & (canvas.place_BL >= self.begin_B[:, None])
        is_eos_BL = is_eos_BL & (canvas.place_BL < complete_B[:, None])
        return (canvas.place_BL + 1).masked_fill(~is_eos_BL, self.never).amin(1)

    def _first_stop(self, criteria: Callable[..., Any], complete_B: Tensor) -> Tensor:
        """int64 (B,): the first beginning that has not been asked for and stops, or `never`."""
        stop_B = torch.full_like(complete_B, self.never)
        asks_B = (complete_B > self.begin_B) & ~self.finished_B
        first_B = torch.minimum(self.asked_B + 1, complete_B)  # the longest one is asked again
        text_BL = self.canvas.text(self.pad_token_id)
        spans = torch.stack((first_B, complete_B), 1)[asks_B].tolist()
        for length in sorted({n for first, last in spans for n in range(first, last + 1)}):
            due_B = asks_B & (first_B <= length) & (length <= complete_B) & (stop_B == self.never)
            if due_B.any():
                stop_B = stop_B.masked_fill(due_B & criteria(text_BL[:, :length], None), length)
        self.asked_B = torch.maximum(self.asked_B, complete_B)
        return stop_B

    def cut(self) -> None:
        """Pads what lies behind each row's end; it counts as not generated."""
        canvas = self.canvas
        behind_BL = canvas.real_BL & (canvas.place_BL >= self.end_B[:, None])
        canvas.cut(behind_BL, self.pad_token_id)


def any_of(criteria: Sequence[Callable[..., Any]]) -> Callable[[Tensor, None], Tensor]:
    """Criteria as one, which stops a row where any of them does.

    Args:
        criteria: transformers' ones, or callables (ids (B, P), None) -> bool (B,), or one bool for
            all rows.

    Returns:
        (ids, None) -> bool (B,). It raises ValueError on an answer of another shape.
    """

    def stops(text_BP: Tensor, scores: None) -> Tensor:
        stops_B = torch.zeros(len(text_BP), dtype=torch.bool, device=text_BP.device)
        for criterion in criteria:
            answer = criterion(text_BP, scores)
            if isinstance(answer, bool):
                answer = torch.tensor(answer)
            if not isinstance(answer, Tensor) or answer.shape not in (stops_B.shape, ()):
                name = getattr(criterion, "__name__", type(criterion).__name__)
                got: Any = type(answer).__name__
                got = tuple(answer.shape) if isinstance(answer, Tensor) else got
                raise ValueError(
                    f"the stopping criterion {name} answers {got};"
                    f" expected bool ({len(stops_B)},), one for each row."
                )
            stops_B = stops_B | answer.to(stops_B.device).bool()
        return stops_B

    return stops
