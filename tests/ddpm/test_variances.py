"""The four variances, at every timestep and at both ends of a chain."""

import pytest
import torch

from ddpm.forward_process import ForwardProcess
from ddpm.schedules import cosine_schedule, linear_schedule
from ddpm.variances import LEARNED, VARIANCES, LogVariances


@pytest.mark.parametrize("make", [linear_schedule, cosine_schedule])
def test_fixed_variances_by_hand(make):
    process = ForwardProcess(make(60))
    tables = process.log_variances
    bars = (1 - process.betas).cumprod(0).tolist()
    for t in range(60):
        at = max(t, 1)  # the first is taken from the second
        posterior = process.betas[at].item() * (1 - bars[at - 1]) / (1 - bars[at])
        like = torch.zeros(1)
        small, large = (
            torch.tensor(VARIANCES[name](tables, t, like)).exp()
            for name in ("fixed_small", "fixed_large")
        )
        assert float(small) == pytest.approx(posterior, rel=1e-5)
        assert float(large) == pytest.approx(process.betas[t].item() if t else posterior, rel=1e-5)


def test_learned_range_is_a_straight_line_between_the_logarithms():
    tables = ForwardProcess(linear_schedule(60)).log_variances
    v = torch.linspace(-2, 2, 9, dtype=torch.float64)  # it may leave the range
    for t in (0, 1, 30, 59):
        found = VARIANCES["learned_range"](tables, t, v)
        low = tables.small.at(t, v)
        high = tables.beta.at(t, v)
        torch.testing.assert_close(found, low + (v + 1) / 2 * (high - low))
    many = VARIANCES["learned_range"](tables, torch.tensor([0, 30]), v[:2].view(2, 1))
    one = [VARIANCES["learned_range"](tables, t, v[i : i + 1]) for i, t in enumerate((0, 30))]
    torch.testing.assert_close(many.flatten(), torch.cat(one))


def test_a_chain_of_one_step():
    tables = LogVariances(
        torch.tensor([0.3], dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    )
    assert all(
        float(table.values.exp()) == pytest.approx(0.3)
        for table in (tables.small, tables.large, tables.beta)
    )


def test_which_are_learned():
    assert set(LEARNED) < set(VARIANCES)
