"""Curves: figures without a display, and the loss curve of a run, training and validation.

matplotlib is imported here alone, and only when something is drawn.
"""

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

History: TypeAlias = Sequence[Mapping[str, float]]


def new_figure(size: tuple[float, float], **options: Any) -> "Figure":
    """An empty figure.

    Args:
        size: width and height, inches.
        **options: of matplotlib's `Figure`.

    Returns:
        The figure; no window or global state belongs to it.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure  # not pyplot: no global state, no display
    except ImportError as error:
        raise ImportError(
            "drawing needs matplotlib; install it with: pip install matplotlib"
        ) from error
    return Figure(figsize=size, dpi=160, **({"layout": "constrained"} | options))


def png(figure: "Figure") -> bytes:
    """The figure as a PNG file's content."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def plain(axes: "Axes") -> None:
    """Takes away what draws attention from the curves: upper and right border, strong grid."""
    axes.set_axisbelow(True)
    axes.grid(axis="y", color="0.92")
    axes.spines[["top", "right"]].set_visible(False)


def loss_curve(
    history: History,
    *,
    unit: str,
    train_key: str = "loss",
    scale: float = 1.0,
    log: bool = False,
    shaded: tuple[float, str] | None = None,
) -> bytes:
    """Draws the training loss, raw and smoothed, and the validation points with standard errors.

    What cannot be drawn, as it is not finite, or not positive where the axis is logarithmic, is
    counted in the legend.

    Args:
        history: rows with "step" and any of `train_key`, "eval_loss" and "eval_standard_error".
        unit: of the losses once they are scaled, for the axis.
        train_key: the training loss's name.
        scale: factor from the history's unit to the axis's.
        log: whether the axis is logarithmic.
        shaded: the last step of a stretch from the start of the run to be shaded, and why.

    Returns:
        A PNG file's content.

    Raises:
        ImportError: if matplotlib is not installed.
        ValueError: if no row has a loss that can be drawn.
    """
    train = _Points.of(history, train_key, "", scale, log)
    validation = _Points.of(history, "eval_loss", "eval_standard_error", scale, log)
    if not len(train.steps) and not len(validation.steps):
        kind = "finite loss above 0" if log else "finite loss"
        raise ValueError(
            f"history has {len(history)} rows and no {kind} ({train_key!r} or 'eval_loss');"
            " expected at least one to draw."
        )
    figure = new_figure((7.2, 4.2))
    axes = figure.add_subplot(xlabel="optimiser step", ylabel=unit)
    if log:
        drawn = np.concatenate((train.losses, validation.losses))
        make_logarithmic(axes, float(drawn.max() / drawn.min()))
    plain(axes)
    if shaded is not None:
        _shade(axes, *shaded)
    _draw_training(axes, train)
    _draw_validation(axes, validation)
    axes.legend(frameon=False)
    return png(figure)


def make_logarithmic(axes: "Axes", ratio: float) -> None:
    """Makes the y axis logarithmic, with several numbers on it in any case.

    Args:
        axes: to be changed.
        ratio: of the largest to the smallest value.
    """
    from matplotlib import ticker

    axes.set_yscale("log")
    if ratio >= 1000:
        return
    if ratio < 10:
        axes.yaxis.set_major_locator(ticker.MaxNLocator(6))
        axes.yaxis.set_major_formatter(ticker.ScalarFormatter(useOffset=False))
    else:
        axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(ticker.NullFormatter())


@dataclass(frozen=True)
class _Points:
    """What can be drawn of a history: float64 (N,) each, and how many losses cannot."""

    steps: np.ndarray
    losses: np.ndarray
    errors: np.ndarray  # 0 where none is given
    num_left_out: int

    @classmethod
    def of(cls, history: History, key: str, error_key: str, scale: float, log: bool) -> "_Points":
        given = [row for row in history if row.get(key) is not None]
        drawn = [row for row in given if math.isfinite(row[key]) and (row[key] > 0 or not log)]
        steps = np.array([row["step"] for row in drawn], dtype=np.float64)
        losses = np.array([row[key] for row in drawn], dtype=np.float64)
        errors = np.array([row.get(error_key) or 0 for row in drawn], dtype=np.float64)
        return cls(steps, losses * scale, errors * scale, len(given) - len(drawn))

    def label(self, name: str) -> str:
        return f"{name}, {self.num_left_out} not drawn" if self.num_left_out else name


def _draw_training(axes: "Axes", points: _Points) -> None:
    steps = points.steps
    losses = points.losses
    if not len(steps):
        _explain(axes, points, "training loss")
        return
    smooth = running_mean(losses, half_width=max(len(losses) // 60, 1))
    label = points.label("training loss")
    dot = "." if len(steps) < 3 else ""  # a line of one point cannot be seen
    axes.plot(steps, losses, dot + "-", color="#9ecae1", linewidth=0.6, label=label)
    axes.plot(steps, smooth, color="#08519c", linewidth=1.6, label="training loss, running mean")


def _draw_validation(axes: "Axes", points: _Points) -> None:
    if not len(points.steps):
        _explain(axes, points, "validation")
        return
    style: dict[str, Any] = {"fmt": "o", "markersize": 4, "capsize": 3, "color": "#d94801"}
    bars = axes.errorbar(points.steps, points.losses, points.errors, zorder=3, **style)
    bars.set_label(
        points.label("validation (± 1 standard error)" if points.errors.any() else "validation")
    )


def _explain(axes: "Axes", points: _Points, name: str) -> None:
    """A line of the legend for a curve none of whose points can be drawn."""
    if points.num_left_out:
        axes.plot([], [], " ", label=points.label(name))


def _shade(axes: "Axes", last_step: float, note: str) -> None:
    axes.axvspan(0, last_step, color="0.95", zorder=0.4)  # below the grid
    style: dict[str, Any] = {"ha": "center", "color": "0.4", "fontsize": 8}
    axes.text(last_step / 2, 0.02, note, transform=axes.get_xaxis_transform(), **style)


def running_mean(values_N: np.ndarray, half_width: int) -> np.ndarray:
    """Centred mean over 2 * half_width + 1 values, at the ends over those that exist: no lag.

    Args:
        values_N: (N,) values.
        half_width: values averaged on each side.

    Returns:
        (N,) means.
    """
    sums = np.cumsum(np.insert(values_N, 0, 0.0))
    places = np.arange(len(values_N))
    first = np.maximum(places - half_width, 0)
    last = np.minimum(places + half_width + 1, len(values_N))
    return (sums[last] - sums[first]) / (last - first)
