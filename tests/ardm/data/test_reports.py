"""Laws of reports: one line holds every count, and the counts are plain values."""

import json

import pytest

from ardm.data.reports import Splits, TextReport


def test_line_tells_what_was_read_and_what_was_not():
    report = TextReport(num_documents=143, num_characters=1_234_567, num_files=145)
    assert str(report) == "read 143 documents (1.2M characters) from 145 files"
    report.notes.append("held out: the last 7 documents")
    for name in ("a.png", "b.png", "c.png"):
        report.skip("picture", name)
    report.skip("empty file", "__init__.py")
    report.left_out["row without a text"] += 2
    assert str(report) == (
        "read 143 documents (1.2M characters) from 145 files; held out: the last 7 documents;"
        " skipped: 1 empty file (__init__.py), 3 pictures (a.png, b.png, ...);"
        " left out: 2 rows without a text"
    )
    counts = {
        "documents": 143,
        "characters": 1_234_567,
        "files": 145,
        "skipped": {"picture": 3, "empty file": 1},
        "left_out": {"row without a text": 2},
        "notes": ["held out: the last 7 documents"],
    }
    assert json.loads(json.dumps(report.counts())) == counts


@pytest.mark.parametrize(
    ("characters", "told"),
    [
        (0, "0 characters"),
        (1, "1 character"),
        (9_999, "9,999 characters"),
        (10_000, "10.0k characters"),
        (465_100, "465.1k characters"),
        (2 * 10**6, "2.0M characters"),
        (3 * 10**9, "3.0G characters"),
    ],
)
def test_numbers_are_short(characters, told):
    report = TextReport(num_documents=1, num_characters=characters, num_files=1)
    assert str(report) == f"read 1 document ({told}) from 1 file"


@pytest.mark.parametrize(
    ("reason", "plural"),
    [
        ("binary file", "2 binary files"),
        ("file not included", "2 files not included"),
        ("file named twice", "2 files named twice"),
        ("file of the system", "2 files of the system"),
        ("broken link", "2 broken links"),
        ("link to what is read anyway", "2 links to what is read anyway"),
        ("table without texts", "2 tables without texts"),
    ],
)
def test_reasons_have_a_plural(reason, plural):
    report = TextReport()
    for name in "ab":
        report.skip(reason, name)
    assert str(report).endswith(f"skipped: {plural} (a, b)")


def test_splits_are_a_dictionary_with_reports():
    reports = {"train": TextReport(2, 10, 1), "validation": TextReport(None, None, None)}
    splits = Splits({"train": 1, "validation": 2}, reports)
    assert splits == {"train": 1, "validation": 2}
    assert splits.report == (
        "train: read 2 documents (10 characters) from 1 file"
        " | validation: documents are read while training, and not counted"
    )
