"""Which columns of a table hold images and classes, and the numbered images that they make."""

from typing import TYPE_CHECKING, NamedTuple

from .sources import ColumnImages, Source, Splits, number_labels

if TYPE_CHECKING:
    from datasets import Dataset


class Columns(NamedTuple):
    """The columns that are asked for; None = the only one of its type."""

    images: str | None = None
    labels: str | None = None
    labelled: bool = True  # False = no labels, whatever the data has


def table_splits(tables: "dict[str, Dataset]", columns: Columns) -> Splits:
    """The images of every part of a data set; validation has the training part's classes.

    Args:
        tables: a `datasets.Dataset` for each part.
        columns: where images and labels are.

    Returns:
        The parts.

    Raises:
        ValueError: if a column is missing or ambiguous, or there are no images, or no labels.
    """
    splits = {"train": _source(tables["train"], columns, None)}
    if "validation" in tables:
        names = splits["train"].class_names
        splits["validation"] = _source(tables["validation"], columns, names)
    return splits


def _source(rows: "Dataset", columns: Columns, names: list[str] | None) -> Source:
    image_column = _chosen(rows, "image", columns.images)
    if image_column is None:
        raise ValueError(f"no column of images among {rows.column_names}; name it by image_column.")
    images = ColumnImages(rows, image_column)
    column = _chosen(rows, "label", columns.labels) if columns.labelled else None
    if len(images) == 0:
        raise ValueError("the data has no images; expected at least one.")
    if column is None:
        return Source(images)
    labels = list(rows[column])
    feature = rows.features[column]
    if not hasattr(feature, "int2str"):
        return Source(images, *number_labels(labels, names))
    if None in labels or min(labels) < 0:
        raise ValueError(
            f"column {column!r} has images without a label (-1); leave the labels out, with"
            " class_conditional = False (--no-class_conditional)."
        )
    return Source(images, *number_labels(feature.int2str(labels), names or list(feature.names)))


def _chosen(rows: "Dataset", kind: str, wanted: str | None) -> str | None:
    """The column of images or labels: the one asked for, the only one of its type, or None."""
    if wanted is not None:
        if wanted not in rows.column_names:
            raise ValueError(f"{kind}_column is {wanted!r}; expected one of {rows.column_names}.")
        return wanted
    from datasets import ClassLabel, Image

    types = {"image": Image, "label": ClassLabel}
    fitting = [name for name, feature in rows.features.items() if isinstance(feature, types[kind])]
    if len(fitting) > 1:
        raise ValueError(f"columns {fitting} all hold {kind}s; choose one by {kind}_column.")
    return fitting[0] if fitting else None
