"""From a place to images: every layout that people have is read as what it is, or refused."""

import logging
import shutil

import numpy as np
import pytest

from ddpm.data import load_images
from ddpm.data.finding import find_images, usable_images

FLAT = [f"{number}.png" for number in range(6)]
SORTED = [f"{name}/{number}.png" for name in ("cat", "dog") for number in range(3)]


def load(folder, **settings):
    return load_images(train_dir=folder, **{"image_size": 8, "validation_fraction": 0} | settings)


def told(folder, **settings):
    return load(folder, **settings)["train"].report


# ----------------------------------------------------------------------------------------- damaged
def test_a_damaged_picture_is_left_out_told_and_changes_nothing(draw, tmp_path, caplog):
    folder = draw(tmp_path, *SORTED)
    (folder / "cat" / "1.png").write_bytes((folder / "cat" / "1.png").read_bytes()[:60])
    with caplog.at_level(logging.INFO):
        data = load(folder, validation_fraction=0.4)
    assert "read 5 images" in caplog.text and "1 unusable image(s)" in caplog.text
    assert "cat/1.png: " in data["train"].report
    (folder / "cat" / "1.png").unlink()
    again = load(folder, validation_fraction=0.4)
    assert "unusable" not in again["train"].report
    for part in ("train", "validation"):
        assert data[part].fingerprint() == again[part].fingerprint()
        assert len(data[part]) == len(again[part]) and data[part][0]["images"].shape == (3, 8, 8)


def test_labels_stay_with_their_pictures_where_some_are_left_out(draw, tmp_path):
    folder = draw(tmp_path, *SORTED)
    for name in ("cat/0.png", "dog/1.png"):
        (folder / name).write_text("no picture")
    source = load(folder)["train"].source
    assert source.images.paths == ["cat/1.png", "cat/2.png", "dog/0.png", "dog/2.png"]
    assert source.labels.tolist() == [0, 0, 1, 1]


def test_where_nothing_can_be_used_the_reason_is_told(tmp_path):
    for number in range(5):
        (tmp_path / f"{number}.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"none of the 5 train images .*0\.png: it is no picture"):
        load(tmp_path)


# ------------------------------------------------------------------------------------------- parts
def test_a_validation_folder_is_held_out_and_nothing_else(draw, tmp_path):
    folder = draw(tmp_path, *(f"{part}/{name}" for part in ("train", "val") for name in SORTED))
    data = load(folder, validation_fraction=0.3)
    assert all(path.startswith("train/") for path in data["train"].source.images.paths)
    assert all(path.startswith("val/") for path in data["validation"].source.images.paths)
    assert (len(data["train"]), len(data["validation"])) == (6, 6)
    assert "6 to train on, 6 held out (val); 2 classes (folder)" in data["train"].report


def test_what_is_held_out_is_told(draw, tmp_path):
    folder = draw(tmp_path / "a", *(f"{part}/1.png" for part in ("train", "test")))
    assert "1 held out (test, as there is no validation part)" in told(folder)
    assert "not used: 1 image(s) of test" in told(draw(folder, "dev/1.png"))
    assert "nothing held out" in told(draw(tmp_path / "b", *FLAT))
    assert "3 held out (drawn evenly)" in told(tmp_path / "b", validation_fraction=0.5)


def test_another_folder_may_be_held_out(draw, tmp_path):
    train = draw(tmp_path / "one", *SORTED)
    held_out = draw(tmp_path / "two", "dog/9.png")
    data = load(train, validation_dir=held_out)
    assert (len(data["train"]), len(data["validation"])) == (6, 1)
    assert data["validation"][0]["labels"] == 1
    parts = draw(tmp_path / "three", "train/cat/1.png", "train/dog/2.png", "val/cat/3.png")
    assert "not used: 1 image(s) of val" in told(parts, validation_dir=held_out)


@pytest.mark.parametrize("inside", ["", "cat", "./dog/../cat", ".."])
def test_what_is_trained_on_is_not_held_out(draw, tmp_path, inside):
    folder = draw(tmp_path, *SORTED)
    with pytest.raises(ValueError, match="which are trained on; expected a folder beside"):
        load(folder, validation_dir=folder / inside)


@pytest.mark.parametrize("layout", ["link", "copy"])
def test_what_is_in_both_parts_is_told(draw, tmp_path, layout):
    draw(tmp_path, *(f"train/{name}" for name in SORTED))
    if layout == "link":
        (tmp_path / "val").symlink_to("train")
    else:
        shutil.copytree(tmp_path / "train" / "cat", tmp_path / "val" / "cat")
    expected = 6 if layout == "link" else 3
    assert f"{expected} of those held out are trained on, too" in told(tmp_path)


def test_a_file_that_is_trained_and_validated_on_is_told(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(4 * 64, dtype=np.uint8).reshape(4, 8, 8))
    file = tmp_path / "a.npy"
    report = load_images(train_file=file, validation_file=file)["train"].report
    assert "4 of those held out are trained on, too" in report


def test_a_flat_test_folder_without_classes_is_left_alone(draw, tmp_path):
    draw(tmp_path, *(f"train/{name}" for name in SORTED), "test/1.png", "test/2.png")
    report = told(tmp_path, validation_fraction=0.5)
    assert "3 to train on, 3 held out (drawn evenly); 2 classes (folder)" in report
    assert "not used: 2 image(s) of test, without classes" in report


# ------------------------------------------------------------------------------------------ labels
LAYOUTS = {
    "beside": [*SORTED, "stray.png"],
    "flat validation": [*(f"train/{name}" for name in SORTED), "val/1.png", "val/2.png"],
    "new class": [*(f"train/{name}" for name in SORTED), "val/bird/1.png"],
}


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ("beside", r"1 of 7 image\(s\) have no class by folder .*stray\.png.*no-class_conditional"),
        ("flat validation", r"2 of 2 image\(s\) have no class by folder"),
        ("new class", r"\['bird'\] are not among the training classes"),
    ],
)
def test_images_without_a_class_are_refused_or_all_are_without(draw, tmp_path, layout, message):
    folder = draw(tmp_path, *LAYOUTS[layout])
    with pytest.raises(ValueError, match=message):
        load(folder)
    data = load(folder, class_conditional=False)
    assert sum(len(part) for part in data.values() if part) == len(LAYOUTS[layout])
    assert "no classes (not asked for)" in data["train"].report


def test_a_table_gives_the_classes(draw, tmp_path):
    folder = draw(tmp_path, *FLAT)
    lines = [f"{name},{'ab'[number % 2]}" for number, name in enumerate(FLAT)]
    (folder / "metadata.csv").write_text("\n".join(["file_name,category", *lines, "gone.png,a"]))
    data = load(folder, validation_fraction=0.5)
    assert data["train"].class_names == ["a", "b"]
    assert "2 classes (category in metadata.csv)" in data["train"].report
    assert "skipped: 1 row(s) of metadata.csv without a file" in data["train"].report
    (folder / "metadata.csv").write_text("\n".join(["file_name,category", *lines[1:]]))
    with pytest.raises(
        ValueError, match=r"1 of 6 .* no class by category in metadata\.csv .*0\.png"
    ):
        load(folder)
    assert "not used: metadata.csv" in told(folder, class_conditional=False)


def test_no_classes_are_told(draw, tmp_path):
    names = [f"{name}_{k}.png" for name in ("cat", "dog") for k in range(3)]
    folder = draw(tmp_path, *names)
    assert "no classes (labels = 'filename' would find 2: cat, dog)" in told(folder)
    assert load(folder, labels="filename")["train"].class_names == ["cat", "dog"]
    with pytest.raises(ValueError, match=r"no labels: .*'filename' would find 2"):
        load(folder, class_conditional=True)


def test_validation_arrays_need_labels_where_the_training_has_them(tmp_path):
    images = np.zeros((6, 4, 4), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", images=images, labels=np.arange(6) % 2)
    np.savez(tmp_path / "b.npz", images=images)
    files = {"train_file": tmp_path / "a.npz", "validation_file": tmp_path / "b.npz"}
    with pytest.raises(ValueError, match="the validation images have no labels, unlike"):
        load_images(**files)
    assert load_images(**files, class_conditional=False)["validation"].class_names is None
    swapped = load_images(train_file=tmp_path / "b.npz", validation_file=tmp_path / "a.npz")
    assert swapped["train"].class_names is None and "labels" not in swapped["validation"][0]


# ---------------------------------------------------------------------------------------- any place
@pytest.mark.parametrize("name", ["set[1]", "a*", "two words", "ünï"])
def test_the_named_folder_is_read_by_either_flag(draw, tmp_path, name):
    draw(tmp_path / "set1", "cat/1.png", "dog/2.png")
    draw(tmp_path / "ab", "cat/1.png", "dog/2.png")
    folder = draw(tmp_path / name, *SORTED)
    by_name = load_images(dataset_name=str(folder), image_size=8, validation_fraction=0)["train"]
    assert len(by_name) == 6 and by_name.fingerprint() == load(folder)["train"].fingerprint()


PLACES = ["train_dir", "validation_dir", "train_file", "validation_file", "dataset_name"]


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("given", ["", "a\0b", "x" * 300])
def test_what_can_be_no_place_is_refused(draw, tmp_path, monkeypatch, name, given):
    monkeypatch.chdir(draw(tmp_path, *SORTED))  # "" is not "here"
    np.save("a.npy", np.zeros((4, 8, 8), dtype=np.uint8))
    before = {"validation_dir": {"train_dir": "."}, "validation_file": {"train_file": "a.npy"}}
    with pytest.raises(ValueError, match=given[:9].replace("\0", r"\\x00") or f"{name} is ''"):
        load_images(**before.get(name, {}), **{name: given}, image_size=8)


@pytest.mark.parametrize("name", ["train_dir", "dataset_name"])
def test_the_home_folder_is_what_shells_call_so(draw, tmp_path, monkeypatch, name):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    draw(tmp_path / "pictures", *SORTED)
    settings = {name: "~/pictures", "image_size": 8, "validation_fraction": 0}
    assert len(load_images(**settings)["train"]) == 6
    draw(tmp_path / "~/pictures", "cat/1.png", "dog/2.png")
    assert len(load_images(**settings)["train"]) == 2


def test_small_and_animated_pictures_are_told(draw, tmp_path):
    from PIL import Image

    draw(tmp_path, "a.png", "b.png", size=4)
    frames = [Image.new("L", (9, 9), shade) for shade in (0, 200)]
    frames[0].save(tmp_path / "c.gif", save_all=True, append_images=frames[1:])
    report = told(tmp_path)
    assert "2 smaller than 8 pixels, and enlarged" in report
    assert "1 of several frames, of which the first counts" in report


def test_the_digits_are_numbered_as_they_are():
    reading = find_images()
    source = usable_images(reading)["train"]
    assert reading.parts["train"].labels == source.labels.tolist()
    assert find_images(class_conditional=False).parts["train"].labels is None
