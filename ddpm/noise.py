"""Noise whose every row is keyed: row r comes from the stream of its key, whatever else is in the
batch.

A key is any tuple of integers, such as (seed, number of the image). Its stream is a
`torch.Generator` seeded by a hash of the key, so that streams of neighbouring keys have nothing in
common; on one kind of device the same key gives the same bits, alone or in a batch, on one process
or many.
"""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


def stream(*key: int, device: torch.device | str = "cpu") -> torch.Generator:
    """The generator of a key.

    Args:
        *key: integers.
        device: where it draws.

    Returns:
        A generator at the start of the key's stream.
    """
    digest = hashlib.blake2b(repr(tuple(map(int, key))).encode(), digest_size=8).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest, "little", signed=True))


class RowNoise:
    """Standard normal numbers for a batch of images, row by row from generators of their own, or
    all from one.

    Args:
        generators: one a row; a single one for the whole batch (whose rows then depend on the
            batch); or None for torch's global one. A generator on the CPU serves images on any
            device.
        ahead: how many draws of a small image to make at once, if many of one shape will be asked
            for.
    """

    def __init__(
        self, generators: Sequence[torch.Generator] | torch.Generator | None = None, ahead: int = 1
    ):
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
            # as many as an image's size alone says: the batch and the number of steps must not
            # matter
            count = max(1, min(self.ahead, 4096 // max(like[0].numel(), 1)))
            shape = torch.Size((count, *like.shape[1:]))
            rows = [_normal(shape, like, generator) for generator in self.generators]
            self._ready = list(torch.stack(rows, dim=1).unbind())[::-1]
        return self._ready.pop()


def _normal(shape: torch.Size, like: Tensor, generator: torch.Generator | None) -> Tensor:
    device = like.device if generator is None else generator.device
    return torch.randn(shape, generator=generator, dtype=like.dtype, device=device).to(like.device)
