"""Film: how the first images of a sampling appear, as an animation."""

import math
import os
from typing import TYPE_CHECKING

from ..samplers import SamplingState
from .image_files import gif, write_gif
from .pictures import image_grid

if TYPE_CHECKING:
    from PIL.Image import Image

TRAJECTORY = "trajectory.gif"
_SHOWN = 40  # images of a frame
_FRAMES = 60  # at most
_MILLISECONDS = 3000  # of the whole, about


class Film:
    """A callback of `sample` that keeps a frame of each step of the first batch."""

    def __init__(self) -> None:
        self.frames: list[Image] = []
        self.ended = False

    def __call__(self, now: SamplingState) -> None:
        """Keeps what a step has made.

        Args:
            now: of the step.
        """
        if not self.ended:
            self.ended = now.level == 0  # other batches follow
            shown = now.x[:_SHOWN].clamp(-1, 1)
            self.frames.append(image_grid(shown, min(len(shown), 10)))

    def write(self, path: str | os.PathLike[str]) -> None:
        """Writes an endless GIF of at most 60 frames, the last one among them.

        Args:
            path: the file.

        Raises:
            ValueError: if there is no frame.
        """
        write_gif(path, *self._shown())

    def pictures(self) -> dict[str, bytes]:
        """The same GIF for a card, by its file's name; nothing without a frame."""
        return {TRAJECTORY: gif(*self._shown())} if self.frames else {}

    def _shown(self) -> "tuple[list[Image], int]":
        """The frames of the GIF, and how many milliseconds each is shown."""
        some = self.frames[:: -max(1, math.ceil(len(self.frames) / _FRAMES))][::-1]
        return some, max(60, min(500, _MILLISECONDS // max(1, len(some)) // 10 * 10))
