"""Pages and pictures of a trace: an HTML page that plays it, and a heat map of the order of
generation.

The page (its frame is page.html) is one file that loads nothing. The text in it is not trusted: it
travels as JSON and is shown as text alone.
"""

import io
import json
import math
import os
from pathlib import Path
from typing import Any

from ..training.files import write_atomically, write_text_atomically
from .colours import CONFIDENCE, ORDER, RGB, colour, ink
from .traces import Event, Trace

_FRAME = Path(__file__).with_name("page.html")
_COLUMNS = 64  # of the picture, in characters
_LEGEND = 40  # columns that it needs
_CELL = 0.145, 0.27  # width and height of a character's cell, inches


def write_page(trace: Trace, path: str | os.PathLike[str], caption: str = "") -> None:
    """Writes a self-contained page: play and pause, step by step, colours by probability or by
    pass.

    Args:
        trace: what to show.
        path: the HTML file, replaced atomically.
        caption: a line below the title, such as the settings.
    """
    before, after = _FRAME.read_text(encoding="utf-8").split("TRACE")
    data = json.dumps(_data(trace, caption), separators=(",", ":"), allow_nan=False)
    # inside a script element only these could end it or start a comment; JSON reads them back
    for character in "<>&":
        data = data.replace(character, f"\\u{ord(character):04x}")
    write_text_atomically(path, before + data + after)


def _data(trace: Trace, caption: str) -> dict[str, Any]:
    tokens = [*trace.start, *(event.token for events in trace.steps for event in events)]
    index = {
        token: number
        for number, token in enumerate(dict.fromkeys(t for t in tokens if t is not None))
    }
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
    return (
        event.step,
        event.position,
        None if event.token is None else index[event.token],
        probability,
    )


def plot_order(trace: Trace, path: str | os.PathLike[str]) -> None:
    """Draws the text in cells, coloured by the pass that wrote each token last; given ones are
    hatched.

    Args:
        trace: what to draw; at least one token.
        path: the PNG file, replaced atomically.

    Raises:
        ImportError: if matplotlib is not installed.
        ValueError: if the trace has no positions.
    """
    try:
        from matplotlib.figure import Figure  # not pyplot: no global state, no display
    except ImportError as error:
        raise ImportError(
            "plot_order needs matplotlib; install it with: pip install 'ardm[plots]'"
        ) from error
    if not trace.start:
        raise ValueError("the trace has no positions; expected at least one token to draw.")
    texts = [" " if token is None else _drawable(trace.pieces[token]) for token in trace.last_frame]
    places = _places(texts)
    columns = max(
        [_LEGEND, *(column + len(text) for (_, column), text in zip(places, texts, strict=True))]
    )
    width = columns * _CELL[0]
    height = (places[-1][0] + 1) * _CELL[1]
    figure = Figure(figsize=(width + 0.4, height + 0.95), dpi=160, facecolor="white")
    axes = figure.add_axes(
        (0, 0, 1, 1), xlim=(-0.2, width + 0.2), ylim=(height + 0.75, -0.2)
    )  # in inches
    axes.set_axis_off()
    for position, (text, (row, column), written) in enumerate(
        zip(texts, places, trace.writings(), strict=True)
    ):
        kind = "written" if written else "given" if trace.start[position] is not None else "hidden"
        shade = colour(ORDER, written[-1].step / max(trace.num_steps - 1, 1)) if written else None
        _draw_cell(
            axes, text, column * _CELL[0], row * _CELL[1], kind, shade, marked=len(written) > 1
        )
    _draw_legend(axes, trace, height + 0.2)
    png = io.BytesIO()
    figure.savefig(png, format="png")
    write_atomically(path, png.getvalue())


def _places(texts: list[str]) -> list[tuple[int, int]]:
    """Row and column of each token: rows end at line breaks, and where no more fits."""
    places = []
    row = 0
    column = 0
    for text in texts:
        if column and column + len(text) > _COLUMNS:
            row = row + 1
            column = 0
        places.append((row, column))
        column += len(text)
        if "⏎" in text:
            row = row + 1
            column = 0
    return places


def _drawable(text: str) -> str:
    """The text with a box for what the font that comes with matplotlib does not hold; at least one
    cell wide.
    """
    from matplotlib.font_manager import findfont, get_font

    known = get_font(findfont("DejaVu Sans Mono")).get_charmap()
    return "".join(character if ord(character) in known else "□" for character in text) or " "


def _draw_cell(
    axes: Any, text: str, x: float, y: float, kind: str, shade: RGB | None, marked: bool
) -> None:
    """One token at (x, y) inches: its background, its characters, and a line below if it was
    resampled.
    """
    from matplotlib.patches import Rectangle

    width, height = _CELL
    faces: dict[str, Any] = {
        "written": {"facecolor": [channel / 255 for channel in shade or (0, 0, 0)]},
        "given": {"facecolor": "0.93", "hatch": "////", "edgecolor": "0.8"},
        "hidden": {"facecolor": "0.97"},
    }
    cell = Rectangle(
        (x + 0.006, y + 0.012),
        len(text) * width - 0.012,
        height - 0.024,
        linewidth=0,
        **faces[kind],
    )
    axes.add_patch(cell)
    pen: Any = [channel / 255 for channel in ink(shade)] if shade else "black"
    font: dict[str, Any] = {
        "family": "DejaVu Sans Mono",
        "fontsize": 10,
        "ha": "center",
        "va": "center_baseline",
    }
    font |= {"color": pen, "fontweight": "bold" if kind == "given" else "normal"}
    for place, character in enumerate(text):
        if character != " ":
            axes.text(x + (place + 0.5) * width, y + 0.52 * height, character, **font)
    if marked:
        line = (x + 0.03, x + len(text) * width - 0.03), (y + 0.88 * height,) * 2
        axes.plot(*line, color=pen, linewidth=1.4, linestyle=(0, (1, 0.8)))


def _draw_legend(axes: Any, trace: Trace, y: float) -> None:
    """The scale of passes, and a cell of each kind that there is."""
    label: dict[str, Any] = {
        "family": "DejaVu Sans",
        "fontsize": 8,
        "va": "center",
        "color": "0.25",
    }
    middle = y + 0.1
    bar = 1.6
    shades = 160
    writings = trace.writings()
    x = 0.0
    if any(writings):
        axes.text(x, middle, "pass 1", **label)
        x += 0.45
        image = [
            [[channel / 255 for channel in colour(ORDER, i / (shades - 1))] for i in range(shades)]
        ]
        axes.imshow(image, extent=(x, x + bar, y + 0.2, y), aspect="auto", interpolation="nearest")
        axes.text(x + bar + 0.08, middle, str(trace.num_steps), **label)
        x += bar + 0.6
    kinds = [
        ("given", any(token is not None for token in trace.start)),
        ("hidden", None in trace.last_frame),
    ]
    for kind in [kind for kind, there in kinds if there]:
        _draw_cell(axes, " ", x, y - 0.035, kind, None, marked=False)
        axes.text(x + 0.22, middle, kind, **label)
        x += 0.85
    if any(len(written) > 1 for written in writings):
        _draw_cell(axes, " ", x, y - 0.035, "written", colour(ORDER, 0.5), marked=True)
        axes.text(x + 0.22, middle, "written again", **label)
