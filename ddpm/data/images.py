"""Images for training: a map-style data set of uint8 squares and labels, from any source.

    item i = {"images": uint8 (C, S, S), "labels": int64, a number of `class_names`}

By itself: scikit-learn's digits. Where the data has no validation part, every 1/f-th image is held
out, counted class by class in the data's order: no randomness, each class in proportion, f =
`validation_fraction`. What was read, and what was left out, is told in one line.
"""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ardm.training import check_integer, fingerprint

from .finding import find_images, usable_images
from .pixels import prepare_image
from .reports import report_of
from .sources import Source

logger = logging.getLogger(__name__)


class ImageDataset(Dataset):
    """Some images of a source, prepared when they are asked for.

    Args:
        source: the images and their labels.
        numbers: int64 (n,), which of them.
        image_size: S, pixels.
        num_channels: C, 1 or 3.

    Attributes:
        class_names: what label k is called, at k; None = there are no labels.
        report: what was read, and what was left out, in one line.
    """

    def __init__(self, source: Source, numbers: np.ndarray, image_size: int, num_channels: int):
        self.source = source
        self.numbers = numbers
        self.image_size = image_size
        self.num_channels = num_channels
        self.class_names = source.class_names
        self.report = ""

    @property
    def num_classes(self) -> int | None:
        """How many classes there are; None = there are no labels."""
        return None if self.class_names is None else len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Of each image: (C, S, S)."""
        return self.num_channels, self.image_size, self.image_size

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """The image at `index` and its label.

        Args:
            index: place in this part of the data.

        Returns:
            "images", uint8 (C, S, S), and "labels" if there are any.

        Raises:
            ValueError: if the file cannot be decoded; it is named.
        """
        number = int(self.numbers[index])
        try:
            with self.source.images.open(number) as image:
                item = {"images": prepare_image(image, self.image_size, self.num_channels)}
        # what PIL raises of files that are cut off or damaged
        except (OSError, SyntaxError, ValueError) as error:
            name = self.source.images.name(number)
            raise ValueError(f"{name} cannot be used: {error}") from error
        if self.source.labels is not None:
            item["labels"] = torch.tensor(self.source.labels[number])
        return item

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Tensor]]:
        """The images at `indices`, as a data loader asks for a batch."""
        return [self[index] for index in indices]

    def fingerprint(self) -> str:
        """A digest of all items: other pictures, order, labels, sizes or names give another one."""
        return fingerprint(self._told())

    def _told(self) -> Iterator[bytes]:
        yield repr((self.image_size, self.num_channels, self.class_names)).encode()
        looks = self.source.seen()
        labels = self.source.labels
        for number in self.numbers:
            label = None if labels is None else int(labels[number])
            yield f"{looks[number].digest} {label}\n".encode()


class ImageSplits(TypedDict):
    """The parts of the data; None = nothing is held out."""

    train: ImageDataset
    validation: ImageDataset | None


def load_images(
    *,
    dataset_name: str | None = None,
    dataset_config_name: str | None = None,
    train_dir: str | Path | None = None,
    validation_dir: str | Path | None = None,
    train_file: str | Path | None = None,
    validation_file: str | Path | None = None,
    validation_fraction: float = 0.1,
    labels: str = "auto",
    image_column: str | None = None,
    label_column: str | None = None,
    image_size: int | None = None,
    channels: int | None = None,
    class_conditional: bool | None = None,
) -> ImageSplits:
    """Finds images and splits them; with no argument, scikit-learn's digits.

    Pictures that cannot be decoded are left out. What was read is logged in one line.

    Args:
        dataset_name: a `datasets` name or a local data set.
        dataset_config_name: its configuration.
        train_dir: a folder of images; `train` and `val` folders in it are the parts of the data,
            and the names of several sub-folders are classes.
        validation_dir: the same for validation.
        train_file: uint8 (N, H, W[, C]) in a .npy file, or .npz with images and perhaps labels.
        validation_file: the same for validation.
        validation_fraction: how much is held out where the data has no validation part; 0 =
            nothing.
        labels: of a folder, how classes are found, a name in `LABELS`.
        image_column: the column of images, in a folder the table's column of file names, in .npz
            the array; None = the only one.
        label_column: the column of classes; None = the only one of type ClassLabel, or called so.
        image_size: pixels a side; None = as the data, if all of it is square and of one size.
        channels: 1 = grey, 3 = RGB; None = grey if all images are.
        class_conditional: whether to give labels; None = if the data has them.

    Returns:
        The training and the validation images.

    Raises:
        ValueError: if arguments do not go together, or the data cannot be found, read, sized or
            split as asked.
    """
    _check_numbers(image_size, channels, validation_fraction)
    reading = find_images(
        dataset_name=dataset_name,
        dataset_config_name=dataset_config_name,
        train_dir=train_dir,
        validation_dir=validation_dir,
        train_file=train_file,
        validation_file=validation_file,
        labels=labels,
        image_column=image_column,
        label_column=label_column,
        class_conditional=class_conditional,
    )
    sources = usable_images(reading)
    if class_conditional and sources["train"].labels is None:
        raise ValueError(
            "class_conditional is asked for, but the data has no labels: name a label_column, or"
            f" sort the images into one sub-folder a class. {reading.how}"
        )
    splits = _parts(sources, validation_fraction, *_form(image_size, channels, sources))
    splits["train"].report = report_of(reading, splits["train"], splits["validation"])
    logger.info("%s", splits["train"].report)
    return splits


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
    by_class = np.arange(count)
    if source.labels is not None:
        by_class = np.argsort(source.labels, kind="stable")
    passed = np.floor(np.arange(count + 1) * fraction + 1e-9)  # 10 * 0.1 must not stay below 1
    held_out = passed[1:] > passed[:-1]
    if not held_out.any():
        raise ValueError(
            f"validation_fraction is {fraction} of {count} images, which is none;"
            " expected more, or 0."
        )
    return np.sort(by_class[~held_out]), np.sort(by_class[held_out])


def _check_numbers(image_size: int | None, channels: int | None, fraction: float) -> None:
    if image_size is not None:
        check_integer("image_size", image_size, 1)
    if channels not in (None, 1, 3):
        raise ValueError(f"channels is {channels}; expected 1 (grey) or 3 (RGB).")
    if not 0 <= fraction <= 0.5:
        raise ValueError(f"validation_fraction is {fraction}; expected 0 to 0.5.")


def _form(
    image_size: int | None, channels: int | None, sources: dict[str, Source]
) -> tuple[int, int]:
    """Size and channels, of the images where they are not asked for."""
    if image_size is not None and channels is not None:
        return image_size, channels
    forms = [source.form() for source in sources.values()]
    sizes = set().union(*(size for size, _ in forms))
    num_channels = channels or (1 if all(grey for _, grey in forms) else 3)
    if image_size is not None:
        return image_size, num_channels
    if len(sizes) > 1 or any(width != height for width, height in sizes):
        shown = ", ".join(f"{width} x {height}" for width, height in sorted(sizes)[:3])
        raise ValueError(
            f"images have {len(sizes)} size(s): {shown}{', ...' * (len(sizes) > 3)};"
            " expected squares of one size, or an image_size to bring them to."
        )
    return sizes.pop()[0], num_channels


def _parts(
    sources: dict[str, Source], fraction: float, image_size: int, num_channels: int
) -> ImageSplits:
    form = (image_size, num_channels)
    train = sources["train"]
    if "validation" not in sources and fraction:
        kept, held_out = hold_out(train, fraction)
        return {
            "train": ImageDataset(train, kept, *form),
            "validation": ImageDataset(train, held_out, *form),
        }
    whole = {
        name: ImageDataset(source, np.arange(len(source.images)), *form)
        for name, source in sources.items()
    }
    return {"train": whole["train"], "validation": whole.get("validation")}
