"""What trackers are told, by whom, and that a resumed run goes on in its tracker's run."""

import importlib.util
import json
import sys
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from ardm.training import TrainingConfig, make_accelerator, trackers, train
from ardm.training.trackers import TRACKERS, Throughput, Trackers, check_trackers, tracker_names

from . import training_job as job
from .short_runs import equal, stop_at

SAMPLES = {"text": "one *two*\nthree", "texts": ["a", "b"], "image": Image.new("L", (4, 4), 255)}
SETTINGS = {"sizes": {"hidden": 8}, "data": "toy", "nothing": None}


def run(folder, loss_fn=job.loss_fn, **settings):
    """12 steps with evaluations and samples."""
    defaults = {"max_train_steps": 12, "per_device_train_batch_size": 4, "checkpointing_steps": 3}
    defaults |= {"logging_steps": 2, "eval_steps": 4, "mixed_precision": "no"}
    model = job.Net(dropout=0.5)
    result = train(
        model,
        loss_fn,
        job.make_examples(),
        config=TrainingConfig(output_dir=str(folder), **(defaults | settings)),
        eval_fn=job.eval_fn,
        settings=SETTINGS,
        samples_fn=lambda model: {**SAMPLES, "drawn": str(torch.rand(1))},
        units_per_example={"tokens": job.LENGTH},
    )
    return model, result.history


# --------------------------------------------------------------------------------- what is asked
@pytest.mark.parametrize(
    ("report_to", "expected"),
    [
        ("none", ()),
        (["none"], ()),
        ("wandb", ("wandb",)),
        ("tensorboard,trackio", ("tensorboard", "trackio")),
        ("tensorboard trackio", ("tensorboard", "trackio")),
        (["trackio", "tensorboard"], ("trackio", "tensorboard")),
        (["tensorboard,wandb", "trackio"], ("tensorboard", "wandb", "trackio")),
        (("wandb", "wandb"), ("wandb",)),
    ],
)
def test_names_come_in_any_form(report_to, expected):
    assert tracker_names(report_to) == expected
    assert tracker_names(TrainingConfig("x", 1, report_to=report_to).report_to) == expected


@pytest.mark.parametrize(
    "report_to", ["", [], "mlflow", ["none", "wandb"], "none,all", [1], "WANDB"]
)
def test_other_names_are_refused(report_to):
    with pytest.raises(ValueError, match=r"report_to is .*expected some of tensorboard"):
        TrainingConfig("x", 1, report_to=report_to)


@pytest.mark.parametrize("installed", [(), ("trackio",), ("tensorboard", "wandb"), TRACKERS])
def test_all_is_what_is_installed_and_the_missing_are_named(monkeypatch, installed):
    monkeypatch.setattr(trackers, "_is_installed", lambda name: name in installed)
    assert tracker_names("all") == installed
    check_trackers("none")
    missing = [name for name in TRACKERS if name not in installed]
    if missing:
        with pytest.raises(ValueError, match=f"not installed: pip install {' '.join(missing)}"):
            check_trackers(list(TRACKERS))
    if not installed:
        with pytest.raises(ValueError, match="report_to is 'all', and none is installed"):
            make_accelerator(TrainingConfig("x", 1, report_to="all"))


def test_what_cannot_be_started_is_told(monkeypatch, tmp_path):
    def init(**options):
        raise KeyError("no login")

    install(monkeypatch, "wandb", init)
    with pytest.raises(ValueError, match="tracker wandb could not be started: 'no login'"):
        run(tmp_path, report_to="wandb")


# ----------------------------------------------------------------------------------- what is told
def install(monkeypatch, name, init):
    """A module in the place of trackio or wandb."""
    module = SimpleNamespace(
        init=init,
        Table=lambda columns, data: {"table": data},
        Image=lambda image: {"image": image.size},
    )
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda asked: module if asked == name else find(asked)
    )
    monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture(params=["trackio", "wandb"])
def remote(request, monkeypatch):
    """The name of a tracker that is installed, and what it is told."""
    told = SimpleNamespace(name=request.param, inits=[], logs=[], finished=0)

    def init(**options):
        told.inits.append(options)
        return SimpleNamespace(log=log, finish=finish)

    def log(values, step):
        told.logs.append((step, values))

    def finish():
        told.finished += 1

    install(monkeypatch, request.param, init)
    return told


def test_a_tracker_is_told_settings_figures_and_samples(tmp_path, remote):
    _, history = run(tmp_path / "mine", report_to=remote.name)
    (options,) = remote.inits
    assert options["project"] == job.Net.__module__.split(".")[0]
    assert options["config"].items() >= (SETTINGS | {"max_train_steps": 12}).items()
    assert options["name"].startswith("mine") and options["resume"] == "never"
    figures = {step: {} for step, _ in remote.logs}
    for step, values in remote.logs:
        figures[step] |= values
    for entry in history:
        assert figures[entry["step"]].items() >= (entry.items() - {("step", entry["step"])})
    for step in range(2, 13, 2):
        assert figures[step]["tokens_seen"] == step * 4 * job.LENGTH
        assert figures[step]["tokens_per_second"] > 0 < figures[step]["gradient_norm"]
    for step in (4, 8, 12):
        assert figures[step]["text"] == {"table": [[SAMPLES["text"]]]}
        assert figures[step]["texts"] == {"table": [["a"], ["b"]]}
        assert figures[step]["image"] == {"image": (4, 4)}
    assert remote.finished == 1


def test_what_trackers_are_told_changes_no_bit_of_the_run(tmp_path, remote):
    model, history = run(tmp_path / "told", report_to=remote.name)
    other, alone = run(tmp_path / "alone")
    assert history == alone and equal(model.state_dict(), other.state_dict())
    # what depends on the clock is not of the history, which is the same after kills
    assert not any(name.endswith(("_per_second", "_seen")) for entry in history for name in entry)


def test_names_by_flag(tmp_path, remote):
    run(tmp_path, report_to=remote.name, tracker_project_name="texts", run_name="first")
    assert remote.inits[0]["project"] == "texts" and remote.inits[0]["name"] == "first"


def test_a_resumed_run_goes_on_in_its_trackers_run(tmp_path, remote):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, stop_at(5), report_to=remote.name)
    run(tmp_path, report_to=remote.name)
    run(tmp_path, report_to=remote.name)  # it is finished: nothing to tell
    first, second = remote.inits
    assert (first["resume"], second["resume"]) == ("never", "allow")
    assert first["name"] == second["name"] and first.get("id") == second.get("id")
    assert [step for step, values in remote.logs if "loss" in values] == [2, 4, 6, 8, 10, 12]
    run(tmp_path, report_to=remote.name, resume_from_checkpoint="none")
    third = remote.inits[-1]
    assert third["resume"] == "never"
    assert (third["name"], third.get("id")) != (first["name"], first.get("id"))


def test_tensorboard_has_all_of_it_and_hides_what_came_after_the_checkpoint(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with pytest.raises(RuntimeError, match="disk"):  # at step 11, two after the checkpoint
        run(tmp_path, fail_at(11), report_to="tensorboard", run_name="mine")
    _, history = run(tmp_path, report_to="tensorboard", run_name="mine")
    events = EventAccumulator(str(tmp_path / job.Net.__module__.split(".")[0] / "mine"))
    events.Reload()
    losses = events.Scalars("loss")
    assert [event.step for event in losses] == [2, 4, 6, 8, 10, 12]
    logged = [entry["loss"] for entry in history]
    assert [event.value for event in losses] == pytest.approx(logged)
    assert {"gradient_norm", "tokens_seen", "tokens_per_second"} <= set(events.Tags()["scalars"])
    texts = [
        event.tensor_proto.string_val[0].decode() for event in events.Tensors("text/text_summary")
    ]
    assert len(texts) == 3 and texts[0] == "    one *two*\n    three"
    (settings, *_) = events.Tensors("settings/text_summary")
    assert '"hidden": 8' in settings.tensor_proto.string_val[0].decode()
    assert len(events.Images("image")) == 3


def fail_at(step):
    calls = []

    def loss_fn(model, batch):
        calls.append(1)
        if len(calls) == step:
            raise RuntimeError("disk")
        return job.loss_fn(model, batch)

    return loss_fn


def test_until_they_are_opened_they_show_nothing(tmp_path):
    closed = Trackers("tensorboard")
    closed.show({"loss": 1.0}, 1)
    closed.close()
    assert not list(tmp_path.iterdir())


def test_throughput_counts_from_the_first_step_and_times_from_the_last_entry(monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(trackers.time, "perf_counter", lambda: clock.now)
    throughput = Throughput({"tokens": 10, "documents": 0.5}, examples_per_step=4)
    throughput.begin(100)
    clock.now = 2.0
    figures = throughput.figures(105)
    assert figures == {
        "tokens_seen": 4200,
        "documents_seen": 210,
        "tokens_per_second": 100,
        "documents_per_second": 5,
    }
    assert throughput.figures(105).keys() == {"tokens_seen", "documents_seen"}
    clock.now = 60.0  # an evaluation
    throughput.begin(105)
    clock.now = 61.0
    assert throughput.figures(106)["tokens_per_second"] == 40


@pytest.mark.slow
def test_trackio_itself_goes_on_with_its_run(tmp_path, monkeypatch):
    pytest.importorskip("trackio")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    from trackio.sqlite_storage import SQLiteStorage

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", stop_at(5), report_to="trackio", tracker_project_name="tests")
    run(tmp_path / "run", report_to="trackio", tracker_project_name="tests")
    (name,) = SQLiteStorage.get_runs("tests")
    assert name == f"run-{json.loads((tmp_path / 'run/logs/trackio.json').read_text())['id']}"
    logs = SQLiteStorage.get_logs("tests", name)
    assert [each["step"] for each in logs if "loss" in each] == [2, 4, 6, 8, 10, 12]
    assert SQLiteStorage.get_run_config("tests", name)["data"] == "toy"
