"""Decoding: the one loop in which masks become tokens, reveal by reveal.

    for each pass:                                        (passes.py; arXiv 2110.02037, algorithm 1)
        what is to be resampled is taken back             (resampling.py)
        logits <- network(x) at the open positions only   (guidance.py, logits_processing.py)
        taken  <- which of them are filled now            (orders.py, selection.py)
        x[taken] <- a draw from softmax(logits)           (draws.py)
        rows end, and are shown                           (stopping.py, streaming.py)

A draw is a reveal: of one stage a token, of several (stages.py) the next finer value, and the
position stays open until it is a token.

An order that needs no logits takes positions before the network is called, one that does
afterwards: then the logits of all open positions are computed. Infilling, blocks, resampling,
guidance and adaptive steps are no loops of their own: they change what is open, what goes back, the
network, and how many are taken.

Shapes: B batch, L length, W open positions looked at, K positions filled, V vocabulary.
"""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from .arrangements import shared_reveals
from .canvas import Canvas
from .draws import Draw
from .logits_processing import LogitsProcessing
from .networks import Network, select_positions
from .orders import all_positions
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
        passes: how many reveals each pass takes back and makes.
        network: ids (B, L), positions (B, W) or None -> logits (B, W or L, V).
        draw: logits of the next reveal and uniforms -> what is revealed, and log-probabilities.
        selection: chooses among open positions by their logits; None: the canvas's queue decides.
        resampling: which reveals are taken back; None: none.
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
        _check_finite(self.canvas.log_probs_BR)
        if self.stopping is not None:
            if not self._ends_early:
                self.stopping.update()
            self.stopping.cut()
        if self.streaming is not None:
            self.streaming.end()

    def _send_back(self, number: int) -> None:
        """Takes back the reveals that this pass resamples."""
        if self.resampling is None or not self.passes.revises[number]:
            return
        back_B1 = self.passes.back_BS[:, number, None]
        revision_B1 = self.passes.revision_BS[:, number, None]
        back_BL = self.resampling.positions(self.canvas, back_B1, revision_B1)
        self.canvas.send_back(back_BL, revision_B1)

    def _step(self, number: int, open_BL: Tensor, width: int) -> None:
        """One call of the network: logits, choice, draws, write."""
        canvas = self.canvas
        # Where all rows fill as many, what comes first is what is chosen: no mask is needed, whose
        # ops would cost 0.5-0.8 % of a batch of one at width 192.
        alike = self.passes.alike[number] and not self._varies
        pool_BW = all_positions(canvas.ids) if self._whole_rows else canvas.queue(open_BL, width)
        outputs_BWV, all_outputs = self._outputs(pool_BW)
        if self.logits_processing is not None:
            open_BW = open_BL.gather(1, pool_BW)
            step = self.num_forward_passes
            outputs_BWV = self.logits_processing(outputs_BWV, canvas, pool_BW, open_BW, step)
        pool = _Pool(pool_BW, outputs_BWV, open_BL)
        choose = self._selected if self._selects(number) else self._first_of_queue
        self._reveal(choose(number, pool, alike))
        # later steps on a CPU only: a GPU would have to wait for the answer
        if self.num_forward_passes == 0 or canvas.ids.device.type == "cpu":
            _check_finite(canvas.log_probs_BR)
        self._show(all_outputs)

    def _outputs(self, positions_BK: Tensor) -> tuple[Tensor, Tensor | None]:
        """What the network says at the positions, and all of it where a streamer shows it."""
        if self.streaming is not None and self.streaming.takes_logits:
            all_outputs = self.network(self.canvas.ids, None)
            return select_positions(all_outputs, positions_BK), all_outputs
        return self.network(self.canvas.ids, None if self._whole_rows else positions_BK), None

    def _child_logits(self, outputs_BKV: Tensor, positions_BK: Tensor) -> Tensor:
        """Logits of the next reveal at the positions; with one stage those of the tokens."""
        if self.canvas.stages.tree is None:
            return outputs_BKV
        nodes_BK = self.canvas.ids.gather(1, positions_BK)
        return self.canvas.stages.child_logits(outputs_BKV, nodes_BK)

    # ---------------------------------------------------------------------------- what is revealed
    def _first_of_queue(self, number: int, pool: "_Pool", alike: bool) -> "_Chosen":
        """What an order that needs no logits takes."""
        canvas = self.canvas
        count_B1 = self.passes.fill_BS[:, number, None]
        made_BK = None
        if canvas.stages.interleaved:
            most = self.passes.widths[number]
            made_BL = canvas.reveals_of_queue(pool.open_BL, count_B1, most)
            made_BK = made_BL.gather(1, pool.positions_BW)
        elif not alike:
            open_BK = pool.open_BL.gather(1, pool.positions_BW)
            made_BK = open_BK & _first(count_B1, pool.positions_BW.shape[1])
        return _Chosen(pool.positions_BW, pool.outputs_BWV, made_BK)

    def _selected(self, number: int, pool: "_Pool", alike: bool) -> "_Chosen":
        """What the choice by logits takes.

        An order that looks at drawn tokens has one drawn everywhere; what is not kept is drawn anew
        at the next step.
        """
        assert self.selection is not None
        canvas = self.canvas
        positions_BW = pool.positions_BW
        logits_BWV = self._child_logits(pool.outputs_BWV, positions_BW)
        drawn_BW = None
        if self.selection.of_draws:
            drawn_BW = self.draw(logits_BWV, canvas.uniforms_of_step(positions_BW))
        open_BW = pool.open_BL.gather(1, positions_BW)
        least_B1 = self.passes.fill_BS[:, number, None]
        if self._adaptive:
            least_B1 = self._behind_plan(number)
        count = self.passes.widths[number]
        first_BW, taken_B1 = self.selection(
            logits_BWV,
            canvas,
            positions_BW,
            open_BW,
            least_B1,
            count if alike else None,
            None if drawn_BW is None else drawn_BW[0],
        )
        first_BK = first_BW[:, : int(taken_B1.amax()) if self._adaptive else count]
        positions_BK = positions_BW.gather(1, first_BK)
        made_BK = None if alike else self._made(open_BW.gather(1, first_BK), positions_BK, taken_B1)
        drawn_BK = None
        if drawn_BW is not None:
            drawn_BK = (drawn_BW[0].gather(1, first_BK), drawn_BW[1].gather(1, first_BK))
        outputs_BKV = None  # not needed again where the one reveal of a position has been drawn
        if drawn_BK is None or canvas.stages.interleaved:
            outputs_BKV = select_positions(pool.outputs_BWV, first_BK)
        return _Chosen(positions_BK, outputs_BKV, made_BK, drawn_BK)

    def _made(self, open_BK: Tensor, positions_BK: Tensor, taken_B1: Tensor) -> Tensor:
        """How many reveals each position makes, in the order in which they are chosen."""
        stages = self.canvas.stages
        if not stages.interleaved:
            return open_BK & _first(taken_B1, open_BK.shape[1])
        left_BK = (stages.num_stages - self.canvas.level_BL.gather(1, positions_BK)) * open_BK
        return shared_reveals(left_BK, taken_B1, stages.num_stages)

    def _reveal(self, chosen: "_Chosen") -> None:
        """Draws and writes; what is revealed further in one step is drawn from the same logits."""
        canvas = self.canvas
        turns = 1
        if canvas.stages.interleaved and chosen.made_BK is not None:
            turns = int(chosen.made_BK.max())
        for turn in range(turns):
            drawn = chosen.drawn_BK if turn == 0 else None
            if drawn is None:
                assert chosen.outputs_BKV is not None
                logits_BKV = self._child_logits(chosen.outputs_BKV, chosen.positions_BK)
                drawn = self.draw(
                    logits_BKV, canvas.of_next(canvas.uniforms_BR, chosen.positions_BK)
                )
            slots_BK, log_probs_BK = drawn
            nodes_BK = canvas.stages.children(canvas.ids.gather(1, chosen.positions_BK), slots_BK)
            which_BK = None if chosen.made_BK is None else chosen.made_BK > turn
            canvas.write(chosen.positions_BK, nodes_BK, log_probs_BK, which_BK)
        canvas.end_step(None if chosen.made_BK is None else chosen.made_BK > 0)

    def _show(self, outputs: Tensor | None) -> None:
        """After a step: its number, history, ends and stream."""
        self.num_forward_passes += 1
        if self.history is not None:
            self.history.append(self.canvas.ids.clone())
        if self.stopping is not None and self._ends_early:
            self.stopping.update()
        if self.streaming is not None:
            self.streaming.update(
                outputs, None if self.stopping is None else int(self.stopping.end_B)
            )

    # ------------------------------------------------------------------------- counts and positions
    def _open(self, number: int) -> Tensor:
        """bool (B, L): positions that this pass may reveal further."""
        open_BL = self.canvas.open_positions(blockwise=number < self.passes.num_planned)
        if self.stopping is not None and self._ends_early:
            open_BL = open_BL & ~self.stopping.finished_B[:, None]
        return open_BL

    def _pool_width(self, number: int, open_BL: Tensor) -> int:
        """How many positions a row at most looks at; on the host unless rows decide how many."""
        selects = self._selects(number)
        width = self.passes.pools[number] if selects else self.passes.widths[number]
        if self._varies:
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

    @property
    def _varies(self) -> bool:
        """Whether only the canvas tells how many positions are open, and how many are taken."""
        return self._ends_early or self._adaptive or self.canvas.stages.interleaved

    def _behind_plan(self, number: int) -> Tensor:
        """int64 (B, 1): what brings a row to where the plan is after this pass, at least 1."""
        known_B1 = self.canvas.num_reveals_B1 - self.canvas.num_left_B1
        return (self.passes.known_BS[:, number, None] - known_B1).clamp(min=1)


class _Pool(NamedTuple):
    """What a step looks at."""

    positions_BW: Tensor
    outputs_BWV: Tensor
    open_BL: Tensor  # which of all positions may be revealed further


class _Chosen(NamedTuple):
    """What a step reveals."""

    positions_BK: Tensor
    outputs_BKV: Tensor | None  # None: all is drawn
    made_BK: Tensor | None  # reveals of each, bool or int64; None: one everywhere
    drawn_BK: tuple[Tensor, Tensor] | None = None  # the first one, if it has been drawn


def _first(count_B1: Tensor, width: int) -> Tensor:
    """bool (B, width): True in the first `count` columns."""
    return torch.arange(width, device=count_B1.device) < count_B1


def _check_finite(log_probs: Tensor) -> None:
    if not math.isfinite(log_probs.sum()):
        raise ValueError(
            "the network returned NaN or only -inf logits; expected finite logits for some token."
        )
