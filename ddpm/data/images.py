"""Images for training: from `--train_dir` or `--dataset_name` to a map-style data set of uint8
squares and labels.

    item i = {"images": uint8 (C, S, S), "labels": int64, a number of `class_names`}

With no flag: scikit-learn's digits. Where the data has no validation part, every 1/f-th image is
    held out, counted
class by class in the data's order: no randomness, each class in proportion, f =
`--validation_fraction`.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from .pixels import prepare_image, to_model_range, to_uint8
from .sources import (
    ColumnImages,
    Source,
    Splits,
    array_file,
    digits,
    image_folder,
    named_data_set,
    number_labels,
)

__all__ = [
    "ImageDataset",
    "add_image_arguments",
    "data_name",
    "load_images",
    "to_model_range",
    "to_uint8",
]

_FLAGS: dict[str, tuple[Any, Any, str]] = {
    "dataset_name": (
        str,
        None,
        "a `datasets` name or a local data set; nothing = scikit-learn's digits",
    ),
    "dataset_config_name": (str, None, "its configuration"),
    "train_dir": (str, None, "a folder of images; the names of several sub-folders are classes"),
    "train_file": (
        str,
        None,
        "uint8 (N, H, W[, C]) in a .npy file, or .npz with images / arr_0 and labels / arr_1",
    ),
    "validation_file": (str, None, "the same for validation"),
    "validation_fraction": (
        float,
        0.1,
        "how much is held out where the data has no validation part; 0 = nothing",
    ),
    "image_column": (str, None, "the column of images; nothing = the only one"),
    "label_column": (str, None, "the column of classes; nothing = the only one of type ClassLabel"),
    "image_size": (
        int,
        None,
        "pixels a side; nothing = as the data, if all of it is square and of one size",
    ),
    "channels": (int, None, "1 = gray, 3 = RGB; nothing = gray if all images are"),
}
_SWITCHES: dict[str, tuple[bool | None, str]] = {
    "random_flip": (False, "mirror each image with probability 1/2, left to right, in training"),
    "class_conditional": (None, "give labels; nothing = if the data has them"),
}


def add_image_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that [`load_images`] reads, and `--random_flip` for the objective.

    Args:
        parser: the recipe's parser.
    """
    group = parser.add_argument_group("images")
    for name, (kind, default, text) in _FLAGS.items():
        group.add_argument(
            f"--{name}", type=kind, default=default, help=f"{text} (default: {default})"
        )
    for name, (switch, text) in _SWITCHES.items():
        group.add_argument(
            f"--{name}", action=argparse.BooleanOptionalAction, default=switch, help=text
        )


class ImageDataset(Dataset):
    """Some images of a source, prepared when they are asked for.

    Args:
        source: the images and their labels.
        numbers: int64 (n,), which of them.
        image_size: S, pixels.
        num_channels: C, 1 or 3.

    Attributes:
        class_names: what label k is called, at k; None = there are no labels.
    """

    def __init__(self, source: Source, numbers: np.ndarray, image_size: int, num_channels: int):
        self.source = source
        self.numbers = numbers
        self.image_size = image_size
        self.num_channels = num_channels
        self.class_names = source.class_names

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """The image at `index`, uint8 (C, S, S), and its label; ValueError names a file that cannot
        be decoded.
        """
        number = int(self.numbers[index])
        try:
            with self.source.images.open(number) as image:
                item = {"images": prepare_image(image, self.image_size, self.num_channels)}
        except (
            OSError,
            SyntaxError,
            ValueError,
        ) as error:  # what PIL raises of files that are cut off or damaged
            raise ValueError(
                f"{self.source.images.name(number)} cannot be used: {error}"
            ) from error
        if self.source.labels is not None:
            item["labels"] = torch.tensor(self.source.labels[number])
        return item

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Tensor]]:
        """The images at `indices`, as a data loader asks for a batch."""
        return [self[index] for index in indices]


def load_images(args: argparse.Namespace) -> dict[str, Any]:
    """Finds the images that the flags name and splits them.

    Args:
        args: parsed flags of [`add_image_arguments`].

    Returns:
        "train", and "validation" or None there if nothing is held out.

    Raises:
        ValueError: if flags do not go together, or the data cannot be found, read, sized or split
            as asked.
    """
    _check(args)
    splits = _splits(args)
    if args.class_conditional and splits["train"].labels is None:
        raise ValueError(
            "class_conditional is asked for, but the data has no labels; name a --label_column, "
            "or sort the images into one sub-folder a class."
        )
    image_size, num_channels = _form(args, splits)
    numbers = {name: np.arange(len(source.images)) for name, source in splits.items()}
    if "validation" not in splits and args.validation_fraction:
        splits["validation"] = splits["train"]
        numbers["train"], numbers["validation"] = hold_out(
            splits["train"], args.validation_fraction
        )
    made = {
        name: ImageDataset(source, numbers[name], image_size, num_channels)
        for name, source in splits.items()
    }
    return {"train": made["train"], "validation": made.get("validation")}


def data_name(args: argparse.Namespace) -> str:
    """What the data is called on a card: a name, no path of this machine.

    Args:
        args: parsed flags of [`add_image_arguments`].

    Returns:
        The name.
    """
    local = args.train_dir or args.train_file or args.dataset_name
    if local is None:
        return "scikit-learn digits"
    return Path(local).resolve().name if Path(local).exists() else local


def hold_out(source: Source, fraction: float) -> tuple[np.ndarray, np.ndarray]:
    """Splits images into two parts, each class in proportion, without randomness.

    Args:
        source: N images.
        fraction: f, of the images.

    Returns:
        int64 numbers of the images that stay, and of the round-down(f N) that are held out, each
        ascending.

    Raises:
        ValueError: if not one image would be held out.
    """
    count = len(source.images)
    by_class = (
        np.arange(count) if source.labels is None else np.argsort(source.labels, kind="stable")
    )
    passed = np.floor(np.arange(count + 1) * fraction + 1e-9)  # 10 * 0.1 must not stay below 1
    held_out = passed[1:] > passed[:-1]
    if not held_out.any():
        raise ValueError(
            f"validation_fraction is {fraction} of {count} images, which is none; expected more,"
            " or 0."
        )
    return np.sort(by_class[~held_out]), np.sort(by_class[held_out])


def _check(args: argparse.Namespace) -> None:
    given = [
        f"--{name}"
        for name in ("dataset_name", "train_dir", "train_file")
        if getattr(args, name) is not None
    ]
    if len(given) > 1:
        raise ValueError(f"got {' and '.join(given)}; expected one of them.")
    needs = {"dataset_config_name": "dataset_name", "validation_file": "train_file"}
    for name, other in needs.items():
        if getattr(args, name) is not None and getattr(args, other) is None:
            raise ValueError(f"got --{name} without --{other}.")
    if args.image_size is not None and args.image_size < 1:
        raise ValueError(f"image_size is {args.image_size}; expected at least 1.")
    if args.channels not in (None, 1, 3):
        raise ValueError(f"channels is {args.channels}; expected 1 (gray) or 3 (RGB).")
    if not 0 <= args.validation_fraction <= 0.5:
        raise ValueError(f"validation_fraction is {args.validation_fraction}; expected 0 to 0.5.")


def _splits(args: argparse.Namespace) -> Splits:
    if args.dataset_name is None and args.train_dir is None:
        splits = {
            "train": digits() if args.train_file is None else array_file(Path(args.train_file))
        }
        if args.validation_file is not None:
            splits["validation"] = array_file(
                Path(args.validation_file), splits["train"].class_names
            )
        wanted = args.class_conditional is not False
        return (
            splits if wanted else {name: Source(source.images) for name, source in splits.items()}
        )
    if args.train_dir is not None:
        tables = image_folder(Path(args.train_dir))
    else:
        tables = named_data_set(args.dataset_name, args.dataset_config_name)
    splits = {"train": _source(tables["train"], args, None)}
    if "validation" in tables:
        splits["validation"] = _source(tables["validation"], args, splits["train"].class_names)
    return splits


def _source(rows: Any, args: argparse.Namespace, names: list[str] | None) -> Source:
    image_column = _column(rows, "image", args.image_column)
    if image_column is None:
        raise ValueError(
            f"no column of images among {rows.column_names}; name it with --image_column."
        )
    images = ColumnImages(rows, image_column)
    column = None if args.class_conditional is False else _column(rows, "label", args.label_column)
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
            f"column {column!r} has images without a label (-1); use --no-class_conditional."
        )
    return Source(images, *number_labels(feature.int2str(labels), names or list(feature.names)))


def _column(rows: Any, kind: str, wanted: str | None) -> str | None:
    """The column of images or labels: the one asked for, the only one of its type, or None."""
    if wanted is not None:
        if wanted not in rows.column_names:
            raise ValueError(f"--{kind}_column is {wanted!r}; expected one of {rows.column_names}.")
        return wanted
    from datasets import ClassLabel, Image

    types = {"image": Image, "label": ClassLabel}
    fitting = [name for name, feature in rows.features.items() if isinstance(feature, types[kind])]
    if len(fitting) > 1:
        raise ValueError(f"columns {fitting} all hold {kind}s; choose one with --{kind}_column.")
    return fitting[0] if fitting else None


def _form(args: argparse.Namespace, splits: Splits) -> tuple[int, int]:
    """Size and channels; files are looked through only if they must tell."""
    if args.image_size is not None and args.channels is not None:
        return args.image_size, args.channels
    forms = [source.form() for source in splits.values()]
    sizes = set().union(*(size for size, _ in forms))
    num_channels = args.channels or (1 if all(gray for _, gray in forms) else 3)
    if args.image_size is not None:
        return args.image_size, num_channels
    if len(sizes) > 1 or any(width != height for width, height in sizes):
        shown = ", ".join(f"{width} x {height}" for width, height in sorted(sizes)[:3])
        raise ValueError(
            f"images have {len(sizes)} size(s): {shown}{', ...' * (len(sizes) > 3)}; "
            "expected squares of one size, or an --image_size to bring them to."
        )
    return sizes.pop()[0], num_channels
