"""The one line that tells how images were read."""

from types import SimpleNamespace

import pytest

from ddpm.data.reports import report_of
from ddpm.data.sources import Look, Reading


def part(num_images, names=None, looks=(), channels=3):
    class Part:
        source = SimpleNamespace(class_names=names, seen=lambda: looks)
        image_size = 8
        num_channels = channels

        def __len__(self):
            return num_images

    return Part()


def test_all_is_told_in_one_line():
    reading = Reading("photos", {"train": None, "validation": None}, "val", "folder")
    reading.skipped += ["2 hidden file(s)", "1 other file(s) (.txt)"]
    reading.unused.append("4 image(s) of test")
    looks = [Look("", 4, 9, False), Look("", 9, 9, False, True)]
    assert report_of(reading, part(1200, ["a", "b"], looks), part(34)) == (
        "read 1,234 images from photos: 1,200 to train on, 34 held out (val); 2 classes (folder):"
        " a, b; 1 smaller than 8 pixels, and enlarged; 1 larger than 8 pixels, and reduced; 1 not"
        " square, and cropped; 1 of several frames, of which the first counts;"
        " skipped: 2 hidden file(s), 1 other file(s) (.txt); not used: 4 image(s) of test"
    )


@pytest.mark.parametrize(
    ("held_out", "names", "how", "expected"),
    [
        (None, None, "", "read 3 images from x, nothing held out; no classes"),
        (part(1), ["a"], "folder", "3 to train on, 1 held out (drawn evenly); 1 class (folder): a"),
        (None, None, "not asked for", "nothing held out; no classes (not asked for)"),
    ],
)
def test_what_there_is_none_of_is_told_too(held_out, names, how, expected):
    reading = Reading("x", {"train": None}, how=how)
    assert report_of(reading, part(3, names), held_out).endswith(expected)


def test_colours_that_are_lost_are_counted():
    reading = Reading("x", {"train": None})
    looks = [Look(str(number), 8, 8, number > 1) for number in range(5)]
    assert "2 of colour, and made grey" in report_of(
        reading, part(5, looks=looks, channels=1), None
    )
    assert "grey" not in report_of(reading, part(5, looks=looks), None)


@pytest.mark.parametrize("name", ["test", "data/Test", "in/deep/testing", "my/test_set"])
def test_a_test_part_is_held_out_for_a_reason(name):
    reading = Reading("x", {"train": None, "validation": None}, name)
    assert f"({name}, as there is no validation part)" in report_of(reading, part(1), part(1))


def test_of_many_classes_some_are_named():
    reading = Reading("x", {"train": None}, how="folder")
    names = ["a", "b", "c", "d", "e"]
    assert "5 classes (folder): a, b, c, d, ..." in report_of(reading, part(9, names), None)


def test_what_is_in_both_parts_is_told():
    reading = Reading("x", {"train": None, "validation": None}, "val")
    looks = [Look(digest, 9, 9, False) for digest in "abcd"]
    told = report_of(reading, part(3, looks=looks[:3]), part(2, looks=looks[1:]))
    assert "; 2 of those held out are trained on, too" in told
    assert "too" not in report_of(reading, part(3, looks=looks[:2]), part(2, looks=looks[2:]))
