"""What cannot be decoded is found before the training; what was seen is remembered, not trusted."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ddpm.data import load_images
from ddpm.data import survey as surveys
from ddpm.data.pixels import prepare_image
from ddpm.data.sources import FileImages, Look
from ddpm.data.survey import survey


def pixels(path, *, mode="RGB", size=(9, 7), **options):
    Image.new(mode, size).save(path, **options)


def halved(path):
    noise = np.random.default_rng(0).integers(256, size=(64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def bomb(path):
    Image.new("1", (20000, 20000)).save(path)


DAMAGED = {
    "half.jpg": halved,
    "half.png": halved,
    "half.webp": halved,
    "half.bmp": halved,
    "empty.jpg": lambda path: path.write_bytes(b""),
    "page.jpg": lambda path: path.write_text("<!DOCTYPE html><html></html>"),
    "zeros.png": lambda path: path.write_bytes(bytes(1000)),
    "link.png": lambda path: path.symlink_to("nowhere.png"),
    "folder.png": lambda path: path.mkdir(),
    "floats.tif": lambda path: pixels(path, mode="F"),
    "integers.tif": lambda path: pixels(path, mode="I"),
    "bomb.png": bomb,
}
GOOD = {
    "a.jpg": {},
    "really_png.jpg": {"format": "png"},
    "b.JPG": {},
    "cmyk.jpg": {"mode": "CMYK"},
    "grey.png": {"mode": "L"},
    "one.png": {"mode": "1"},
    "palette.gif": {"mode": "P"},
    "clear.png": {"mode": "RGBA"},
    "deep.png": {"mode": "I;16"},
    "c.webp": {},
    "d.bmp": {},
    "e.tiff": {},
    "small.png": {"size": (1, 1)},
}


@pytest.mark.parametrize("name", DAMAGED)
def test_what_cannot_be_decoded_is_found(tmp_path, name):
    pixels(tmp_path / "good.png")
    DAMAGED[name](tmp_path / name)
    good, bad = survey(FileImages(tmp_path, ["good.png", name]))
    assert isinstance(good, Look) and isinstance(bad, str) and bad and "\n" not in bad
    assert "0x" not in bad  # no address in memory


@pytest.mark.parametrize("name", GOOD)
def test_what_can_be_prepared_is_not_left_out(tmp_path, name):
    pixels(tmp_path / name, **GOOD[name])
    (look,) = survey(FileImages(tmp_path, [name]))
    with Image.open(tmp_path / name) as image:
        assert (look.width, look.height) == image.size
        assert look.grey == (image.mode in ("1", "L", "I;16")) and not look.animated
        assert prepare_image(image, 4, 3).shape == (3, 4, 4)


def test_upright_sizes_and_animations_are_told(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels(tmp_path / "a.jpg", exif=exif)
    frames = [Image.new("L", (4, 4), shade) for shade in (0, 200)]
    frames[0].save(tmp_path / "b.gif", save_all=True, append_images=frames[1:])
    lying, film = survey(FileImages(tmp_path, ["a.jpg", "b.gif"]))
    assert (lying.width, lying.height) == (7, 9)
    assert film.animated and not lying.animated


# ------------------------------------------------------------------------------------------ memory
@pytest.fixture
def decoded(monkeypatch):
    """The number of pictures that were decoded."""
    numbers = []

    def counted(content):
        numbers.append(1)
        return look(content)

    look = surveys._look
    monkeypatch.setattr(surveys, "_look", counted)
    return numbers


def test_a_second_survey_decodes_nothing_but_what_changed(draw, tmp_path, decoded):
    images = FileImages(
        draw(tmp_path, *(f"{k}.png" for k in range(5))), [f"{k}.png" for k in range(5)]
    )
    first = survey(images)
    assert len(decoded) == 5
    assert survey(images) == first and len(decoded) == 5
    draw(tmp_path, "3.png")
    os.utime(tmp_path / "3.png", (1, 1))
    again = survey(images)
    assert len(decoded) == 6
    assert [number for number in range(5) if again[number] != first[number]] == [3]


def test_parts_of_a_folder_do_not_forget_each_other(draw, tmp_path, decoded, monkeypatch):
    draw(tmp_path, *(f"{part}/{k}.png" for part in ("train", "val") for k in range(4)))
    for folder in (tmp_path, tmp_path, Path(".")):
        monkeypatch.chdir(tmp_path)
        load_images(train_dir=folder)
        assert len(decoded) == 8


def test_a_fault_is_not_remembered(tmp_path, decoded):
    (tmp_path / "a.png").write_text("no picture")
    images = FileImages(tmp_path, ["a.png"])
    assert survey(images) == survey(images) and len(decoded) == 2


def test_an_interrupted_survey_goes_on(draw, tmp_path, decoded, monkeypatch):
    names = [f"{k}.png" for k in range(6)]
    images = FileImages(draw(tmp_path, *names), names)
    monkeypatch.setattr(surveys, "_BLOCK", 2)
    bar = surveys.progress_bar

    def stopped(items, **options):
        yield from [next(items) for _ in range(2)]
        raise KeyboardInterrupt

    monkeypatch.setattr(surveys, "progress_bar", lambda items, **options: Stopped(stopped(items)))
    with pytest.raises(KeyboardInterrupt):
        survey(images)
    monkeypatch.setattr(surveys, "progress_bar", bar)
    before = len(decoded)
    assert len(survey(images)) == 6 and len(decoded) - before == 4
    # stopped again where two have changed: what was known of the others stays known
    for name in names[:2]:
        os.utime(tmp_path / name, (1, 1))
    monkeypatch.setattr(surveys, "progress_bar", lambda items, **options: Stopped(stopped(items)))
    with pytest.raises(KeyboardInterrupt):
        survey(images)
    monkeypatch.setattr(surveys, "progress_bar", bar)
    before = len(decoded)
    assert len(survey(images)) == 6 and len(decoded) == before


class Stopped:
    """A progress bar over items."""

    def __init__(self, items):
        self.items = items

    def __enter__(self):
        return self.items

    def __exit__(self, *error):
        return False


@pytest.mark.parametrize("content", ["", "[]", "{", '{"a": 1}', '{"a": [1]}'])
def test_a_damaged_memory_is_told_and_made_anew(draw, tmp_path, caches, decoded, caplog, content):
    images = FileImages(draw(tmp_path, "a.png"), ["a.png"])
    first = survey(images)
    (memory,) = caches.glob("surveys/*.json")
    memory.write_text(content)
    assert survey(images) == first and len(decoded) == 2
    assert str(memory) in caplog.text
    assert len(json.loads(memory.read_text())) == 1


def test_without_a_memory_it_goes_on_and_says_so(draw, tmp_path, caches, caplog):
    (caches / "surveys").write_text("a file where the folder would be")
    assert isinstance(survey(FileImages(draw(tmp_path, "a.png"), ["a.png"]))[0], Look)
    assert "the next run checks again" in caplog.text
