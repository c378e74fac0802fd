"""Modes come back as they were, and the bar is for terminals."""

import sys

import pytest
from torch import nn

from ardm.training import evaluating, progress_bar


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


def test_a_bar_that_is_left_ends_its_line(capsys):
    list(progress_bar(range(2), what="counting", shown=True, leave=True))
    assert capsys.readouterr().err.endswith("\n")
