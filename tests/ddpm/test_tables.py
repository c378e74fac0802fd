"""Tables: the right number for every image, in its dtype, and float64 where it matters."""

import pytest
import torch

from ddpm.tables import Table

VALUES = torch.tensor([0.1, 0.2, 1 / 3, 1e-12], dtype=torch.float64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
@pytest.mark.parametrize("shape", [(3, 1, 2, 2), (3, 5), (3,)])
def test_one_number_an_image(shape, dtype):
    like = torch.zeros(shape, dtype=dtype)
    t = torch.tensor([3, 0, 2])
    found = Table(VALUES).at(t, like)
    assert found.dtype == dtype and found.shape == (3, *[1] * (len(shape) - 1))
    assert torch.equal(found.flatten(), VALUES[t].to(dtype))


def test_one_number_for_all_is_a_float64_number():
    for t in range(4):
        found = Table(VALUES).at(t, torch.zeros(1, dtype=torch.float16))
        assert isinstance(found, float) and found == float(VALUES[t])
