"""What can be a name on the Hub, and what can only be of this machine."""

import pytest

from ardm.training.hub_names import may_be_on_the_hub, meant_here


@pytest.mark.parametrize("name", ["gpt2", "google-bert/bert-base-uncased", "user/a_b.c-1"])
def test_names_of_the_hub(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert may_be_on_the_hub(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "./x",
        "../x",
        "~/x",
        "/x",
        "C:\\x",
        "C:/x",
        "x/",
        "user/name/",
        "a/b/c",
        "a b",
        "a\nb",
    ],
)
def test_paths_are_none(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert not may_be_on_the_hub(name)


def test_what_would_lie_in_a_folder_of_this_machine_is_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "file").touch()
    assert not may_be_on_the_hub("runs/ardn")
    assert may_be_on_the_hub("runs2/ardn") and may_be_on_the_hub("runs")
    assert may_be_on_the_hub("file/ardn")


def test_what_is_called_alike_is_named(tmp_path):
    for name in ("ardm", "ddpm", "other"):
        (tmp_path / name).mkdir()
    assert meant_here(str(tmp_path / "ardn")) == f" (did you mean {tmp_path / 'ardm'}?)"
    assert meant_here(str(tmp_path / "xyz")) == meant_here(str(tmp_path / "no" / "ardm")) == ""
