"""The precision follows the hardware, which is asked by measuring, never by trusting a flag."""

import warnings

import pytest
import torch

from ardm.training import precision
from ardm.training.precision import choose_precision


@pytest.fixture
def on_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    def set_speed(bfloat16_is_faster):
        monkeypatch.setattr(precision, "_cpu_is_faster_in_bfloat16", lambda: bfloat16_is_faster)

    return set_speed


@pytest.mark.parametrize("asked", [None, "no"])
def test_a_cpu_trains_in_float32_unless_asked(on_cpu, monkeypatch, asked):
    def never():
        raise AssertionError("measured without need")

    monkeypatch.setattr(precision, "_cpu_is_faster_in_bfloat16", never)
    assert choose_precision(asked) == "no"


def test_bf16_on_a_cpu_that_is_slow_at_it(on_cpu):
    on_cpu(False)
    message = "mixed_precision=bf16 is slow on this machine; training in float32"
    with pytest.warns(UserWarning, match=message):
        assert choose_precision("bf16") == "no"


def test_bf16_on_a_cpu_that_is_fast_at_it(on_cpu):
    on_cpu(True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert choose_precision("bf16") == "bf16"


def test_fp16_on_a_cpu(on_cpu):
    on_cpu(True)
    with pytest.warns(UserWarning, match="mixed_precision=fp16 is slow"):
        assert choose_precision("fp16") == "no"


@pytest.mark.parametrize("native, chosen", [(True, "bf16"), (False, "fp16")])
def test_gpus(monkeypatch, native, chosen):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)

    def is_supported(including_emulation=True):
        return native or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_supported)
    assert choose_precision(None) == chosen
    assert [choose_precision(asked) for asked in ("no", "bf16", "fp16")] == ["no", "bf16", "fp16"]


def test_the_measurement_compares_both(monkeypatch):
    def seconds(slow_dtype):
        return lambda matrix: 2.0 if matrix.dtype == slow_dtype else 1.0

    monkeypatch.setattr(precision, "_best_seconds", seconds(torch.bfloat16))
    assert not precision._cpu_is_faster_in_bfloat16(8)
    monkeypatch.setattr(precision, "_best_seconds", seconds(torch.float32))
    assert precision._cpu_is_faster_in_bfloat16(8)


def test_the_measurement_runs():
    assert 0 < precision._best_seconds(torch.randn(8, 8)) < 10
