"""Laws of the loader: one rule for what is held out, whatever the texts come from."""

import datasets
import pytest

from ardm.data.formats import Reading
from ardm.data.loader import Loader
from ardm.data.paths import Choice

PARTS = {"train": ["a", "b", "c"], "dev": ["d"], "test": ["e", "f"]}


@pytest.fixture
def sources(write, tmp_path):
    """The same parts as files and as tables: name -> what gives them, for a set of parts."""

    def sources(*names):
        tables = {}
        for name in names:
            for text in PARTS[name]:
                folder = write(f"files/{name}/{text}.txt", text).parent.parent
            tables[name] = datasets.Dataset.from_dict({"text": PARTS[name]})
        datasets.DatasetDict(tables).save_to_disk(tmp_path / "saved")
        return [folder, tmp_path / "saved"]

    return sources


def texts(splits):
    return {name: list(rows["text"]) for name, rows in splits.items()}


def loader():
    return Loader(Reading(), Choice())


@pytest.mark.parametrize("names", [("train", "dev", "test"), ("train", "test"), ("train", "dev")])
@pytest.mark.parametrize("kind", [0, 1], ids=["files", "saved"])
def test_parts_are_held_out_by_one_rule(names, kind, sources):
    given = [sources(*names)[kind]]
    held_out = names[1]
    found = loader()
    splits = found.of_paths(given, None, 0.5)
    assert texts(splits) == {"train": PARTS["train"], "validation": PARTS[held_out]}
    report = found.reports["train"]
    assert any(note.startswith(f"held out: {held_out}") for note in report.notes)
    assert ("no validation part" in str(report)) == (held_out == "test")
    assert ("test" in names) == ("test" in str(report))  # said where it is not used, too
    assert found.reports["validation"].num_documents == len(PARTS[held_out])
    # where others are held out, nothing is taken from the training texts
    alone = loader()
    assert texts(alone.of_paths(given, None, None)) == {"train": PARTS["train"]}
    assert "not used" in str(alone.reports["train"])
    assert list(loader().validation(given)["text"]) == PARTS[held_out]


def test_without_parts_the_end_is_held_out(sources):
    (files, _) = sources("train")
    found = loader()
    splits = texts(found.of_paths([files], None, 0.34))
    assert splits == {"train": ["a", "b"], "validation": ["c"]}
    assert "validation" not in found.reports
    assert texts(loader().of_text("abcd", 0.25)) == {"train": ["abc"], "validation": ["d"]}
    assert texts(loader().of_text("abcd", None)) == {"train": ["abcd"]}
