"""What is whole stays as it is; a plain model stands in for a sharded one, tied weights and all.

Sharded runs of two processes are in `test_launched_runs.py`.
"""

import pytest
import torch
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor

from ardm.training.averaging import WeightAverage
from ardm.training.sharding import PlainModel, gathered, sharded_like

from . import training_job as job

# torch 2.6 says so of CPUs, whose generator nothing here uses
pytestmark = pytest.mark.filterwarnings("ignore:DTensor random operators:UserWarning")


@pytest.fixture(scope="module")
def mesh():
    """Of one process, whose part of a sharded tensor is all of it."""
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield torch.distributed.init_device_mesh("cpu", (1,))
    torch.distributed.destroy_process_group()


def test_what_is_whole_is_left_alone():
    state = {"a": [torch.ones(2), 3], "b": ("text", None)}
    kept = gathered(state, kept=True)
    assert kept["a"][0] is state["a"][0] and kept["a"][1:] == [3] and kept["b"] == state["b"]
    assert gathered(state, kept=False) is None
    tensor = torch.ones(3)
    assert sharded_like(tensor, torch.zeros(3)) is tensor


@pytest.mark.parametrize("placement", [Shard(0), Shard(1), Replicate()], ids=str)
def test_what_is_sharded_is_whole_in_a_file_and_goes_back_to_its_part(mesh, placement):
    whole = torch.arange(6.0).view(2, 3)
    sharded = distribute_tensor(whole, mesh, [placement])
    state = {"moments": [sharded, torch.ones(2)], "step": 3}
    saved = gathered(state, kept=True)
    assert type(saved["moments"][0]) is torch.Tensor and torch.equal(saved["moments"][0], whole)
    assert saved["moments"][1] is state["moments"][1] and saved["step"] == 3
    assert gathered(state, kept=False) is None
    back = sharded_like(saved["moments"][0], sharded)
    assert isinstance(back, DTensor) and back.placements == (placement,)
    assert torch.equal(back.full_tensor(), whole)
    of_another_shape = torch.ones(())  # such as an optimiser's count of steps
    assert sharded_like(of_another_shape, sharded) is of_another_shape


def test_the_average_of_sharded_weights_is_that_of_whole_ones_and_comes_back(mesh):
    plain = torch.arange(6.0).view(2, 3)
    sharded = distribute_tensor(plain.clone(), mesh, [Shard(0)])
    averages = [WeightAverage([param], 0.9) for param in (plain, sharded)]
    for step in range(3):
        for param, average in zip((plain, sharded), averages, strict=True):
            param.mul_(1.5)
            average.update(step)
    whole, saved = (gathered(average.state_dict(), kept=True)["0"] for average in averages)
    assert torch.equal(whole, saved)
    fresh = WeightAverage([sharded], 0.9)
    fresh.load_state_dict({"0": saved})
    assert isinstance(fresh.values[0], DTensor)
    assert torch.equal(fresh.values[0].full_tensor(), saved)


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
