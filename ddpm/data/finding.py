"""From a place to images that can be used: found, decoded once, labelled.

A place is a data set, a folder, a file of arrays, or none: scikit-learn's digits.
"""

import os
from pathlib import Path

import numpy as np

from .arrays import array_file
from .columns import is_saved, table_reading
from .folders import Listing, Place, list_folder, split_folder
from .labels import LABELS, NO_CLASSES, find_rule
from .sources import ArrayImages, FileImages, Look, Part, Reading, Source, number_labels
from .survey import survey

_DIGITS = "scikit-learn's digits"
_Place = str | Path | None
_TABLES = (".parquet", ".arrow", ".csv", ".json", ".jsonl", ".tar", ".zip", ".py")


def find_images(
    *,
    dataset_name: str | None = None,
    dataset_config_name: str | None = None,
    train_dir: _Place = None,
    validation_dir: _Place = None,
    train_file: _Place = None,
    validation_file: _Place = None,
    labels: str = "auto",
    image_column: str | None = None,
    label_column: str | None = None,
    class_conditional: bool | None = None,
) -> Reading:
    """Finds images; the arguments are those of [`load_images`].

    Args:
        dataset_name: a `datasets` name or a local data set.
        dataset_config_name: its configuration.
        train_dir: a folder of images.
        validation_dir: the same for validation.
        train_file: a file of arrays.
        validation_file: the same for validation.
        labels: of a folder, how classes are found.
        image_column: the column of images.
        label_column: the column of classes.
        class_conditional: whether to give labels; None = if the data has them.

    Returns:
        What was found, not looked into yet.

    Raises:
        ValueError: if arguments do not go together, or the data cannot be found or read.
    """
    given = {
        "dataset_name": dataset_name,
        "train_dir": train_dir,
        "train_file": train_file,
        "dataset_config_name": dataset_config_name,
        "validation_dir": validation_dir,
        "validation_file": validation_file,
        "labels": None if labels == "auto" else labels,
        "image_column": image_column,
        "label_column": label_column,
    }
    _check_together({name for name, value in given.items() if value is not None})
    if labels not in LABELS:
        raise ValueError(f"labels is {labels!r}; expected one of {', '.join(LABELS)}.")
    labelled = class_conditional is not False
    columns = (image_column, label_column)
    places = {name: _meant(name, value) for name, value in given.items() if name in _PLACES}
    listing = None
    if (name := places["dataset_name"]) is not None:
        listing = _picture_folder(Path(name))
    if (folder := places["train_dir"]) is not None:
        listing = list_folder(Path(folder))
    if listing is not None:
        held_out = places["validation_dir"]
        return _folder(listing, held_out, labels if labelled else "none", columns)
    if name is not None:
        return table_reading(name, dataset_config_name, *columns, labelled)
    if (file := places["train_file"]) is not None:
        return _file(Path(file), places["validation_file"], columns, labelled)
    return _digits_reading(labelled)


def _digits_reading(labelled: bool) -> Reading:
    source = digits()
    if not labelled:
        return Reading(_DIGITS, {"train": Part(source.images)}, how="not asked for")
    assert source.labels is not None
    part = Part(source.images, source.labels.tolist(), source.class_names)
    return Reading(_DIGITS, {"train": part}, how="the data's")


_NEEDS = {
    "dataset_config_name": ("dataset_name",),
    "validation_dir": ("train_dir",),
    "validation_file": ("train_file",),
    "labels": ("train_dir", "dataset_name"),
    "image_column": ("dataset_name", "train_dir", "train_file"),
    "label_column": ("dataset_name", "train_dir", "train_file"),
}


def _check_together(given: set[str]) -> None:
    places = [name for name in ("dataset_name", "train_dir", "train_file") if name in given]
    if len(places) > 1:
        raise ValueError(f"got {' and '.join(places)}; expected one of them.")
    for name, needed in _NEEDS.items():
        if name in given and not given.intersection(needed):
            raise ValueError(f"got {name} without {' or '.join(needed)}.")


# --------------------------------------------------------------------------------------- places
_PLACES = ("dataset_name", "train_dir", "train_file", "validation_dir", "validation_file")


def _meant(name: str, given: _Place) -> str | None:
    """The place that is given: "~" is the home folder, unless something here is called so."""
    if given is None:
        return None
    text = os.fspath(given)
    if not text or "\0" in text:
        raise ValueError(f"{name} is {text!r}; expected the place of images.")
    return text if os.path.lexists(text) else os.path.expanduser(text)


def _picture_folder(folder: Path) -> Listing | None:
    """What is in a folder of picture files alone; None for any other data set."""
    if not os.path.isdir(folder) or is_saved(folder):
        return None
    try:
        listing = list_folder(folder)
    except ValueError:  # no pictures: tables, archives, a script
        return None
    return None if any(path.endswith(_TABLES) for path in listing.others) else listing


def _folder(
    listing: Listing,
    validation_dir: str | None,
    labels: str,
    columns: tuple[str | None, str | None],
) -> Reading:
    places, unused = split_folder(listing, are_classes=labels == "folder")
    skipped = listing.left_out()
    if validation_dir is not None:
        other = Place(list_folder(Path(validation_dir)))
        train = (listing.folder / places["train"].base).resolve()
        held_out = other.listing.folder.resolve()
        if held_out.is_relative_to(train) or train.is_relative_to(held_out):
            raise ValueError(
                f"validation_dir {validation_dir} holds images of {train}, which are trained on;"
                " expected a folder beside it."
            )
        before = places.get("validation")
        if before and (listing.folder / before.base).resolve() != held_out:
            unused.append(f"{len(before.paths())} image(s) of {before.base.rstrip('/')}")
        skipped += other.listing.left_out()
        places["validation"] = other
    rule = NO_CLASSES if labels == "none" else find_rule(places["train"], labels, *columns)
    parts = {}
    for name, place in places.items():
        images = FileImages(place.listing.folder, place.paths(), place.base)
        parts[name] = Part(images, rule.labels and rule.labels(place))
    last = places.get("validation")
    called = last.base.rstrip("/") or str(validation_dir) if last else ""
    skipped += rule.notes
    if not rule.by_table:
        unused += listing.tables
    reading = Reading(str(listing.folder), parts, called, rule.how, skipped, unused)
    return reading if validation_dir is not None else reading.without_unlabelled_test()


def _file(
    path: Path, validation_file: str | None, columns: tuple[str | None, str | None], labelled: bool
) -> Reading:
    parts, unused = array_file(path, *columns, labelled)
    held_out = "in the file"
    if validation_file is not None:
        if "validation" in parts:
            unused.append(f"validation arrays of {path}")
        held_out = str(validation_file)
        other = Path(validation_file)
        others, unused_too = array_file(other, *columns, labelled, to_validate=True)
        parts |= others
        unused += unused_too
    how = "the file's" if parts["train"].labels else "the file has none"
    how = how if labelled else "not asked for"
    return Reading(str(path), parts, held_out, how, unused=unused)


def digits() -> Source:
    """Scikit-learn's digits: 1797 grey images of 8 x 8 pixels, values 0..16 stretched to 0..255."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            "the digits need scikit-learn; install it with: pip install scikit-learn pillow"
        ) from error
    bunch = load_digits()
    images = ArrayImages(np.round(bunch.images * 255 / 16).astype(np.uint8), "digits")
    return Source(images, bunch.target.astype(np.int64), [str(name) for name in bunch.target_names])


# ---------------------------------------------------------------------------------------- usable
def usable_images(reading: Reading) -> dict[str, Source]:
    """Leaves out what cannot be decoded, and numbers the classes of the rest.

    Args:
        reading: what was found; what is left out is added to its `skipped`.

    Returns:
        "train" and, if there is one, "validation", with the classes of "train".

    Raises:
        ValueError: if no image can be used, or some have no class, or one that "train" has not.
    """
    sources: dict[str, Source] = {}
    names = None
    for name, part in reading.parts.items():
        part, looks = _decoded(part, name, reading)
        labels = None
        if sources and sources["train"].labels is None:
            part = Part(part.images)
        elif sources and part.labels is None:
            raise ValueError(f"the validation images have no labels, {_UNLABELLED}")
        if part.labels is not None:
            _check_all_labelled(part, reading.how)
            labels, names = number_labels(part.labels, names or part.class_names)
        sources[name] = Source(part.images, labels, None if labels is None else names, looks)
    return sources


_UNLABELLED = (
    "unlike the training images; give them some, or leave the labels out, with class_conditional ="
    " False (--no-class_conditional)."
)


def _decoded(part: Part, name: str, reading: Reading) -> tuple[Part, list[Look] | None]:
    """The part without what is damaged."""
    if isinstance(part.images, ArrayImages):
        return part, None
    looks = survey(part.images)
    faults = {number: look for number, look in enumerate(looks) if isinstance(look, str)}
    if not faults:
        return part, [look for look in looks if isinstance(look, Look)]
    told = [f"{part.images.name(number)}: {why}" for number, why in [*faults.items()][:3]]
    listed = f"{'; '.join(told)}{'; ...' * (len(faults) > 3)}"
    if len(faults) == len(looks):
        raise ValueError(f"none of the {len(looks)} {name} images can be decoded ({listed}).")
    reading.skipped.append(f"{len(faults)} unusable image(s) ({listed})")
    good = [number for number in range(len(looks)) if number not in faults]
    labels = None if part.labels is None else [part.labels[number] for number in good]
    whole = Part(part.images.subset(good), labels, part.class_names)
    return whole, [look for look in looks if isinstance(look, Look)]


def _check_all_labelled(part: Part, how: str) -> None:
    assert part.labels is not None
    without = [number for number, label in enumerate(part.labels) if label is None]
    if without:
        some = ", ".join(part.images.name(number) for number in without[:3])
        raise ValueError(
            f"{len(without)} of {len(part.labels)} image(s) have no class by {how} ({some}"
            f"{', ...' * (len(without) > 3)}); give them one or move them away, or leave the labels"
            " out, with class_conditional = False (--no-class_conditional)."
        )
