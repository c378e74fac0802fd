"""Arrays are found by the names that people give them; what is no array is named."""

import zipfile

import numpy as np
import pytest
from PIL import Image

from ddpm.data import load_images
from ddpm.data.arrays import array_file

PIXELS = np.random.default_rng(0).integers(256, size=(12, 5, 5), dtype=np.uint8)
LABELS = np.arange(12) % 3


def saved(folder, **arrays):
    np.savez(folder / "x.npz", **arrays)
    return folder / "x.npz"


PAIRS = [("images", "labels"), ("arr_0", "arr_1"), ("x", "y"), ("X", "Y"), ("data", "targets")]


@pytest.mark.parametrize(("image", "label"), PAIRS)
def test_usual_names_are_known(tmp_path, image, label):
    parts, unused = array_file(saved(tmp_path, **{image: PIXELS, label: LABELS, "more": LABELS}))
    assert np.array_equal(parts["train"].images.array, PIXELS)
    assert parts["train"].labels == LABELS.tolist() and unused == ["array 'more'"]
    parts, _ = array_file(tmp_path / "x.npz", labelled=False)
    assert parts["train"].labels is None


@pytest.mark.parametrize(
    "names",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("X_train", "y_train", "X_val", "y_val"),
        ("train_images", "train_labels", "test_images", "test_labels"),
    ],
)
def test_parts_are_known_by_name(tmp_path, names):
    arrays = (PIXELS, LABELS, PIXELS[:4], LABELS[:4])
    parts, unused = array_file(saved(tmp_path, **dict(zip(names, arrays, strict=True))))
    assert [len(parts[name].images) for name in ("train", "validation")] == [12, 4]
    assert parts["validation"].labels == LABELS[:4].tolist() and not unused


def test_a_test_part_is_not_used_where_there_is_validation(tmp_path):
    arrays = {f"{part}_images": PIXELS[:k] for part, k in (("train", 9), ("val", 2), ("test", 1))}
    parts, unused = array_file(saved(tmp_path, **arrays))
    assert [len(part.images) for part in parts.values()] == [9, 2]
    assert unused == ["array 'test_images'"]


def test_a_held_out_part_goes_with_images_of_no_part(tmp_path):
    parts, unused = array_file(saved(tmp_path, images=PIXELS, val_images=PIXELS[:2]))
    assert [len(part.images) for part in parts.values()] == [12, 2] and not unused


@pytest.mark.parametrize(
    ("arrays", "held_out", "left"),
    [
        ({"x_train": 9, "x_test": 4}, 4, ["array 'x_train'"]),
        ({"val_images": 3}, 3, []),
        ({"x_test": 2}, 2, []),
        ({"images": 5}, 5, []),
        ({"x_train": 6}, 6, []),
    ],
)
def test_of_a_file_to_validate_on_the_held_out_part_is_taken(tmp_path, arrays, held_out, left):
    path = saved(tmp_path, **{name: PIXELS[:count] for name, count in arrays.items()})
    parts, unused = array_file(path, to_validate=True)
    assert [*parts] == ["validation"] and len(parts["validation"].images) == held_out
    assert unused == left


def test_other_labels_are_those_of_the_held_out_part_too(tmp_path):
    arrays = {"x_train": PIXELS, "y_train": LABELS, "x_test": PIXELS[:4], "y_test": LABELS[:4]}
    fine = {"fine_train": LABELS + 5, "fine_test": LABELS[:4] + 5}
    parts, _ = array_file(saved(tmp_path, **arrays, **fine), label_key="fine_train")
    assert [part.labels for part in parts.values()] == [each.tolist() for each in fine.values()]
    del fine["fine_test"]
    with pytest.raises(ValueError, match="no array like label_column 'fine_train' for its test"):
        array_file(saved(tmp_path, **arrays, **fine), label_key="fine_train")


@pytest.mark.parametrize("wrong", [np.inf, -np.inf, np.nan, 1e30, 0.5])
def test_numbers_beyond_integers_are_no_classes(tmp_path, wrong):
    path = saved(tmp_path, images=PIXELS, labels=np.where(LABELS == 1, wrong, LABELS))
    with pytest.raises(ValueError, match="neither text nor whole numbers"):
        load_images(train_file=path)


def test_other_names_are_asked_for(tmp_path):
    path = saved(tmp_path, pixels=PIXELS, kind=LABELS)
    with pytest.raises(ValueError, match=r"holds \['kind', 'pixels'\].*image_column"):
        array_file(path)
    parts, unused = array_file(path, "pixels", "kind")
    assert parts["train"].labels == LABELS.tolist() and not unused
    assert array_file(path, "pixels")[0]["train"].labels is None
    for keys in (("pixel", None), ("pixels", "kinds")):
        with pytest.raises(ValueError, match=r"expected one of \['kind', 'pixels'\]"):
            array_file(path, *keys)
    with pytest.raises(ValueError, match="choose one by image_column"):
        array_file(saved(tmp_path, x=PIXELS, images=PIXELS))


@pytest.mark.parametrize("shape", [(12, 1, 5, 5), (12, 3, 5, 5), (12, 3, 4, 4), (12, 3, 5, 6)])
def test_channels_in_front_are_put_last(tmp_path, shape):
    pixels = np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)
    array = array_file(saved(tmp_path, x=pixels))[0]["train"].images.array
    assert np.array_equal(array.reshape(12, *shape[2:], shape[1]), np.moveaxis(pixels, 1, -1))


@pytest.mark.parametrize("shape", [(12, 3, 3, 3), (12, 5, 5, 3), (12, 1, 1, 1), (12, 3, 5, 4)])
def test_channels_at_the_end_stay_there(tmp_path, shape):
    pixels = np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)
    array = array_file(saved(tmp_path, x=pixels))[0]["train"].images.array
    assert np.array_equal(array.reshape(shape), pixels)


@pytest.mark.parametrize(
    "labels",
    [LABELS[:, None], LABELS.astype(float), LABELS.astype(np.uint8)],
    ids=["2d", "f", "u8"],
)
def test_labels_are_whole_numbers(tmp_path, labels):
    assert array_file(saved(tmp_path, x=PIXELS, y=labels))[0]["train"].labels == LABELS.tolist()


# ---------------------------------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("array", "advice"),
    [
        (PIXELS / 255, r"np\.round\(x \* 255\)"),
        ((PIXELS / 127.5 - 1).astype(np.float32), r"np\.round\(\(x \+ 1\) \* 127\.5\)"),
        (PIXELS.astype(np.float32), r"np\.round\(x\)"),
        (PIXELS.astype(np.int64), r"np\.round\(x\)"),
        (PIXELS.astype(np.uint16) * 257, r"np\.round\(x / 257\)"),
        (PIXELS > 100, r"np\.round\(x \* 255\)"),
    ],
    ids=["unit", "signed", "float", "int", "uint16", "bool"],
)
def test_other_numbers_are_refused_with_the_way_out(tmp_path, array, advice):
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(ValueError, match=f"expected uint8.*save {advice}"):
        array_file(tmp_path / "x.npy")
    shown = advice.replace("\\", "")
    followed = eval(f"{shown}.astype(np.uint8)", {"np": np, "x": array})
    expected = np.where(PIXELS > 100, 255, 0) if array.dtype == bool else PIXELS
    assert np.array_equal(followed, expected)


def test_one_hot_labels_are_refused_with_the_way_out(tmp_path):
    with pytest.raises(ValueError, match=r"labels\.argmax\(1\)"):
        array_file(saved(tmp_path, x=PIXELS, y=np.eye(3)[LABELS]))


def picture(path):
    Image.new("L", (4, 4)).save(path)


def archive(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("1.png", b"")


def table(path):
    path.write_bytes(b"PAR1 and so on")


def objects(path):
    np.savez(path, images=PIXELS, labels=np.array(["a", None] * 6, dtype=object))


def object_array(path):
    np.save(path, np.array([{}, 1], dtype=object))


def cut(path):
    np.savez(path, images=PIXELS)
    path.write_bytes(path.read_bytes()[:200])


def cut_array(path):
    np.save(path, PIXELS)
    path.write_bytes(path.read_bytes()[:200])


WRONG = [
    ("x.png", picture, "a picture; put pictures in a folder, and name it by train_dir"),
    ("x.parquet", table, "a table; put it in a folder, and name that by dataset_name"),
    ("x.zip", archive, "an archive; unpack it"),
    ("x.npz", archive, "an archive; unpack it"),
    ("x.tar.gz", table, "an archive; unpack it"),
    ("x.txt", lambda path: path.write_text("hello"), "something else; save an array"),
    ("x.npz", lambda path: path.write_text("hello"), "something else"),
    ("x.npy", lambda path: path.write_bytes(b""), "it is empty"),
    ("x", lambda path: path.mkdir(), "is a folder; expected a file, or a folder as train_dir"),
    ("x.npz", lambda path: None, "cannot be read"),
    ("x.npz", objects, r"Python objects; save numbers or text"),
    ("x.npy", object_array, r"Python objects; save numbers or text"),
    ("x.npz", cut, "cannot be read"),
    ("x.npy", cut_array, "cannot be read"),
]


@pytest.mark.parametrize(("name", "make", "message"), WRONG, ids=range(len(WRONG)))
def test_what_is_no_array_is_named_and_no_pickle_is_advised(tmp_path, name, make, message):
    make(tmp_path / name)
    with pytest.raises(ValueError, match=message) as caught:
        array_file(tmp_path / name)
    assert "allow_pickle" not in str(caught.value)
