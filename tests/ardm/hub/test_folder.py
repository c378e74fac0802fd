"""The loss curve, and the upload (against a Hub that is not there)."""

import math
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from huggingface_hub import RepoUrl
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import filter_repo_objects

from ardm import hub
from ardm.hub.cards import CardFigures

HISTORY = [{"step": step, "loss": 3 / step} for step in range(1, 101)]
HISTORY[49] |= {"eval_loss": 0.1, "eval_standard_error": 0.01}


def test_loss_curve_is_a_png_that_replaces_the_old_one(tmp_path):
    path = tmp_path / "loss_curve.png"
    path.write_text("old")
    hub.plot_loss_curve(HISTORY, path)
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert os.listdir(tmp_path) == ["loss_curve.png"]


@pytest.mark.parametrize(
    "history",
    [
        [{"step": 1, "loss": 2.0}],
        [{"step": 1, "eval_loss": 2.0}],
        [
            {"step": 1, "loss": 0.0},
            {"step": 2, "loss": math.nan},
            {"step": 3, "loss": 1.0, "eval_loss": 1.0},
        ],
    ],
)
def test_loss_curve_of_few_and_missing_values(tmp_path, history):
    hub.plot_loss_curve(history, tmp_path / "loss_curve.png")
    assert (tmp_path / "loss_curve.png").exists()


@pytest.mark.parametrize("history", [[], [{"step": 1}], [{"step": 1, "loss": math.nan}]])
def test_loss_curve_without_a_loss_is_refused(tmp_path, history):
    with pytest.raises(ValueError, match="no finite loss"):
        hub.plot_loss_curve(history, tmp_path / "loss_curve.png")
    assert os.listdir(tmp_path) == []


def test_loss_curve_names_the_extra_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"ardm\[plots\]"):
        hub.plot_loss_curve(HISTORY, tmp_path / "loss_curve.png")


def test_curve_is_in_bits_with_its_errors():
    rows = [
        {"step": 3, "eval_loss": math.log(2), "eval_standard_error": math.log(4)},
        {"step": 4, "loss": 1.0},
    ]
    np.testing.assert_allclose(hub._bits(rows, "eval_loss", "eval_standard_error"), [[3, 1, 2]])


@pytest.mark.parametrize("length", [1, 2, 7, 30])
@pytest.mark.parametrize("half_width", [0, 1, 5, 40])
def test_running_mean_equals_the_means_of_slices(length, half_width):
    values = np.random.default_rng(0).normal(size=length)
    expected = [values[max(i - half_width, 0) : i + half_width + 1].mean() for i in range(length)]
    np.testing.assert_allclose(hub.running_mean(values, half_width), expected, atol=1e-12)


# ---------------------------------------------------------------------------------------------------- upload
class FakeHub:
    """Records what `huggingface_hub.HfApi` would be asked to do."""

    calls: list[tuple]

    def create_repo(self, repo_id, *, private, exist_ok):
        self.calls.append(("create_repo", repo_id, private, exist_ok))
        return RepoUrl(f"https://huggingface.co/{repo_id}")

    def upload_folder(self, *, repo_id, folder_path, ignore_patterns):
        self.calls.append(("upload_folder", repo_id, folder_path, ignore_patterns))


@pytest.fixture
def fake_hub(monkeypatch):
    fake = FakeHub()
    fake.calls = []
    monkeypatch.setattr(hub, "HfApi", lambda: fake)
    monkeypatch.setattr(hub, "get_token", lambda: "hf_token")
    return fake


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


def test_upload_makes_the_repository_and_sends_the_folder(fake_hub, folder):
    assert hub.upload_folder(folder, "me/model", private=True) == "https://huggingface.co/me/model"
    assert fake_hub.calls[0] == ("create_repo", "me/model", True, True)
    assert fake_hub.calls[1][:3] == ("upload_folder", "me/model", folder)


def test_upload_leaves_checkpoints_and_logs_behind(fake_hub, folder):
    hub.upload_folder(folder, "me/model")
    kept = ["config.json", "model.safetensors", "README.md", "loss_curve.png", "tokenizer.json"]
    left = [
        "checkpoints/step-10/state.pt",
        "checkpoint-10.pt",
        "logs/a/b",
        "x/events.out.tfevents.1",
        ".a.1.tmp",
    ]
    assert list(filter_repo_objects(kept + left, ignore_patterns=fake_hub.calls[1][3])) == kept


def test_upload_without_a_token_says_how_to_log_in(fake_hub, folder, monkeypatch):
    monkeypatch.setattr(hub, "get_token", lambda: None)
    with pytest.raises(ValueError, match="hf auth login"):
        hub.upload_folder(folder, "me/model")
    assert fake_hub.calls == []


def test_upload_of_a_folder_without_a_model_is_refused(fake_hub, tmp_path):
    with pytest.raises(ValueError, match=r"config\.json"):
        hub.upload_folder(tmp_path, "me/model")
    assert fake_hub.calls == []


@pytest.mark.parametrize(
    "error",
    [
        HfHubHTTPError("403 Forbidden", response=SimpleNamespace(headers={}, request=None)),
        OfflineModeIsEnabled("offline"),
    ],
)
def test_failed_upload_names_the_repository_and_the_cause(fake_hub, folder, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(fake_hub, "create_repo", fail)
    with pytest.raises(RuntimeError, match=f"me/model failed: {error}"):
        hub.upload_folder(folder, "me/model")


class Saved:
    """What `save_folder` asks of a model and of a tokenizer."""

    def __init__(self, name):
        self.name = name

    def save_pretrained(self, folder):
        Path(folder, self.name).write_text("saved")


def test_a_missing_matplotlib_does_not_cost_the_model(tmp_path, monkeypatch):
    def missing(history, path):
        raise ImportError("no matplotlib")

    monkeypatch.setattr(hub, "plot_loss_curve", missing)
    with pytest.warns(UserWarning, match="without its loss curve"):
        hub.save_folder(
            tmp_path / "run",
            Saved("model.safetensors"),
            Saved("tokenizer.json"),
            CardFigures(),
            [{"step": 1}],
        )
    assert {file.name for file in (tmp_path / "run").iterdir()} == {
        "model.safetensors",
        "tokenizer.json",
        "README.md",
    }


def test_a_failed_save_leaves_the_older_model_whole(tmp_path):
    class Broken(Saved):
        def save_pretrained(self, folder):
            raise OSError("no space left on device")

    hub.save_folder(tmp_path, Saved("model.safetensors"), Saved("tokenizer.json"), CardFigures())
    with pytest.raises(OSError, match="no space"):
        hub.save_folder(
            tmp_path, Saved("model.safetensors"), Broken("tokenizer.json"), CardFigures()
        )
    assert {file.name for file in tmp_path.iterdir()} == {
        "model.safetensors",
        "tokenizer.json",
        "README.md",
    }


@pytest.mark.parametrize("name", [None, ""])
def test_an_upload_needs_a_name(name):
    with pytest.raises(ValueError, match="hub_model_id"):
        hub.check_upload(name)
