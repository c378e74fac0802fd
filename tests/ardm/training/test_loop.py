"""The loop around a run: signals, trackers, log lines, and what one run leaves for the next."""

import concurrent.futures
import logging
import os
import re
import signal
import sys

import pytest
import torch

from ardm.training import TrainingConfig, make_accelerator
from ardm.training.checkpoints import CheckpointFolder

from . import training_job as job
from .short_runs import assert_same, equal, fit, stop_at, weights


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing disturbed."""
    return fit(tmp_path_factory.mktemp("whole"), dropout=0.5)


# -------------------------------------------------------------------------------------- signals
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_a_checkpoint_and_the_next_run_goes_on(tmp_path, whole, number):
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="at step 5; the same command resumes there"):
        fit(tmp_path, dropout=0.5, loss_fn=stop_at(5, number))
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers
    resumed = fit(tmp_path, dropout=0.5)
    assert resumed.result.resumed_from == 5  # between two log entries
    assert_same(whole, resumed)


def test_a_signal_in_the_last_step_ends_the_run_as_usual(tmp_path):
    outcome = fit(tmp_path, loss_fn=stop_at(2), max_train_steps=2)
    assert outcome.result.num_steps == 2


def test_a_second_interrupt_stops_at_once(tmp_path):
    def loss_fn(model, batch):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("went on")

    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, loss_fn=loss_fn)


def test_a_thread_may_train(tmp_path):
    """Signals can be caught on the main thread only; elsewhere the run does without."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        outcome = pool.submit(fit, tmp_path, max_train_steps=2).result()
    assert outcome.result.num_steps == 2


# ------------------------------------------------------------------------------ input and output
def test_bad_input(tmp_path):
    with pytest.raises(ValueError, match="train_dataset is empty; expected at least one example"):
        fit(tmp_path, data=[])
    with pytest.raises(ValueError, match="streamed data set is empty"):
        fit(tmp_path, data=job.Stream([]))
    with pytest.raises(ValueError, match="collate_fn returned a list; expected a dict"):
        fit(tmp_path / "lists", data=[[torch.zeros(1)]] * 3)


def test_log_lines_where_there_is_no_terminal(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    with caplog.at_level(logging.INFO, "ardm.training"):
        fit(tmp_path, logging_steps=6)
    lines = [record.message for record in caplog.records if "/12" in record.message]
    assert len(lines) == 2 and "loss " in lines[0]
    assert re.match(r"step 6/12  [\d.e+]+ steps/s, \d\d:\d\d left  ", lines[0])
    assert ", 00:00 left  " in lines[1]


def test_a_bar_on_a_terminal(tmp_path, caplog, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with caplog.at_level(logging.INFO, "ardm.training"):
        fit(tmp_path, logging_steps=3)
    bar = capsys.readouterr().err
    assert "training" in bar and "12/12" in bar and "loss=" in bar
    assert "step 6/12" not in caplog.text  # the bar tells


def test_tensorboard_gets_the_figures(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    outcome = fit(tmp_path, report_to="tensorboard", eval_fn=job.eval_fn)
    files = [path for path in tmp_path.rglob("events.out.*") if "hparams" not in str(path)]
    events = EventAccumulator(str(files[0].parent)).Reload()
    logged = {(event.step, round(event.value, 5)) for event in events.Scalars("loss")}
    assert logged == {(entry["step"], round(entry["loss"], 5)) for entry in outcome.result.history}
    assert [event.step for event in events.Scalars("eval_nats")] == [12]


# ------------------------------------------------------------------------- one run after another
def test_two_runs_cannot_write_to_one_folder(tmp_path):
    other = CheckpointFolder(tmp_path)
    other.lock()
    with pytest.raises(ValueError, match="another run is writing"):
        fit(tmp_path, max_train_steps=1)
    other.unlock()
    assert fit(tmp_path, max_train_steps=1).result.num_steps == 1


def test_runs_of_one_python_process_know_nothing_of_each_other(tmp_path, whole):
    """Accelerate keeps state per process: none of it may leak from one run into the next."""
    fit(tmp_path / "other", gradient_accumulation_steps=4, max_train_steps=2)
    assert_same(whole, fit(tmp_path / "again", dropout=0.5))


def test_an_accelerator_of_ones_own(tmp_path, whole):
    """Its accumulation follows the settings; an earlier model is not in the next checkpoints."""
    accelerator = make_accelerator(TrainingConfig(str(tmp_path), 1, gradient_accumulation_steps=7))
    for name in ("first", "second"):
        outcome = fit(tmp_path / name, dropout=0.5, accelerator=accelerator)
        files = [set(os.listdir(each.folder.path(12))) for each in (outcome, whole)]
        assert files[0] == files[1]
        assert equal(weights(outcome.model), weights(whole.model))
    assert files[0] == {
        "average.safetensors",
        "manifest.json",
        "model.safetensors",
        "optimizer.safetensors",
        "random_0.safetensors",
        "run.json",
    }


@pytest.mark.slow
def test_a_compiled_model(tmp_path):
    plain = fit(tmp_path / "plain", eval_fn=job.eval_fn)
    compiled = fit(tmp_path / "compiled", eval_fn=job.eval_fn, compile=True)
    assert compiled.model.state_dict().keys() == plain.model.state_dict().keys()
    for left, right in zip(plain.result.history, compiled.result.history, strict=True):
        assert left == pytest.approx(right, abs=1e-4)
    assert_same(compiled, fit(tmp_path / "compiled", eval_fn=job.eval_fn, compile=True))
