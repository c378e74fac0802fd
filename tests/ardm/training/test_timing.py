"""The stopwatch: total over inside of a loop whose parts are known."""

import time

import pytest
import torch

from ardm.training.timing import Stopwatch, live_bytes, matmul_flops, medians_in_turn


class Worker:
    def work(self):
        time.sleep(0.02)
        return 7

    def step(self):
        time.sleep(0.01)


def test_the_ratio_is_total_over_inside():
    worker = Worker()
    watch = Stopwatch()
    watch.over_all((worker, "work"), (worker, "step"))
    for _ in range(9):
        assert worker.work() == 7
        time.sleep(0.01)
        worker.step()
    ratios, seconds = watch.ratios("step", num_chunks=2, warm_up=2)
    assert len(ratios) == 2
    assert all(ratio > 1.15 and each > 0.04 for ratio, each in zip(ratios, seconds, strict=True))


def test_too_few_steps_are_refused():
    worker = Worker()
    watch = Stopwatch()
    watch.over(worker, "step")
    worker.step()
    with pytest.raises(ValueError, match="after warm-up"):
        watch.ratios("step")


def test_the_matrix_product_has_a_speed():
    assert matmul_flops(size=64, repeats=2) > 1e6


def test_calls_are_made_in_turn():
    made = []

    def call(name, figures):
        made.append(name)
        return next(figures)

    first = iter([(1.0, 5.0), (3.0, 4.0), (2.0, 9.0)])
    second = iter([(7.0,)] * 3)
    calls = {"a": lambda: call("a", first), "b": lambda: call("b", second)}
    assert medians_in_turn(calls, repeats=3) == {"a": (2.0, 5.0), "b": (7.0,)}
    assert "".join(made) == "ababab"


def test_memory_that_is_shared_counts_once():
    before = live_bytes()
    tensor = torch.zeros(1000, dtype=torch.float64)
    view = tensor[10:]
    assert live_bytes() - before == 8000
    del tensor, view
    assert live_bytes() == before
