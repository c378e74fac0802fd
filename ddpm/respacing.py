"""Respacing: which of the T timesteps a shorter chain keeps, written as in guided-diffusion.

    "250"         250 steps, evenly over 0 .. T-1, both ends included (rounded)
    "ddim25"      every k-th step from 0 on, where k gives exactly 25; T-1 is not reached
                  (as in arXiv 2010.02502)
    "10,10,10"    T cut into 3 equal sections, the first being the least noisy, with so many steps
                  in each

A chain over the kept steps has the same alpha_bar there (arXiv 2102.09672, section 4); see
`GaussianDiffusion.respace`.
"""

import re
from itertools import accumulate
from numbers import Integral
from typing import SupportsIndex

from ardm.training import check_integer

_SYNTAX = 'a number as "250", "ddim25", or a number for each section as "10,10,10"'


def kept_timesteps(num_timesteps: int, respacing: str | SupportsIndex) -> list[int]:
    """The timesteps that a respacing keeps.

    Args:
        num_timesteps: T of the whole chain.
        respacing: see the top of this file; a number is the same as that number in a string.

    Returns:
        Increasing numbers in 0..T-1, at least two.

    Raises:
        ValueError: if it cannot be read or kept, or leaves a single step: that step would be t = 0,
            where pure noise is taken for an image that is all but clean.
    """
    if not isinstance(respacing, (str, bool)) and isinstance(respacing, Integral):
        check_integer("the number of steps", respacing, 1, num_timesteps)
    text = str(respacing).strip()
    # longer numbers than any chain has need not be converted
    if re.fullmatch(r"ddim\d{1,9}", text):
        kept = _even_stride(num_timesteps, int(text[4:]))
    elif re.fullmatch(r"\d{1,9}(\s*,\s*\d{1,9})*", text):
        kept = _sections(num_timesteps, [int(count) for count in text.split(",")])
    else:
        raise ValueError(f"respacing is {respacing!r}; expected {_SYNTAX}.")
    if len(kept) < 2:
        raise ValueError(
            f"respacing is {respacing!r}, which keeps the timesteps {kept}; expected at least two."
        )
    return kept


def _even_stride(num_timesteps: int, count: int) -> list[int]:
    for stride in range(1, num_timesteps):
        kept = range(0, num_timesteps, stride)
        if len(kept) == count:
            return list(kept)
    raise ValueError(
        f"respacing is 'ddim{count}';"
        f" expected a count that an integer stride over {num_timesteps} has."
    )


def _sections(num_timesteps: int, counts: list[int]) -> list[int]:
    size, longer = divmod(num_timesteps, len(counts))  # the first sections are longer by one
    kept = []
    start = 0
    for index, count in enumerate(counts):
        length = size + (index < longer)
        if not 1 <= count <= length:
            raise ValueError(
                f"a section of {length} timesteps is to have {count} steps; expected 1 to {length}."
            )
        stride = (length - 1) / max(count - 1, 1)
        # a running sum, as in guided-diffusion: where a product would end in .5, its rounding
        # decides
        kept += [start + round(place) for place in accumulate([0.0, *[stride] * (count - 1)])]
        start += length
    return kept
