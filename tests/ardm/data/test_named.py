"""Laws of named data: what cannot be had is said at once, and what was replaced is read anew."""

import functools
import http.server
import os
import threading
import time
import zipfile
from itertools import chain

import datasets
import pytest

from ardm.data import load_texts, named
from ardm.data.named import declares_configurations, download, hub_rows, repository_rows, saved_rows


def text_of(splits):
    return "".join(chain(*(rows["text"] for rows in splits.values())))


def rows(*texts):
    return datasets.Dataset.from_dict({"text": list(texts)})


@pytest.mark.parametrize("name", ["set", "set[1]", "a*b"])
def test_saved_data_sets_are_read_from_any_path(name, tmp_path):
    rows("wrong").save_to_disk(tmp_path / "set1")
    rows("wrong").save_to_disk(tmp_path / "axb")
    rows("a", "b").save_to_disk(tmp_path / name / "one")
    datasets.DatasetDict(train=rows("a"), test=rows("b")).save_to_disk(tmp_path / name / "two")
    assert list(saved_rows(tmp_path / name / "one")["train"]["text"]) == ["a", "b"]
    two = saved_rows(tmp_path / name / "two")
    assert {part: list(table["text"]) for part, table in two.items()} == {
        "train": ["a"],
        "test": ["b"],
    }


def test_replaced_data_is_known_by_its_content(tmp_path):
    def key():
        return saved_rows(tmp_path / "set")["train"]._fingerprint

    rows("aaaa").save_to_disk(tmp_path / "set")
    (file,) = (tmp_path / "set").glob("*.arrow")
    first = key()
    times = file.stat()
    content = file.read_bytes()
    assert key() == first
    file.write_bytes(content.replace(b"aaaa", b"bbbb"))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert key() != first


def test_damaged_saved_data_is_named(tmp_path):
    rows("a").save_to_disk(tmp_path / "set")
    for file in (tmp_path / "set").glob("*.arrow"):
        file.unlink()
    with pytest.raises(ValueError, match="set cannot be read"):
        saved_rows(tmp_path / "set")


CARD = """---
configs:
- config_name: first
  data_files:
  - split: train
    path: one.jsonl
- config_name: second
  data_files:
  - split: train
    path: two.jsonl
---
# Data
"""


@pytest.fixture
def repository(write):
    write("repository/README.md", CARD)
    write("repository/one.jsonl", '{"text": "one"}\n{"text": "1"}\n')
    return write("repository/two.jsonl", '{"text": "two"}\n{"text": "2"}\n').parent


def test_repository_with_configurations_is_read_as_its_card_says(repository):
    assert declares_configurations(repository)
    name = str(repository)
    for config, text in (("first", "one"), ("second", "two")):
        splits = load_texts(dataset_name=name, dataset_config_name=config)
        assert list(splits["train"]["text"]) == [text]
    with pytest.raises(ValueError, match="first"):  # which one is asked
        load_texts(dataset_name=name)
    file = repository / "one.jsonl"
    times = file.stat()
    file.write_text('{"text": "new"}\n{"text": "1"}\n')
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert list(load_texts(dataset_name=name, dataset_config_name="first")["train"]["text"]) == [
        "new"
    ]
    renamed = repository.rename(repository.with_name("set[1]"))
    with pytest.raises(ValueError, match=r"set\[1\] has configurations.*rename"):
        repository_rows(renamed, "first")


@pytest.mark.parametrize("damage", ["no rows", "no list", "no json"])
def test_saved_data_that_is_none_is_named(damage, tmp_path):
    rows(*["a"] * (damage != "no rows")).save_to_disk(tmp_path / "set")
    if damage != "no rows":
        (tmp_path / "set" / "state.json").write_text("{}" if damage == "no list" else "{")
    unread = r"set cannot be read, is it empty or damaged\? \(\w+"
    # datasets 4.4 reads a table without rows
    message = rf"{unread}|holds no strings" if damage == "no rows" else unread
    with pytest.raises(ValueError, match=message):
        load_texts(train_file=tmp_path / "set")


def test_cards_without_configurations_declare_none(write):
    folder = write("d/README.md", "---\nlicense: mit\n---\n# configs:\n").parent
    assert not declares_configurations(folder) and not declares_configurations(folder / "gone")


def test_a_hub_that_does_not_answer_is_not_waited_for(monkeypatch):
    import huggingface_hub

    def refuse(*_, **__):
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", refuse)
    start = time.monotonic()
    both = "'nobody/nothing': there is no such folder, and the Hub gives none .*; expected"
    with pytest.raises(ValueError, match=both) as error:
        hub_rows("nobody/nothing", None, streaming=False)
    assert time.monotonic() - start < 10
    assert "\n" not in str(error.value)
    assert datasets.config.HF_HUB_OFFLINE is False


def test_a_cache_that_is_read_because_the_hub_is_silent_is_told(monkeypatch, caplog):
    monkeypatch.setattr(named, "_load", lambda *_, **__: datasets.DatasetDict(train=rows("a")))
    monkeypatch.setattr(named, "_silence", lambda _: None)
    hub_rows("user/name", None, streaming=False)
    assert not caplog.records
    monkeypatch.setattr(named, "_silence", lambda _: ConnectionError("no\nnetwork"))
    assert list(hub_rows("user/name", None, streaming=False)["train"]["text"]) == ["a"]
    (told,) = caplog.messages
    assert told == "user/name: the Hub does not answer (no network): only its cache is used"


@pytest.mark.parametrize("streaming", [False, True])
def test_data_of_the_hub_is_split_by_the_same_rule(streaming, monkeypatch):
    parts = datasets.DatasetDict(
        train=rows("a", "b"), test=rows("c"), valid=rows("d"), more=rows("e")
    )
    loaded = {
        name: each.to_iterable_dataset() if streaming else each for name, each in parts.items()
    }
    monkeypatch.setattr(named, "_load", lambda *_, **__: loaded)
    monkeypatch.setattr(named, "_silence", lambda _: None)
    splits = load_texts(dataset_name="user/name", streaming=streaming)
    assert [[row["text"] for row in splits[name]] for name in ("train", "validation")] == [
        ["a", "b"],
        ["d"],
    ]
    assert "held out: valid" in splits.report and "not used: test, more" in splits.report


def test_addresses_that_cannot_be_had_are_named_without_their_secrets():
    with pytest.raises(ValueError, match=r"^https://host/a\.txt cannot be fetched") as caught:
        download("https://user:secret@host/a.txt")
    assert "expected the address of one file" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_addresses_are_files_of_their_format(write, monkeypatch):
    path = write("0123abc", '{"text": "a"}\n{"text": "b"}\n')
    monkeypatch.setattr(datasets.DownloadManager, "download", lambda *_: str(path))
    for address in ("https://host/x/a%20b.jsonl?download=true", "hf://datasets/u/n/a.jsonl"):
        splits = load_texts(train_file=address)
        assert list(splits["train"]["text"]) == ["a"]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train/a.txt", "to train")
        archive.writestr("test/logo.png", b"\x89PNG\0")
        archive.writestr("test/a.txt", "to hold out")
    splits = load_texts(train_file="https://host/x.zip?download=true")
    assert list(splits["train"]["text"]) + list(splits["validation"]["text"]) == [
        "to train",
        "to hold out",
    ]
    assert "1 picture" in splits.report


@pytest.mark.parametrize("marked", [True, False])
def test_replaced_file_is_fetched_anew(marked, write, tmp_path, monkeypatch):
    path = write("a.txt", "first text")
    fetched = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def end_headers(self):
            if marked:
                self.send_header("ETag", path.read_text()[:5])
            super().end_headers()

        def log_message(self, *_):
            fetched.append(self.command)

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "DOWNLOADED_DATASETS_PATH", tmp_path / "downloads")
    serving = functools.partial(Handler, directory=str(path.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serving) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/a.txt"
        for text in ("first text", "other text"):
            path.write_text(text)
            assert text_of(load_texts(train_file=address)) == text
        before = fetched.count("GET")
        load_texts(train_file=address)
        assert fetched.count("GET") - before == (not marked)  # what is known is not fetched again
        server.shutdown()


def test_archives_are_refused_before_they_are_fetched(monkeypatch):
    monkeypatch.setattr(datasets.DownloadManager, "download", lambda *_: pytest.fail("fetched"))
    for name in ("a.tar.gz", "a.7z"):
        with pytest.raises(ValueError, match=rf"https://host/{name} is an archive.*unpack"):
            load_texts(train_file=f"https://host/{name}?x=1")
