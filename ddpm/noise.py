"""Noise whose every row is keyed: row r comes from the stream of its key, whatever else is there.

A key is any tuple of integers and strings, such as (seed, number of the image). Its stream is a
`torch.Generator` seeded by a hash of the key, so that streams of neighbouring keys have nothing in
common; on one kind of device the same key gives the same bits, alone or in a batch, on one process
or many.
"""

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from ardm.training.keys import key_seed

Generators = torch.Generator | Sequence[torch.Generator] | None


def stream(*key: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """The generator of a key.

    Args:
        *key: integers and strings.
        device: where it draws.

    Returns:
        A generator at the start of the key's stream.
    """
    return torch.Generator(device).manual_seed(key_seed(*key))


class RowNoise:
    """Standard normal numbers for a batch of images, by one generator a row or one for all.

    Args:
        generators: one a row; a single one for the whole batch (whose rows then depend on the
            batch); or None for torch's global one. A generator on the CPU serves images on any
            device.
        ahead: how many draws of a small image to make at once, if many of one shape will be asked
            for.
    """

    def __init__(self, generators: Generators = None, ahead: int = 1):
        self.generators = generators
        self.ahead = ahead
        self._ready: list[Tensor] = []

    def __call__(self, like: Tensor) -> Tensor:
        """Draws noise of the shape, dtype and device of a batch.

        Args:
            like: (B, ...).

        Returns:
            Standard normal numbers, like `like`.

        Raises:
            ValueError: if there are not as many generators as rows.
        """
        if self.generators is None or isinstance(self.generators, torch.Generator):
            return _normal(like.shape, like, self.generators)
        if len(self.generators) != len(like):
            raise ValueError(
                f"there are {len(self.generators)} generators or seeds for {len(like)} images."
            )
        if not self._ready:
            # as many as an image's size alone says: batch and number of steps must not matter
            count = max(1, min(self.ahead, 4096 // max(like[0].numel(), 1)))
            shape = torch.Size((count, *like.shape[1:]))
            rows = [_normal(shape, like, generator) for generator in self.generators]
            self._ready = list(torch.stack(rows, dim=1).unbind())[::-1]
        return self._ready.pop()


def _normal(shape: torch.Size, like: Tensor, generator: torch.Generator | None) -> Tensor:
    device = like.device if generator is None else generator.device
    return torch.randn(shape, generator=generator, dtype=like.dtype, device=device).to(like.device)


def row_generators(
    num_images: int, generator: Any, seed: Any, ending: tuple[int | str, ...] = ()
) -> Generators:
    """The generators that a user asks for, by either argument.

    Args:
        num_images: B.
        generator: one for all images, one an image, or None.
        seed: a number, of which image r has the stream of (seed, r); one number an image, whose
            stream it is; or None.
        ending: of the keys of these streams, for other ones by the same seed.

    Returns:
        One generator for all, one an image, or None for torch's own.

    Raises:
        ValueError: if it is something else, or not one an image, or both are given.
    """
    if generator is not None and seed is not None:
        raise ValueError("got both generator and seed; expected at most one of them.")
    if seed is not None:
        generator = _streams(num_images, seed, ending)
    several = isinstance(generator, Sequence) and all(
        isinstance(each, torch.Generator) for each in generator
    )
    if not several and not isinstance(generator, torch.Generator | None):
        raise ValueError(
            f"generator is {generator!r};"
            " expected a torch.Generator, or a list of one for each image."
        )
    if several and len(generator) != num_images:
        raise ValueError(
            f"there are {len(generator)} generators or seeds;"
            f" expected one for each of {num_images} images."
        )
    return generator


def _streams(num_images: int, seed: Any, ending: tuple[int | str, ...]) -> list[torch.Generator]:
    if not isinstance(seed, bool) and isinstance(seed, Integral):
        return [stream(int(seed), row, *ending) for row in range(num_images)]
    seeds: Any = seed.tolist() if isinstance(seed, Tensor) else seed
    several = isinstance(seeds, Sequence) and not isinstance(seeds, str)
    if not several or not all(isinstance(each, Integral) for each in seeds):
        raise ValueError(f"seed is {seed!r}; expected an integer, or one for each image.")
    return [stream(int(each), *ending) for each in seeds]
