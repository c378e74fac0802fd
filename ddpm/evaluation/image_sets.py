"""Data sets of images, as evaluations read them: whatever gives items with images and labels."""

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor


class Images(Protocol):
    """A data set: items with "images", uint8 (C, H, W), and perhaps "labels", int64 ()."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Mapping[str, Tensor]: ...


def stacked(dataset: Images, max_images: int | None = None) -> tuple[Tensor, Tensor | None]:
    """The first images of a data set, side by side.

    Args:
        dataset: the images.
        max_images: how many at most; None = all.

    Returns:
        uint8 (N, C, H, W), and the labels int64 (N,), or None.

    Raises:
        ValueError: if there are none.
    """
    count = len(dataset) if max_images is None else min(max_images, len(dataset))
    if count < 1:
        raise ValueError(
            f"there are {len(dataset)} images and max_images is {max_images}; expected at least 1."
        )
    items = [dataset[number] for number in range(count)]
    labels = torch.stack([item["labels"] for item in items]) if "labels" in items[0] else None
    return torch.stack([item["images"] for item in items]), labels
