"""Tables of images: parts by any name, classes by type or by name, what is damaged left out."""

import io
import json

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict
from datasets import Image as ImageFeature
from PIL import Image

from ddpm.data import load_images
from ddpm.data.columns import named_data_set, table_reading


def content(shade):
    file = io.BytesIO()
    Image.new("L", (6, 6), shade).save(file, format="png")
    return file.getvalue()


def table(num_rows, labels=None, label="label", **more):
    columns = {"image": [{"bytes": content(k), "path": None} for k in range(num_rows)]} | more
    if labels is not None:
        columns[label] = labels
    return Dataset.from_dict(columns).cast_column("image", ImageFeature())


def saved(folder, **parts):
    DatasetDict(parts).save_to_disk(folder / "data")
    return str(folder / "data")


@pytest.mark.parametrize("held_out", ["validation", "valid", "val", "dev", "test", "VAL"])
@pytest.mark.parametrize("train", ["train", "Train"])
def test_the_part_that_is_held_out_may_have_any_usual_name(tmp_path, train, held_out):
    name = saved(tmp_path, **{train: table(4), held_out: table(2), "extra": table(3)})
    data = load_images(dataset_name=name)
    assert (len(data["train"]), len(data["validation"])) == (4, 2)
    assert "not used: 3 rows of extra" in data["train"].report


@pytest.mark.parametrize("label", ["label", "class", "category"])
@pytest.mark.parametrize("labels", [["b", "a"] * 2, [7, 3] * 2], ids=["text", "numbers"])
def test_a_column_that_is_called_so_gives_the_classes(tmp_path, label, labels):
    name = saved(tmp_path, train=table(4, labels, label))
    data = load_images(dataset_name=name, validation_fraction=0)["train"]
    assert data.class_names == sorted({str(each) for each in labels})
    assert f"(column '{label}')" in data.report


def test_without_such_a_column_the_others_are_told(tmp_path):
    name = saved(tmp_path, train=table(4, kind=["a", "b"] * 2))
    data = load_images(dataset_name=name, validation_fraction=0)
    assert "no classes (no column among ['image', 'kind'])" in data["train"].report


@pytest.mark.parametrize("missing", [None, -1])
def test_images_without_a_class_are_refused(tmp_path, missing):
    rows = table(4, [0, 1, 1, missing]).cast_column("label", ClassLabel(names=["x", "y"]))
    name = saved(tmp_path, train=rows)
    with pytest.raises(ValueError, match=r"1 of 4 image\(s\) have no class by column 'label'"):
        load_images(dataset_name=name)
    data = load_images(dataset_name=name, class_conditional=False, validation_fraction=0)
    assert len(data["train"]) == 4


def test_damaged_and_missing_pictures_are_left_out(tmp_path):
    rows = table(6, ["a", "b", "c"] * 2).to_list()
    rows[1]["image"]["bytes"] = content(9)[:40]
    rows[2]["image"] = None
    rows[3]["image"]["bytes"] = b""
    broken = Dataset.from_list(rows).cast_column("image", ImageFeature())
    data = load_images(dataset_name=saved(tmp_path, train=broken), validation_fraction=0)["train"]
    assert [data[k]["images"].max() for k in range(len(data))] == [0, 4, 5]
    assert [int(data[k]["labels"]) for k in range(3)] == [0, 1, 2]
    assert "3 unusable image(s)" in data.report and "the row holds no picture" in data.report


def empty(folder):
    """As `datasets` 5 writes a table without rows."""
    table(3).save_to_disk(folder)
    next(folder.glob("*.arrow")).unlink()
    state = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps(state | {"_data_files": []}))


def half_saved(folder):
    table(3).save_to_disk(folder)
    next(folder.glob("*.arrow")).unlink()


def other_state(folder):
    table(3).save_to_disk(folder)
    (folder / "state.json").write_text("[]")


def cut(folder):
    folder.mkdir()
    (folder / "a.parquet").write_bytes(b"PAR1")


@pytest.mark.parametrize("write", [empty, half_saved, other_state, cut])
def test_what_cannot_be_loaded_is_named_with_the_reason(tmp_path, write):
    write(tmp_path / "here")
    with pytest.raises(ValueError, match=r"here' cannot be loaded \(\w+: ") as caught:
        named_data_set(str(tmp_path / "here"), None)
    assert "An error occurred" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:Downcasting array:UserWarning")  # of `datasets`
@pytest.mark.parametrize("wrong", [-1, 256, 300])
def test_numbers_that_are_no_pixels_are_refused(tmp_path, wrong):
    rows = np.arange(3 * 4 * 4 * 3).reshape(3, 4, 4, 3).tolist()
    Dataset.from_dict({"image": rows}).to_parquet(tmp_path / "good" / "a.parquet")
    data = load_images(dataset_name=str(tmp_path / "good"), validation_fraction=0)["train"]
    assert data[1]["images"].permute(1, 2, 0).tolist() == rows[1]
    rows[2][0][0][0] = wrong
    Dataset.from_dict({"image": rows}).to_parquet(tmp_path / "bad" / "a.parquet")
    with pytest.raises(ValueError, match=r"lists of numbers in .*; expected pictures, or"):
        load_images(dataset_name=str(tmp_path / "bad"))


def test_a_test_part_without_classes_is_left_alone(tmp_path):
    kinds = ClassLabel(names=["a", "b"])
    train = table(20, [0, 1] * 10).cast_column("label", kinds)
    test = table(6, [-1] * 6).cast_column("label", kinds)
    data = load_images(dataset_name=saved(tmp_path, train=train, test=test))
    assert [len(part) for part in data.values()] == [18, 2]
    assert "not used: 6 image(s) of test, without classes" in data["train"].report
    with pytest.raises(ValueError, match="have no class"):  # a validation part is asked for
        load_images(dataset_name=saved(tmp_path / "x", train=train, validation=test))


def test_a_path_that_would_be_a_pattern_is_refused(tmp_path):
    folder = tmp_path / "set[1]"
    folder.mkdir()
    table(3).to_parquet(folder / "train.parquet")
    with pytest.raises(ValueError, match="reads as a pattern; rename"):
        load_images(dataset_name=str(folder))
    table(3).save_to_disk(folder / "saved")  # which is not searched for
    assert len(load_images(dataset_name=str(folder / "saved"), validation_fraction=0)["train"]) == 3


@pytest.mark.parametrize("parts", [["val"], ["train", "val", "valid"]])
def test_parts_that_cannot_be_told_apart_are_refused(tmp_path, parts):
    with pytest.raises(ValueError, match="the data set"):
        table_reading(saved(tmp_path, **{part: table(2) for part in parts}), None)


def test_a_part_without_the_column_is_named(tmp_path):
    name = saved(tmp_path, train=table(2, [0, 1]), test=table(2))
    with pytest.raises(ValueError, match=r"test has the columns \['image'\]; expected 'label'"):
        table_reading(name, None)


@pytest.mark.parametrize("content", [1, 1.5], ids=["int", "float"])
def test_a_column_of_something_else_is_named(tmp_path, content):
    rows = Dataset.from_dict({"image": [content] * 3})
    with pytest.raises(ValueError, match="column 'image' holds no pictures, but"):
        table_reading(saved(tmp_path, train=rows), None)
