"""A relay hands on what work shows and its result, and ends work that nobody looks at."""

import threading
import time

import pytest

from ardm.training.relays import relay


def workers():
    return [thread for thread in threading.enumerate() if thread.name == "relay"]


def ended(seconds=10):
    end = time.monotonic() + seconds
    while workers() and time.monotonic() < end:
        time.sleep(0.01)
    return not workers()


def test_all_that_is_shown_comes_in_order_and_the_result_last():
    def work(show):
        for number in range(50):
            show(lambda number=number: number)
        return "done"

    assert [*relay(work, interval=0)] == [*range(50), "done"]
    assert ended()


def test_drawings_are_only_made_when_they_are_due():
    drawn = []

    def work(show):
        for number in range(1000):
            show(lambda number=number: drawn.append(number))
        return "done"

    assert [*relay(work, interval=30)] == [None, "done"]
    assert drawn == [0]


def test_a_delay_is_kept():
    begun = time.monotonic()
    assert [*relay(lambda show: [show(lambda: 1) for _ in range(5)], delay=0.03)][-1] == [None] * 5
    assert time.monotonic() - begun >= 0.15


def test_an_error_of_the_work_is_the_reader_s():
    def work(show):
        show(lambda: "first")
        raise ValueError("wrong")

    reader = relay(work, interval=0)
    assert next(reader) == "first"
    with pytest.raises(ValueError, match="wrong"):
        next(reader)
    assert ended()


@pytest.mark.parametrize("delay", [0.0, 60.0])
def test_work_ends_when_its_reader_leaves(delay):
    shown = threading.Event()

    def work(show):
        while True:
            shown.set()
            show(lambda: 0)

    reader = relay(work, delay=delay)
    assert next(reader) == 0 and len(workers()) == 1
    reader.close()
    assert ended()


@pytest.mark.parametrize("wrong", [{"delay": -1.0}, {"interval": float("nan")}])
def test_numbers_are_checked_before_the_work_begins(wrong):
    with pytest.raises(ValueError, match="expected seconds, at least 0"):
        next(relay(lambda show: 0, **wrong))
    assert not workers()
