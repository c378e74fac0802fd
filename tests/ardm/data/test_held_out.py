"""Laws of holding out: what is trained on and what is held out are the corpus, in this order."""

import datasets
import pytest

from ardm.data.held_out import count_rows, only_text, split_rows, split_spool
from ardm.data.reports import TextReport
from ardm.data.storage import Spool

CORPORA = [["a"] * 2, ["é東x" * 41], ["a", "bb", "ccc"] * 33, ["ab"]]


def halves(pair):
    return [[row["text"] for row in rows] for rows in pair]


@pytest.mark.parametrize("fraction", [0.01, 0.05, 0.5])
@pytest.mark.parametrize("corpus", CORPORA, ids=["two", "one", "many", "short"])
def test_both_parts_are_the_corpus(corpus, fraction):
    unit = "characters" if len(corpus) == 1 else "rows"
    total = len(corpus[0]) if len(corpus) == 1 else len(corpus)
    table = datasets.Dataset.from_dict({"text": corpus})
    reports = [TextReport(), TextReport()]
    by_rows = halves(split_rows(table, fraction, reports[0]))
    with Spool() as spool:
        for text in corpus:
            spool.add([text])
        by_spool = halves(split_spool(spool, fraction, reports[1]))
    assert by_rows == by_spool
    train, held_out = by_rows
    number = max(1, round(total * fraction))
    if len(corpus) == 1:
        assert train[0] + held_out[0] == corpus[0] and len(held_out[0]) == number
    else:
        assert train + held_out == corpus and len(held_out) == number
    told = f"held out: the last {number} {unit}" if number > 1 else "held out: the last of"
    assert reports[0].notes[0].startswith(told)


@pytest.mark.parametrize("text", [["a"], []], ids=["one character", "nothing"])
def test_too_little_to_hold_out(text):
    rows = datasets.Dataset.from_dict({"text": text}, features=datasets.Features(TEXT))
    with pytest.raises(ValueError, match=r"has (1 character|0 rows); expected at least 2"):
        split_rows(rows, 0.5, TextReport())


TEXT = {"text": datasets.Value("string")}


def test_streams_of_known_length(tmp_path):
    rows = datasets.Dataset.from_dict({"text": list("abcdef")})
    stream = rows.to_iterable_dataset()
    with pytest.raises(ValueError, match="no known length"):
        split_rows(stream, 0.5, TextReport())
    stream.info.splits = datasets.SplitDict({"train": datasets.SplitInfo("train", num_examples=6)})
    assert halves(split_rows(stream, 0.5, TextReport())) == [list("abc"), list("def")]


def test_rows_are_counted():
    rows = datasets.Dataset.from_dict({"body": ["é東", None, "", "x", None], "n": range(5)})
    report = TextReport()
    column = only_text(rows, None)
    assert column.column_names == ["text"]
    count_rows(column, report)
    assert (report.num_documents, report.num_characters) == (2, 3)
    assert report.left_out == {"row without a text": 2, "empty document": 1}
    stream = TextReport()
    count_rows(column.to_iterable_dataset(), stream)
    assert stream.num_documents is None
