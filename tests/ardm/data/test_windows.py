"""Laws of the windows: they partition the ids, the characters and the bytes of a text."""

import itertools
import pickle

import datasets
import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from ardm.data import build_tokenizer, make_windows

SAMPLE = (
    "The quick brown fox - naïve, 東京, 😀 - jumps.\n\n  Over  the\r\nlazy dog: [MASK] it's 42.\n"
    * 20
)
TOKENIZERS = {
    "char": build_tokenizer("char", SAMPLE),
    "byte": build_tokenizer("byte", []),
    "bpe": build_tokenizer("bpe", SAMPLE, 400),
}
kinds = pytest.mark.parametrize("kind", TOKENIZERS)


def rows(*texts):
    return datasets.Dataset.from_dict({"text": list(texts)})


def ids_of(windows):
    return np.concatenate([row["input_ids"].numpy() for row in windows])


def plain_ids(tokenizer, text):
    """Independent of windows: one call on the whole text; spelled-out special tokens are text."""
    return tokenizer(text, split_special_tokens=True, add_special_tokens=False)["input_ids"]


@kinds
@pytest.mark.parametrize("length", [1, 7, 64])
def test_windows_partition_the_ids_and_characters_of_a_text(kind, length):
    text = SAMPLE[:420]
    tokenizer = TOKENIZERS[kind]
    windows = make_windows(rows(text), tokenizer, length)
    ids = plain_ids(tokenizer, text)
    num_used = len(ids) // length * length
    assert ids_of(windows).tolist() == ids[:num_used]
    assert all(row["input_ids"].shape == (length,) for row in windows)
    counts = np.array(windows["num_characters"])
    if kind == "char":
        assert (counts == length).all()
    # what begins in ids[:n] are the characters of their text; a cut one decodes to one U+FFFD
    ends = [len(tokenizer.decode(ids[:n])) for n in range(length, num_used + 1, length)]
    assert np.cumsum(counts).tolist() == ends
    assert np.cumsum(windows["num_bytes"]).tolist() == [len(text[:end].encode()) for end in ends]
    if length == 1:
        assert counts.sum() == len(text)


@kinds
def test_documents_are_joined_by_a_blank_line_and_empty_ones_left_out(kind):
    tokenizer = TOKENIZERS[kind]
    documents = [SAMPLE[i : i + 11] for i in range(0, 600, 11)]
    windows = make_windows(rows("", *documents, None), tokenizer, 1)
    assert tokenizer.decode(ids_of(windows)) == "\n\n".join(documents)
    assert sum(windows["num_characters"]) == len("\n\n".join(documents))
    assert sum(windows["num_bytes"]) == len("\n\n".join(documents).encode())


def test_eos_token_joins_documents_and_has_no_characters():
    tokenizer = build_tokenizer("byte", [])
    tokenizer.add_special_tokens({"eos_token": "[EOS]"})
    windows = make_windows(rows("ab", "cd"), tokenizer, 1)
    assert ids_of(windows).tolist() == [*b"ab", tokenizer.eos_token_id, *b"cd"]
    assert list(windows["num_characters"]) == list(windows["num_bytes"]) == [1, 1, 0, 1, 1]


@kinds
def test_windows_go_on_across_batches_and_streams_are_equal(kind, monkeypatch):
    monkeypatch.setattr("ardm.data.windows._CHARACTERS_AT_ONCE", 100)
    monkeypatch.setattr("ardm.data.windows._DOCUMENTS_AT_ONCE", 3)
    monkeypatch.setattr("ardm.data.pieces._DOCUMENTS_AT_ONCE", 4)
    documents = rows(*[SAMPLE[i : i + 37] for i in range(0, 1500, 37)])
    windows = make_windows(documents, TOKENIZERS[kind], 50)
    joined = plain_ids(TOKENIZERS[kind], "\n\n".join(documents["text"]))
    if kind != "bpe":  # whose merges may reach over the border of a document in the joined text
        assert ids_of(windows).tolist() == joined[: len(joined) // 50 * 50]
    stream = make_windows(documents.to_iterable_dataset(), TOKENIZERS[kind], 50)
    for _ in range(2):  # a second pass starts anew
        assert (ids_of(stream) == ids_of(windows)).all()
    for unit in ("num_characters", "num_bytes"):
        assert [row[unit] for row in stream] == list(windows[unit])
    pairs = itertools.islice(zip(stream, stream, strict=True), 5)
    assert all((a["input_ids"] == b["input_ids"]).all() for a, b in pairs)


def test_shards_of_a_stream_are_windowed_apart():
    documents = rows(*[SAMPLE[i : i + 37] for i in range(0, 1500, 37)], "short")
    stream = make_windows(documents.to_iterable_dataset(4), TOKENIZERS["byte"], 50)
    shards = [make_windows(documents.shard(4, i), TOKENIZERS["byte"], 50) for i in range(4)]
    assert stream.num_shards == 4
    assert (ids_of(stream) == np.concatenate([ids_of(shard) for shard in shards])).all()
    assert (
        len(list(make_windows(rows("long" * 9, "s").to_iterable_dataset(2), TOKENIZERS["byte"], 9)))
        == 4
    )


def test_stream_reads_no_further_than_asked(monkeypatch):
    monkeypatch.setattr("ardm.data.windows._CHARACTERS_AT_ONCE", 1)
    monkeypatch.setattr("ardm.data.windows._DOCUMENTS_AT_ONCE", 1)
    read = []

    def documents():
        for i in itertools.count():
            read.append(i)
            yield {"text": "x" * 10}

    stream = make_windows(datasets.IterableDataset.from_generator(documents), TOKENIZERS["byte"], 8)
    assert len(list(itertools.islice(stream, 3))) == 3
    assert max(read) < 10


def test_second_call_is_read_from_the_cache(monkeypatch):
    first = make_windows(rows(SAMPLE), build_tokenizer("bpe", SAMPLE, 300), 16)
    tokenizer = pickle.loads(pickle.dumps(build_tokenizer("bpe", SAMPLE, 300)))
    tokenizer("used before", truncation=True, max_length=3, padding="max_length")
    monkeypatch.setattr("ardm.data.windows._Windower.windows", None)  # nothing is tokenized again
    second = make_windows(rows(SAMPLE), tokenizer, 16)
    assert first.cache_files == second.cache_files and first._fingerprint == second._fingerprint
    assert (ids_of(first) == ids_of(second)).all()
    monkeypatch.undo()


@pytest.mark.parametrize("change", ["text", "tokenizer", "length"])
def test_cache_tells_inputs_apart(change):
    first = make_windows(rows(SAMPLE), TOKENIZERS["byte"], 16)
    text = SAMPLE[1:] if change == "text" else SAMPLE
    tokenizer = TOKENIZERS["bpe" if change == "tokenizer" else "byte"]
    second = make_windows(rows(text), tokenizer, 17 if change == "length" else 16)
    assert first.cache_files != second.cache_files


def test_windows_of_files_on_disk_leave_these_alone(tmp_path):
    rows(SAMPLE, SAMPLE).save_to_disk(tmp_path / "saved")
    before = sorted((tmp_path / "saved").rglob("*"))
    windows = make_windows(datasets.load_from_disk(tmp_path / "saved"), TOKENIZERS["char"], 16)
    assert sorted((tmp_path / "saved").rglob("*")) == before
    [file] = windows.cache_files
    assert file["filename"].startswith(str(tmp_path / "cache" / "windows"))
    assert (
        ids_of(windows) == ids_of(make_windows(rows(SAMPLE, SAMPLE), TOKENIZERS["char"], 16))
    ).all()


def test_processes_lose_less_than_a_window_each():
    documents = rows(*[SAMPLE] * 4)
    windows = make_windows(documents, TOKENIZERS["byte"], 32, num_proc=2)
    num_bytes = 4 * len(SAMPLE.encode()) + 2 * len("\n\n")
    assert num_bytes - 2 * 31 <= ids_of(windows).size <= num_bytes


def test_window_errors_come_before_any_work(monkeypatch):
    monkeypatch.setattr("ardm.data.windows._Windower", None)
    plain = PreTrainedTokenizerFast(tokenizer_object=TOKENIZERS["byte"].backend_tokenizer)
    with pytest.raises(ValueError, match="no mask token"):
        make_windows(rows(SAMPLE), plain, 8)
    with pytest.raises(ValueError, match="sequence_length is 0"):
        make_windows(rows(SAMPLE), TOKENIZERS["byte"], 0)


def test_text_too_short_for_a_window():
    for _ in range(2):  # also when the empty result is in the cache
        with pytest.raises(ValueError, match=r"6 tokens.*at least 7"):
            make_windows(rows("ab", "cd"), TOKENIZERS["byte"], 7)
    with pytest.raises(ValueError, match=r"6 tokens.*at least 7"):
        list(make_windows(rows("ab", "cd").to_iterable_dataset(), TOKENIZERS["byte"], 7))


def test_alphabet_without_line_breaks_cannot_join_documents():
    letters = build_tokenizer("char", "abc")
    assert len(make_windows(rows("abc"), letters, 1)) == 3
    with pytest.raises(ValueError, match="blank line"):
        make_windows(rows("abc", "abc"), letters, 1)
