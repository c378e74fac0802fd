"""What is whole stays as it is; a plain model stands in for a sharded one, tied weights and all.

Sharded runs of two processes are in `test_launched_runs.py`.
"""

import torch

from ardm.training.sharding import PlainModel, gathered, sharded_like

from . import training_job as job


def test_what_is_whole_is_left_alone():
    state = {"a": [torch.ones(2), 3], "b": ("text", None)}
    kept = gathered(state, kept=True)
    assert kept["a"][0] is state["a"][0] and kept["a"][1:] == [3] and kept["b"] == state["b"]
    assert gathered(state, kept=False) is None
    tensor = torch.ones(3)
    assert sharded_like(tensor, torch.zeros(3)) is tensor


def test_a_plain_model_holds_weights_only_while_it_is_used():
    trained = job.Net()
    trained.register_buffer("scale", torch.ones(1))
    plain = PlainModel(trained)
    with torch.no_grad():
        for param in trained.parameters():
            param.add_(1)
        trained.scale.add_(1)
    ids = torch.zeros(2, 3, dtype=torch.int64)
    with plain.filled(trained) as model:
        assert torch.equal(model.eval()(ids), trained.eval()(ids))
        assert model.head.weight is model.embedding.weight and torch.equal(
            model.scale, trained.scale
        )
    assert all(param.is_meta for param in plain.module.parameters())
    assert plain.module.head.weight is plain.module.embedding.weight


def test_a_sharded_model_becomes_the_plain_one():
    class Sharded(job.Net):
        pass

    trained = job.Net()
    plain = PlainModel(trained)
    trained.__class__ = Sharded
    trained.register_forward_hook(lambda *call: None)
    weights = {name: value.clone() for name, value in trained.state_dict().items()}
    plain.put_in_place_of(trained)
    assert type(trained) is job.Net and not trained._forward_hooks
    assert trained.head.weight is trained.embedding.weight
    assert all(torch.equal(value, weights[name]) for name, value in trained.state_dict().items())
