"""Pictures of arrays, files and tables: the same content, whichever way they are asked for."""

import os
import zipfile

import numpy as np
import pytest
from datasets import Dataset
from PIL import Image

from ardm.training import fingerprint
from ddpm.data.sources import ArrayImages, ColumnImages, FileImages, Source, number_labels


@pytest.fixture
def of_files(draw, tmp_path):
    return FileImages(draw(tmp_path, "a.png", "b.png", "c.png"), ["a.png", "b.png", "c.png"])


@pytest.fixture(params=["bytes", "paths"])
def of_rows(request, of_files):
    paths = [of_files.name(number) for number in range(3)]
    entries = [{"path": path, "bytes": None} for path in paths]
    if request.param == "bytes":
        entries = [{"path": None, "bytes": of_files.content(number)} for number in range(3)]
    return ColumnImages(Dataset.from_dict({"image": entries}), "image", "rows")


def test_rows_hold_what_files_hold(of_files, of_rows):
    assert len(of_files) == len(of_rows) == 3
    for number in range(3):
        assert of_rows.content(number) == of_files.content(number)
        with of_rows.open(number) as row, of_files.open(number) as file:
            assert np.array_equal(np.asarray(row), np.asarray(file))


def test_a_subset_is_some_of_them(of_files, of_rows):
    for images in (of_files, of_rows):
        some = images.subset([2, 0])
        assert [some.content(k) for k in range(2)] == [images.content(k) for k in (2, 0)]
        assert some.place == images.place


def test_a_stamp_changes_with_the_content(draw, of_files, of_rows):
    files = [of_files.stamp(number) for number in range(3)]
    rows = [of_rows.stamp(number) for number in range(3)]
    assert len({*files}) == len({*rows}) == 3
    draw(of_files.folder, "b.png", size=20)
    assert [of_files.stamp(number) == files[number] for number in range(3)] == [True, False, True]


def test_a_stamp_changes_with_a_content_of_the_same_size_and_time(of_files):
    path = of_files.folder / "b.png"
    before = of_files.stamp(1)
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    path.write_bytes(bytes(path.stat().st_size))
    os.utime(path, ns=times)
    assert path.stat().st_mtime_ns == times[1] and of_files.stamp(1) != before


def test_pictures_in_an_archive_are_read(tmp_path, of_files):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for number in range(3):
            file.writestr(f"in/{number}.png", of_files.content(number))
    paths = [f"zip://in/{number}.png::{tmp_path}/a.zip" for number in range(3)]
    entries = [{"path": path, "bytes": None} for path in paths]
    images = ColumnImages(Dataset.from_dict({"image": entries}), "image", "rows")
    for number in range(3):
        assert images.content(number) == of_files.content(number)
    assert len({images.stamp(number) for number in range(3)}) == 3


def test_a_picture_in_place_of_a_path_is_not_its_name():
    entries = [{"path": "iVBORw0KGgo" * 999, "bytes": None}]
    images = ColumnImages(Dataset.from_dict({"image": entries}), "image", "rows")
    assert images.name(0) == "image 0 of column 'image'"


@pytest.mark.parametrize(
    ("labels", "expected"),
    [([1, "1", 2], ["1", "2"]), ([10, 9], ["9", "10"]), (["b", "a", "b"], ["a", "b"])],
)
def test_classes_are_the_different_names(labels, expected):
    numbers, names = number_labels(labels)
    assert names == expected and [names[k] for k in numbers] == [str(label) for label in labels]


def test_looks_of_arrays_are_of_their_pixels():
    array = np.random.default_rng(0).integers(256, size=(4, 3, 5, 3), dtype=np.uint8)
    array[3] = array[0]
    looks = Source(ArrayImages(array, "x")).seen()
    assert {(look.width, look.height, look.grey) for look in looks} == {(5, 3, False)}
    assert looks[0].digest == looks[3].digest == fingerprint([array[0].tobytes()])
    assert len({look.digest for look in looks}) == 3
    assert Source(ArrayImages(array[..., :1], "x")).form() == ({(5, 3)}, True)
    with ArrayImages(array, "x").open(1) as image:
        assert isinstance(image, Image.Image) and np.array_equal(np.asarray(image), array[1])
