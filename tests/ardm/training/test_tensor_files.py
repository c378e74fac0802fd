"""A nested state comes back equal bit for bit, and a file that holds code is never executed."""

import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from ardm.training.tensor_files import check_state, read_state, write_state

from .short_runs import Payload


def assert_equal(left, right):
    """The same types, and equal bits, however deep."""
    assert type(left) is type(right)
    if isinstance(left, dict):
        assert list(left) == list(right)
        for key in left:
            assert_equal(left[key], right[key])
    elif isinstance(left, (list, tuple)):
        assert len(left) == len(right)
        for one, other in zip(left, right, strict=True):
            assert_equal(one, other)
    elif isinstance(left, torch.Tensor):
        assert left.dtype == right.dtype and left.shape == right.shape
        assert torch.equal(left.view(-1).view(torch.uint8), right.view(-1).view(torch.uint8))
    elif isinstance(left, np.ndarray):
        assert left.dtype == right.dtype and np.array_equal(left, right)
    else:
        assert repr(left) == repr(right)  # NaN is itself here, and 1 is not True


DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8)
STATES = {
    "plain": {"step": 3, "rate": 0.1 + 0.2, "name": "äö\n", "none": None, "flag": True},
    "numbers": [float("nan"), float("inf"), -0.0, 5e-324, 2**63, -1],
    "keys": {0: "a", "0": "b", "tensor": {"dict": [[1, 2]]}, "a.b": {}, None: 1, 1.5: 2},
    "nested": ({"a": [(), [], {}, ((1,),)]},),
    "tensors": [torch.arange(6).to(dtype).view(2, 3) for dtype in DTYPES],
    "bits": torch.tensor([float("nan"), -0.0, float("inf")]),
    "shapes": [torch.tensor(1.5), torch.zeros(0, 3), torch.ones(1, 1, 1), torch.tensor([True])],
    "names": {"a": {"b": torch.tensor([1.0])}, "a.b": torch.tensor([2.0]), 0: torch.zeros(1)},
    "arrays": [np.arange(3, dtype=np.uint32), np.zeros((2, 0)), np.array(2.5)],
}


@pytest.mark.parametrize("name", STATES)
def test_a_state_comes_back(tmp_path, name):
    write_state(STATES[name], tmp_path / "file")
    assert_equal(read_state(tmp_path / "file"), STATES[name])


def test_tensors_that_share_memory_or_are_parts_of_others(tmp_path):
    whole = torch.arange(12.0).view(3, 4)
    state = {
        "whole": whole,
        "again": whole,
        "row": whole[1],
        "turned": whole.T,
        "every": whole[::2],
    }
    write_state(state, tmp_path / "file")
    expected = {
        name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in state.items()
    }
    assert_equal(read_state(tmp_path / "file"), expected)
    write_state(whole[:1, :1], tmp_path / "part")
    assert (tmp_path / "part").stat().st_size < 300


@pytest.mark.parametrize("kind", ["adamw", "sgd", "rmsprop", "scheduler"])
def test_states_of_torch(tmp_path, kind):
    net = nn.Linear(3, 2)
    makers = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD, "rmsprop": torch.optim.RMSprop}
    optimizer = makers.get(kind, torch.optim.SGD)(net.parameters(), lr=0.1)
    net(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    source = optimizer
    if kind == "scheduler":
        source = torch.optim.lr_scheduler.StepLR(optimizer, 2)
    write_state(source.state_dict(), tmp_path / "file")
    assert_equal(read_state(tmp_path / "file"), source.state_dict())


def test_tensors_bear_the_names_of_their_places(tmp_path):
    write_state(
        {"state": {0: {"exp_avg": torch.zeros(2)}}, "b": [torch.ones(1)]}, tmp_path / "file"
    )
    with safe_open(tmp_path / "file", framework="pt") as file:
        assert sorted(file.keys()) == ["b.0", "state.0.exp_avg"]


@pytest.mark.parametrize(
    "value",
    [
        object(),
        {1, 2},
        b"bytes",
        1j,
        nn.ReLU(),
        lambda: None,
        OrderedDict(a=object()),
        {(1, 2): 3},
    ],
)
def test_what_is_no_data_is_refused_with_its_place(tmp_path, value):
    kind = "object" if isinstance(value, OrderedDict) else type(value).__name__
    for call in (check_state, lambda state: write_state(state, tmp_path / "file")):
        with pytest.raises(ValueError, match=rf"a state holds a {kind} at 'outer\.1[.a]*'"):
            call({"outer": [1, value]})
    assert not (tmp_path / "file").exists()


def test_what_cannot_be_read_is_refused_and_never_executed(tmp_path):
    marker = tmp_path / "executed"
    path = tmp_path / "file"
    torch.save({"a": torch.zeros(1)}, tmp_path / "torch")
    save_file({"a": torch.zeros(1)}, tmp_path / "without")
    save_file({"a": torch.zeros(1)}, tmp_path / "other", metadata={"nesting": '{"code": 1}'})
    save_file({"a": torch.zeros(1)}, tmp_path / "empty", metadata={"nesting": "{}"})
    deep = "[" * 100_000 + "]" * 100_000
    save_file({"a": torch.zeros(1)}, tmp_path / "deep", metadata={"nesting": deep})
    save_file({"a": torch.zeros(1)}, tmp_path / "lost", metadata={"nesting": '{"tensor": "b"}'})
    whole = tmp_path / "whole"
    write_state({"a": torch.zeros(9)}, whole)
    contents = [
        pickle.dumps(Payload(marker)),
        b"",
        b"text",
        whole.read_bytes()[:-1],
        *(
            (tmp_path / name).read_bytes()
            for name in ("torch", "without", "other", "lost", "empty", "deep")
        ),
    ]
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(ValueError, match="file holds no state in safetensors") as refused:
            read_state(path)
        assert "\n" not in str(refused.value)
    with pytest.raises(ValueError, match="holds no state in safetensors"):
        read_state(tmp_path / "nowhere")
    assert not marker.exists()
