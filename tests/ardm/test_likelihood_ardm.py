"""A model's own likelihood is that of the functions, call by call."""

import inspect

import pytest
import torch

import ardm

NAMES = ("nelbo", "log_prob", "per_step_losses", "measure_step_losses")


@pytest.mark.parametrize("name", NAMES)
def test_a_method_takes_what_the_function_takes(model, name):
    first, *others = inspect.signature(getattr(ardm, name)).parameters.values()
    assert first.name == "model"
    assert [*inspect.signature(getattr(model, name)).parameters.values()] == others


def test_the_methods_give_what_the_functions_give(model):
    ids = torch.tensor([[0, 2, 1, 0], [2, 2, 4, 4]])
    mask = (ids != 4).long()

    def seeded():
        return {"attention_mask": mask, "generator": torch.Generator().manual_seed(3)}

    ours, theirs = model.nelbo(ids, **seeded()), ardm.nelbo(model, ids, **seeded())
    assert torch.equal(ours.nats, theirs.nats)
    order = torch.tensor([2, 0, 3, 1])
    mine = model.log_prob(ids, order, attention_mask=mask)
    assert torch.equal(mine, ardm.log_prob(model, ids, order, attention_mask=mask))
    assert torch.equal(
        model.per_step_losses(ids, **seeded()), ardm.per_step_losses(model, ids, **seeded())
    )
    assert torch.equal(
        model.measure_step_losses(ids, **seeded()).sequence_nats.nan_to_num(),
        ardm.measure_step_losses(model, ids, **seeded()).sequence_nats.nan_to_num(),
    )
