"""The average is its recurrence, warm-up and all; it takes the weights' place and gives it back."""

import pytest
import torch

from ardm.training.averaging import WeightAverage


def moving(steps, decay, seed=0):
    """Parameters, their average after so many steps, and the same of a plain loop in float64."""
    generator = torch.Generator().manual_seed(seed)
    params = [torch.randn(shape, generator=generator) for shape in ((2, 3), (4,), ())]
    average = WeightAverage(params, decay)
    expected = [param.double() for param in params]
    for step in range(steps):
        for param in params:
            param.add_(torch.randn(param.shape, generator=generator))
        average.update(step)
        d = min(decay, (1 + step) / (10 + step))
        expected = [d * old + (1 - d) * new for old, new in zip(expected, params, strict=True)]
    return params, average, expected


@pytest.mark.parametrize("decay", [0.05, 0.3, 0.9, 0.9999])
@pytest.mark.parametrize("steps", [0, 1, 2, 40])
def test_the_average_is_its_recurrence(steps, decay):
    _, average, expected = moving(steps, decay)
    for value, wanted in zip(average.values, expected, strict=True):
        torch.testing.assert_close(value.double(), wanted, rtol=1e-5, atol=1e-5)


def test_the_first_step_takes_nine_tenths_of_the_weights_whatever_the_decay():
    param = torch.zeros(())
    average = WeightAverage([param], 0.9999)
    param.fill_(1.0)
    average.update(0)
    assert average.values[0] == pytest.approx(0.9)


def test_weights_that_stand_still_are_their_own_average():
    params = [torch.randn(5)]
    average = WeightAverage(params, 0.999)
    for step in range(100):
        average.update(step)
    assert torch.equal(average.values[0], params[0])


def test_it_takes_the_weights_place_for_a_block_and_gives_it_back():
    params, average, _ = moving(5, 0.9)
    trained = [param.clone() for param in params]
    held = [value.clone() for value in average.values]
    places = [param.data_ptr() for param in params]
    with pytest.raises(RuntimeError, match="inside"), average.in_place():
        assert all(map(torch.equal, params, held))
        raise RuntimeError("inside")
    assert all(map(torch.equal, params, trained)) and all(map(torch.equal, average.values, held))
    average.put_in_place()
    assert all(map(torch.equal, params, held))
    # whoever holds the weights, such as the optimiser, sees them change
    assert places == [param.data_ptr() for param in params]


def test_training_under_a_block_is_not_in_the_average():
    params, average, _ = moving(5, 0.9)
    with average.in_place():
        params[0].add_(1)
    again = moving(5, 0.9)[1]
    assert all(map(torch.equal, average.values, again.values))


@pytest.mark.parametrize("broken_at", [1, 4, 9])
def test_a_state_goes_on_with_the_same_bits(broken_at):
    def run(average, params, first, last):
        for step in range(first, last):
            generator = torch.Generator().manual_seed(step)
            for param in params:
                param.add_(torch.randn(param.shape, generator=generator))
            average.update(step)

    params = [torch.zeros(3), torch.zeros(2, 2)]
    whole = WeightAverage(params, 0.9)
    run(whole, params, 0, broken_at)
    state = {name: value.clone() for name, value in whole.state_dict().items()}
    copies = [param.clone() for param in params]
    run(whole, params, broken_at, 12)
    resumed = WeightAverage(copies, 0.9)
    resumed.load_state_dict(state)
    run(resumed, copies, broken_at, 12)
    assert list(state) == ["0", "1"]
    assert all(map(torch.equal, resumed.values, whole.values))


def test_a_loaded_state_is_a_copy_and_one_that_lacks_a_weight_is_an_error():
    params, average, _ = moving(3, 0.9)
    state = {name: value.clone() for name, value in average.state_dict().items()}
    average.load_state_dict(state)
    params[0].add_(1)
    average.update(3)
    assert not torch.equal(average.values[0], state["0"])
    del state["2"]
    with pytest.raises(KeyError, match="2"):
        average.load_state_dict(state)


def test_without_a_decay_the_weights_themselves_count():
    params, average, _ = moving(5, 0)
    trained = [param.clone() for param in params]
    assert average.state_dict() == {}
    with average.in_place():
        assert all(map(torch.equal, params, trained))
    average.put_in_place()
    average.load_state_dict({})
    assert all(map(torch.equal, params, trained))
