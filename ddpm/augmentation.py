"""Augmentation: training images mirrored, or a square cut out of them and brought back to size.

    side s of the square: evenly among the whole numbers in [smallest * S, S]; its corner: evenly

(arXiv 2105.05233, appendix H, says of classifiers that they are trained on random crops.) What is
random comes as uniform numbers, one row an image: the caller keys them.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

CROP_DRAWS = 3  # uniform numbers that a crop takes
_SMALLEST = 0.8


def mirrored(images: Tensor, uniforms: Tensor) -> Tensor:
    """Images, each left to right with probability 1/2.

    Args:
        images: (B, C, H, W).
        uniforms: (B, 1), in [0, 1).

    Returns:
        Images of the same shape.
    """
    chosen = (uniforms < 0.5).to(images.device).view(-1, 1, 1, 1)
    return torch.where(chosen, images.flip(-1), images)


def cropped(images: Tensor, uniforms: Tensor, smallest: float = _SMALLEST) -> Tensor:
    """Images, of each a random square, bilinearly brought back to the full size.

    Args:
        images: floats (B, C, S, S).
        uniforms: (B, 3), in [0, 1): of the square's side, row and column.
        smallest: share of S that its side has at least.

    Returns:
        Floats of the same shape.
    """
    size = images.shape[-1]
    least = math.ceil(smallest * size)
    sides, tops, lefts = uniforms.double().unbind(1)
    sides = least + (sides * (size - least + 1)).long()
    tops = (tops * (size - sides + 1)).long()
    lefts = (lefts * (size - sides + 1)).long()
    result = images.clone()
    for side in range(least, size):  # squares of one side together; the whole image stays as it is
        (rows,) = (sides == side).nonzero(as_tuple=True)
        windows = images.unfold(2, side, 1).unfold(3, side, 1)  # views: (B, C, top, left, s, s)
        squares = windows[_on(images, rows), :, _on(images, tops[rows]), _on(images, lefts[rows])]
        if len(rows):
            result[_on(images, rows)] = F.interpolate(
                squares, images.shape[-2:], mode="bilinear", antialias=True
            )
    return result


def _on(images: Tensor, numbers: Tensor) -> Tensor:
    return numbers.to(images.device)
