"""A gradient that is not finite costs its step; a run of nothing else ends."""

import math

import pytest

from ardm.training.checkpoints import CheckpointFolder

from . import training_job as job
from .short_runs import equal, fit, weights


@pytest.mark.parametrize(("bad", "max_grad_norm"), [(math.nan, 1.0), (math.inf, 0.0)])
def test_a_step_with_a_bad_gradient_is_skipped(tmp_path, caplog, bad, max_grad_norm):
    seen = []

    def loss_fn(model, batch):
        seen.append(weights(model))
        values = job.loss_fn(model, batch)
        return {"loss": values["loss"] * (bad if len(seen) in (3, 4) else 1)}

    outcome = fit(tmp_path, loss_fn=loss_fn, max_grad_norm=max_grad_norm)
    assert equal(seen[2], seen[3]) and equal(seen[3], seen[4]) and not equal(seen[4], seen[5])
    assert caplog.text.count("the gradient is not finite; the step is skipped") == 2
    assert all(tensor.isfinite().all() for tensor in weights(outcome.model))
    assert outcome.result.num_steps == 12 and outcome.result.skipped_steps == 2
    assert [entry.get("skipped_steps") for entry in outcome.result.history] == [None, 2, 2, 2, 2, 2]
    again = fit(tmp_path, loss_fn=loss_fn, max_grad_norm=max_grad_norm)
    assert again.result.skipped_steps == 2  # kept in the checkpoint


def test_too_many_bad_gradients_in_a_row_end_the_run(tmp_path):
    calls = []

    def loss_fn(model, batch):
        calls.append(1)  # 20 bad ones, a good one, then bad ones only
        return job.loss_fn(model, batch)["loss"] * (1 if len(calls) in (1, 2, 3, 24) else math.nan)

    message = r"not finite for 21 steps in a row, up to step 44.*last good checkpoint is in"
    with pytest.raises(RuntimeError, match=message):
        fit(tmp_path, loss_fn=loss_fn, max_train_steps=100, checkpointing_steps=20)
    assert len(calls) == 45
    assert CheckpointFolder(tmp_path).newest() == CheckpointFolder(tmp_path).path(40)
