"""Bits per unit: the ratio of sums, with an error that is what repeated sampling shows."""

import math

import pytest
import torch

from ardm.metrics import bits_per_unit


def test_the_value_is_the_ratio_of_the_sums_in_bits():
    value, _ = bits_per_unit(torch.tensor([2.0, 4.0]) * math.log(2), torch.tensor([1, 2]))
    assert value == pytest.approx(2.0)


def test_the_error_is_the_spread_over_repeated_samples():
    generator = torch.Generator().manual_seed(0)
    values, errors = [], []
    for _ in range(300):
        units = torch.randint(5, 50, (200,), generator=generator)
        nats = units * 1.5 + units.sqrt() * torch.randn(200, generator=generator, dtype=torch.float64)
        value, error = bits_per_unit(nats, units)
        values.append(value)
        errors.append(error)
    spread = torch.tensor(values).std().item()
    assert sum(errors) / len(errors) == pytest.approx(spread, rel=0.15)


def test_sequences_that_all_cost_the_same_per_unit_have_no_error():
    units = torch.tensor([1, 5, 9])
    assert bits_per_unit(units * 0.7, units)[1] == pytest.approx(0.0, abs=1e-7)


def test_a_single_sequence_has_no_known_error():
    assert math.isnan(bits_per_unit(torch.tensor([1.0]), torch.tensor([2]))[1])


@pytest.mark.parametrize(("nats", "units"), [(torch.ones(2), torch.ones(3)), (torch.ones(2), torch.zeros(2))])
def test_what_cannot_be_averaged_is_refused(nats, units):
    with pytest.raises(ValueError, match="num_units"):
        bits_per_unit(nats, units)
