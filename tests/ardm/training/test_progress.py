"""Modes come back as they were, and the bar is for terminals."""

import logging
import re
import sys
import time

import pytest
from torch import nn

from ardm.training import evaluating, progress, progress_bar
from ardm.training.progress import pace


def mixed_modes():
    """A module in training, one part of which is frozen in evaluation, with a part in training."""
    model = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout(), nn.Linear(2, 2)), nn.Dropout())
    model[1].training = False
    model[1][1].training = False
    return model


def modes(model):
    return [module.training for module in model.modules()]


def test_every_modules_own_mode_comes_back():
    model = mixed_modes()
    before = modes(model)
    assert len(set(before)) == 2
    with evaluating(model):
        assert not any(modes(model))
    assert modes(model) == before
    with pytest.raises(ArithmeticError), evaluating(model):
        raise ArithmeticError
    assert modes(model) == before


def test_what_is_no_module_is_left_alone():
    with evaluating(len), evaluating(None):
        pass


@pytest.mark.parametrize(
    ("terminal", "shown", "expected"),
    [(False, None, False), (True, None, True), (False, True, True), (True, False, False)],
)
def test_a_bar_is_for_terminals_unless_told_otherwise(
    capsys, monkeypatch, terminal, shown, expected
):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    assert list(progress_bar([1, 2, 3], what="counting", shown=shown)) == [1, 2, 3]
    with progress_bar(total=4, initial=1, what="counting", unit="image", shown=shown) as bar:
        bar.update(3)
    written = capsys.readouterr().err
    assert ("counting" in written and " image" in written) == expected
    assert bool(written) == expected


@pytest.mark.parametrize(
    ("total", "told"),
    [
        (200, r"counting: \d+/200 images, +[\d.]+ image/s, 00:0\d left"),
        (None, r"counting: \d+ images, +[\d.]+ image/s"),
    ],
)
def test_long_work_without_a_terminal_is_told_in_the_log(caplog, capsys, monkeypatch, total, told):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.05)
    with (
        caplog.at_level(logging.INFO, "ardm.training"),
        progress_bar(total=total, what="counting", unit="image") as bar,
    ):
        for _ in range(100):
            time.sleep(0.002)
            bar.update(2)
    lines = [record.message for record in caplog.records]
    assert 2 <= len(lines) <= 8
    assert all(re.fullmatch(told, line) for line in lines), lines
    assert capsys.readouterr().err == ""


def test_the_pace_of_what_is_slow_and_fast():
    assert pace(3, 12, 6.0) == "0.5 steps/s, 00:18 left"
    assert pace(1000, 1000, 0.0).endswith("steps/s, 00:00 left")
    assert pace(1, 7201, 1.0, "images") == "1 images/s, 2:00:00 left"


def test_a_bar_that_is_left_ends_its_line(capsys):
    list(progress_bar(range(2), what="counting", shown=True, leave=True))
    assert capsys.readouterr().err.endswith("\n")
