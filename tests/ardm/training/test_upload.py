"""The upload, against a Hub that is not there."""

from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub import RepoUrl
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import filter_repo_objects

from ardm.training import check_upload, upload_folder


class FakeHub:
    """Records what `huggingface_hub.HfApi` would be asked to do."""

    def __init__(self):
        self.calls = []

    def create_repo(self, repo_id, *, private, exist_ok):
        self.calls.append(("create_repo", repo_id, private, exist_ok))
        return RepoUrl(f"https://huggingface.co/{repo_id}")

    def upload_folder(self, *, repo_id, folder_path, ignore_patterns):
        self.calls.append(("upload_folder", repo_id, folder_path, ignore_patterns))


@pytest.fixture
def fake_hub(monkeypatch):
    fake = FakeHub()
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: fake)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_token")
    return fake


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


def test_upload_makes_the_repository_and_sends_the_folder(fake_hub, folder):
    assert upload_folder(folder, "me/model", private=True) == "https://huggingface.co/me/model"
    assert fake_hub.calls[0] == ("create_repo", "me/model", True, True)
    assert fake_hub.calls[1][:3] == ("upload_folder", "me/model", folder)


def test_upload_leaves_checkpoints_and_logs_behind(fake_hub, folder):
    upload_folder(folder, "me/model")
    kept = ["config.json", "model.safetensors", "README.md", "loss_curve.png", "tokenizer.json"]
    left = [
        "checkpoints/step-10/state.pt",
        "checkpoint-10.pt",
        "logs/a/b",
        "x/events.out.tfevents.1",
        ".a.1.tmp",
        "weights.tmp",
        ".training.lock",
        ".writing-abc/model.safetensors",
    ]
    assert list(filter_repo_objects(kept + left, ignore_patterns=fake_hub.calls[1][3])) == kept


def test_upload_without_a_token_says_how_to_log_in(fake_hub, folder, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    for call in (lambda: upload_folder(folder, "me/model"), lambda: check_upload("me/model")):
        with pytest.raises(ValueError, match="hf auth login"):
            call()
    assert fake_hub.calls == []


def test_upload_of_a_folder_without_a_model_is_refused(fake_hub, tmp_path):
    with pytest.raises(ValueError, match=r"config\.json"):
        upload_folder(tmp_path, "me/model")
    assert fake_hub.calls == []


@pytest.mark.parametrize(
    "error",
    [
        HfHubHTTPError("403 Forbidden", response=SimpleNamespace(headers={}, request=None)),
        OfflineModeIsEnabled("offline"),
    ],
)
def test_a_failed_upload_names_the_repository_and_the_cause(fake_hub, folder, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(fake_hub, "create_repo", fail)
    with pytest.raises(RuntimeError, match=f"me/model failed: {error}"):
        upload_folder(folder, "me/model")


@pytest.mark.parametrize("name", [None, ""])
def test_an_upload_needs_a_name(fake_hub, name):
    with pytest.raises(ValueError, match="hub_model_id"):
        check_upload(name)
