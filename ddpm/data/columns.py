"""Tables of images: data sets of the Hub or of this disk, and which of their columns hold what."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ardm.training.hub_names import may_be_on_the_hub, meant_here
from ardm.training.splits import choose_splits

from .metadata import LABEL_NAMES
from .sources import ColumnImages, Part, Reading

if TYPE_CHECKING:
    from datasets import Dataset


def table_reading(
    name: str,
    config: str | None,
    image_column: str | None = None,
    label_column: str | None = None,
    labelled: bool = True,
) -> Reading:
    """The images of a data set, of its training part and of the one that is held out.

    Args:
        name: as for [`named_data_set`].
        config: its configuration.
        image_column: the column of images; None = the only one.
        label_column: the column of classes; None = the only one of type ClassLabel, or called so.
        labelled: False = no labels, whatever the data has.

    Returns:
        What was found.

    Raises:
        ValueError: if it cannot be found, a column is missing or ambiguous, or there are no images.
    """
    tables = named_data_set(name, config)
    train, held_out, unused = choose_splits(list(tables), f"the data set {name!r}")
    rows = tables[train]
    images = _image_column(rows, image_column)
    column = _label_column(rows, label_column) if labelled else None
    how = f"column {column!r}" if column else f"no column among {rows.column_names}"
    parts = {"train": _part(rows, f"{name} {config} {train}", images, column)}
    if held_out is not None:
        rows = tables[held_out]
        parts["validation"] = _part(rows, f"{name} {config} {held_out}", images, column)
    left = [f"{len(tables[split])} rows of {split}" for split in unused]
    return Reading(name, parts, held_out or "", how, unused=left).without_unlabelled_test()


def _part(rows: "Dataset", place: str, image_column: str, label_column: str | None) -> Part:
    for column in (image_column, label_column):
        if column is not None and column not in rows.column_names:
            raise ValueError(f"{place} has the columns {rows.column_names}; expected {column!r}.")
    _check_bytes(rows, image_column)
    try:
        images = ColumnImages(rows, image_column, place)
    except (TypeError, ValueError, NotImplementedError) as error:  # of pyarrow
        kind = rows.features[image_column]
        raise ValueError(f"column {image_column!r} holds no pictures, but {kind}.") from error
    if len(images) == 0:
        raise ValueError("the data has no images; expected at least one.")
    if label_column is None:
        return Part(images)
    labels: list[Any] = list(rows[label_column])
    feature = rows.features[label_column]
    if not hasattr(feature, "int2str"):
        return Part(images, labels)
    # -1 stands for a class that is not told
    named = [None if label is None or label < 0 else feature.int2str(label) for label in labels]
    return Part(images, named, list(feature.names))


def _check_bytes(rows: "Dataset", column: str) -> None:
    """That nested lists of numbers are pixels of 8 bits, to which `datasets` would cut them."""
    import pyarrow
    from pyarrow import compute

    for chunk in rows.data.column(column).chunks:
        values = chunk.storage if isinstance(chunk, pyarrow.ExtensionArray) else chunk
        while pyarrow.types.is_list(values.type) or pyarrow.types.is_large_list(values.type):
            values = compute.list_flatten(values)
        if values is chunk or not pyarrow.types.is_integer(values.type):
            return
        low, high = compute.min_max(values).as_py().values()
        if low is not None and not 0 <= low <= high <= 255:
            raise ValueError(
                f"column {column!r} holds lists of numbers in {low}..{high}; expected pictures, or"
                " numbers in 0..255."
            )


def _image_column(rows: "Dataset", wanted: str | None) -> str:
    from datasets import Image

    found = _chosen(rows, "image", wanted, Image, ("image", "img"))
    if found is None:
        raise ValueError(f"no column of images among {rows.column_names}; name it by image_column.")
    return found


def _label_column(rows: "Dataset", wanted: str | None) -> str | None:
    from datasets import ClassLabel

    return _chosen(rows, "label", wanted, ClassLabel, LABEL_NAMES)


def _chosen(
    rows: "Dataset", kind: str, wanted: str | None, of_type: type, usual: tuple[str, ...]
) -> str | None:
    """The column that is asked for, the only one of its type, the only one called so, or None."""
    if wanted is not None:
        if wanted not in rows.column_names:
            raise ValueError(f"{kind}_column is {wanted!r}; expected one of {rows.column_names}.")
        return wanted
    found = [name for name, feature in rows.features.items() if isinstance(feature, of_type)]
    found = found or [name for name in rows.column_names if name.lower() in usual]
    if len(found) > 1:
        raise ValueError(f"columns {found} all hold {kind}s; choose one by {kind}_column.")
    return found[0] if found else None


def named_data_set(name: str, config: str | None) -> "dict[str, Dataset]":
    """A data set of the Hub, or a local one, also as written by `save_to_disk`.

    Args:
        name: its name or folder.
        config: its configuration.

    Returns:
        Its parts by name; one that has none is "train".

    Raises:
        ValueError: if it cannot be found or read.
    """
    from datasets import DatasetDict, load_dataset, load_from_disk
    from datasets.exceptions import DatasetGenerationError

    saved = is_saved(Path(name))
    if not saved and os.path.exists(name) and set(str(Path(name).absolute())) & set("[]*?"):
        raise ValueError(
            f"the path of {name!r} has one of the signs [ ] * ?, which `datasets` reads as a"
            " pattern; rename the folder."
        )
    if not os.path.lexists(name) and not may_be_on_the_hub(name):
        raise ValueError(
            f"the data set {name!r} cannot be loaded: there is no such folder{meant_here(name)};"
            " expected one that exists, or user/name on the Hub."
        )
    faults = (OSError, ValueError, RuntimeError, DatasetGenerationError)
    damaged = (LookupError, TypeError) if saved else ()
    try:
        loaded = load_from_disk(name) if saved else load_dataset(name, config)
    except (*faults, *damaged) as error:
        reason = error.__cause__ or error  # "an error occurred" has the error that did behind it
        told = f"{type(reason).__name__}: {reason}"
        if isinstance(error, ConnectionError):  # as `datasets` says that the Hub is silent
            told = "there is no such folder, and no connection to the Hub, which may have one"
        raise ValueError(f"the data set {name!r} cannot be loaded ({told}).") from error
    return dict(loaded) if isinstance(loaded, DatasetDict) else {"train": loaded}


def is_saved(folder: Path) -> bool:
    """Whether a folder is as `save_to_disk` writes it."""
    return any(os.path.isfile(folder / file) for file in ("state.json", "dataset_dict.json"))
