"""Respacing: which of the T timesteps a shorter chain keeps, by a name and a number, or a list.

    "250", "linspace250"    evenly over 0 .. T-1, both ends included (rounded)
    "ddim25"                every k-th step from 0 on, where k gives exactly 25 (arXiv 2010.02502)
    "leading25"             the first 25 of every k-th step from 0 on, k = T div 25
    "trailing25"            every (T/25)-th step down from T-1, which arXiv 2305.08891 recommends
    "karras25"              even in sigma^(1/7), sigma = sqrt((1 - ab) / ab), from the least to the
                            most (arXiv 2206.00364, equation 5)
    "logsnr25"              even in log(ab / (1 - ab))
    "10,10,10"              T cut into 3 equal sections, the first being the least noisy, with so
                            many steps in each (arXiv 2102.09672, section 4)
    [999, 750, 400, 0]      just these; as a string, too

A chain over the kept steps has the same alpha_bar there; see `GaussianDiffusion.respace`.
"""

import re
from collections.abc import Callable, Sequence
from itertools import accumulate
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from ardm.training.integers import check_integer

_SYNTAX = (
    'a number as "250", a name and a number as "ddim25" or "trailing25" (also linspace, leading,'
    ' karras, logsnr), a number for each section as "10,10,10", or a list of timesteps as'
    ' "[999, 500, 0]"'
)
_RHO = 7.0  # of karras

Respacing = str | int | Sequence[int] | Tensor


def kept_timesteps(
    num_timesteps: int, respacing: Any, alphas_cumprod: Tensor | None = None
) -> list[int]:
    """The timesteps that a respacing keeps.

    Args:
        num_timesteps: T of the whole chain.
        respacing: see the top of this file; a number is the same as that number in a string.
        alphas_cumprod: alpha_bar, float64 (T,), by which "karras" and "logsnr" measure.

    Returns:
        Increasing numbers in 0..T-1, at least two.

    Raises:
        ValueError: if it cannot be read or kept, or leaves a single step: that step would be t = 0,
            where pure noise is taken for an image that is all but clean.
    """
    if isinstance(respacing, (Sequence, Tensor)) and not isinstance(respacing, str):
        return _listed(num_timesteps, respacing)
    text = str(respacing).strip()
    if re.fullmatch(r"\[[\d\s,]*\]", text):
        return _listed(num_timesteps, [int(number) for number in re.findall(r"\d+", text)])
    if re.fullmatch(r"-?\d+", text) and int(text[:20]) not in range(2, num_timesteps + 1):
        raise ValueError(
            f"the number of steps is {text}; expected an integer in 2..{num_timesteps}."
        )
    # longer numbers than any chain has need not be converted
    named = re.fullmatch(r"([a-z]+)(\d{1,9})", text)
    if named and named[1] in _SPACINGS:
        kept = _SPACINGS[named[1]](num_timesteps, int(named[2]))
    elif named and named[1] in _MEASURES and alphas_cumprod is not None:
        kept = _even_in(_MEASURES[named[1]], alphas_cumprod, int(named[2]))
    elif re.fullmatch(r"\d{1,9}(\s*,\s*\d{1,9})*", text):
        kept = _sections(num_timesteps, [int(count) for count in text.split(",")])
    else:
        raise ValueError(f"respacing is {respacing!r}; expected {_SYNTAX}.")
    if len(kept) < 2:
        raise ValueError(
            f"respacing is {respacing!r}, which keeps the timesteps {kept}; expected at least two."
        )
    return kept


def _listed(num_timesteps: int, respacing: Sequence[int] | Tensor) -> list[int]:
    given = respacing.tolist() if isinstance(respacing, Tensor) else list(respacing)
    bools = (True, False)
    flat = [n for n in given if isinstance(n, Integral) and not any(n is each for each in bools)]
    kept = sorted({int(number) for number in flat})
    whole = len(kept) == len(given) >= 2
    if not whole or not 0 <= kept[0] <= kept[-1] < num_timesteps:
        raise ValueError(
            f"respacing is the list {given}; expected two or more different timesteps in"
            f" 0..{num_timesteps - 1}."
        )
    return kept


# -------------------------------------------------------------------------------- by name
def _ddim(num_timesteps: int, count: int) -> list[int]:
    for stride in range(1, num_timesteps):
        kept = range(0, num_timesteps, stride)
        if len(kept) == count:
            return list(kept)
    raise ValueError(
        f"respacing is 'ddim{count}';"
        f" expected a count that an integer stride over {num_timesteps} has."
    )


def _leading(num_timesteps: int, count: int) -> list[int]:
    stride = num_timesteps // check_integer("the number of steps", count, 1, num_timesteps)
    return [stride * place for place in range(count)]


def _trailing(num_timesteps: int, count: int) -> list[int]:
    stride = num_timesteps / check_integer("the number of steps", count, 1, num_timesteps)
    # from the end, as where a place lies half way between two its side decides
    return [round(num_timesteps - stride * place) - 1 for place in reversed(range(count))]


def _even_in(measure: Callable[[Tensor], Tensor], alphas_cumprod: Tensor, count: int) -> list[int]:
    """The timesteps nearest to even places in some measure of log sigma, all different.

    Of a last step that is nothing but noise sigma is infinite: it is kept, beside even places up to
    the one before it.
    """
    num_timesteps = len(alphas_cumprod)
    check_integer("the number of steps", count, 1, num_timesteps)
    ends_in_noise = bool(alphas_cumprod[-1] == 0) and count > 1
    bars = alphas_cumprod[: num_timesteps - ends_in_noise]
    places = measure(0.5 * ((1 - bars) / bars).log())
    shares = torch.linspace(0, 1, count - ends_in_noise, dtype=torch.float64)
    middles = (places[1:] + places[:-1]) / 2
    kept = torch.searchsorted(middles, torch.lerp(places[0], places[-1], shares)).tolist()
    # where the chain's own steps are wider than these, the next free ones
    for place in range(1, len(kept)):
        kept[place] = max(kept[place], kept[place - 1] + 1)
    for place in range(len(kept)):
        kept[-1 - place] = min(kept[-1 - place], len(bars) - 1 - place)
    return [*kept, num_timesteps - 1] if ends_in_noise else kept


_SPACINGS: dict[str, Callable[[int, int], list[int]]] = {
    "ddim": _ddim,
    "linspace": lambda num_timesteps, count: _sections(num_timesteps, [count]),
    "leading": _leading,
    "trailing": _trailing,
}
# of log sigma; steps are even in them
_MEASURES: dict[str, Callable[[Tensor], Tensor]] = {
    "karras": lambda log_sigma: (log_sigma / _RHO).exp(),
    "logsnr": lambda log_sigma: log_sigma,
}


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
