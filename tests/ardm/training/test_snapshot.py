"""A checkpoint holds data alone: what else stands in it is refused, and never executed."""

import json
import pickle
import re
import shutil

import pytest
import torch

from ardm.training.checkpoints import CheckpointFolder
from ardm.training.tensor_files import read_state, write_state

from . import training_job as job
from .short_runs import History, Payload, assert_same, fit, run_with_history, seal_again

PICKLES = (  # as Accelerate names them
    "random_states_0.pkl",
    "custom_checkpoint_0.pkl",
    "optimizer.bin",
    "scheduler.bin",
    "sampler.bin",
    "scaler.pt",
    "pytorch_model.bin",
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run. Its folder is only to be read."""
    return run_with_history(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def interrupted(whole, tmp_path):
    """The folder of a run that has its checkpoint of step 3 alone."""
    folder = CheckpointFolder(tmp_path / "run")
    shutil.copytree(whole[0].folder.path(3), folder.path(3))
    return folder


# ------------------------------------------------------------------------------------- its files
def test_registered_objects_go_on_with_the_run_with_history(whole, interrupted):
    outcome, history = run_with_history(interrupted.root.parent)
    assert outcome.result.resumed_from == 3
    assert_same(outcome, whole[0])
    assert torch.equal(history.seen, whole[1].seen) and history.num_calls == 6


def test_a_checkpoint_holds_no_pickle(whole):
    names = {file.name for file in whole[0].folder.path(6).iterdir()}
    assert names == {"manifest.json", "run.json"} | {
        f"{name}.safetensors" for name in ("model", "average", "optimizer", "object_0", "random_0")
    }


def test_an_object_that_holds_no_data_is_refused_before_any_step(tmp_path):
    history = History()
    history.seen = {1, 2}
    with pytest.raises(ValueError, match="a state holds a set at 'seen'; expected dicts"):
        run_with_history(tmp_path, history)
    assert history.num_calls == 0


@pytest.mark.parametrize(
    "name",
    [
        "model",
        "average",
        "optimizer",
        "object_0",
        "random_0",
        *PICKLES,
        "anything",
        ".hidden",
    ],
)
def test_a_payload_is_refused_in_one_line_and_not_executed(interrupted, tmp_path, name):
    file = name if "." in name or name == "anything" else f"{name}.safetensors"
    marker = tmp_path / "executed"
    (interrupted.path(3) / file).write_bytes(pickle.dumps(Payload(marker)))
    seal_again(interrupted, 3)
    before = sorted(interrupted.root.rglob("*"))
    with pytest.raises(ValueError, match=re.escape(str(interrupted.path(3)))) as refused:
        run_with_history(interrupted.root.parent)
    assert "\n" not in str(refused.value) and file in str(refused.value)
    assert not marker.exists() and sorted(interrupted.root.rglob("*")) == before


@pytest.mark.parametrize(
    "name", ["model", "average", "optimizer", "object_0", "random_0", "scaler"]
)
def test_a_missing_or_foreign_state_is_refused(interrupted, name):
    file = interrupted.path(3) / f"{name}.safetensors"
    if file.exists():
        file.unlink()
    else:
        shutil.copy(interrupted.path(3) / "optimizer.safetensors", file)
    seal_again(interrupted, 3)
    with pytest.raises(ValueError, match=r"holds states of .*; expected .*"):
        run_with_history(interrupted.root.parent)


def test_states_of_another_shape_are_refused(whole, interrupted):
    for name in ("model", "average"):
        shutil.copy(
            interrupted.path(3) / "object_0.safetensors",
            interrupted.path(3) / f"{name}.safetensors",
        )
        seal_again(interrupted, 3)
        with pytest.raises(ValueError, match="does not fit this run"):
            run_with_history(interrupted.root.parent)
        good = whole[0].folder.path(3) / f"{name}.safetensors"
        shutil.copy(good, interrupted.path(3) / f"{name}.safetensors")


def without_a_moment(state):
    del state["state"][0]["exp_avg"]


def with_a_moment_of_another_shape(state):
    state["state"][0]["exp_avg"] = torch.zeros(2, 2)


def of_another_parameter(state):
    state["state"][99] = state["state"].pop(0)


def of_other_groups(state):
    state["param_groups"].append(state["param_groups"][0])


def not_finite(state):
    next(iter(state.values()))[0] = torch.nan


def of_another_generator(state):
    state["python"] = (3, (1, 2, 3), None)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("optimizer", without_a_moment),
        ("optimizer", with_a_moment_of_another_shape),
        ("optimizer", of_another_parameter),
        ("optimizer", of_other_groups),
        ("model", not_finite),
        ("random_0", of_another_generator),
    ],
)
def test_a_state_that_no_run_leaves_is_refused(interrupted, name, damage):
    file = interrupted.path(3) / f"{name}.safetensors"
    state = read_state(file)
    damage(state)
    write_state(state, file)
    seal_again(interrupted, 3)
    with pytest.raises(ValueError, match=r"step-0*3 does not fit this run: "):
        run_with_history(interrupted.root.parent)


def test_a_buffer_may_hold_infinities(tmp_path):
    """Such as a mask that is added to scores; a weight may not."""
    for num_steps in (3, 6):
        model = job.Net()
        model.register_buffer("mask", torch.full((2,), -torch.inf))
        outcome = fit(tmp_path, model=model, max_train_steps=num_steps)
    assert outcome.result.resumed_from == 3


def edited(**changes):
    def edit(content):
        return json.dumps(json.loads(content) | changes)

    return edit


@pytest.mark.parametrize(
    "edit",
    [
        lambda content: "",
        lambda content: "[]",
        lambda content: content[:-9],
        lambda content: json.dumps({"step": 3}),
        edited(identity=None),
        edited(sums=None),
        edited(step="3"),
        edited(step=-3),
        edited(step=True),
        edited(history=None),
        None,  # no such file
    ],
)
def test_a_damaged_state_of_the_run_is_refused_before_anything_is_moved(interrupted, edit):
    file = interrupted.path(3) / "run.json"
    if edit is None:
        file.unlink()
    else:
        file.write_text(edit(file.read_text()))
    seal_again(interrupted, 3)
    before = sorted(interrupted.root.rglob("*"))
    with pytest.raises(ValueError, match=r"step-0*3/run.json is damaged: ") as refused:
        run_with_history(interrupted.root.parent)
    assert "\n" not in str(refused.value) and sorted(interrupted.root.rglob("*")) == before
