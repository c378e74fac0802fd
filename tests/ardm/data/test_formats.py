"""Laws of formats: what a document is, by the file's suffix."""

import gzip

import pytest

from ardm.data.compression import DataFile
from ardm.data.formats import Reading, is_binary_table, is_text

TEXT = "one\n\ntwo\r\n three \nfour"


@pytest.fixture
def documents(write):
    def documents(name, content, **settings):
        file = DataFile(write(name, content), name)
        return ["".join(document) for document in Reading(**settings).documents(file)]

    return documents


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.py", "plain", "a.html", "a.xyz", "a.log.1"])
def test_a_text_is_one_document_or_one_a_line(name, documents):
    assert documents(name, TEXT) == [TEXT]
    assert documents(name, TEXT, line_by_line=True) == ["one", "", "two", " three ", "four"]


FASTA = ">x first\nACD\nEFG\n;a comment\nH I\n\n>y\r\nKLM*\r\n>empty\n>z\nA"


@pytest.mark.parametrize(
    "suffix", ["fasta", "fa", "faa", "fna", "ffn", "frn", "fas", "fsa", "a3m", "FA"]
)
def test_fasta_is_its_sequences(suffix, documents):
    expected = ["ACDEFGHI", "KLM*", "", "A"]
    assert documents(f"p.{suffix}", FASTA) == expected
    assert documents(f"p.{suffix}.gz", gzip.compress(FASTA.encode())) == expected
    assert documents(f"p.{suffix}", ">x\rAC\rD\r>y\rE") == ["ACD", "E"]


@pytest.mark.parametrize(
    ("content", "match"),
    [("ACD\n>x\nA", "line 1: a sequence without a name"), (";c\n", "holds no sequences")],
)
def test_fasta_that_is_none_is_named(content, match, documents):
    with pytest.raises(ValueError, match=rf"p\.fa.*{match}"):
        documents("p.fa", content)


FASTQ = "@x 1\nACGT\n+x 1\n>@+!\n@y\nTT\n+\n@@\n@empty\n\n+\n\n"


@pytest.mark.parametrize("suffix", ["fastq", "fq", "FQ"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_fastq_is_its_sequences(suffix, end, documents):
    for rest in ("", "\n", "\n\n" + FASTQ):
        expected = ["ACGT", "TT", ""] * (1 + (FASTQ in rest))
        assert documents(f"r.{suffix}", (FASTQ + rest).replace("\n", end)) == expected


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("ACGT\n", 1),
        (FASTQ + "@z\nACGT\n+\n!!!\n", 13),
        (FASTQ + "@z\nACGT\n", 13),
        (FASTQ + "@z\nAC\nGT\n+\n!!!!\n", 13),
    ],
)
def test_fastq_that_is_none_is_named(content, line, documents):
    with pytest.raises(ValueError, match=rf"r\.fq, line {line}: no record of FASTQ"):
        documents("r.fq", content)


def test_what_is_no_text_has_rows(tmp_path):
    rows = [".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".jsonlines", ".parquet", ".arrow", ".fa"]
    rows += [".psv", ".fq"]
    for suffix in rows:
        file = DataFile(tmp_path / f"a{suffix}", "a")
        assert not is_text(file) and is_binary_table(file) == (suffix in (".parquet", ".arrow"))
    assert is_text(DataFile(tmp_path / "a.txt", "a"))
