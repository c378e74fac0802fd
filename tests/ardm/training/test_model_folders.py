"""A model that is not there is refused at once, and one that is there is not written over."""

import json
import time

import pytest

from ardm.training.model_folders import (
    check_not_replacing,
    find_model,
    loading,
    model_type_of,
    read_json,
    read_model_json,
)
from ardm.training.one_line import in_one_line


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    return tmp_path / "model"


def test_a_folder_is_found(folder):
    assert find_model(folder) == find_model(str(folder)) == str(folder)


@pytest.mark.parametrize(
    "name",
    ["", "./nowhere", "/nowhere", "~/nowhere", "a/b/c", "runs/ardm/", "runs\\ardm", "{here}/gone"],
)
def test_what_is_written_as_a_path_is_not_asked_for_on_the_hub(name, folder, monkeypatch):
    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", None)
    monkeypatch.chdir(folder)  # `make demo` leaves a runs/ardm
    name = name.format(here=folder)
    with pytest.raises(ValueError, match="there is no such folder; expected a folder that exists"):
        find_model(name)


def test_a_mistyped_name_in_a_folder_that_is_here_is_no_name_of_the_hub(folder, monkeypatch):
    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", None)
    monkeypatch.chdir(folder.parent.parent)
    (folder.parent / "other").mkdir()
    runs = folder.parent.name
    told = rf"no such folder \(did you mean {runs}/model\?\); expected"
    for wrong in ("modle", "model2"):
        with pytest.raises(ValueError, match=told):
            find_model(f"{runs}/{wrong}")
    with pytest.raises(ValueError, match="no such folder; expected"):
        find_model(f"{runs}/telepathy")


def test_a_folder_of_the_home_folder_is_found(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    monkeypatch.setenv("USERPROFILE", str(folder.parent))
    assert find_model("~/model") == str(folder)


def test_a_folder_without_a_model_and_a_file_are_named_as_such(folder):
    (folder / "config.json").unlink()
    with pytest.raises(ValueError, match=r"the folder has no config\.json"):
        find_model(folder)
    (folder / "a.txt").write_text("a")
    with pytest.raises(ValueError, match="it is a file"):
        find_model(folder / "a.txt")


@pytest.mark.parametrize("name", ["runs/mistyped", "mistyped"])
def test_the_hub_is_asked_once(name, monkeypatch, tmp_path):
    asked = []

    def unreachable(url, **options):
        asked.append(url)
        raise ConnectionError("no\nanswer")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", unreachable)
    began = time.perf_counter()
    with pytest.raises(
        ValueError, match="there is no such folder, and the Hub gives none"
    ) as error:
        find_model(name)
    assert len(asked) == 1 and time.perf_counter() - began < 5
    assert "\n" not in str(error.value)


def test_a_model_of_the_cache_needs_no_hub(monkeypatch):
    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", None)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: "/cache/config.json")
    assert find_model("user/name") == "user/name"


@pytest.mark.parametrize("error", [OSError("torn\nfile"), KeyError("weights"), ValueError("bad")])
def test_whatever_is_wrong_while_loading_names_the_model(error):
    named = pytest.raises(ValueError, match="no classifier can be loaded from 'runs/x'")
    with named as caught, loading("runs/x", "classifier"):
        raise error
    assert caught.value.__cause__ is error
    assert in_one_line(error) in str(caught.value) and "\n" not in str(caught.value)


def test_loading_lets_results_and_interrupts_through():
    with loading("runs/x"):
        result = 1
    assert result == 1
    with pytest.raises(KeyboardInterrupt), loading("runs/x"):
        raise KeyboardInterrupt


@pytest.mark.parametrize("content", ["", "{", "[1]", "\x00", '{"a": 1'])
def test_json_that_is_no_settings_is_named(tmp_path, content):
    path = tmp_path / "config.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"^config\.json (is damaged|holds a list)"):
        read_json(path)
    path.write_text(json.dumps({"a": 1}))
    assert read_json(path) == {"a": 1}


def test_a_model_without_checkpoints_is_not_written_over(folder):
    check_not_replacing(folder)  # no weights: no model
    check_not_replacing(folder / "new")
    (folder / "model-00001-of-00002.safetensors").write_text("weights")
    for asked in ("latest", "elsewhere/step-00000003"):
        with pytest.raises(ValueError, match=r"holds a model without checkpoints.*'none'"):
            check_not_replacing(folder, asked)
    check_not_replacing(folder, "none")
    (folder / "checkpoints").mkdir()
    with pytest.raises(ValueError, match="without checkpoints"):
        check_not_replacing(folder)
    (folder / "checkpoints" / "step-00000003").mkdir()
    check_not_replacing(folder)


def test_a_file_of_a_model_is_read_from_its_folder_or_the_hub(folder, monkeypatch):
    asked = []

    def download(name, file):
        asked.append((name, file))
        return str(folder / "other.json")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    (folder / "config.json").write_text('{"model_type": "ardm"}')
    (folder / "other.json").write_text('{"model_type": "bert"}')
    assert read_model_json(str(folder), "other.json") == {"model_type": "bert"}
    assert model_type_of(str(folder)) == "ardm" and not asked
    assert model_type_of("user/name") == "bert" and asked == [("user/name", "config.json")]
