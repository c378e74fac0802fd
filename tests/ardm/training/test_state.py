"""The state goes to JSON and back, with the identity of its run."""

import json
from dataclasses import replace

import pytest
import torch

from ardm.training.state import RunState

IDENTITY = {"seed": 3, "data": {"fingerprint": "3f2a"}}


def in_progress():
    state = RunState(step=5, skipped_steps=1)
    state.record({"loss": 0.1 + 0.2})
    state.add({"loss": torch.tensor(0.3), "nats": torch.tensor(1.5)})
    state.add({"loss": torch.tensor(0.4), "nats": torch.tensor(1.0)})
    return state


def test_sums_and_history():
    state = in_progress()
    assert state.part() == [{"loss": pytest.approx(0.7), "nats": 2.5}, 2]
    state.record({"eval_loss": 2.0})
    assert state.history == [{"step": 5, "loss": 0.1 + 0.2, "eval_loss": 2.0}]
    state.step = 6
    state.record({"loss": 0.5})
    assert [entry["step"] for entry in state.history] == [5, 6]
    state.forget_sums()
    assert state.part() == [{}, 0]


@pytest.mark.parametrize("num_processes", [1, 2])
def test_a_state_comes_back_from_json_as_it_was(num_processes):
    state = in_progress()
    parts = [state.part(), [{"loss": 9.0}, 1]][:num_processes]
    saved = json.loads(json.dumps(state.to_dict(IDENTITY, parts, seconds=2.5)))
    assert list(saved) == ["step", "identity", "history", "sums", "seconds", "skipped_steps"]
    assert saved["identity"] == IDENTITY
    again = RunState.from_dict(saved, 0, num_processes)
    assert again == replace(state, sums=parts[0][0], seconds=2.5)
    last = RunState.from_dict(saved, num_processes - 1, num_processes)
    assert last.part() == parts[-1]


def test_sums_of_another_number_of_processes_are_dropped_and_older_files_are_read():
    state = in_progress()
    saved = state.to_dict(IDENTITY, [state.part()], seconds=0.0)
    assert RunState.from_dict(saved, 1, 2).part() == [{}, 0]
    del saved["skipped_steps"]
    assert RunState.from_dict(saved, 0, 1) == replace(state, sums=state.part()[0], skipped_steps=0)
