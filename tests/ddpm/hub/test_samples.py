"""What a tracker is shown: one picture, the same noise each time, of few steps."""

import numpy as np
import pytest
import torch

from ddpm.diffusion import GaussianDiffusion
from ddpm.hub import tracked_samples
from ddpm.schedules import cosine_schedule


@pytest.mark.parametrize("num_classes", [None, 3])
@pytest.mark.parametrize("num_timesteps", [5, 60])
def test_a_row_of_samples_is_drawn_alike_each_time(num_classes, num_timesteps):
    calls = []

    def network(x, t, labels=None):
        calls.append((t.clone(), labels))
        return 0.1 * x

    diffusion = GaussianDiffusion(cosine_schedule(num_timesteps), variance="fixed_small")
    draw = tracked_samples(diffusion, (1, 8, 8), num_classes)
    first = draw(network)["samples"]
    num_calls = len(calls)
    assert num_calls == min(25, num_timesteps) and len(calls[0][0]) == 10
    assert (calls[0][1] is None) == (num_classes is None)
    if num_classes:
        assert torch.equal(calls[0][1].unique(), torch.arange(3))
    assert first.width > 5 * first.height
    assert np.array_equal(np.asarray(first), np.asarray(draw(network)["samples"]))
