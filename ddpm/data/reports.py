"""What was read of images, what was skipped and what is not used: counted, and told in a line."""

from collections.abc import Collection, Sequence
from typing import Protocol

from ardm.training.splits import part_within

from .sources import Reading, Source


class _Part(Protocol):
    """What a report must know of a part of the data."""

    source: Source
    image_size: int
    num_channels: int

    def __len__(self) -> int: ...


def report_of(reading: Reading, train: _Part, held_out: _Part | None) -> str:
    """Tells how images were read.

    Args:
        reading: what was found.
        train: the training images.
        held_out: the validation images, if there are any.

    Returns:
        One line, such as "read 24 images from photos: 20 to train on, 4 held out (val); 2 classes
        (folder): cat, dog; skipped: 1 hidden file(s)".
    """
    total = len(train) + (0 if held_out is None else len(held_out))
    drawn = "drawn evenly" if "validation" not in reading.parts else reading.held_out
    if part_within(drawn.rpartition("/")[2]) == "test":
        drawn += ", as there is no validation part"
    split = ", nothing held out"
    if held_out is not None:
        split = f": {len(train):,} to train on, {len(held_out)} held out ({drawn})"
    names = train.source.class_names
    classes = f"no classes ({reading.how})" if reading.how else "no classes"
    if names is not None:
        classes = f"{len(names)} class{'es' * (len(names) != 1)} ({reading.how}): {_some(names)}"
    told = [f"read {total:,} images from {reading.where}{split}"]
    told += [classes, *_forms(train)]
    if held_out is not None and "validation" in reading.parts:
        told += _in_both(train, held_out)
    told += _listed("skipped", reading.skipped) + _listed("not used", reading.unused)
    return "; ".join(told)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + ", ..." * (len(names) > 4)


def _in_both(train: _Part, held_out: _Part) -> list[str]:
    known = {look.digest for look in train.source.seen()}
    count = sum(look.digest in known for look in held_out.source.seen())
    return [f"{count} of those held out are trained on, too"] if count else []


def _forms(part: _Part) -> list[str]:
    looks = part.source.seen()
    size = part.image_size
    told = {
        f"smaller than {size} pixels, and enlarged": sum(
            min(look.width, look.height) < size for look in looks
        ),
        f"larger than {size} pixels, and reduced": sum(
            min(look.width, look.height) > size for look in looks
        ),
        "not square, and cropped": sum(look.width != look.height for look in looks),
        "of colour, and made grey": sum(not look.grey for look in looks) * (part.num_channels == 1),
        "of several frames, of which the first counts": sum(look.animated for look in looks),
    }
    return [f"{count} {what}" for what, count in told.items() if count]


def _listed(what: str, entries: Collection[str]) -> list[str]:
    return [f"{what}: {', '.join(entries)}"] if entries else []
