"""The loss curve is a picture of all losses that can be drawn, and says how many cannot."""

import io
import math
import sys

import numpy as np
import pytest
from PIL import Image

from ardm.training import curves, loss_curve, new_figure, png
from ardm.training.curves import running_mean

HISTORY = [{"step": step, "loss": 3 / step} for step in range(1, 101)]
HISTORY[49] |= {"eval_loss": 0.1, "eval_standard_error": 0.01}


@pytest.fixture
def drawn(monkeypatch):
    """The axes of the figures that are drawn."""
    axes = []

    def keep(figure):
        axes.append(figure.axes[0])
        return png(figure)

    monkeypatch.setattr(curves, "png", keep)
    return axes


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


@pytest.mark.parametrize("length", [1, 2, 7, 30])
@pytest.mark.parametrize("half_width", [0, 1, 5, 40])
def test_running_mean_equals_the_means_of_slices(length, half_width):
    values = np.random.default_rng(0).normal(size=length)
    expected = [values[max(i - half_width, 0) : i + half_width + 1].mean() for i in range(length)]
    np.testing.assert_allclose(running_mean(values, half_width), expected, atol=1e-12)


@pytest.mark.parametrize("log", [False, True])
def test_a_loss_curve_is_a_png(log):
    content = loss_curve(HISTORY, unit="bits per token", log=log, shaded=(20, "warm-up"))
    with Image.open(io.BytesIO(content)) as image:
        assert image.format == "PNG" and min(image.size) > 100


def test_what_is_drawn_is_scaled(drawn):
    history = [
        {"step": 3, "eval_loss": math.log(2), "eval_standard_error": math.log(4)},
        {"step": 4, "nats": 2 * math.log(2), "loss": 9.0},
    ]
    loss_curve(history, unit="bits", train_key="nats", scale=1 / math.log(2))
    (axes,) = drawn
    raw, smooth, points = (line.get_xydata() for line in axes.lines[:3])
    np.testing.assert_allclose(raw, [[4, 2]])
    np.testing.assert_allclose(smooth, [[4, 2]])
    np.testing.assert_allclose(points, [[3, 1]])
    (bar,) = axes.containers[0].lines[2][0].get_segments()
    np.testing.assert_allclose(bar, [[3, -1], [3, 3]])
    assert axes.get_ylabel() == "bits"
    assert legend(axes)[-1] == "validation (± 1 standard error)"


@pytest.mark.parametrize("num_steps", [1, 2, 3])
def test_few_losses_can_be_seen(drawn, num_steps):
    """A line needs two points, and one of two shows no step; other marks would be too many."""
    loss_curve(HISTORY[:num_steps], unit="nats")
    assert (drawn[0].lines[0].get_marker() == ".") is (num_steps < 3)


def test_without_errors_none_are_named(drawn):
    loss_curve([{"step": 1, "eval_loss": 2.0}], unit="nats")
    assert legend(drawn[0]) == ["validation"]


@pytest.mark.parametrize(("log", "num_left_out"), [(False, 1), (True, 2)])
def test_what_cannot_be_drawn_is_counted(drawn, log, num_left_out):
    history = [
        {"step": 1, "loss": 0.0, "eval_loss": math.inf},
        {"step": 2, "loss": math.nan},
        {"step": 3, "loss": 1.0},
        {"step": 4, "other": 1.0},
    ]
    loss_curve(history, unit="nats", log=log)
    assert legend(drawn[0]) == [
        f"training loss, {num_left_out} not drawn",
        "training loss, running mean",
        "validation, 1 not drawn",
    ]


@pytest.mark.parametrize("history", [[], [{"step": 1}], [{"step": 1, "nats": math.nan}]])
def test_a_history_without_a_loss_is_refused(history):
    message = rf"history has {len(history)} rows and no finite loss \('nats' or 'eval_loss'\)"
    with pytest.raises(ValueError, match=message):
        loss_curve(history, unit="nats", train_key="nats")


def test_a_logarithmic_axis_needs_a_positive_loss():
    with pytest.raises(ValueError, match="no finite loss above 0"):
        loss_curve([{"step": 1, "loss": 0.0}], unit="nats", log=True)


def test_a_missing_matplotlib_is_named_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match="pip install matplotlib"):
        new_figure((1, 1))


@pytest.mark.parametrize("ratio", [1, 1.0001, 1.3, 2, 6, 12, 40, 700, 2e4, 1e7])
@pytest.mark.parametrize("largest", [0.9, 1.1, 300.0])
def test_a_logarithmic_axis_has_several_numbers(drawn, ratio, largest):
    losses = np.geomspace(largest, largest / ratio, 20)
    loss_curve([{"step": k, "loss": loss} for k, loss in enumerate(losses, 1)], unit="", log=True)
    (axes,) = drawn
    assert axes.get_yscale() == "log"
    low, high = axes.get_ylim()
    numbers = [
        label
        for tick in (*axes.yaxis.get_major_ticks(), *axes.yaxis.get_minor_ticks())
        if low <= tick.get_loc() <= high and (label := tick.label1.get_text())
    ]
    assert 2 <= len(numbers) <= 12 and len(set(numbers)) == len(numbers)
