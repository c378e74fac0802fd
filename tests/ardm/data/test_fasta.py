"""FASTA as sequences: every letter is read, changed with a count, or refused with its place."""

import gzip

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ardm.data import Corpus, load_sequences, read_sequences
from ardm.data.fasta import _NUM_HELD_OUT
from ardm.data.residues import ALPHABETS
from ardm.data.synthetic_proteins import synthetic_proteins

MANY = [f"MK{'ACDEFGHIKLMNPQRSTVWY'[: 2 + i % 18]}W" for i in range(40)]


def fasta(records):
    return "".join(f">record {i}\n{letters}\n" for i, letters in enumerate(records))


@given(st.lists(st.text("ACDEFGHIKLMNPQRSTVWYXBZUOJ", min_size=1), min_size=1))
def test_what_is_read_is_what_was_written(records):
    found = read_sequences(records, "protein")
    assert found.texts == records and found.notes == []
    assert found.lengths_R.tolist() == [*map(len, records)]
    assert found.ids_N.dtype == np.uint8 and len(found) == len(records)
    assert "".join(sorted(ALPHABETS["protein"])[i] for i in found.ids_N) == "".join(records)


# ------------------------------------------------------------------------------------- letters
KINDS = {
    "dna": ["ACGTNACGT", "ttga"],
    "rna": ["ACGUN", "uuga"],
    "protein": ["MKVLAAGG", "ACGT"],
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_alphabet_is_that_of_the_letters(kind):
    assert read_sequences(KINDS[kind]).kind == kind


def test_a_few_other_letters_do_not_make_bases_proteins():
    found = read_sequences(["ACGT" * 10 + "RY"], unknown="map")
    assert found.kind == "dna" and found.texts == ["ACGT" * 10 + "NN"]
    assert found.notes == ["unknown letters ('R' 1, 'Y' 1) read as N: 2"]


def test_all_that_is_changed_is_counted():
    records = ["mkvLA*", "ACD1E", "*", "", "GG**", "A*é"]
    found = read_sequences(records, "protein", "map")
    assert found.texts == ["MKVLA", "ACDXE", "GG", "AXX"]
    assert [*found.notes] == [
        "stops (*) at the end of a sequence taken off: 3",
        "sequences without residues left out: 2",
        "small letters read as capitals: 3",
        "unknown letters ('1' 1, '*' 1, '?' 1) read as X: 3",
    ]
    told = "4 sequences of protein, 15 residues (2..5 each); stops (*)"
    assert str(found).startswith(told)


REFUSED = {
    r"sequence 2 of mine .*, position 3 holds '1'; expected protein": ["MKV", "AC1"],
    r"position 2 holds 'é'": ["Aé"],
    r"sequence 2 of mine .*, position 1 holds '7'": ["MKV", "7AC"],
    r"position 2 holds '\*'": ["A*C"],
    r"position 3 holds '-'.*\(2 letters are others\): take the gaps of the alignment": ["AC-1"],
    r"position 1 holds '>', with which a record": [">x\nMKV"],
    r"mine holds no residues": ["", "*"],
}


@pytest.mark.parametrize("named", REFUSED)
def test_other_letters_are_refused_with_their_place(named):
    with pytest.raises(ValueError, match=named):
        read_sequences(REFUSED[named], "protein", name="mine")


@pytest.mark.parametrize("letters", ["AC-D", "AC.D", ">x\nAC"])
def test_gaps_and_headers_are_never_mapped(letters):
    with pytest.raises(ValueError, match="position"):
        read_sequences([letters], "protein", "map")


@pytest.mark.parametrize("wrong", [{"kind": "lipid"}, {"unknown": "drop"}])
def test_other_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is"):
        read_sequences(["MKV"], **wrong)


# --------------------------------------------------------------------------------------- files
@pytest.mark.parametrize("suffix", [".fasta", ".fa", ".faa.gz"])
def test_files_are_split_by_record_and_nothing_is_lost(write, suffix):
    text = fasta(MANY).replace("\n>record 3\n", "\n>record 3\n;note\n\n").replace("MK", "MK\r\n")
    path = write(f"p{suffix}", gzip.compress(text.encode()) if suffix.endswith("gz") else text)
    data = load_sequences(Corpus(train_file=str(path), validation_fraction=0.2))
    assert data["train"].texts + data["validation"].texts == MANY
    assert len(data["validation"]) == 8 and data["train"].kind == "protein"


def test_a_validation_file_has_the_alphabet_of_the_training(write):
    train, held_out = write("t.fasta", fasta(MANY)), write("v.fasta", fasta(["ACGT", "ACCA"]))
    data = load_sequences(Corpus(train_file=str(train), validation_file=str(held_out)))
    assert data["validation"].kind == "protein" and data["validation"].texts == ["ACGT", "ACCA"]


def test_what_is_held_out_and_trained_on_is_told(write):
    train, held_out = write("t.fasta", fasta(MANY)), write("v.fasta", fasta(["MKW", MANY[0]]))
    data = load_sequences(Corpus(train_file=str(train), validation_file=str(held_out)))
    assert data["validation"].notes == ["in the training data, too: 1"]


def test_same_names_are_fine_and_empty_records_are_counted(write, caplog):
    caplog.set_level("INFO")
    path = write("p.fasta", ">x\nMKV\n>x\nMKL\n>empty\n>x\nMKI\n")
    data = load_sequences(Corpus(train_file=str(path), validation_fraction=0.4))
    assert data["train"].texts + data["validation"].texts == ["MKV", "MKL", "MKI"]
    assert "left out: 1 empty document" in caplog.text


BAD = {
    "line 1: a sequence without a name": ("p.fasta", "MKV\n>x\nMKV\n"),
    "no sequences": ("p.fasta", "; only a comment\n"),
    "a single record": ("p.fasta", ">x\nMKVLAAGG\n"),
    "such as .fasta, is one record": ("p.txt", ">x\nMKV\n>y\nMKL\n"),
    "holds '7'": ("p.fasta", ">x\nMKV\n>y\nMK7\n>z\nMKI\n"),
    "the validation data, position 3": ("p.fasta", ">x\nMKV\n>y\nMK7\n"),
}


@pytest.mark.parametrize("named", BAD)
def test_bad_files_are_refused(write, named):
    path = write(*BAD[named])
    with pytest.raises(ValueError, match=named.replace("the validation data,", ".*")):
        load_sequences(Corpus(train_file=str(path)))


def test_missing_files_and_settings_without_one_are_refused(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        load_sequences(Corpus(train_file=str(tmp_path / "none.fasta")))
    with pytest.raises(ValueError, match="got line_by_line=True without a train_file"):
        load_sequences(Corpus(line_by_line=True))


def test_without_a_file_there_are_synthetic_ones():
    data = load_sequences(Corpus())
    everything = synthetic_proteins()
    assert data["train"].texts == everything[:-_NUM_HELD_OUT]
    assert data["validation"].texts == everything[-_NUM_HELD_OUT:]
