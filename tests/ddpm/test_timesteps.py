"""Importance-resampled timesteps: unbiased, warm-up, less variance, a history that is saved."""

import pytest
import torch

from ddpm.timesteps import LossSecondMomentTimesteps, UniformTimesteps, stratified_timesteps

T = 7
SCALES = torch.tensor([10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01], dtype=torch.float64)


def warm(history_length=5, uniform_share=0.001):
    timesteps = LossSecondMomentTimesteps(T, history_length, uniform_share)
    for _ in range(history_length):
        timesteps.update(torch.arange(T), SCALES)
    return timesteps


def test_uniform_until_every_timestep_is_known():
    timesteps = LossSecondMomentTimesteps(T, 3)
    even = torch.full((T,), 1 / T, dtype=torch.float64)
    for _ in range(3):
        for t in range(T):
            assert torch.equal(timesteps.probabilities(), even)
            timesteps.update(torch.tensor([t]), SCALES[t : t + 1])
    assert not torch.equal(timesteps.probabilities(), even)


def test_probabilities_are_of_the_second_moment():
    timesteps = LossSecondMomentTimesteps(2, 2, 0.1)
    timesteps.update(torch.tensor([0, 1, 0, 1, 0]), torch.tensor([9.0, 1.0, 3.0, 1.0, 4.0]))
    # of t = 0 the last two remain: sqrt((9 + 16) / 2); of t = 1 both are 1
    share = 12.5**0.5 / (12.5**0.5 + 1)
    torch.testing.assert_close(
        timesteps.probabilities(),
        torch.tensor([0.9 * share + 0.05, 0.9 * (1 - share) + 0.05], dtype=torch.float64),
    )


@pytest.mark.parametrize("uniform_share", [0.0, 0.001, 0.5, 1.0])
def test_probabilities_sum_to_one(uniform_share):
    probabilities = warm(uniform_share=uniform_share).probabilities()
    assert (
        float(probabilities.sum()) == pytest.approx(1)
        and float(probabilities.min()) >= uniform_share / T - 1e-15
    )


def test_the_weighted_mean_is_the_uniform_one_and_varies_less():
    generator = torch.Generator().manual_seed(0)
    noisy = {}
    for name, timesteps in (("uniform", UniformTimesteps(T)), ("resampled", warm())):
        uniforms = torch.rand(200_000, generator=generator, dtype=torch.float64)
        t, weights = stratified_timesteps(timesteps.probabilities(), uniforms)
        estimates = (
            weights
            * SCALES[t]
            * (1 + 0.2 * torch.randn(200_000, generator=generator, dtype=torch.float64))
        )
        assert abs(estimates.mean() - SCALES.mean()) < 4 * estimates.std() / 200_000**0.5
        noisy[name] = float(estimates.var())
    assert noisy["resampled"] < noisy["uniform"] / 50


def test_evenly_spread_uniforms_give_every_timestep_its_share():
    probabilities = warm(uniform_share=0.2).probabilities()
    uniforms = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
    t, weights = stratified_timesteps(probabilities, uniforms)
    shares = torch.bincount(t, minlength=T) / 10_000
    torch.testing.assert_close(shares.double(), probabilities, rtol=0, atol=1.1e-4)
    torch.testing.assert_close(weights, 1 / (T * probabilities[t]))


@pytest.mark.parametrize("uniform", [0.0, 1 - 2**-53])
def test_the_ends_of_the_uniforms(uniform):
    # a timestep without probability is never chosen, not even at the ends
    probabilities = torch.tensor([0.0, 0.3, 0.0, 0.7, 0.0], dtype=torch.float64)
    t, _ = stratified_timesteps(probabilities, torch.tensor([uniform], dtype=torch.float64))
    assert t.item() == (1 if uniform == 0 else 3)


def test_losses_that_are_not_finite_are_left_out():
    timesteps = warm()
    before = timesteps.probabilities()
    timesteps.update(torch.tensor([0, 1]), torch.tensor([float("nan"), float("inf")]))
    assert torch.equal(timesteps.probabilities(), before)


def test_losses_that_are_all_zero():
    timesteps = LossSecondMomentTimesteps(2, 1)
    timesteps.update(torch.tensor([0, 1]), torch.zeros(2))
    assert timesteps.probabilities().tolist() == [0.5, 0.5]


def test_saved_and_read_again(tmp_path):
    timesteps = warm()
    timesteps.update(torch.tensor([1, 1, 3]), torch.tensor([0.5, 2.0, 9.0]))
    torch.save(timesteps.state_dict(), tmp_path / "state.pt")
    other = LossSecondMomentTimesteps(T, 5)
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for step in range(20):
        assert torch.equal(other.probabilities(), timesteps.probabilities())
        for each in (timesteps, other):
            each.update(torch.tensor([step % T]), torch.tensor([float(step)]))
    with pytest.raises(ValueError, match="shape"):
        LossSecondMomentTimesteps(T, 4).load_state_dict(timesteps.state_dict())


def test_what_was_saved_does_not_change_later():
    timesteps = warm()
    state = timesteps.state_dict()
    timesteps.update(torch.tensor([0]), torch.tensor([1000.0]))
    assert float(state["history"].max()) == 10.0


@pytest.mark.parametrize("settings", [(0, 10, 0.1), (5, 0, 0.1), (5, 5, 1.5), (5, 5, -0.1)])
def test_bad_settings(settings):
    with pytest.raises(ValueError, match="expected"):
        LossSecondMomentTimesteps(*settings)
