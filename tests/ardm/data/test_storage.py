"""Laws of the spool: documents come back as they went in, and content names their file."""

import os
import subprocess
import sys

import datasets
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ardm.data import storage
from ardm.data.storage import Spool

DOCUMENTS = st.lists(st.text(st.sampled_from("ab\né東😀\0"), max_size=9), min_size=1, max_size=9)
many = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


def spooled(documents, size=3):
    spool = Spool()
    for text in documents:
        added = spool.add(text[i : i + size] for i in range(0, len(text), size))
        assert added == bool(text)
    return spool


def texts(rows):
    return list(rows["text"])


@given(documents=DOCUMENTS)
@many
def test_documents_come_back(documents):
    kept = [text for text in documents if text]
    with spooled(documents) as spool:
        assert len(spool) == len(kept)
        assert spool.num_characters == len("".join(kept))
        if kept:
            assert texts(spool.rows()) == kept


@given(documents=DOCUMENTS, data=st.data())
@many
def test_cut_between_and_within_documents(documents, data):
    kept = [text for text in documents if text]
    with spooled(documents) as spool:
        if len(kept) > 1:
            place = data.draw(st.integers(1, len(kept) - 1))
            assert [*map(texts, spool.cut(place))] == [kept[:place], kept[place:]]
    text = "".join(kept)
    if len(text) > 1:
        place = data.draw(st.integers(1, len(text) - 1))
        with spooled([text]) as spool:
            assert [*map(texts, spool.cut_within(place))] == [[text[:place]], [text[place:]]]


def test_batches_and_buffers_do_not_show(monkeypatch):
    monkeypatch.setattr(storage, "_ROWS_AT_ONCE", 3)
    monkeypatch.setattr(storage, "_BYTES_AT_ONCE", 5)
    documents = [f"{i} é東" * i for i in range(1, 20)]
    with spooled(documents) as spool:
        assert texts(spool.rows()) == documents
        assert [*map(texts, spool.cut(7))] == [documents[:7], documents[7:]]
    with spooled(["é東x" * 40]) as spool:
        assert [*map(texts, spool.cut_within(61))] == [["é東x" * 20 + "é"], ["東x" + "é東x" * 19]]


def test_content_decides_which_file_it_is(tmp_path):
    def key(*documents):
        with spooled(documents) as spool:
            rows = spool.rows()
        return rows._fingerprint, rows.cache_files[0]["filename"]

    assert key("a", "b") == key("a", "b")
    others = [("a", "b"), ("ab",), ("a", "c"), ("b", "a"), ("a", "b", "b"), ("a\n", "b")]
    assert len({key(*each) for each in others}) == len(others)
    assert all(str(tmp_path) in key(*each)[1] for each in others)


def test_rows_are_mapped_from_the_disk():
    with spooled(["a", "b"]) as spool:
        rows = spool.rows()
    assert isinstance(rows.data, datasets.table.MemoryMappedTable)
    assert list(spool.folder.iterdir()) == [spool.folder / f"{rows._fingerprint}.arrow"]


def test_half_a_surrogate_pair_is_refused():
    with spooled(["a"]) as spool, pytest.raises(ValueError, match="document 1 holds half"):
        spool.add(["b\ud800"])


def test_cache_that_cannot_be_used_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "file")
    with pytest.raises(
        ValueError, match=r"cache folder .*file/texts cannot be used.*HF_DATASETS_CACHE"
    ):
        Spool()


PROGRAM = """
import resource, sys
from ardm.data import load_texts
load_texts(train_file=sys.argv[1], line_by_line=sys.argv[2] == "True")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)  # the process's peak, in bytes
"""


@pytest.mark.slow
@pytest.mark.parametrize("line_by_line", [False, True])
def test_memory_for_reading_is_a_few_bytes_a_character(line_by_line, tmp_path):
    line = "the quick brown fox jumps over the lazy dog.\n"
    num_characters = {"small.txt": 10 * len(line), "big.txt": 1_000_000 * len(line)}
    environment = {**os.environ, "HF_DATASETS_CACHE": str(tmp_path / "cache")}
    peaks = []
    for name, number in num_characters.items():
        (tmp_path / name).write_text(line * (number // len(line)))
        command = [sys.executable, "-c", PROGRAM, str(tmp_path / name), str(line_by_line)]
        peaks.append(int(subprocess.check_output(command, env=environment, text=True)))
    small, big = peaks
    assert (big - small) / num_characters["big.txt"] < 4
