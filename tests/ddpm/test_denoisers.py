"""How a network is called, and that it is left in the mode that it was in."""

import pytest
import torch
from torch import nn

from ddpm.denoisers import call_network, evaluating

X, TIMES = torch.zeros(2, 3, 4, 4), torch.tensor([1, 2])


def test_labels_are_passed_only_where_there_are_any():
    calls = []

    def model(x, t, **kwargs):
        calls.append(kwargs)
        return x

    call_network(model, X, TIMES, None, learned_variance=False)
    call_network(model, X, TIMES, TIMES, learned_variance=False)
    assert calls[0] == {} and torch.equal(calls[1]["labels"], TIMES)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 3, 4, 4), (2, 9, 4, 4), (2, 3)])
@pytest.mark.parametrize("learned", [True, False])
def test_other_shapes_are_refused(shape, learned):
    with pytest.raises(ValueError, match="expected"):
        call_network(lambda x, t: torch.zeros(shape), X, TIMES, None, learned)


def test_a_learned_variance_needs_twice_the_channels():
    with pytest.raises(ValueError, match=r"\(2, 6, 4, 4\) with a learned variance"):
        call_network(lambda x, t: x, X, TIMES, None, learned_variance=True)


def test_modes_are_restored_one_by_one():
    model = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout(), nn.BatchNorm1d(3))).train()
    model[1][1].eval()
    before = [module.training for module in model.modules()]
    with pytest.raises(RuntimeError), evaluating(model):
        assert not any(module.training for module in model.modules())
        raise RuntimeError
    assert [module.training for module in model.modules()] == before
    with evaluating(lambda x, t: x):
        pass
