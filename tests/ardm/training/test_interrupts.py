"""Signals end a run after a step, on all its processes at the same one."""

import signal
from types import SimpleNamespace

import pytest
import torch

from ardm.training import interrupts
from ardm.training.interrupts import Interrupts

STOPPING = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
ALONE = SimpleNamespace(num_processes=1)


@pytest.fixture(autouse=True)
def _handlers():
    """Those of before; within a test those of a program that is not run by `nohup`."""
    before = {number: signal.getsignal(number) for number in STOPPING}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_is_noted_and_the_handlers_come_back(number):
    before = [signal.getsignal(each) for each in STOPPING]
    with Interrupts(ALONE, 0) as noted:
        assert not noted.agreed(1)
        signal.raise_signal(number)
        assert noted.agreed(1)
    assert [signal.getsignal(each) for each in STOPPING] == before


def test_nohup_is_respected():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with Interrupts(ALONE, 0) as noted:
        signal.raise_signal(signal.SIGHUP)
        assert not noted.agreed(1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_only_ctrl_c_is_impatient(number):
    with Interrupts(ALONE, 0):
        signal.raise_signal(number)
        signal.raise_signal(number)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_ctrl_c_that_torchrun_passes_on_is_the_first_one(monkeypatch):
    monkeypatch.setattr(interrupts, "_SECONDS_OF_ONE", 60.0)
    with Interrupts(ALONE, 0) as noted:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        assert noted.agreed(1)


class Others:
    """An accelerator of two processes, the other of which takes `seconds` a step."""

    num_processes = 2
    device = torch.device("cpu")

    def __init__(self, seconds):
        self.seconds = seconds
        self.raised = 0.0
        self.num_asked = 0

    def reduce(self, told, reduction):
        assert reduction == "sum"
        self.num_asked += 1
        return told + torch.tensor([self.raised, self.seconds])


@pytest.mark.parametrize(("seconds", "num_asked"), [(10.0, 20), (2.0, 10), (0.8, 4)])
def test_processes_agree_every_two_seconds_or_at_every_slower_step(monkeypatch, seconds, num_asked):
    # this process takes no time: what counts is the mean of both
    monkeypatch.setattr(interrupts.time, "perf_counter", lambda: 0.0)
    others = Others(seconds)
    noted = Interrupts(others, 0)
    for step in range(1, 21):
        assert not noted.agreed(step)
    assert others.num_asked == pytest.approx(num_asked, abs=1)


@pytest.mark.parametrize("own", [False, True])
def test_a_signal_of_any_process_stops_all(own):
    others = Others(seconds=10.0)
    with Interrupts(others, 5) as noted:
        assert not noted.agreed(6)
        if own:
            signal.raise_signal(signal.SIGTERM)
        else:
            others.raised = 1.0
        assert noted.agreed(7)
