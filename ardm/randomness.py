"""Random numbers that are a pure function of integer keys.

    u = hash(seed, row, position, ...) in [0, 1)

There is no state to save, no loop over the rows of a batch, and nothing that depends on what came
before, on the process, or on the device. Whoever needs numbers gives their kind a key of its own,
so that no two share bits.
"""

from types import NoneType

import torch
from torch import Tensor


def keyed_uniforms(*keys: Tensor | int) -> Tensor:
    """Uniform numbers in [0, 1) that are a pure function of their keys.

    A counter-based generator: the keys are mixed one after another by the splitmix64 finaliser
    (Steele, Lea and Flood, OOPSLA 2014). No state, so nothing to save, and no loop over the rows of
    a batch.

    Args:
        *keys: integers or int64 tensors that broadcast together, e.g. (seed, row (B, 1), position
            (B, L)).

    Returns:
        float64 tensor of the broadcast shape, multiples of 2^-52, on the device of the tensors
        among the keys.
    """
    return _logical_shift(keyed_bits(*keys), 12).double() * 2.0**-52


def keyed_bits(*keys: Tensor | int) -> Tensor:
    """64 random bits (int64) that are a pure function of their keys; see [`keyed_uniforms`]."""
    state: Tensor | int = 0
    for key in keys:
        if isinstance(key, Tensor):
            state = _mix(state + key.long() + _GOLDEN)
        else:
            state = _mix_with_number(state, key)
    return state if isinstance(state, Tensor) else torch.tensor(state)


# signed, as int64 arithmetic wraps around
_GOLDEN = 0x9E3779B97F4A7C15 - 2**64  # 2^64 / golden ratio
_MIX1 = 0xBF58476D1CE4E5B9 - 2**64
_MIX2 = 0x94D049BB133111EB - 2**64


def _mix_with_number(state: Tensor | int, key: int) -> Tensor | int:
    """A number meets a number, or a tensor, without becoming a tensor: no kernel, no copy."""
    if isinstance(state, Tensor):
        return _mix(state + _as_int64(key + _GOLDEN))
    bits = (state + key + _GOLDEN) % 2**64
    bits = (bits ^ bits >> 30) * _MIX1 % 2**64
    bits = (bits ^ bits >> 27) * _MIX2 % 2**64
    return _as_int64(bits ^ bits >> 31)


def _as_int64(number: int) -> int:
    return (number + 2**63) % 2**64 - 2**63


def _mix(bits: Tensor) -> Tensor:
    bits = (bits ^ _logical_shift(bits, 30)) * _MIX1
    bits = (bits ^ _logical_shift(bits, 27)) * _MIX2
    return bits ^ _logical_shift(bits, 31)


def _logical_shift(bits: Tensor, by: int) -> Tensor:
    return (bits >> by) & ((1 << (64 - by)) - 1)


def seed_from(generator: torch.Generator | None) -> int:
    """A seed to key streams with, from a generator on any device (None: torch's global one).

    Args:
        generator: its state moves on by one draw.

    Returns:
        0..2^62-1.

    Raises:
        ValueError: if it is no generator.
    """
    if not isinstance(generator, (torch.Generator, NoneType)):
        raise ValueError(
            f"generator is {generator!r}; expected a torch.Generator, as"
            " torch.Generator().manual_seed(0), or None."
        )
    device = generator.device if generator is not None else "cpu"
    return int(torch.randint(2**62, (), generator=generator, device=device))


def gumbel(uniforms: Tensor) -> Tensor:
    """Standard Gumbel noise -log(-log u) from uniforms in [0, 1), float64."""
    smallest = 2.0**-53  # half a step: u = 0 must not give an infinite score
    return -(-(uniforms + smallest).log()).log()


def generator_of(seed: int | list[int] | None) -> torch.Generator:
    """The one generator of a call, though its rows may have a seed each: the first one's.

    Args:
        seed: of the call, or of each row.

    Returns:
        A new generator; without a seed torch's own.
    """
    if isinstance(seed, (list, tuple)):
        seed = seed[0] if seed else None
    if seed is None:
        return torch.default_generator
    return torch.Generator().manual_seed(int(seed))
