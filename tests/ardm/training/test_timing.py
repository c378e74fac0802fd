"""The stopwatch: total over inside of a loop whose parts are known."""

import time

import pytest

from ardm.training.timing import Stopwatch, matmul_flops


class Worker:
    def work(self):
        time.sleep(0.02)
        return 7

    def step(self):
        time.sleep(0.01)


def test_the_ratio_is_total_over_inside():
    worker, watch = Worker(), Stopwatch()
    watch.over_all((worker, "work"), (worker, "step"))
    for _ in range(9):
        assert worker.work() == 7
        time.sleep(0.01)
        worker.step()
    ratios, seconds = watch.ratios("step", num_chunks=2, warm_up=2)
    assert len(ratios) == 2
    assert all(ratio > 1.15 and each > 0.04 for ratio, each in zip(ratios, seconds, strict=True))


def test_too_few_steps_are_refused():
    worker, watch = Worker(), Stopwatch()
    watch.over(worker, "step")
    worker.step()
    with pytest.raises(ValueError, match="after warm-up"):
        watch.ratios("step")


def test_the_matrix_product_has_a_speed():
    assert matmul_flops(size=64, repeats=2) > 1e6
