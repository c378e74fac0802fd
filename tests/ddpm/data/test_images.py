"""Digits, folders, arrays and data sets as images: their content, their split, what is refused."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader

from ddpm.data.images import hold_out, load_images
from ddpm.data.sources import number_labels


def paint(path, colour, size=(12, 10), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).convert(mode).save(path)


@pytest.fixture
def folder(tmp_path):
    for number in range(4):
        paint(tmp_path / f"data/zebra/{number}.png", (number, 0, 0))
        paint(tmp_path / f"data/ape/{number}.jpg", "white")
    return tmp_path / "data"


# ----------------------------------------------------------------------------------- digits, arrays
def test_digits_are_scikit_learns_split_without_loss():
    data = load_images()
    train = data["train"]
    validation = data["validation"]
    assert (len(train), len(validation)) == (1618, 179)
    assert (train.image_size, train.num_channels, train.class_names) == (
        8,
        1,
        [str(digit) for digit in range(10)],
    )
    bunch = load_digits()
    numbers = np.concatenate([train.numbers, validation.numbers])
    assert sorted(numbers) == list(range(1797))
    for part in (train, validation):
        images = torch.stack([item["images"] for item in part.__getitems__(range(len(part)))])
        labels = torch.stack([item["labels"] for item in part.__getitems__(range(len(part)))])
        assert (
            images.shape[1:] == (1, 8, 8)
            and images.dtype == torch.uint8
            and labels.dtype == torch.int64
        )
        assert np.array_equal(labels, bunch.target[part.numbers])
        assert np.array_equal(images[:, 0], np.round(bunch.images[part.numbers] * 255 / 16))
    counts = np.bincount(bunch.target[validation.numbers], minlength=10)
    assert np.abs(counts - np.bincount(bunch.target) / 10).max() < 1


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.3, 0.5, 0.07])
@pytest.mark.parametrize("labels", [None, np.array([1, 0, 2, 0] * 25)])
def test_hold_out_takes_the_share_of_every_class(fraction, labels):
    stay, held_out = hold_out(SimpleNamespace(images=range(100), labels=labels), fraction)
    assert len(held_out) == round(100 * fraction)
    assert sorted([*stay, *held_out]) == list(range(100)) and np.all(np.diff(held_out) > 0)
    if labels is not None:
        assert np.abs(np.bincount(labels[held_out]) - np.bincount(labels) * fraction).max() <= 1


@pytest.mark.slow
def test_batches_of_a_loader_with_workers_are_those_of_the_data():
    train = load_images(image_size=16, channels=3)["train"]
    [first, *_] = DataLoader(train, batch_size=4, num_workers=1, multiprocessing_context="fork")
    assert first["images"].shape == (4, 3, 16, 16) and first["labels"].tolist() == [0, 1, 2, 3]
    again = pickle.loads(pickle.dumps(train))
    assert torch.equal(again[5]["images"], train[5]["images"])


def test_labels_can_be_left_out_and_nothing_held_out():
    data = load_images(class_conditional=False, validation_fraction=0)
    assert data["validation"] is None and len(data["train"]) == 1797
    assert data["train"].class_names is None and set(data["train"][0]) == {"images"}


@pytest.mark.parametrize("keys", [("arr_0", "arr_1"), ("images", "labels")])
@pytest.mark.parametrize("shape", [(20, 6, 6), (20, 6, 6, 1), (20, 6, 6, 3)])
def test_array_files_are_kept_to_the_bit(tmp_path, keys, shape):
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    labels = np.array([7, 30] * 10)
    np.savez(tmp_path / "x.npz", **dict(zip(keys, (images, labels), strict=True)))
    np.save(tmp_path / "y.npy", images)
    data = load_images(train_file=tmp_path / "x.npz", validation_file=tmp_path / "x.npz")
    train = data["train"]
    assert train.class_names == ["7", "30"] and len(train) == len(data["validation"]) == 20
    expected = images.reshape(20, 6, 6, -1).transpose(0, 3, 1, 2)
    for number in range(20):
        assert np.array_equal(train[number]["images"], expected[number])
        assert train[number]["labels"] == number % 2
    assert "labels" not in load_images(train_file=tmp_path / "y.npy")["train"][0]


# ------------------------------------------------------------------------------- folders, data sets
def test_sub_folders_are_classes_in_sorted_order(folder):
    data = load_images(train_dir=folder, image_size=8, validation_fraction=0.25)
    assert data["train"].class_names == ["ape", "zebra"] and data["train"].num_channels == 3
    items = [item for part in data.values() for item in part.__getitems__(range(len(part)))]
    assert len(items) == 8 and len(data["validation"]) == 2
    for item in items:
        white = bool((item["images"] > 200).all())
        assert item["images"].shape == (3, 8, 8) and int(item["labels"]) == (0 if white else 1)
    assert sorted(int(item["labels"]) for item in data["validation"].__getitems__([0, 1])) == [0, 1]


def test_size_and_channels_are_the_images_own(tmp_path):
    for number in range(3):
        paint(tmp_path / f"flat/{number}.png", "gray", size=(9, 9), mode="L")
    train = load_images(train_dir=tmp_path / "flat", validation_fraction=0)["train"]
    assert (train.image_size, train.num_channels, train.class_names) == (9, 1, None)
    paint(tmp_path / "flat/coloured.png", "red", size=(9, 9))
    train = load_images(train_dir=tmp_path / "flat", validation_fraction=0)["train"]
    assert (train.num_channels, len(train)) == (3, 4)


def test_classes_called_train_and_test_are_classes(tmp_path):
    for name in ("train", "tram"):
        paint(tmp_path / f"vehicles/{name}/test_1.png", "white")
        paint(tmp_path / f"vehicles/{name}/validation.png", "white")
    data = load_images(train_dir=tmp_path / "vehicles", image_size=4, validation_fraction=0)
    assert data["train"].class_names == ["train", "tram"] and len(data["train"]) == 4


def test_train_and_test_folders_are_the_split(tmp_path):
    for split, count in (("train", 3), ("test", 2)):
        for name, number in ((name, number) for name in "ba" for number in range(count)):
            paint(
                tmp_path / f"data/{split}/{name}/{number}.png", "white" if name == "a" else "black"
            )
    data = load_images(train_dir=tmp_path / "data", image_size=4)
    assert (len(data["train"]), len(data["validation"])) == (6, 4)
    assert all(
        bool(item["labels"] == 0) == bool(item["images"].all()) for item in data["validation"]
    )


@pytest.fixture
def saved(tmp_path):
    """A data set with two columns of images and three of labels, as `save_to_disk` writes it."""
    import datasets

    images = [Image.new("L", (4, 4), number) for number in range(20)]
    coarse = [["b", "a"][number % 2] for number in range(20)]
    columns = {
        "left": images,
        "right": images,
        "coarse": coarse,
        "fine": [10 - n % 3 for n in range(20)],
    }
    rows = datasets.Dataset.from_dict(columns | {"named": [n % 2 for n in range(20)]})
    for column in ("left", "right"):
        rows = rows.cast_column(column, datasets.Image())
    rows.cast_column("named", datasets.ClassLabel(names=["zoo", "art"])).save_to_disk(
        tmp_path / "saved"
    )
    return tmp_path / "saved"


@pytest.mark.parametrize(
    ("column", "names", "second"),
    [(None, ["zoo", "art"], 1), ("coarse", ["a", "b"], 0), ("fine", ["8", "9", "10"], 1)],
)
def test_columns_of_a_data_set(saved, column, names, second):
    columns = {"image_column": "right", "label_column": column}
    train = load_images(dataset_name=str(saved), **columns, validation_fraction=0)["train"]
    assert (train.class_names, train.image_size, train.num_channels) == (names, 4, 1)
    assert train[1]["labels"] == second and [
        int(item["images"][0, 0, 0]) for item in train
    ] == list(range(20))


def test_labels_are_numbered_by_sorted_names():
    assert number_labels(["b", "a", "b"])[0].tolist() == [1, 0, 1]
    numbers, names = number_labels([10, 9, 10])
    assert (numbers.tolist(), names) == ([1, 0, 1], ["9", "10"])
    for labels, message in (
        [[1.5], "neither"],
        [["c"], "not among"],
        [["\udce9"], "not all UTF-8"],
    ):
        with pytest.raises(ValueError, match=message):
            number_labels(labels, ["a"])


# ------------------------------------------------------------------------------------ fingerprints
def test_the_fingerprint_is_of_content_not_of_place(draw, tmp_path):
    folder = draw(tmp_path / "one", *(f"{name}/{k}.png" for name in "ab" for k in range(3)))
    options = {"image_size": 8, "validation_fraction": 0}
    first = load_images(train_dir=folder, **options)["train"].fingerprint()
    moved = folder.rename(tmp_path / "two")
    assert load_images(train_dir=moved, **options)["train"].fingerprint() == first
    (moved / "a" / "9.png").write_text("damaged")  # and left out
    assert load_images(train_dir=moved, **options)["train"].fingerprint() == first


CHANGES = {
    "another picture": lambda draw, folder: draw(folder, "a/0.png"),
    "one more": lambda draw, folder: draw(folder, "a/7.png"),
    "one less": lambda draw, folder: (folder / "a/0.png").unlink(),
    "another class": lambda draw, folder: (folder / "a/0.png").rename(folder / "b/7.png"),
    "another name": lambda draw, folder: (folder / "a").rename(folder / "c"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_other_images_have_another_fingerprint(draw, tmp_path, change):
    folder = draw(tmp_path, *(f"{name}/{k}.png" for name in "ab" for k in range(3)))
    options = {"train_dir": folder, "image_size": 8, "validation_fraction": 0}
    before = load_images(**options)["train"].fingerprint()
    CHANGES[change](draw, folder)
    assert load_images(**options)["train"].fingerprint() != before


@pytest.mark.parametrize(
    "other",
    [
        {"image_size": 9},
        {"channels": 1},
        {"class_conditional": False},
        {"validation_fraction": 0.5},
        {"labels": "filename"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_images_that_are_read_otherwise_have_another_fingerprint(draw, tmp_path, other):
    folder = draw(tmp_path, *(f"{name}/{name}x_{k}.png" for name in "ab" for k in range(4)))
    options = {"train_dir": folder, "image_size": 8, "validation_fraction": 0}
    before = load_images(**options)["train"].fingerprint()
    assert load_images(**options | other)["train"].fingerprint() != before


def test_arrays_of_one_shape_have_their_own_fingerprints(tmp_path):
    images = np.zeros((20, 6, 6), dtype=np.uint8)
    other = images.copy()
    other[19, 5, 5] = 1
    labels = np.arange(20) % 2
    arrays = [(images, labels), (other, labels), (images, 1 - labels), (images, labels + 1)]
    prints = set()
    for number, (pixels, classes) in enumerate(arrays):
        np.savez(tmp_path / f"{number}.npz", images=pixels, labels=classes)
        data = load_images(train_file=tmp_path / f"{number}.npz", validation_fraction=0)
        prints.add(data["train"].fingerprint())
    assert len(prints) == len(arrays)


# ---------------------------------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train_dir": "nowhere"}, "not a folder"),
        ({"train_file": "nowhere.npz"}, "cannot be read"),
        ({"validation_dir": "b"}, "validation_dir without train_dir"),
        ({"train_file": "a", "validation_dir": "b"}, "validation_dir without train_dir"),
        ({"train_file": "a", "labels": "folder"}, "labels without train_dir or dataset_name"),
        ({"labels": "folder"}, "labels without train_dir or dataset_name"),
        ({"label_column": "b"}, "label_column without"),
        ({"train_dir": "a", "labels": "names"}, "labels is 'names'; expected one of auto, folder"),
        ({"train_dir": "a", "train_file": "b"}, "got train_dir and train_file; expected one"),
        ({"validation_file": "b"}, "validation_file without train_file"),
        ({"dataset_config_name": "b"}, "dataset_config_name without dataset_name"),
        ({"image_size": 0}, "image_size is 0"),
        ({"channels": 2}, "channels is 2"),
        ({"validation_fraction": 0.6}, "0 to 0.5"),
        ({"validation_fraction": 0.0001}, "which is none"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        load_images(**settings)


def test_bad_folders_are_refused(tmp_path, folder):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no images"):
        load_images(train_dir=tmp_path / "empty")
    with pytest.raises(ValueError, match=r"1 size\(s\): 12 x 10; expected squares"):
        load_images(train_dir=folder)
    paint(folder / "ape/9.png", "white", size=(7, 7))
    with pytest.raises(ValueError, match=r"2 size\(s\): 7 x 7, 12 x 10"):
        load_images(train_dir=folder)
    paint(tmp_path / "flat/0.png", "white")
    with pytest.raises(ValueError, match="no labels"):
        load_images(train_dir=tmp_path / "flat", class_conditional=True)


def test_a_choice_between_columns_is_asked_for(saved):
    with pytest.raises(ValueError, match=r"\['left', 'right'\].*image_column"):
        load_images(dataset_name=str(saved))
    with pytest.raises(ValueError, match="expected one of"):
        load_images(dataset_name=str(saved), image_column="middle")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"images": np.zeros((3, 4, 4))}, "expected uint8"),
        ({"images": np.zeros((3, 4, 4, 2), np.uint8)}, "expected uint8"),
        ({"pictures": np.zeros((3, 4, 4), np.uint8)}, "expected images or arr_0"),
        (
            {"images": np.zeros((3, 4, 4), np.uint8), "labels": np.zeros(2, int)},
            "one label an image",
        ),
        ({"images": np.zeros((3, 4, 4), np.uint8), "labels": np.array([{}] * 3)}, "cannot be read"),
        ({"images": np.zeros((3, 4, 5), np.uint8)}, "expected squares"),
    ],
)
def test_bad_arrays_are_refused(tmp_path, content, message):
    np.savez(tmp_path / "x.npz", **content)
    with pytest.raises(ValueError, match=message):
        load_images(train_file=tmp_path / "x.npz")
