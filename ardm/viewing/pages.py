"""Pages and pictures of a trace: an HTML page that plays it, and a heat map of its order.

The page (its frame is page.html) is one file that loads nothing. The text in it is not trusted: it
travels as JSON and is shown as text alone.
"""

import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..training import new_figure, png, write_atomically, write_text_atomically
from .colours import CONFIDENCE, ORDER, RGB, colour, ink
from .traces import Event, Trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FRAME = Path(__file__).with_name("page.html")
COLUMNS = 64  # of the picture, in characters
_LEGEND = 40  # columns that it needs
_CELL = (0.145, 0.27)  # width and height of a character's cell, inches
_SCALE = 1.6  # width of the scale of passes, inches


def write_page(trace: Trace, path: str | os.PathLike[str], caption: str = "") -> None:
    """Writes a self-contained page: play, pause, steps, colours by probability or by pass.

    Args:
        trace: what to show.
        path: the HTML file, replaced atomically.
        caption: a line below the title, such as the settings.
    """
    write_text_atomically(path, page(trace, caption))


def page(trace: Trace, caption: str = "") -> str:
    """What [`write_page`] writes: HTML that loads nothing.

    Args:
        trace: what to show.
        caption: a line below the title, such as the settings.

    Returns:
        A whole document.
    """
    before, after = _FRAME.read_text(encoding="utf-8").split("TRACE")
    data = json.dumps(_data(trace, caption), separators=(",", ":"), allow_nan=False)
    # inside a script element only these could end it or start a comment; JSON reads them back
    for character in "<>&":
        data = data.replace(character, f"\\u{ord(character):04x}")
    return before + data + after


def _data(trace: Trace, caption: str) -> dict[str, Any]:
    tokens = [*trace.start, *(event.token for events in trace.steps for event in events)]
    different = dict.fromkeys(token for token in tokens if token is not None)
    index = {token: number for number, token in enumerate(different)}
    return {
        "caption": caption,
        "text": trace.text,
        "steps": trace.num_steps,
        "pieces": [trace.pieces[token] for token in index],
        "start": [None if token is None else index[token] for token in trace.start],
        "events": [_row(event, index) for events in trace.steps for event in events],
        "resampled": any(len(written) > 1 for written in trace.writings()),
        "colours": {"probability": CONFIDENCE, "pass": ORDER},
    }


def _row(event: Event, index: dict[int, int]) -> tuple[int, int, int | None, float | None]:
    probability = None if math.isnan(event.log_prob) else float(f"{math.exp(event.log_prob):.4g}")
    token = None if event.token is None else index[event.token]
    return event.step, event.position, token, probability


# ------------------------------------------------------------------------------------ the picture
def plot_order(trace: Trace, path: str | os.PathLike[str]) -> None:
    """Draws the text in cells, coloured by the pass that wrote each token last; given: hatched.

    Args:
        trace: what to draw; at least one token.
        path: the PNG file, replaced atomically.

    Raises:
        ImportError: if matplotlib is not installed.
        ValueError: if the trace has no positions.
    """
    write_atomically(path, png(order_figure(trace)))


def order_figure(trace: Trace) -> "Figure":
    """What [`plot_order`] draws.

    Args:
        trace: at least one token.

    Returns:
        A figure with one pair of axes, in inches.

    Raises:
        ImportError: if matplotlib is not installed.
        ValueError: if the trace has no positions.
    """
    if not trace.start:
        raise ValueError("the trace has no positions; expected at least one token to draw.")
    # before the fonts are looked at: here it is said what to install
    figure = new_figure((1, 1), layout=None, facecolor="white")
    texts = [" " if token is None else drawable(trace.pieces[token]) for token in trace.last_frame]
    places = places_of(texts)
    ends = [column + len(text) for (_, column), text in zip(places, texts, strict=True)]
    width = max(_LEGEND, *ends) * _CELL[0]
    height = (places[-1][0] + 1) * _CELL[1]
    figure.set_size_inches(width + 0.4, height + 0.95)
    limits: dict[str, Any] = {"xlim": (-0.2, width + 0.2), "ylim": (height + 0.75, -0.2)}  # inches
    axes = figure.add_axes((0, 0, 1, 1), **limits)
    axes.set_axis_off()
    _draw_text(axes, trace, texts, places)
    _draw_legend(axes, trace, height + 0.2)
    return figure


def _draw_text(axes: "Axes", trace: Trace, texts: list[str], places: list[tuple[int, int]]) -> None:
    lives = zip(texts, places, trace.start, trace.writings(), strict=True)
    for text, (row, column), given, written in lives:
        kind = "hidden" if given is None else "given"
        shade = None
        if written:
            kind = "written"
            shade = colour(ORDER, written[-1].step / max(trace.num_steps - 1, 1))
        place = (column * _CELL[0], row * _CELL[1])
        _draw_cell(axes, text, *place, kind, shade, marked=len(written) > 1)


def places_of(texts: list[str]) -> list[tuple[int, int]]:
    """Row and column of each token: rows end at line breaks, and where no more fits.

    Args:
        texts: of the tokens.

    Returns:
        (row, column) each, in characters, from 0.
    """
    places = []
    row = 0
    column = 0
    for text in texts:
        if column and column + len(text) > COLUMNS:
            row += 1
            column = 0
        places.append((row, column))
        column += len(text)
        if "⏎" in text:
            row += 1
            column = 0
    return places


def drawable(text: str) -> str:
    """The text with a box for what matplotlib's own font does not hold; at least one cell wide.

    Args:
        text: any.

    Returns:
        As many characters, or a blank.
    """
    from matplotlib.font_manager import findfont, get_font

    known = get_font(findfont("DejaVu Sans Mono")).get_charmap()
    return "".join(character if ord(character) in known else "□" for character in text) or " "


def _draw_cell(
    axes: "Axes", text: str, x: float, y: float, kind: str, shade: RGB | None, marked: bool
) -> None:
    """One token at (x, y) inches: background, characters, and a line below if it was resampled."""
    from matplotlib.patches import Rectangle

    width, height = _CELL
    faces: dict[str, Any] = {
        "written": {"facecolor": _floats(shade or (0, 0, 0))},
        "given": {"facecolor": "0.93", "hatch": "////", "edgecolor": "0.8"},
        "hidden": {"facecolor": "0.97"},
    }
    size = (len(text) * width - 0.012, height - 0.024)
    axes.add_patch(Rectangle((x + 0.006, y + 0.012), *size, linewidth=0, **faces[kind]))
    pen: Any = _floats(ink(shade)) if shade else "black"
    font: dict[str, Any] = {
        "family": "DejaVu Sans Mono",
        "fontsize": 10,
        "ha": "center",
        "va": "center_baseline",
        "color": pen,
        "fontweight": "bold" if kind == "given" else "normal",
    }
    for place, character in enumerate(text):
        if character != " ":
            axes.text(x + (place + 0.5) * width, y + 0.52 * height, character, **font)
    if marked:
        ends = (x + 0.03, x + len(text) * width - 0.03)
        below = y + 0.88 * height
        axes.plot(ends, (below, below), color=pen, linewidth=1.4, linestyle=(0, (1, 0.8)))


def _draw_legend(axes: "Axes", trace: Trace, y: float) -> None:
    """The scale of passes, and a cell of each kind that there is."""
    label: dict[str, Any] = {"family": "DejaVu Sans", "fontsize": 8, "va": "center"}
    label["color"] = "0.25"
    middle = y + 0.1
    writings = trace.writings()
    x = 0.0
    if any(writings):
        axes.text(x, middle, "pass 1", **label)
        x += 0.45
        _draw_scale(axes, x, y)
        x += _SCALE
        axes.text(x + 0.08, middle, str(trace.num_steps), **label)
        x += 0.6
    there = {
        "given": any(token is not None for token in trace.start),
        "hidden": None in trace.last_frame,
    }
    for kind in [kind for kind, is_there in there.items() if is_there]:
        _draw_cell(axes, " ", x, y - 0.035, kind, None, marked=False)
        axes.text(x + 0.22, middle, kind, **label)
        x += 0.85
    if any(len(written) > 1 for written in writings):
        _draw_cell(axes, " ", x, y - 0.035, "written", colour(ORDER, 0.5), marked=True)
        axes.text(x + 0.22, middle, "written again", **label)


def _draw_scale(axes: "Axes", x: float, y: float) -> None:
    shades = 160
    image = [[_floats(colour(ORDER, i / (shades - 1))) for i in range(shades)]]
    where: Any = (x, x + _SCALE, y + 0.2, y)
    axes.imshow(image, extent=where, aspect="auto", interpolation="nearest")


def _floats(rgb: RGB) -> list[float]:
    return [channel / 255 for channel in rgb]
