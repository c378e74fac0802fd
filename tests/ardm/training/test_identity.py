"""A run goes on as itself alone: every setting either decides its result, or may change."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from ardm.training import TrainingConfig, muon_adamw, weights_fingerprint
from ardm.training.identity import DECIDES, MAY_CHANGE, check_same_run

from . import training_job as job
from .short_runs import assert_same, equal, fit, weights

# another value of each field of TrainingConfig
OTHERS = {
    "seed": 1,
    "learning_rate": 0.5,
    "lr_scheduler_type": "cosine",
    "warmup_ratio": 0.5,
    "decay_ratio": 0.5,
    "max_grad_norm": 0.5,
    "ema_decay": 0.9,
    "mixed_precision": "bf16",
    "max_train_steps": 8,
    "compile": True,
    "logging_steps": 1,
    "eval_steps": 1,
    "checkpointing_steps": 1,
    "resume_from_checkpoint": "none",
    "report_to": "tensorboard",
    "tracker_project_name": "other",
    "run_name": "other",
    "dataloader_num_workers": 1,
}
GIVEN = {
    "data": "3f2a",
    "tokenizer": {"kind": "char", "size": 28},
    "model": {"hidden_size": 8},
    "objective": {"loss": "bound", "weights": [1, 2.5], "schedule": None},
    "initial_weights": "fresh",
}


def never(model, batch):
    raise AssertionError("a step was taken")


def changed(path, value, identity=GIVEN):
    """The identity with another value at a path; absent where it is None."""
    first, *rest = path.split(".")
    inner = changed(".".join(rest), value, identity[first]) if rest else value
    kept = {name: other for name, other in identity.items() if name != first}
    return kept if inner is None else kept | {first: inner}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of 4 steps that nothing is to change. Its folder is only to be read."""
    return fit(tmp_path_factory.mktemp("finished"), max_train_steps=4, identity=GIVEN)


def files_of(outcome):
    root = outcome.folder.root.parent
    return {
        file: file.read_bytes()
        for file in root.rglob("*")
        if file.is_file() and file.name != ".training.lock"
    }


# ---------------------------------------------------------------------------- training settings
def test_every_setting_either_decides_the_result_or_may_change():
    names = [field.name for field in dataclasses.fields(TrainingConfig)]
    assert sorted(DECIDES + MAY_CHANGE) == sorted(names)
    apart = {"output_dir", "per_device_train_batch_size", "gradient_accumulation_steps"}
    assert OTHERS.keys() == set(names) - apart


@pytest.mark.parametrize("name", [name for name in DECIDES if name != "mixed_precision"])
def test_a_setting_that_decides_is_refused_and_nothing_is_written(finished, name):
    before = files_of(finished)
    old = getattr(TrainingConfig("out", 4), name)
    message = f"{name} was {old} and is {OTHERS[name]}"
    with pytest.raises(ValueError, match=message) as refused:
        fit(
            finished.folder.root.parent,
            max_train_steps=4,
            identity=GIVEN,
            loss_fn=never,
            **{name: OTHERS[name]},
        )
    for way_out in ("the old values", "another output_dir", "resume_from_checkpoint='none'"):
        assert way_out in str(refused.value)
    assert "\n" not in str(refused.value) and files_of(finished) == before


@pytest.mark.parametrize(
    "name", [name for name in MAY_CHANGE if name in OTHERS and name != "compile"]
)
def test_a_setting_that_may_change_goes_on(tmp_path, name):
    if name == "report_to":
        pytest.importorskip("tensorboard")
    common = {"lr_scheduler_type": "constant", "warmup_ratio": 0.0, "identity": GIVEN}
    common |= {"eval_fn": job.eval_fn, "dropout": 0.5}
    fit(tmp_path / "run", max_train_steps=4, checkpointing_steps=2, **common)
    settings = {"max_train_steps": 6, "checkpointing_steps": 2} | common
    resumed = fit(tmp_path / "run", **settings | {name: OTHERS[name]})
    assert resumed.result.resumed_from == (0 if name == "resume_from_checkpoint" else 4)
    steps = {"max_train_steps": resumed.result.num_steps}
    whole = fit(tmp_path / "whole", **settings | steps)
    assert equal(weights(resumed.model), weights(whole.model))


def test_a_run_may_be_moved(tmp_path, finished):
    moved = shutil.copytree(finished.folder.root.parent, tmp_path / "moved")
    again = fit(moved, max_train_steps=4, identity=GIVEN, loss_fn=never)
    assert_same(again, finished)


def test_the_precision_counts_as_the_hardware_has_it(finished):
    folder = finished.folder.root.parent
    fit(folder, max_train_steps=4, identity=GIVEN, loss_fn=never, mixed_precision=None)
    saved = json.loads((finished.folder.path(4) / "run.json").read_text())["identity"]
    with pytest.raises(ValueError, match="mixed_precision was no and is bf16"):
        check_same_run(saved, saved | {"mixed_precision": "bf16"}, Path("step-4"))


# ---------------------------------------------------------------------------------- optimisers
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda net: torch.optim.SGD(net.parameters(), lr=1e-2), "optimizer was AdamW and is SGD"),
        (lambda net: adamw(net, lr=0.5), "group_0.initial_lr was 0.01 and is 0.5"),
        (lambda net: adamw(net, betas=(0.5, 0.9)), r"group_0.betas was \[0.9, 0.999\] and is \[0"),
        (lambda net: adamw(net, weight_decay=0.5), "group_0.weight_decay was 0.01 and is 0.5"),
        (lambda net: adamw(net, eps=1e-3), "group_0.eps was 1e-08 and is 0.001"),
        (lambda net: adamw(net, amsgrad=True), "group_0.amsgrad was False and is True"),
        (lambda net: adamw(net, split=True), "group_0.num_parameters was 144 and is 56"),
    ],
    ids=["class", "lr", "betas", "weight decay", "eps", "amsgrad", "groups"],
)
def test_another_optimiser_is_refused(finished, make, message):
    net = job.Net()
    with pytest.raises(ValueError, match=message):
        fit(
            finished.folder.root.parent,
            max_train_steps=4,
            identity=GIVEN,
            loss_fn=never,
            model=net,
            optimizer=make(net),
        )


def adamw(net, split=False, lr=1e-2, **settings):
    params = list(net.parameters())
    groups = [{"params": params[:1]}, {"params": params[1:]}] if split else params
    return torch.optim.AdamW(groups, lr=lr, fused=True, **settings)


@pytest.mark.parametrize("name", ["momentum", "num_steps", "muon_learning_rate"])
def test_muons_settings_are_compared(tmp_path, name):
    settings = {"momentum": 0.9, "num_steps": 3, "muon_learning_rate": 2e-2}
    for values in (settings, settings, settings | {name: 1}):
        net = job.Net()
        call = {"model": net, "optimizer": muon_adamw(net, 1e-2, **values), "max_train_steps": 1}
        if values == settings:
            fit(tmp_path, **call)
            continue
        shown = "initial_lr" if name == "muon_learning_rate" else name
        with pytest.raises(ValueError, match=f"group_1.{shown} was {settings[name]} and is 1"):
            fit(tmp_path, loss_fn=never, **call)


def test_how_an_optimiser_computes_may_change(finished):
    net = job.Net()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2, foreach=True)
    call = {"model": net, "optimizer": optimizer, "loss_fn": never}
    fit(finished.folder.root.parent, max_train_steps=4, identity=GIVEN, **call)
    assert optimizer.param_groups[0]["foreach"] and not optimizer.param_groups[0]["fused"]


# --------------------------------------------------------------------------- what the caller says
@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("data", "9b1c", "data was 3f2a and is 9b1c"),
        ("tokenizer.size", 29, "tokenizer.size was 28 and is 29"),
        ("model.num_layers", 2, "model.num_layers was not given and is 2"),
        ("objective.weights", [1, 2], r"objective.weights was \[1, 2.5\] and is \[1, 2\]"),
        ("objective.schedule", "cosine", "objective.schedule was None and is cosine"),
        ("model.hidden_size", None, "model.hidden_size was 8 and is not given"),
        ("initial_weights", None, "initial_weights was fresh and is not given"),
        ("tokenizer", "bpe", "tokenizer was .* and is bpe"),
    ],
)
def test_another_identity_is_refused_and_nothing_is_written(finished, path, value, message):
    before = files_of(finished)
    call = {"max_train_steps": 9, "loss_fn": never, "identity": changed(path, value)}
    with pytest.raises(ValueError, match=f"belongs to another run: {message}\\. Give") as refused:
        fit(finished.folder.root.parent, **call)
    assert "\n" not in str(refused.value) and files_of(finished) == before


@pytest.mark.parametrize("off", [False, 0, 0.0, [], ""])
def test_a_setting_of_a_newer_version_that_is_off_changes_no_run(finished, off):
    call = {"max_train_steps": 4, "loss_fn": never, "identity": changed("model.rescaled", off)}
    assert fit(finished.folder.root.parent, **call).result.resumed_from == 4


def test_all_differences_are_named_and_long_ones_cut(finished):
    other = changed("data", "x" * 10_000, changed("tokenizer.kind", "bpe"))
    with pytest.raises(ValueError, match=r"tokenizer.kind was char and is bpe") as refused:
        fit(finished.folder.root.parent, max_train_steps=4, identity=other, seed=1, loss_fn=never)
    assert "seed was 0 and is 1" in str(refused.value) and "data was 3f2a" in str(refused.value)
    assert len(str(refused.value)) < 800


def test_a_wall_of_differences_is_cut():
    other = {f"setting_{number}": number for number in range(1, 42)}
    with pytest.raises(ValueError, match=r"setting_9 was .*, and 29 more\. Give") as refused:
        check_same_run(
            {**dict.fromkeys(other, 0), "ema_decay": 0}, {**other, "ema_decay": 0}, Path("step-1")
        )
    assert "setting_13" not in str(refused.value)


@pytest.mark.parametrize("value", [(1, 2), 1e-300, float("nan"), {"deep": [{"a": None}]}, True])
def test_what_json_keeps_in_its_own_way_is_still_the_same(tmp_path, value):
    for _ in range(2):
        fit(tmp_path, max_train_steps=1, identity={"x": value, "y": {1: "number"}})


@pytest.mark.parametrize("value", [torch.zeros(1), object(), b"bytes", {"inner": nn.ReLU()}])
def test_what_json_cannot_hold_is_refused(tmp_path, value):
    with pytest.raises(ValueError, match="expected mappings, lists, texts and numbers"):
        fit(tmp_path, identity={"x": value}, loss_fn=never)


def test_names_that_train_takes_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"identity holds \['seed'\], which `train` takes"):
        fit(tmp_path, identity={"seed": 3}, loss_fn=never)


def test_a_checkpoint_that_does_not_tell_is_warned_of(tmp_path, caplog):
    fit(tmp_path, max_train_steps=1)
    again = fit(tmp_path, max_train_steps=1, identity={"data": "3f2a", "model": {}})
    assert again.result.resumed_from == 1
    [record] = [record for record in caplog.records if "could not be compared" in record.message]
    assert record.message.endswith("could not be compared: data, model")


def test_identities_of_older_versions_are_compared_as_far_as_they_go(caplog):
    old = {"seed": 3, "averages_weights": True}
    check_same_run(old, {"seed": 3, "ema_decay": 0.9}, Path("step-1"))
    assert "step-1 does not tell, and could not be compared: ema_decay" in caplog.text
    with pytest.raises(ValueError, match="averages_weights was True and is False"):
        check_same_run(old, {"seed": 3, "ema_decay": 0.0}, Path("step-1"))
    with pytest.raises(ValueError, match="seed was 3 and is 4"):
        check_same_run(old, {"seed": 4, "ema_decay": 0.9}, Path("step-1"))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_weights_of_any_dtype_are_told_apart(dtype):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).to(dtype)  # a count without shape
    one = weights_fingerprint(model)
    assert weights_fingerprint(model) == one
    with torch.no_grad():
        model[0].weight[1, 1] *= 1.5
    assert weights_fingerprint(model) != one
