"""Flags become values: each field of a corpus has a flag, and names tell no folder of this disk."""

import argparse
from dataclasses import FrozenInstanceError, asdict, fields
from types import SimpleNamespace

import datasets
import pytest

from ardm.data import (
    Corpus,
    add_data_arguments,
    add_held_out_arguments,
    build_tokenizer,
    corpus_from,
    load_corpus,
    load_held_out,
    window_length,
)

TEXT = "the quick brown fox jumps over the lazy dog. " * 40
GIVEN = {
    "dataset_name": "user/name",
    "dataset_config_name": "plain",
    "train_file": "a.txt",
    "validation_file": "b.txt",
    "validation_fraction": 0.25,
    "text_column": "body",
    "include": ("*.txt", "*.md"),
    "exclude": ("old",),
    "line_by_line": True,
    "tokenizer": "bpe",
    "vocab_size": 300,
    "sequence_length": 16,
    "streaming": True,
}


def parsed(add_arguments, *words):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args([*map(str, words)])


def words_of(values):
    for name, value in values.items():
        words = value if isinstance(value, tuple) else () if value is True else (value,)
        yield from (f"--{name}", *words)


@pytest.fixture
def text_file(write):
    return str(write("text.txt", TEXT))


# ---------------------------------------------------------------------------------------- flags
def test_every_field_has_a_flag_and_its_default():
    flags = parsed(add_data_arguments)
    assert vars(flags) == asdict(Corpus())
    assert corpus_from(flags) == Corpus()
    given = parsed(add_data_arguments, *words_of(GIVEN))
    assert GIVEN.keys() == {field.name for field in fields(Corpus)}
    assert asdict(corpus_from(given)) == GIVEN
    several = GIVEN | {"train_file": ("a.txt", "b.txt"), "validation_file": ("c.txt", "d")}
    assert asdict(corpus_from(parsed(add_data_arguments, *words_of(several)))) == several


def test_a_saved_model_is_scored_on_windows_of_its_own_length_unless_told():
    assert corpus_from(parsed(add_held_out_arguments)) == Corpus(sequence_length=None)
    own = ("tokenizer", "vocab_size", "streaming")  # are the model's, and not asked for
    given = {name: value for name, value in GIVEN.items() if name not in own}
    assert corpus_from(parsed(add_held_out_arguments, *words_of(given))) == Corpus(**given)


def test_a_corpus_is_a_value():
    flags = parsed(add_data_arguments, "--train_file", "a.txt")
    flags.of_another_part = 1
    before = dict(vars(flags))
    corpus = corpus_from(flags)
    assert vars(flags) == before
    with pytest.raises(FrozenInstanceError):
        corpus.train_file = "b.txt"


# ---------------------------------------------------------------------------------------- names
def test_names_tell_no_folder(tmp_path, monkeypatch):
    (tmp_path / "secret" / "set").mkdir(parents=True)
    (tmp_path / "secret" / "mine.txt").write_text("a")
    monkeypatch.chdir(tmp_path)
    for folder in ("secret", f"{tmp_path}/secret", "../" + tmp_path.name + "/secret"):
        file = f"{folder}/mine.txt"
        assert Corpus(train_file=file).name == "mine.txt"
        assert Corpus(dataset_name=f"{folder}/set").name == "set"
        assert Corpus(train_file="x.txt", validation_file=file).held_out_name == "mine.txt"
        assert Corpus(train_file=file).held_out_name == "held-out part of mine.txt"
        assert Corpus(train_file=(file, f"{folder}/set")).name == "mine.txt, set"
        many = Corpus(validation_file=tuple(f"{folder}/{i}.txt" for i in range(5)))
        assert many.held_out_name == "0.txt, 1.txt, 2.txt and 2 more"
    assert Corpus(dataset_name="user/name").name == "user/name"  # of the Hub
    assert Corpus().name == "Python documentation topics (standard library)"
    assert Corpus().held_out_name == f"held-out part of {Corpus().name}"


# -------------------------------------------------------------------------------------- windows
@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("kind", ["char", "byte", "bpe"])
def test_windows_to_train_and_to_validate_on_are_the_text(write, text_file, kind, streaming):
    held_out = str(write("held_out.txt", TEXT[:200]))
    size = 270 if kind == "bpe" else None
    corpus = Corpus(
        train_file=text_file,
        validation_file=held_out,
        tokenizer=kind,
        vocab_size=size,
        sequence_length=8,
        streaming=streaming,
    )
    tokenizer, windows = load_corpus(corpus)
    sizes = {"char": len({*TEXT, "\n"}) + 3, "byte": 258, "bpe": 270}  # with special tokens
    assert len(tokenizer) == sizes[kind]
    assert tokenizer.model_max_length == 8
    for name, text in (("train", TEXT), ("validation", TEXT[:200])):
        written = "".join(tokenizer.decode(row["input_ids"]) for row in windows[name])
        assert text.startswith(written) and len(text) - len(written) < 8 * 10


def test_a_tokenizer_is_the_models_or_saved_or_an_error(tmp_path, text_file):
    own = build_tokenizer("byte", [])
    own.save_pretrained(tmp_path / "tokenizer")
    corpus = Corpus(train_file=text_file, tokenizer=str(tmp_path / "tokenizer"), sequence_length=8)
    saved, windows = load_corpus(corpus)
    assert saved.get_vocab() == own.get_vocab()
    given, same = load_corpus(Corpus(train_file=text_file, sequence_length=8), own)
    assert given is own
    assert next(iter(windows["train"]))["input_ids"].tolist() == [*TEXT[:8].encode()]
    assert next(iter(same["train"]))["input_ids"].tolist() == [*TEXT[:8].encode()]
    nowhere = str(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"nowhere.*expected char, byte, bpe or a saved tokenizer"):
        load_corpus(Corpus(train_file=text_file, tokenizer=nowhere))


@pytest.mark.parametrize("length", [0, -1, None])
def test_windows_to_train_on_have_a_length(length):
    with pytest.raises(
        ValueError, match=f"sequence_length is {length}; expected an integer of at least 1"
    ):
        load_corpus(Corpus(sequence_length=length))


def taking(max_position_embeddings):
    """A model of sequences of so many tokens."""
    return SimpleNamespace(config=SimpleNamespace(max_position_embeddings=max_position_embeddings))


def test_held_out_windows_need_no_training_text(text_file):
    tokenizer = build_tokenizer("byte", [])
    model = taking(12)
    alone = Corpus(validation_file=text_file, sequence_length=None)
    rows = load_held_out(alone, model, tokenizer)
    assert tokenizer.decode(rows[0]["input_ids"]) == TEXT[:12]
    assert len(rows) == len(TEXT) // 12
    end = Corpus(train_file=text_file, validation_fraction=0.5, sequence_length=10)
    rows = load_held_out(end, model, tokenizer)
    assert tokenizer.decode(rows[0]["input_ids"]) == TEXT[len(TEXT) // 2 :][:10]


def test_held_out_windows_of_a_data_set_are_its_validation_split(tmp_path):
    text = {"train": "a" * 40, "validation": "b" * 40}
    splits = {name: datasets.Dataset.from_dict({"text": [each]}) for name, each in text.items()}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "set")
    corpus = Corpus(dataset_name=str(tmp_path / "set"), sequence_length=None)
    tokenizer = build_tokenizer("byte", [])
    assert tokenizer.decode(load_held_out(corpus, taking(8), tokenizer)[0]["input_ids"]) == "b" * 8


def test_windows_fit_the_model():
    model = taking(32)
    assert window_length(Corpus(sequence_length=None), model) == 32
    assert [window_length(Corpus(sequence_length=length), model) for length in (1, 32)] == [1, 32]
    for length in (0, 33, -1):
        expected = rf"sequence_length is {length}; expected 1\.\.32, .*max_position_embeddings"
        with pytest.raises(ValueError, match=expected):
            window_length(Corpus(sequence_length=length), model)
        with pytest.raises(ValueError, match=expected):
            load_held_out(Corpus(sequence_length=length), model, build_tokenizer("byte", []))


def test_a_limit_that_the_configuration_does_not_name_is_no_field_of_it():
    model = taking(26)
    model.longest_sequence = 24  # as RoBERTa's, which counts from behind its padding's row
    told = r"expected 1\.\.24, as the model takes 24 positions\."
    with pytest.raises(ValueError, match=told):
        window_length(Corpus(sequence_length=25), model)


@pytest.mark.parametrize("streaming", [False, True])
def test_a_part_too_short_for_a_window_is_named(write, streaming):
    file = str(write("short.txt", "x" * 360))
    corpora = {
        "the held-out part has 18 tokens.*at least 32.*greater validation_fraction": {},
        "the validation text has 20 tokens.*at least 32.*more text": {
            "validation_file": str(write("other.txt", "x" * 20))
        },
    }
    for match, more in corpora.items():
        corpus = Corpus(train_file=file, sequence_length=32, streaming=streaming, **more)
        with pytest.raises(ValueError, match=match):
            list(load_corpus(corpus)[1]["validation"])
    corpus = Corpus(train_file=file, validation_fraction=0.5, sequence_length=200)
    with pytest.raises(ValueError, match="the training text has 180 tokens"):
        load_corpus(corpus)


def test_held_out_text_of_several_files_is_read_once(write, caplog):
    files = tuple(str(write(f"{i}.txt", TEXT)) for i in range(2))
    tokenizer = build_tokenizer("byte", [])
    with caplog.at_level("INFO", "ardm.data"):
        rows = load_held_out(
            Corpus(validation_file=files, sequence_length=10), taking(10), tokenizer
        )
    assert len(rows) == (2 * len(TEXT) + 2) // 10
    lines = [each.message for each in caplog.records if "read" in each.message]
    assert lines == ["validation: read 2 documents (3,600 characters) from 2 files"]
