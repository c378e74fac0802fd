"""Watching: a streamer that shows in the terminal how a text is written, pass by pass.

A token's colour is the probability with which it was drawn. The grid never moves while tokens are
characters: hidden ones take a cell, and a line break is a sign in its own cell. Text is not
trusted: nothing in it reaches the terminal as a control character.
"""

import math
import time
from functools import cache
from typing import TYPE_CHECKING, Any

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from .colours import CONFIDENCE, colour, ink
from .recording import Recorder
from .traces import Event, Trace, legible

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.style import Style
    from rich.text import Text

HIDDEN = "·"
_LEVELS = 64  # shades: as many styles are made, and kept


class TerminalView:
    """Shows one sequence while it is generated.

        with TerminalView(tokenizer) as view:
            model.generate(..., streamer=view)

    On a terminal every pass is drawn in place; elsewhere only the last frame is written, as plain
    text.

    Args:
        tokenizer: of the model, with a mask token.
        delay: seconds to wait after each pass that is drawn.
        console: a `rich.console.Console`; None: standard output.

    Raises:
        ImportError: if rich is not installed.
        ValueError: if the tokenizer has no mask token, or `delay` is negative.
    """

    _takes_path = True  # `generate` passes order and log-probabilities to `put_draft`

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        delay: float = 0.0,
        console: "Console | None" = None,
    ):
        try:
            from rich.console import Console
            from rich.live import Live
        except ImportError as error:
            raise ImportError(
                "TerminalView needs rich; install it with: pip install rich"
            ) from error
        self._recorder = Recorder(tokenizer)
        if not 0 <= delay < math.inf:
            raise ValueError(f"delay is {delay}; expected seconds, at least 0.")
        self.delay = delay
        self.console = console or Console()
        self._latest: dict[int, Event] = {}
        self._written: dict[int, int] = {}  # position: how many times
        live = Live(console=self.console, auto_refresh=False)
        self._live = live if self.console.is_terminal else None
        self._ended = False

    def __enter__(self) -> "TerminalView":
        return self

    def __exit__(self, *error: object) -> None:
        self._stop()  # whatever happened, the terminal's cursor comes back

    @property
    def path(self) -> list[tuple[Tensor, Tensor]]:
        """Order and log-probabilities (L,) after each pass, for [`Trace.of`]."""
        return self._recorder.path

    @property
    def _trace(self) -> Trace:
        assert self._recorder.trace is not None
        return self._recorder.trace

    # ---------------------------------------------------------------------- what `generate` calls
    def put(self, value: Tensor) -> None:
        """Takes the prompt, which ends before the first gap, and at last the text behind it.

        Args:
            value: int64 ids, (1, P) or (P,).
        """
        self._recorder.put(value)
        if self._latest:  # drafts may have gone beyond the end of the text
            length = len(self._trace.start)
            for place in [place for place in self._latest if place >= length]:
                del self._latest[place], self._written[place]

    def put_draft(self, value: Tensor, *, order: Tensor, log_probs: Tensor, **kwargs: Any) -> None:
        """Takes the canvas behind the prompt after a pass, and draws it.

        Args:
            value: int64 (1, N), mask ids where hidden.
            order: int64 (1, N), the step that wrote each position last, -1 where given.
            log_probs: float64 (1, N), nats.
            **kwargs: not used.
        """
        self._recorder.put_draft(value, order=order, log_probs=log_probs)
        for event in self._trace.steps[-1]:
            place = event.position
            self._latest[place] = event
            self._written[place] = self._written.get(place, 0) + (event.token is not None)
        if self._live is not None:
            self._live.start()
            self._live.update(self._drawing(), refresh=True)
            time.sleep(self.delay)

    def end(self) -> None:
        """Draws the last frame, and writes the text as it is, with its line breaks."""
        if self._ended:
            return
        self._ended = True
        self._recorder.end()
        if self._live is not None:
            self._live.start()
            self._live.update(self._drawing(), refresh=True)
            self._stop()
        else:
            self.console.print(self._status(), soft_wrap=True)
        self.console.print()
        lines = "\n".join(legible(line) for line in self._trace.text.split("\n"))
        self.console.print(lines, markup=False, highlight=False, emoji=False, soft_wrap=True)

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()

    # ------------------------------------------------------------------------------------ drawing
    def _drawing(self) -> "RenderableType":
        from rich.box import ROUNDED
        from rich.console import Group
        from rich.padding import Padding
        from rich.panel import Panel
        from rich.text import Text

        width = max(self.console.width - 4, 10)
        rows = self._rows(width)
        # what does not fit is left out around the first gap, where something happens in any order
        drawn_in_place = self._live is not None and not self._ended
        height = max(self.console.height - 6, 3) if drawn_in_place else len(rows)
        first = next((i for i, (_, gaps) in enumerate(rows) if gaps), len(rows))
        begin = max(0, min(first - 1, len(rows) - height))
        grid = Text("\n").join(text for text, _ in rows[begin : begin + height])
        title = f"rows {begin + 1}-{begin + height} of {len(rows)}" if height < len(rows) else None
        panel = Panel(
            grid, box=ROUNDED, border_style="dim", padding=(0, 1), title=title, title_align="right"
        )
        return Group(panel, Padding(Group(self._status(), self._legend()), (0, 2)))

    def _rows(self, width: int) -> "list[tuple[Text, bool]]":
        """Lines of the grid, and whether there are gaps in each."""
        from rich.cells import cell_len
        from rich.text import Text

        rows: list[tuple[Text, bool]] = []
        used = width
        for position, token in enumerate(self._trace.last_frame):
            text = HIDDEN if token is None else self._trace.pieces[token]
            if used + cell_len(text) > width:
                rows.append((Text(no_wrap=True, overflow="crop"), False))
                used = 0
            rows[-1][0].append(text, self._style(position, token))
            rows[-1] = rows[-1][0], rows[-1][1] or token is None
            used += cell_len(text)
        return rows

    def _style(self, position: int, token: int | None) -> "str | Style":
        event = self._latest.get(position)
        step = len(self.path) - 1
        if token is None:
            return "dim" if event is None else "bold red"  # sent back to mask
        if event is None:
            return "bold"
        if event.step == step and not self._ended:
            return "bold reverse"
        return _shade(math.exp(event.log_prob), self._written[position] > 1)

    def _status(self) -> "Text":
        from rich.text import Text

        passes = self._trace.num_steps
        asked = self._trace.start.count(None)
        hidden = self._trace.last_frame.count(None)
        again = sum(times > 1 for times in self._written.values())
        parts = [f"pass {passes}", f"{asked - hidden} of {asked} tokens"]
        parts += [f"{(asked - hidden) / passes:.1f} a pass"] if passes else []
        parts += [f"{again} resampled"] if again else []
        return Text("   ".join(parts), no_wrap=True, overflow="crop")

    def _legend(self) -> "Text":
        from rich.text import Text

        scale = [(" ", _shade(i / 9, False)) for i in range(10)]
        return Text.assemble(
            ("given", "bold"),
            "  probability 0 ",
            *scale,
            " 1  ",
            ("now", "bold reverse"),
            "  ",
            ("resampled", "underline"),
            "  ",
            (HIDDEN, "dim"),
            " hidden  ",
            (HIDDEN, "bold red"),
            " sent back",
            no_wrap=True,
            overflow="crop",
        )


def _shade(probability: float, resampled: bool) -> "Style":
    """The style of a token; of one whose probability is not known, no colour."""
    return _level(None if math.isnan(probability) else round(probability * _LEVELS), resampled)


@cache
def _level(level: int | None, resampled: bool) -> "Style":
    from rich.color import Color
    from rich.style import Style

    if level is None:
        return Style(underline=resampled)
    background = colour(CONFIDENCE, level / _LEVELS)
    return Style(
        color=Color.from_rgb(*ink(background)),
        bgcolor=Color.from_rgb(*background),
        underline=resampled,
    )
