"""Laws of the data: text -> ids -> text is the identity, and windows partition the ids and the characters."""

import gzip
import itertools
import json
import lzma
import pickle

import datasets
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from ardm import tokenization
from ardm.data.windows import build_tokenizer, embedded_text, load_texts, make_windows, read_text

ALPHABET = "ab c\n\n\tZ.é😀[]MASK"
SAMPLE = (
    "The quick brown fox - naïve, 東京, 😀 - jumps.\n\n  Over  the\r\nlazy dog: [MASK] it's 42.\n"
    * 20
)
TOKENIZERS = {
    "char": build_tokenizer("char", SAMPLE + ALPHABET),
    "byte": build_tokenizer("byte", []),
    "bpe": build_tokenizer("bpe", SAMPLE, 400),
}
UNICODE = st.text(st.characters(exclude_categories=("Cs",)))
kinds = pytest.mark.parametrize("kind", TOKENIZERS)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()


@pytest.fixture
def write(tmp_path):
    def write(name, data):
        path = tmp_path / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return path

    return write


def rows(*texts):
    return datasets.Dataset.from_dict({"text": list(texts)})


def text_of(dataset):
    return "".join(row["text"] for row in dataset)


def ids_of(windows):
    return np.concatenate([row["input_ids"].numpy() for row in windows])


def plain_ids(tokenizer, text):
    """Independent of windows: one call on the whole text; spelled-out special tokens are text."""
    return tokenizer(text, split_special_tokens=True, add_special_tokens=False)["input_ids"]


# --- tokenizers


@pytest.mark.parametrize("kind", ["byte", "bpe"])
@given(text=UNICODE)
@settings(deadline=None, max_examples=60)
def test_bytes_round_trip_any_text(kind, text):
    tokenizer = TOKENIZERS[kind]
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


@given(text=st.text(st.sampled_from(ALPHABET)))
@settings(deadline=None, max_examples=60)
def test_characters_round_trip_their_alphabet(text):
    tokenizer = TOKENIZERS["char"]
    ids = tokenizer(text, split_special_tokens=True)["input_ids"]
    assert len(ids) == len(text) and tokenizer.decode(ids) == text
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


@given(text=UNICODE)
@settings(deadline=None, max_examples=60)
def test_byte_ids_are_the_bytes(text):
    assert plain_ids(TOKENIZERS["byte"], text) == list(text.encode())


def test_character_ids_are_sorted_and_specials_come_last():
    tokenizer = build_tokenizer("char", ["b\na", "c😀"])
    assert tokenizer.convert_ids_to_tokens(range(5)) == ["\n", "a", "b", "c", "😀"]
    assert {tokenizer.unk_token_id, tokenizer.mask_token_id, tokenizer.pad_token_id} == {5, 6, 7}
    assert len(tokenizer) == 8 and tokenizer("a?c")["input_ids"] == [1, tokenizer.unk_token_id, 3]


@kinds
def test_special_tokens_follow_the_data_and_only_masks_are_spelled(kind):
    tokenizer = TOKENIZERS[kind]
    assert min(tokenizer.all_special_ids) >= len(tokenizer) - 3
    assert max(plain_ids(tokenizer, SAMPLE)) < min(tokenizer.all_special_ids)
    infill = tokenizer.encode("a[MASK]b")
    assert infill == [*tokenizer.encode("a"), tokenizer.mask_token_id, *tokenizer.encode("b")]


@kinds
def test_saved_tokenizer_comes_back_through_auto_tokenizer(kind, tmp_path):
    tokenizer = build_tokenizer(kind, SAMPLE, model_max_length=77)
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.is_fast and len(loaded) == len(tokenizer) and loaded.model_max_length == 77
    assert loaded.special_tokens_map == tokenizer.special_tokens_map
    text = "fox .  ,\n\n it 's [MASK] 東京"
    assert loaded.encode(text) == tokenizer.encode(text)
    assert loaded.decode(loaded.encode(text)) == text


def test_bpe_has_the_size_asked_for_and_is_deterministic():
    text = embedded_text()[:100_000]
    tokenizers = [build_tokenizer("bpe", [text], 500) for _ in range(2)]
    assert [len(tokenizer) for tokenizer in tokenizers] == [500, 500]
    assert tokenizers[0].get_vocab() == tokenizers[1].get_vocab()
    assert len(plain_ids(tokenizers[0], text)) < 0.6 * len(text)


@pytest.mark.parametrize(
    ("args", "match"),
    [
        (("word", "a"), "'word'.*'char', 'byte', 'bpe'"),
        (("char", []), "no characters"),
        (("bpe", [""]), "no characters"),
        (("bpe", "text", 257), "257.*258"),
        (("byte", "text", 300), "300.*258"),
        (("char", "text", 5), "5.*6 tokens"),
    ],
)
def test_tokenizer_errors(args, match):
    with pytest.raises(ValueError, match=match):
        build_tokenizer(*args)


@kinds
def test_cutting_a_text_changes_no_token(kind, monkeypatch):
    text = embedded_text()[:30_000] + SAMPLE
    monkeypatch.setattr(tokenization, "_PIECE_CHARACTERS", 200)
    pieces = list(tokenization.pieces_of(text))
    assert len(pieces) > 50 and "".join(pieces) == text and max(map(len, pieces)) <= 400
    tokenizer = build_tokenizer("char", text) if kind == "char" else TOKENIZERS[kind]
    cut = [i for piece in pieces for i in plain_ids(tokenizer, piece)]
    assert cut == plain_ids(tokenizer, text)


# --- texts


def test_embedded_text_is_one_long_sorted_text():
    assert len(embedded_text()) > 300_000
    assert embedded_text().startswith(datasets_topics()[0])


def datasets_topics():
    from pydoc_data.topics import topics

    return [topics[key] for key in sorted(topics)]


@pytest.mark.parametrize(
    ("suffix", "pack"), [("", bytes), (".xz", lzma.compress), (".gz", gzip.compress)]
)
def test_read_text_keeps_every_character(suffix, pack, write):
    assert read_text(write(f"a.txt{suffix}", pack(SAMPLE.encode()))) == SAMPLE


@pytest.mark.parametrize(
    ("name", "data", "match"),
    [
        ("empty.txt", b"", "empty.txt is empty"),
        ("latin.txt", b"abc\xe9 d", "latin.txt is not UTF-8.*offset 3"),
        ("bad.xz", b"not xz", "bad.xz cannot be read"),
        ("bad.gz", b"not gzip", "bad.gz cannot be read"),
        ("cut.xz", lzma.compress(SAMPLE.encode())[:40], "cut.xz cannot be read"),
    ],
)
def test_read_text_errors(name, data, match, write):
    with pytest.raises(ValueError, match=match):
        read_text(write(name, data))


def test_read_text_of_nothing_and_of_a_directory(tmp_path):
    with pytest.raises(ValueError, match=r"nope\.txt does not exist"):
        read_text(tmp_path / "nope.txt")
    with pytest.raises(ValueError, match="is a directory"):
        read_text(tmp_path)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("fraction", [0.05, 0.5])
def test_held_out_text_is_the_end(fraction, streaming):
    splits = load_texts(validation_fraction=fraction, streaming=streaming)
    train, validation = text_of(splits["train"]), text_of(splits["validation"])
    assert train + validation == embedded_text()
    assert len(validation) == round(fraction * len(embedded_text()))
    assert isinstance(splits["train"], datasets.IterableDataset) == streaming


TEXTS = [f"document {i}" for i in range(10)]
TABLES = {
    "t.jsonl": "".join(json.dumps({"text": text, "n": 1}) + "\n" for text in TEXTS),
    "t.jsonl.gz": gzip.compress(
        "".join(json.dumps({"body": text}) + "\n" for text in TEXTS).encode()
    ),
    "t.csv": "body,n\n" + "".join(f"{text},1\n" for text in TEXTS),
}


@pytest.mark.parametrize("name", TABLES)
def test_rows_of_a_table_are_documents(name, write):
    path = write(name, TABLES[name])
    splits = load_texts(train_file=path, validation_fraction=0.2)
    assert (
        list(splits["train"]["text"]) == TEXTS[:8]
        and list(splits["validation"]["text"]) == TEXTS[8:]
    )
    assert splits["train"].column_names == ["text"]
    streams = load_texts(train_file=path, validation_file=path, streaming=True)
    assert [row["text"] for row in streams["train"]] == TEXTS


def test_directory_is_its_files_in_order(write):
    for i in (2, 0, 1):
        path = write(f"{i}.txt", TEXTS[i])
    splits = load_texts(train_file=path.parent, validation_file=path)
    assert (
        list(splits["train"]["text"]) == TEXTS[:3]
        and list(splits["validation"]["text"]) == TEXTS[1:2]
    )
    write("3.csv", "text\na\n")
    with pytest.raises(ValueError, match=r"3\.csv"):
        load_texts(train_file=path.parent)


@pytest.mark.parametrize("streaming", [False, True])
def test_saved_data_sets_are_loaded_by_their_path(streaming, tmp_path):
    rows(*TEXTS).save_to_disk(tmp_path / "one")
    splits = load_texts(dataset_name=str(tmp_path / "one"), streaming=False)
    assert text_of(splits["train"]) + text_of(splits["validation"]) == "".join(TEXTS)
    saved = datasets.DatasetDict(
        train=rows(*TEXTS[:4]), validation=rows(*TEXTS[4:]), test=rows("no")
    )
    saved.save_to_disk(tmp_path / "three")
    splits = load_texts(dataset_name=str(tmp_path / "three"), streaming=streaming)
    assert set(splits) == {"train", "validation"} and text_of(splits["validation"]) == "".join(
        TEXTS[4:]
    )


def test_text_column_is_found_or_asked_for(write):
    path = write("t.csv", "a,b,n\nx,y,1\nu,v,2\n")
    assert text_of(load_texts(train_file=path, text_column="b")["train"]) == "y"
    for column in (None, "n", "nope"):
        with pytest.raises(ValueError, match=r"one of \['a', 'b'\], of \['a', 'b', 'n'\]"):
            load_texts(train_file=path, text_column=column)


@pytest.mark.parametrize("fraction", [0, -0.1, 0.51, float("nan")])
def test_validation_fraction_out_of_range(fraction):
    with pytest.raises(ValueError, match=r"validation_fraction.*0\.5"):
        load_texts(validation_fraction=fraction)


def test_load_errors_name_what_was_asked(tmp_path, write):
    (tmp_path / "void").mkdir()
    rows("a").save_to_disk(tmp_path / "short")
    datasets.DatasetDict(test=rows("a")).save_to_disk(tmp_path / "test")
    jsonl = write("t.jsonl", TABLES["t.jsonl"])
    for arguments, match in [
        ({"dataset_name": "nobody/nothing"}, "nobody/nothing.*Hub"),
        ({"dataset_name": str(tmp_path / "nope")}, "nope.*save_to_disk"),
        ({"dataset_name": str(tmp_path / "test")}, r"\['test'\].*'train'"),
        ({"dataset_name": str(tmp_path / "short")}, "1 characters"),
        ({"dataset_name": "x", "train_file": "y"}, "one of them"),
        ({"dataset_config_name": "x"}, "without a dataset_name"),
        ({"validation_file": "x"}, "without a train_file"),
        ({"train_file": tmp_path / "void"}, "void holds no files"),
        ({"train_file": tmp_path / "nope.txt"}, "nope.txt does not exist"),
        ({"train_file": tmp_path / "nope.csv"}, "nope.csv does not exist"),
        ({"train_file": write("bad.jsonl", "{not json")}, "bad.jsonl.*json file"),
        ({"train_file": jsonl, "streaming": True}, "validation_file"),
    ]:
        with pytest.raises(ValueError, match=match):
            load_texts(**arguments)


# --- windows


@kinds
@pytest.mark.parametrize("length", [1, 7, 64])
def test_windows_partition_the_ids_and_characters_of_a_text(kind, length):
    tokenizer = TOKENIZERS[kind]
    windows = make_windows(rows(SAMPLE), tokenizer, length)
    ids = plain_ids(tokenizer, SAMPLE)
    num_used = len(ids) // length * length
    assert ids_of(windows).tolist() == ids[:num_used]
    assert all(row["input_ids"].shape == (length,) for row in windows)
    counts = np.array(windows["num_characters"])
    if kind == "char":
        assert (counts == length).all()
    # The characters that begin in ids[:n] are those of the text they spell; a cut one decodes to one U+FFFD.
    ends = [len(tokenizer.decode(ids[:n])) for n in range(length, num_used + 1, length)]
    assert np.cumsum(counts).tolist() == ends
    assert np.cumsum(windows["num_bytes"]).tolist() == [len(SAMPLE[:end].encode()) for end in ends]
    if length == 1:
        assert counts.sum() == len(SAMPLE)


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
    monkeypatch.setattr("ardm.data.windows._DOCUMENTS_AT_ONCE", 3)
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
    monkeypatch.setattr("ardm.data.windows._Windower.__call__", None)  # nothing is tokenized again
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


def test_windows_of_files_on_disk_are_cached_beside_them(tmp_path):
    rows(SAMPLE, SAMPLE).save_to_disk(tmp_path / "saved")
    windows = make_windows(datasets.load_from_disk(tmp_path / "saved"), TOKENIZERS["char"], 16)
    assert all(file["filename"].startswith(str(tmp_path / "saved")) for file in windows.cache_files)


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
