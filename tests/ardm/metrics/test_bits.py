"""Bits per unit and perplexity: ratios of sums, with the errors that repeated sampling shows."""

import math

import numpy as np
import pytest
import torch

from ardm.metrics.bits import Estimate, PositiveEstimate, bits_per_unit, describe, perplexity

NATS_PER_UNIT = 1.5


def simulated(generator, num_sequences=200):
    """Nats and units of sequences of unequal length and noise; long ones cost more in all."""
    units = torch.randint(5, 50, (num_sequences,), generator=generator)
    noise = units.sqrt() * torch.randn(num_sequences, generator=generator, dtype=torch.float64)
    return units * NATS_PER_UNIT + noise, units


@pytest.fixture(scope="module")
def data_sets():
    generator = torch.Generator().manual_seed(0)
    return [simulated(generator) for _ in range(1000)]


def test_the_value_is_the_ratio_of_the_sums_in_bits():
    value, _ = bits_per_unit(torch.tensor([2.0, 4.0]) * math.log(2), torch.tensor([1, 2]))
    assert value == pytest.approx(2.0)


def test_perplexity_is_the_exponential_of_the_mean_nats_per_token():
    assert perplexity(torch.tensor([1.0, 5.0]), torch.tensor([1, 2])).value == pytest.approx(
        math.exp(2)
    )


@pytest.mark.parametrize("formula", [bits_per_unit, perplexity])
def test_the_error_is_the_spread_over_repeated_samples(formula, data_sets):
    estimates = [formula(*data_set) for data_set in data_sets]
    spread = torch.tensor([estimate.value for estimate in estimates]).std().item()
    assert np.mean([estimate.standard_error for estimate in estimates]) == pytest.approx(
        spread, rel=0.1
    )


@pytest.mark.parametrize(
    ("formula", "truth"),
    [(bits_per_unit, NATS_PER_UNIT / math.log(2)), (perplexity, math.exp(NATS_PER_UNIT))],
)
def test_the_interval_holds_the_truth_in_95_of_100_data_sets(formula, truth, data_sets):
    intervals = [formula(*data_set).interval for data_set in data_sets]
    # a binomial of 1000 with 0.95 has a standard deviation of 0.007
    assert np.mean([low <= truth <= high for low, high in intervals]) == pytest.approx(
        0.95, abs=0.02
    )


def test_the_error_is_that_of_the_bootstrap():
    nats, units = simulated(torch.Generator().manual_seed(1), 400)
    rows = np.random.default_rng(0).integers(0, 400, (3000, 400))
    ratios = nats.numpy()[rows].sum(1) / units.numpy()[rows].sum(1) / math.log(2)
    assert bits_per_unit(nats, units).standard_error == pytest.approx(ratios.std(), rel=0.08)


def test_the_interval_of_a_perplexity_is_the_exponential_of_that_of_the_nats():
    nats, units = simulated(torch.Generator().manual_seed(2), 20)
    expected = [math.exp(bits * math.log(2)) for bits in bits_per_unit(nats, units).interval]
    assert perplexity(nats, units).interval == pytest.approx(expected)


def test_the_interval_is_196_errors_to_each_side():
    assert Estimate(2.0, 0.5).interval == pytest.approx((1.02, 2.98))


def test_sequences_that_all_cost_the_same_per_unit_have_no_error():
    units = torch.tensor([1, 5, 9])
    assert bits_per_unit(units * 0.7, units)[1] == pytest.approx(0.0, abs=1e-7)


@pytest.mark.parametrize("formula", [bits_per_unit, perplexity])
def test_a_single_sequence_has_no_known_error(formula):
    estimate = formula(torch.tensor([1.0]), torch.tensor([2]))
    assert all(math.isnan(figure) for figure in (estimate.standard_error, *estimate.interval))


def test_float32_nats_are_summed_in_float64():
    nats = torch.full((100_001,), 1e-3)
    nats[0] = 2.0**20
    expected = (2.0**20 + 1e2) / 100_001 / math.log(2)
    assert bits_per_unit(nats, torch.ones(100_001)).value == pytest.approx(expected, rel=1e-9)


def test_a_perplexity_beyond_float64_is_infinite():
    assert perplexity(torch.tensor([2e3, 2e3]), torch.tensor([1, 1])).value == math.inf


@pytest.mark.parametrize(
    ("nats", "units"), [(torch.ones(2), torch.ones(3)), (torch.ones(2), torch.zeros(2))]
)
@pytest.mark.parametrize("formula", [bits_per_unit, perplexity])
def test_what_cannot_be_averaged_is_refused(formula, nats, units):
    with pytest.raises(ValueError, match="num_units"):
        formula(nats, units)


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (Estimate(2.0731, 0.053), "2.073 u, 95 % interval 1.97 .. 2.18 (upper bound)"),
        (Estimate(2.0731, 0.00062), "2.07310 u, 95 % interval 2.0719 .. 2.0743 (upper bound)"),
        (Estimate(812.34, 35.2), "812.3 u, 95 % interval 743 .. 881 (upper bound)"),
        (PositiveEstimate(100.0, 20.0), "100.0 u, 95 % interval 68 .. 148 (upper bound)"),
        (Estimate(1.5, 0.0), "1.500 u, 95 % interval 1.50 .. 1.50 (upper bound)"),
        (Estimate(1.5, math.nan), "1.500 u, no interval known (upper bound)"),
    ],
)
def test_description_is_rounded_by_the_error(estimate, text):
    assert describe(estimate, "u", "upper bound") == text
    assert describe(estimate, "u") == text.removesuffix(" (upper bound)")
