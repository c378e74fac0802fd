"""The levels of a network for images of some size, where nobody has chosen them."""

from collections.abc import Sequence
from typing import Any


def levels_for(
    image_size: int,
    channel_mult: Sequence[float] | None = None,
    attention_resolutions: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Levels for images of some size: halved while it is even and above 4, four at most.

    Args:
        image_size: pixels a side.
        channel_mult: width of each level, if it is chosen.
        attention_resolutions: levels with attention, if they are chosen; else all below the first
            that have 16 pixels or less a side.

    Returns:
        Both, as `UNetConfig` takes them.
    """
    if channel_mult is None:
        sizes = [image_size]
        while sizes[-1] % 2 == 0 and sizes[-1] > 4 and len(sizes) < 4:
            sizes.append(sizes[-1] // 2)
        channel_mult = [1.0, 2.0, 2.0, 2.0][: len(sizes)]
    factors = [int(factor) if factor == int(factor) else factor for factor in channel_mult]
    if attention_resolutions is None:
        below = [image_size >> level for level in range(1, len(factors))]
        attention_resolutions = [size for size in below if size <= 16]
    return {"channel_mult": factors, "attention_resolutions": list(attention_resolutions)}
