"""Everything below a folder is found and counted; its parts are those that it names."""

import os

import pytest

from ddpm.data.folders import Place, list_folder, split_folder


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder


# ----------------------------------------------------------------------------------------- listing
SUFFIXES = [".png", ".jpg", ".JPG", ".JpEg", ".webp", ".bmp", ".tif", ".TIFF", ".gif", ".avif"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_pictures_are_known_by_their_suffix(tmp_path, suffix):
    listing = list_folder(touch(tmp_path, f"a{suffix}", f"b/c{suffix}"))
    assert listing.pictures == [f"a{suffix}", f"b/c{suffix}"] and not listing.left_out()


@pytest.mark.parametrize(
    "name",
    ["notes.txt", "photo.heic", "scan.pdf", "all.zip", "film.mp4", "page.eps", "x.h5", "README"],
)
def test_other_files_are_counted_by_kind(tmp_path, name):
    listing = list_folder(touch(tmp_path, "a.png", name))
    kind = os.path.splitext(name)[1] or "no suffix"
    assert listing.pictures == ["a.png"] and listing.left_out() == [f"1 other file(s) ({kind})"]


HIDDEN = ["._a.png", ".DS_Store", "Thumbs.db", ".git/a.png", "__macosx/a.png", "@eaDir/a.png"]


@pytest.mark.parametrize("name", HIDDEN)
def test_hidden_files_are_counted(tmp_path, name):
    listing = list_folder(touch(tmp_path, "a.png", name))
    assert listing.pictures == ["a.png"] and listing.left_out() == ["1 hidden file(s)"]


@pytest.mark.parametrize("name", ["metadata.csv", "b/metadata.JSONL", "labels.tsv"])
def test_tables_of_classes_are_told_apart(tmp_path, name):
    listing = list_folder(touch(tmp_path, "a.png", name))
    assert (listing.tables, listing.others) == ([name], [])


@pytest.mark.parametrize("name", ["set[1]", "a*b", "what?", "two words", "ünï", "{x}"])
def test_any_name_is_only_a_name(tmp_path, name):
    touch(tmp_path, f"{name}/{name}.png", "set1/b.png", "aXb/c.png")
    assert list_folder(tmp_path / name).pictures == [f"{name}.png"]
    assert f"{name}/{name}.png" in list_folder(tmp_path).pictures


def test_links_are_followed_but_not_in_circles(tmp_path):
    touch(tmp_path, "away/cat/1.png", "here/dog/2.png")
    here = tmp_path / "here"
    (here / "cat").symlink_to(tmp_path / "away" / "cat")
    (here / "twin").symlink_to(here / "dog")
    (here / "dog" / "up").symlink_to(here)
    (tmp_path / "away" / "cat" / "round").symlink_to(here)
    listing = list_folder(here)
    assert listing.pictures == ["cat/1.png", "dog/2.png", "twin/2.png"]
    assert sorted(listing.loops) == ["cat/round", "dog/up", "twin/up"]
    assert "3 link(s) in a circle" in listing.left_out()[0]


def test_pipes_are_not_waited_for(tmp_path):
    os.mkfifo(touch(tmp_path, "a.png") / "b.png")
    listing = list_folder(tmp_path)
    assert (listing.pictures, listing.others) == (["a.png"], ["b.png"])


def test_links_to_pipes_devices_and_themselves_are_not_waited_for(tmp_path):
    folder = touch(tmp_path, "a.png")
    os.mkfifo(folder / "pipe")
    for name, target in (("b.png", "pipe"), ("c.png", "/dev/zero"), ("d.png", "d.png")):
        (folder / name).symlink_to(target)
    listing = list_folder(folder)
    assert listing.pictures == ["a.png", "d.png"]  # the last is found to lead nowhere when decoded
    assert listing.others == ["b.png", "c.png", "pipe"]


def test_empty_folders_are_named(tmp_path):
    (touch(tmp_path, "a.png") / "cat").mkdir()
    assert list_folder(tmp_path).left_out() == ["1 empty folder(s) (cat)"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "1 empty folder"),
        (["t.parquet", "u.parquet"], r"2 other file\(s\) \(\.parquet\).*dataset_name"),
        (["photos.zip"], r"\(\.zip\).*unpack"),
        (["a.heic"], r"\(\.heic\).*convert"),
    ],
)
def test_a_folder_without_pictures_says_what_it_has(tmp_path, names, message):
    with pytest.raises(ValueError, match=f"no images in .*{message}"):
        list_folder(touch(tmp_path, *names))


def test_what_is_no_folder_is_named(tmp_path):
    touch(tmp_path, "a.npz")
    with pytest.raises(ValueError, match="is not a folder but a file: give arrays by train_file"):
        list_folder(tmp_path / "a.npz")
    with pytest.raises(ValueError, match="gone is not a folder; expected"):
        list_folder(tmp_path / "gone")


# ------------------------------------------------------------------------------------------- parts
def parts(tmp_path, *names):
    places, unused = split_folder(list_folder(touch(tmp_path, *names)))
    return {name: place.paths() for name, place in places.items()}, unused


@pytest.mark.parametrize("above", ["", "data/", "one/two/"])
@pytest.mark.parametrize("held_out", ["val", "valid", "validation", "dev", "test", "VAL", "Test"])
@pytest.mark.parametrize("train", ["train", "Training"])
def test_folders_called_so_are_the_parts(tmp_path, above, train, held_out):
    names = [f"{above}{train}/a/1.png", f"{above}{held_out}/a/1.png", f"{above}{held_out}/2.png"]
    found, unused = parts(tmp_path, *names)
    assert found == {"train": names[:1], "validation": sorted(names[1:])} and not unused


@pytest.mark.parametrize(
    ("train", "held_out"),
    [
        ("training_set", "test_set"),
        ("train2017", "val2017"),
        ("train_64x64", "valid_64x64"),
        ("TrainSet", "ValSet"),
        ("images-TRAIN", "images-EVAL"),
    ],
)
def test_folders_that_hold_such_a_word_are_the_parts(tmp_path, train, held_out):
    names = [f"{train}/a/1.png", f"{train}/b/1.png", f"{held_out}/a/1.png"]
    found, unused = parts(tmp_path, *names)
    assert found == {"train": names[:2], "validation": names[2:]} and not unused


@pytest.mark.parametrize(
    "names",
    [
        ["bullet_train/1.png", "test_tube/2.png"],
        ["training_set/1.png", "test_set/2.png"],
        ["train/a/1.png", "tram/2.png"],
    ],
)
def test_folders_that_are_classes_for_sure_are_no_parts(tmp_path, names):
    places, _ = split_folder(list_folder(touch(tmp_path, *names)), are_classes=True)
    assert [*places] == ["train"] and places["train"].paths() == sorted(names)


def test_a_test_part_is_not_used_where_there_is_validation(tmp_path):
    found, unused = parts(tmp_path, "train/1.png", "val/2.png", "test/3.png", "test/4.png")
    assert found == {"train": ["train/1.png"], "validation": ["val/2.png"]}
    assert unused == ["2 image(s) of test"]


@pytest.mark.parametrize(
    "names",
    [
        ["train/1.png", "tram/2.png"],  # vehicles
        ["test/1.png", "tram/2.png"],
        ["a/1.png", "b/2.png"],
        ["1.png", "2.png"],
        ["train/1.png"],
        ["train/1.png", "val/notes.txt"],
    ],
)
def test_other_folders_are_no_parts(tmp_path, names):
    found, _ = parts(tmp_path, *names)
    assert found == {"train": sorted(name for name in names if name.endswith("png"))}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["val/1.png", "test/2.png"], "expected train among them"),
        (["test/1.png"], "expected train among them"),
        (["train/1.png", "val/2.png", "3.png"], "has images beside train, val"),
        (["train/1.png", "test/2.png", "tram/3.png"], "has tram beside test, train"),
        (["train/1.png", "val/2.png", "valid/3.png"], "'val' and 'valid', which both"),
        (["a/train/1.png", "a/val/2.png", "b/train/3.png", "b/val/4.png"], "in 'a', as in a class"),
        (["a/train/1.png", "b/train/3.png", "b/test/4.png"], "in 'b', as in a class"),
        (["train/a/1.png", "train/b/2.png", "unlabeled/3.png"], "has unlabeled beside train"),
        (["train/a/1.png", "train/b/2.png", "3.png"], "has images beside train"),
        (["seg_train/1.png", "seg_test/2.png", "seg_pred/3.png"], "has seg_pred beside seg_test"),
        (
            ["trainA/1.png", "trainB/2.png", "testA/3.png", "testB/4.png"],
            "has testA, testB, trainA",
        ),
        (["bullet_train/1.png", "test_tube/2.png"], "has bullet_train, test_tube: are these parts"),
    ],
)
def test_where_it_cannot_be_told_it_is_asked(tmp_path, names, message):
    with pytest.raises(ValueError, match=message):
        parts(tmp_path, *names)


def test_a_place_knows_what_lies_below_it(tmp_path):
    listing = list_folder(touch(tmp_path, "x/1.png", "x/a/2.png", "x/a/b/3.png", "xy/4.png"))
    place = Place(listing, "x/")
    assert place.paths() == ["x/1.png", "x/a/2.png", "x/a/b/3.png"]
    assert [place.below(path) for path in place.paths()] == [(), ("a",), ("a", "b")]
    assert place.names() == {"": 1, "a": 2}
