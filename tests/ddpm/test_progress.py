"""The bar is there where it is asked for, and the items are the same either way."""

import pytest
import torch

from ddpm.diffusion import GaussianDiffusion
from ddpm.editing import ddim_invert
from ddpm.progress import with_progress
from ddpm.schedules import cosine_schedule

DIFFUSION = GaussianDiffusion(cosine_schedule(5), "sample", "fixed_small")


@pytest.mark.parametrize("shown", [True, False, None])
def test_items_are_the_same(shown, capsys):
    assert list(with_progress(range(4), "counting", shown)) == [0, 1, 2, 3]
    assert ("counting" in capsys.readouterr().err) == (shown is True)  # this is no terminal


@pytest.mark.parametrize("shown", [True, False])
def test_long_work_shows_it(shown, capsys):
    images = torch.zeros(1, 1, 2, 2)
    DIFFUSION.bits_per_dim(lambda x, t: x, images, progress=shown)
    assert ("bound" in capsys.readouterr().err) == shown
    ddim_invert(lambda x, t: x, images, DIFFUSION, progress=shown)
    assert ("inverting" in capsys.readouterr().err) == shown
