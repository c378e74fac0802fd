"""What guidance trades, for people: curves and a table of figures by scale, one line a guide."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ardm.training import card_parts as parts
from ardm.training import new_figure, png
from ardm.training.curves import make_logarithmic, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# guide -> scale -> figures by name
Curves = Mapping[str, Mapping[float, Mapping[str, float]]]

TITLES = {
    "fid": "FID",
    "accuracy": "accuracy of a clean classifier",
    "precision": "precision",
    "recall": "recall",
}
_MARKS = "os^Dv"


def guidance_curves(curves: Curves) -> bytes:
    """Draws FID, accuracy, precision and recall against the scale, and marks each best FID.

    Args:
        curves: guide -> scale -> "fid", "accuracy", "precision" and "recall".

    Returns:
        A PNG file's content.

    Raises:
        ImportError: if matplotlib is not installed.
        ValueError: if there is no curve, or one has no scale.
    """
    if not curves or not all(curves.values()):
        raise ValueError(f"the curves are {dict(curves)}; expected scales and figures of each.")
    figure = new_figure((8.4, 6.2))
    panels = figure.subplots(2, 2, sharex=True).flat
    for (name, title), axes in zip(TITLES.items(), panels, strict=True):
        plain(axes)
        axes.set_title(title, fontsize=10, loc="left")
        for mark, (guide, points) in zip(_MARKS, curves.items(), strict=False):
            scales = sorted(points)
            values = [points[scale][name] for scale in scales]
            line = axes.plot(scales, values, marker=mark, markersize=4, linewidth=1.3, label=guide)
            if name == "fid":
                _ring_best(axes, scales, values, line[0].get_color())
        if name == "fid":
            drawn = [value for line in axes.lines for value in line.get_ydata()]
            make_logarithmic(axes, max(drawn) / min(drawn))
            axes.legend(frameon=False, fontsize=9)
        if name in ("precision", "recall"):
            axes.set_xlabel("scale")
    return png(figure)


def _ring_best(axes: "Axes", scales: list[float], values: list, colour: str) -> None:
    best = min(range(len(values)), key=values.__getitem__)
    axes.plot(scales[best], values[best], "o", markersize=11, markerfacecolor="none", color=colour)


def guidance_table(curves: Curves) -> str:
    """The same as a table in Markdown, the best FID of each guide in bold.

    Args:
        curves: as for [`guidance_curves`].

    Returns:
        The table.
    """
    rows = []
    for guide, points in curves.items():
        best = min(points, key=lambda scale: points[scale]["fid"])
        for scale, figures in points.items():
            cells = [f"{figures[name]:.4g}" for name in TITLES]
            if scale == best:
                cells[0] = f"**{cells[0]}**"
            rows.append([guide, f"{scale:g}", *cells])
    return parts.table(["Guide", "Scale", *TITLES.values()], rows)


def guidance_report(curves: Curves, facts: Mapping[str, object], pictures: Sequence[str]) -> str:
    """A page of both and of pictures.

    Args:
        curves: as for [`guidance_curves`].
        facts: what the figures are of.
        pictures: file names beside the page.

    Returns:
        Markdown.
    """
    return parts.paragraphs(
        "# Guided samples",
        _ABOUT,
        *(f"![{_CAPTIONS.get(name, name)}]({name})" for name in pictures),
        guidance_table(curves),
        parts.bullets(facts),
    )


_CAPTIONS = {
    "scales.png": "A class a row, at growing scales of classifier guidance",
    "function.png": "A guide that is no classifier: the mean of the image",
    "curves.png": "Figures by scale; rings: the best FID of each guide",
}
_ABOUT = """
Scale 0 of the first two is the network without labels, scale 1 of the last two the network with
labels, and neither is steered. The larger the scale, the more of the class and the less diversity.
"""
