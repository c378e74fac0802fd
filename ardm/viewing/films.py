"""Film: how a text came about, pass by pass, as a GIF that plays on a model's card.

    frame k = the text x_k in cells (traces.py): coloured by the pass that wrote each token,
              outlined if it was this one; bold = given, grey = hidden

The colours are those of the page; the last frame has no outlines.
"""

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ..training.animations import gif
from .colours import ORDER, RGB, colour, ink
from .pages import COLUMNS, drawable, places_of
from .traces import Trace

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

_CELL = (11, 25)  # width and height of a character's cell, pixels
_MARGIN = 16
_BAR = 34  # height of what stands above the text, and of the legend below
_ROWS = 20  # of text, at most
_FRAMES = 48  # at most
_SHADES = 48  # of the scale of passes: a GIF has 256 colours
_MILLISECONDS = 7000  # of the whole, about
_HOLD = 3500  # of the last frame
_TOKENS = 256  # of a model's own text, at most: a card is no book
_PASSES = 32  # ... and of its passes
# those of page.html
_INK = (27, 28, 30)
_FAINT = (99, 102, 107)
_HIDDEN = (235, 235, 232)
_PAPER = (255, 255, 255)


def film_of(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    input_ids: Tensor,
    passes: int = _PASSES,
    seed: int = 0,
) -> bytes:
    """Has a model write a text in random order, and draws how it comes about.

    Args:
        model: has `generate`.
        tokenizer: its tokenizer.
        input_ids: int64 (L,), a text as long; at most its first 256 tokens are rewritten, all but
            those that the model is always given.
        passes: how many, if there are as many tokens.
        seed: of what is drawn.

    Returns:
        A GIF file's content, of [`film`].

    Raises:
        ImportError: if matplotlib, or Pillow with it, is not installed.
    """
    given = torch.tensor(getattr(model.config, "given_token_ids", None) or [], dtype=torch.long)
    known = torch.isin(input_ids[:_TOKENS].cpu(), given)
    canvas = input_ids[:_TOKENS].cpu().where(known, model.config.mask_token_id)
    output = model.generate(
        canvas[None].to(model.device),
        order="random",
        steps=max(1, min(passes, int((~known).sum()))),
        seed=seed,
        return_dict_in_generate=True,
        output_history=True,
    )
    return film(Trace.of(tokenizer, output))


def film(trace: Trace) -> bytes:
    """Draws a trace as an endless animation of about ten seconds.

    Args:
        trace: at least one token; of a long text its first rows are drawn.

    Returns:
        A GIF file's content: at most 48 frames, the first and the last among them.

    Raises:
        ImportError: if matplotlib, or Pillow with it, is not installed.
        ValueError: if the trace has no positions.
    """
    if not trace.start:
        raise ValueError("the trace has no positions; expected at least one token to draw.")
    drawing = _Drawing(trace)
    every = max(1, math.ceil(trace.num_steps / (_FRAMES - 1)))
    shown = sorted({*range(trace.num_steps, -1, -every), 0})
    frames = _of_one_palette([drawing.frame(passes) for passes in shown])
    milliseconds = max(80, min(500, _MILLISECONDS // len(frames) // 10 * 10))
    return gif(frames, milliseconds, _HOLD)


def _of_one_palette(frames: "list[Image]") -> "list[Image]":
    """Frames that differ where the text does alone, of the drawing's own colours."""
    from PIL import Image

    faces = [colour(ORDER, number / (_SHADES - 1)) for number in range(_SHADES)]
    pairs = [(face, ink(face)) for face in faces] + [(_PAPER, _INK), (_PAPER, _FAINT)]
    colours = [_HIDDEN]
    for face, pen in pairs:  # and what lies between them, at the edges of letters
        colours += [_between(face, pen, share / 4) for share in range(5)]
    palette = Image.new("P", (1, 1))
    palette.putpalette([channel for each in dict.fromkeys(colours) for channel in each])
    return [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]


def _between(one: RGB, other: RGB, share: float) -> RGB:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


class _Drawing:
    """The frames of a trace."""

    def __init__(self, trace: Trace):
        self.trace = trace
        # before the texts are looked at: here it is said what to install
        self.fonts = {bold: _font(bold) for bold in (False, True)}
        tokens = {*trace.start, *(event.token for step in trace.steps for event in step)}
        self.pieces: dict[int | None, str] = {None: " "}
        self.pieces |= {each: drawable(trace.pieces[each]) for each in tokens if each is not None}
        self.texts = [self.pieces[each] for each in trace.last_frame]
        places = places_of(self.texts)
        self.places = [place for place in places if place[0] < _ROWS]
        height = (self.places[-1][0] + 1) * _CELL[1] + 2 * _BAR
        self.size = (COLUMNS * _CELL[0] + 2 * _MARGIN, height)
        self.writings = trace.writings()

    def frame(self, passes: int) -> "Image":
        """x_k, with what it is above and what it means below."""
        from PIL import Image, ImageDraw

        picture = Image.new("RGB", self.size, _PAPER)
        pen = ImageDraw.Draw(picture)
        now = self.trace.frame(passes)
        asked = sum(token is None for token in self.trace.start)
        there = asked - sum(token is None for token in now)
        self._write(pen, _MARGIN, _BAR / 2, f"pass {passes} of {self.trace.num_steps}", _INK)
        told = f"{there} of {asked} tokens"
        x = self.size[0] - _MARGIN - len(told) * _CELL[0]
        self._write(pen, x, _BAR / 2, told, _FAINT)
        for position, (row, column) in enumerate(self.places):
            self._draw_cell(pen, position, passes, now[position], row, column)
        self._draw_legend(pen)
        return picture

    def _draw_cell(
        self, pen: "ImageDraw", position: int, passes: int, token: int | None, row: int, column: int
    ) -> None:
        x = _MARGIN + column * _CELL[0]
        y = _BAR + row * _CELL[1]
        past = [event.step for event in self.writings[position] if event.step < passes]
        given = self.trace.start[position] is not None
        face = _PAPER if given else _HIDDEN
        if token is not None and past:
            face = self._shade(past[-1])
        width = len(self.texts[position]) * _CELL[0]
        box = (x + 1, y + 1, x + width - 1, y + _CELL[1] - 2)
        fresh = past[-1:] == [passes - 1] and passes < self.trace.num_steps
        fresh = fresh and token is not None
        pen.rectangle(box, fill=face, outline=_INK if fresh else None, width=2)
        if token is not None:
            text = self.pieces[token][: len(self.texts[position])]
            self._write(pen, x, y + _CELL[1] / 2 - 0.5, text, ink(face), bold=given)

    def _draw_legend(self, pen: "ImageDraw") -> None:
        """The scale of passes, and what an outline and a cell without a token mean."""
        middle = self.size[1] - _BAR / 2
        x = self._write(pen, _MARGIN, middle, "pass 1 ", _FAINT)
        steps = max(self.trace.num_steps - 1, 1)
        width = 14 * _CELL[0]
        for place in range(width):
            face = self._shade(round(place / (width - 1) * steps))
            pen.line((x + place, middle - 8, x + place, middle + 8), fill=face)
        x = self._write(pen, x + width, middle, f" {self.trace.num_steps}   ", _FAINT)
        for face, outline, meaning in ((_PAPER, _INK, "written now"), (_HIDDEN, None, "hidden")):
            pen.rectangle((x, middle - 9, x + 10, middle + 9), fill=face, outline=outline, width=2)
            x = self._write(pen, x + 2 * _CELL[0], middle, f"{meaning}   ", _FAINT)

    def _shade(self, step: int) -> RGB:
        share = step / max(self.trace.num_steps - 1, 1)
        return colour(ORDER, round(share * (_SHADES - 1)) / (_SHADES - 1))

    def _write(
        self, pen: "ImageDraw", x: float, y: float, text: str, face: RGB, bold: bool = False
    ) -> float:
        """Characters in cells from x on, around y; where they end."""
        for place, character in enumerate(text):
            middle = (x + (place + 0.5) * _CELL[0], y)
            if character != " ":
                pen.text(middle, character, fill=face, font=self.fonts[bold], anchor="mm")
        return x + len(text) * _CELL[0]


def _font(bold: bool) -> Any:
    """matplotlib brings the font, and Pillow."""
    try:
        from matplotlib.font_manager import FontProperties, findfont
        from PIL import ImageFont
    except ImportError as error:
        raise ImportError(
            "drawing needs matplotlib; install it with: pip install matplotlib"
        ) from error
    weight = "bold" if bold else "normal"
    return ImageFont.truetype(
        findfont(FontProperties(family="DejaVu Sans Mono", weight=weight)), 17
    )
