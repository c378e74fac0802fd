"""Data sets are stacked in their order, as many images as asked for."""

import pytest
import torch

from ddpm.evaluation.image_sets import stacked

from .made import dataset


def test_stacked():
    images, labels = stacked(dataset(5), 3)
    assert images.shape == (3, 1, 4, 4) and images.dtype == torch.uint8
    assert labels.tolist() == [0, 1, 2]
    assert stacked(dataset(5, labels=False))[1] is None
    for data, count in (([], None), (dataset(3), 0)):
        with pytest.raises(ValueError, match="expected at least 1"):
            stacked(data, count)
