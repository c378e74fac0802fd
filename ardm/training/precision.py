"""Which floating-point format to train in, decided by the hardware."""

import time
import warnings

import torch
from torch import Tensor


def choose_precision(asked: str | None) -> str:
    """The precision to train in: bf16 on GPUs that have it, fp16 on others, float32 on CPUs.

    Args:
        asked: "no", "bf16", "fp16", or None to choose.

    Returns:
        "no", "bf16" or "fp16". A CPU that is not faster in bfloat16 gets "no" with a warning,
        whatever was asked: without native support its matrix products are up to 300 times slower
        than in float32.
    """
    if torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return asked or ("bf16" if native else "fp16")
    if asked in (None, "no"):
        return "no"
    if asked == "bf16" and _cpu_is_faster_in_bfloat16():
        return asked
    warnings.warn(
        f"mixed_precision={asked} is slow on this machine; training in float32.", stacklevel=2
    )
    return "no"


def _cpu_is_faster_in_bfloat16(size: int = 512) -> bool:
    """Asks the CPU itself: feature flags are set on machines whose kernels still emulate."""
    matrix = torch.randn(size, size)
    return _best_seconds(matrix.bfloat16()) < _best_seconds(matrix)


def _best_seconds(matrix: Tensor) -> float:
    times = []
    for _ in range(4):
        began = time.perf_counter()
        matrix @ matrix
        times.append(time.perf_counter() - began)
    return min(times[1:])  # the first one warms up
