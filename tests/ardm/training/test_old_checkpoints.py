"""Runs that an earlier version began go on with the same bits, and no pickle is executed."""

import json
import pickle
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from ardm.training.saved_run import SavedRun

from .short_runs import Payload, assert_same, run_with_history, seal_again


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that was never interrupted."""
    return run_with_history(tmp_path_factory.mktemp("whole"))


def write_old(self, state, parts, seconds):
    """As earlier versions wrote a checkpoint: by Accelerate, which pickles."""
    path = self.folder.writing_path(state.step)
    path.mkdir(parents=True)
    self.accelerator.save_state(str(path), safe_serialization=True)
    save_file(self.snapshot.average.state_dict(), path / "average.safetensors")
    content = state.to_dict({}, parts, seconds)
    names = ("seed", "global_batch_size", "num_examples", "num_parameters", "optimizer")
    content["identity"] = {name: self.identity[name] for name in names} | {"averages_weights": True}
    (path / "run.json").write_text(json.dumps(content))


@pytest.fixture
def old(tmp_path, monkeypatch):
    """The folder of a run that an earlier version has begun."""
    with monkeypatch.context() as patch:
        patch.setattr(SavedRun, "_write", write_old)
        folder = run_with_history(tmp_path / "old")[0].folder
    shutil.rmtree(folder.path(6))
    return folder


def test_a_run_of_an_old_version_goes_on_with_the_same_bits(old, whole, caplog):
    assert (old.path(3) / "custom_checkpoint_0.pkl").exists()
    outcome, history = run_with_history(old.root.parent)
    assert outcome.result.resumed_from == 3
    assert_same(outcome, whole[0])
    assert torch.equal(history.seen, whole[1].seen) and history.num_calls == 6
    assert "does not tell, and could not be compared: learning_rate, " in caplog.text
    assert not list(old.path(6).glob("*.pkl"))


def test_weights_that_several_processes_wrote_are_read_by_one(old, whole):
    file = old.path(3) / "model.safetensors"
    save_file({f"module.{name}": value for name, value in load_file(file).items()}, file)
    seal_again(old, 3)
    assert_same(run_with_history(old.root.parent)[0], whole[0])


@pytest.mark.parametrize(
    "name",
    ["custom_checkpoint_0.pkl", "random_states_0.pkl", "optimizer.bin", "scaler.pt", "x.pkl"],
)
def test_a_payload_in_an_old_checkpoint_is_refused_in_one_line(old, tmp_path, name):
    marker = tmp_path / "executed"
    for save in (lambda value, path: path.write_bytes(pickle.dumps(value)), torch.save):
        save(Payload(marker), old.path(3) / name)
        seal_again(old, 3)
        with pytest.raises(ValueError, match=rf"{name}") as refused:
            run_with_history(old.root.parent)
        assert "\n" not in str(refused.value)
        assert not marker.exists()
