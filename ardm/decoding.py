"""Decoding: the one loop in which masks become tokens.

    for each pass:                                        (passes.py; arXiv 2110.02037, algorithm 1)
        tokens that are to be resampled go back to mask   (resampling.py)
        logits <- network(x) at the open positions only   (guidance.py, logits_processing.py)
        taken  <- which of them are filled now            (orders.py, selection.py)
        x[taken] <- a draw from softmax(logits)           (draws.py)
        rows end, and are shown                           (stopping.py, streaming.py)

An order that needs no logits takes positions before the network is called, one that does
afterwards: then the logits of all open positions are computed. Infilling, blocks, resampling,
guidance and adaptive steps are no loops of their own: they change what is open, what goes back, the
network, and how many are taken.

Shapes: B batch, L length, W open positions looked at, K positions filled, V vocabulary.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .canvas import Canvas
from .draws import Draw
from .logits_processing import LogitsProcessing
from .networks import Network
from .passes import Passes
from .resampling import Resampling
from .selection import Selection
from .stopping import Stopping
from .streaming import Streaming


@dataclass
class Decoding:
    """What one call of `generate` is made of.

    Args:
        canvas: the rows; changed by the loop.
        passes: how many tokens each pass sends back and fills.
        network: ids (B, L), positions (B, W) or None -> logits (B, W or L, V).
        draw: logits and uniforms -> tokens and log-probabilities.
        selection: chooses among open positions by their logits; None: the canvas's queue decides.
        resampling: which tokens go back; None: none.
        logits_processing: what is done to logits; None: nothing.
        stopping: where rows end; None: nowhere.
        streaming: shows the text while it grows, or None.
        history: a list that the canvas is appended to after each pass, or None.
    """

    canvas: Canvas
    passes: Passes
    network: Network
    draw: Draw
    selection: Selection | None = None
    resampling: Resampling | None = None
    logits_processing: LogitsProcessing | None = None
    stopping: Stopping | None = None
    streaming: Streaming | None = None
    history: list[Tensor] | None = None
    num_forward_passes: int = field(default=0, init=False)

    def run(self) -> None:
        """Fills the canvas.

        Raises:
            ValueError: if the network returns NaN.
        """
        self.passes = self.passes.to(self.canvas.ids.device)
        for number in range(len(self.passes.widths)):
            self._send_back(number)
            open_BL = self._open(number)
            width = self._pool_width(number, open_BL)
            if width:  # 0: rows that ended, or took more than the plan asked for, are done before
                self._step(number, open_BL, width)
        _check_finite(self.canvas.log_probs_BL)
        if self.stopping is not None:
            if not self._ends_early:
                self.stopping.update()
            self.stopping.cut()
        if self.streaming is not None:
            self.streaming.end()

    def _send_back(self, number: int) -> None:
        """Hides the tokens that this pass resamples."""
        if self.resampling is None or not self.passes.revises[number]:
            return
        back_B1 = self.passes.back_BS[:, number, None]
        revision_B1 = self.passes.revision_BS[:, number, None]
        back_BL = self.resampling.positions(self.canvas, back_B1, revision_B1)
        self.canvas.send_back(back_BL, revision_B1)

    def _step(self, number: int, open_BL: Tensor, width: int) -> None:
        """One call of the network: logits, choice, draw, write."""
        canvas = self.canvas
        # Where all rows fill as many, what comes first is what is chosen: no mask is needed, whose
        # ops would cost 0.5-0.8 % of a batch of one at width 192.
        alike = self.passes.alike[number] and not (self._adaptive or self._ends_early)
        positions_BK = self._all_positions() if self._whole_rows else canvas.queue(open_BL, width)
        open_BK = open_BL.gather(1, positions_BK)
        logits_BKV, all_logits = self._logits(positions_BK)
        if self.logits_processing is not None:
            step = self.num_forward_passes
            logits_BKV = self.logits_processing(logits_BKV, canvas, positions_BK, open_BK, step)
        positions_BK, taken_B1, drawn = self._choose(
            number, logits_BKV, positions_BK, open_BK, alike
        )
        tokens_BK, log_probs_BK = drawn
        chosen_BK = None
        if not alike:
            chosen_BK = open_BL.gather(1, positions_BK) & _first(taken_B1, positions_BK.shape[1])
        canvas.write(positions_BK, tokens_BK, log_probs_BK, chosen_BK)
        # later steps on a CPU only: a GPU would have to wait for the answer
        if self.num_forward_passes == 0 or log_probs_BK.device.type == "cpu":
            _check_finite(canvas.log_probs_BL)
        self._show(all_logits)

    def _logits(self, positions_BK: Tensor) -> tuple[Tensor, Tensor | None]:
        """The network's logits at the positions, and all of them where a streamer shows them."""
        if self.streaming is not None and self.streaming.takes_logits:
            all_logits = self.network(self.canvas.ids, None)
            return _at(all_logits, positions_BK), all_logits
        return self.network(self.canvas.ids, None if self._whole_rows else positions_BK), None

    def _choose(
        self,
        number: int,
        logits_BWV: Tensor,
        positions_BW: Tensor,
        open_BW: Tensor,
        alike: bool,
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """The positions (B, K) that may be filled, how many of them are, and what is drawn there.

        An order that looks at drawn tokens has one drawn everywhere; what is not kept is drawn anew
        at the next step.
        """
        uniforms_BL = self.canvas.uniforms_BL
        if not self._selects(number):
            drawn = self.draw(logits_BWV, uniforms_BL.gather(1, positions_BW))
            return positions_BW, self.passes.fill_BS[:, number, None], drawn
        assert self.selection is not None
        drawn_BW = None
        if self.selection.of_draws:
            drawn_BW = self.draw(logits_BWV, self.canvas.uniforms_of_step(positions_BW))
        tokens_BW = None if drawn_BW is None else drawn_BW[0]
        first_BK, taken_B1 = self._select(
            number, logits_BWV, positions_BW, open_BW, alike, tokens_BW
        )
        positions_BK = positions_BW.gather(1, first_BK)
        if drawn_BW is None:
            drawn = self.draw(_at(logits_BWV, first_BK), uniforms_BL.gather(1, positions_BK))
        else:
            drawn = (drawn_BW[0].gather(1, first_BK), drawn_BW[1].gather(1, first_BK))
        return positions_BK, taken_B1, drawn

    def _select(
        self,
        number: int,
        logits_BWV: Tensor,
        positions_BW: Tensor,
        open_BW: Tensor,
        alike: bool,
        tokens_BW: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """The choice by logits: int64 (B, K) indices into W, and how many are taken, (B, 1)."""
        assert self.selection is not None
        least_B1 = self.passes.fill_BS[:, number, None]
        if self._adaptive:
            least_B1 = self._behind_plan(number)
        count = self.passes.widths[number]
        first_BW, taken_B1 = self.selection(
            logits_BWV,
            self.canvas,
            positions_BW,
            open_BW,
            least_B1,
            count if alike else None,
            tokens_BW,
        )
        most = int(taken_B1.amax()) if self._adaptive else count
        return first_BW[:, :most], taken_B1

    def _show(self, logits: Tensor | None) -> None:
        """After a step: its number, history, ends and stream."""
        self.num_forward_passes += 1
        if self.history is not None:
            self.history.append(self.canvas.ids.clone())
        if self.stopping is not None and self._ends_early:
            self.stopping.update()
        if self.streaming is not None:
            self.streaming.update(
                logits, None if self.stopping is None else int(self.stopping.end_B)
            )

    # ------------------------------------------------------------------------- counts and positions
    def _open(self, number: int) -> Tensor:
        """bool (B, L): hidden positions that this pass may fill."""
        open_BL = self.canvas.open_positions(blockwise=number < self.passes.num_planned)
        if self.stopping is not None and self._ends_early:
            open_BL = open_BL & ~self.stopping.finished_B[:, None]
        return open_BL

    def _pool_width(self, number: int, open_BL: Tensor) -> int:
        """How many positions a row at most looks at; on the host unless rows decide how many."""
        selects = self._selects(number)
        width = self.passes.pools[number] if selects else self.passes.widths[number]
        if self._ends_early or self._adaptive:
            most_open = int(open_BL.sum(1).amax())
            width = most_open if selects else min(width, most_open)
        return width

    def _selects(self, number: int) -> bool:
        """Whether the logits decide what is filled: not where all that is hidden is."""
        return self.selection is not None and (self._whole_rows or number < self.passes.num_planned)

    @property
    def _whole_rows(self) -> bool:
        """Whether the logits of all positions are computed, as an order wants to be given them."""
        return self.selection is not None and self.selection.whole_rows

    @property
    def _adaptive(self) -> bool:
        """Whether the logits decide how many positions a row fills."""
        return self.selection is not None and self.selection.amount is not None

    @property
    def _ends_early(self) -> bool:
        """Whether rows may be finished before their plan is; one revised later has no end yet."""
        return self.stopping is not None and self.resampling is None

    def _behind_plan(self, number: int) -> Tensor:
        """int64 (B, 1): what brings a row to where the plan is after this pass, at least 1."""
        known_B1 = self.canvas.num_masks_B1 - self.canvas.hidden_BL.sum(1, keepdim=True)
        return (self.passes.known_BS[:, number, None] - known_B1).clamp(min=1)

    def _all_positions(self) -> Tensor:
        ids = self.canvas.ids
        return torch.arange(ids.shape[1], device=ids.device).expand_as(ids)


def _at(values_BLV: Tensor, positions_BK: Tensor) -> Tensor:
    return values_BLV.gather(1, positions_BK[..., None].expand(-1, -1, values_BLV.shape[-1]))


def _first(count_B1: Tensor, width: int) -> Tensor:
    """bool (B, width): True in the first `count` columns."""
    return torch.arange(width, device=count_B1.device) < count_B1


def _check_finite(log_probs: Tensor) -> None:
    if not math.isfinite(log_probs.sum()):
        raise ValueError(
            "the network returned NaN or only -inf logits; expected finite logits for some token."
        )
