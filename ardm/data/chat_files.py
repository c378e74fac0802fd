"""Files of chats: rows of whole columns, from files and the Hub, to train and to validate on."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..training.splits import choose_splits
from .compression import shown
from .named import Rows, hub_rows, is_saved, read_rows, saved_rows
from .paths import may_be_on_the_hub
from .word_tasks import TASKS, word_task_rows

if TYPE_CHECKING:  # datasets takes a second to import
    from datasets import Dataset

_BUILDERS = {
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
    ".csv": "csv",
}


def load_chats(
    *,
    dataset_name: str | None = None,
    dataset_config_name: str | None = None,
    train_file: str | Sequence[str] | None = None,
    validation_file: str | Sequence[str] | None = None,
    validation_fraction: float = 0.05,
) -> dict[str, Dataset]:
    """Reads chats; with no argument, tasks on words.

    Args:
        dataset_name: a data set of the Hub, or a folder of `save_to_disk`.
        dataset_config_name: its configuration.
        train_file: json, jsonl, ndjson, parquet or csv, or several of one kind.
        validation_file: the same, for validation; it comes before the data's own validation part.
        validation_fraction: the part of the rows held out at the end where there is no validation
            part or file, in (0, 0.5].

    Returns:
        "train" and "validation"; a row is what [`ardm.data.chats.messages_of`] takes.

    Raises:
        ValueError: if there are no such data, arguments do not go together, or there are less than
            two rows.
    """
    from datasets import Dataset

    if not 0 < validation_fraction <= 0.5:
        raise ValueError(
            f"validation_fraction is {validation_fraction}; expected more than 0 and at most 0.5."
        )
    if dataset_name is not None and train_file is not None:
        raise ValueError(
            f"got dataset_name={dataset_name!r} and train_file={train_file!r}; expected one of"
            " them."
        )
    if dataset_config_name is not None and dataset_name is None:
        raise ValueError(f"got dataset_config_name={dataset_config_name!r} without a dataset_name.")
    together = 1
    if dataset_name is not None:
        parts = _parts(dataset_name, dataset_config_name)
    elif train_file is not None:
        parts = {"train": _file_rows(train_file)}
    else:
        parts = {"train": Dataset.from_list(word_task_rows())}
        together = len(TASKS)  # questions on one word
    if validation_file is not None:
        parts["validation"] = _file_rows(validation_file)
    elif "validation" not in parts:
        parts |= _split(parts["train"], validation_fraction, together)
    return parts


def _parts(name: str, config_name: str | None) -> dict[str, Any]:
    if Path(name).is_dir() and is_saved(Path(name)):
        tables: Rows = saved_rows(Path(name))
    elif may_be_on_the_hub(name):
        tables = hub_rows(name, config_name, False)
    else:
        raise ValueError(
            f"dataset_name is {shown(name)}; expected a data set of the Hub or a folder of"
            " save_to_disk (files are named by train_file)."
        )
    chosen = choose_splits(list(tables), f"the data set {name!r}")
    parts = {"train": tables[chosen.train]}
    if chosen.held_out is not None:
        parts["validation"] = tables[chosen.held_out]
    return parts


def _file_rows(given: str | Sequence[str]) -> Dataset:
    files = [given] if isinstance(given, str) else list(given)
    kinds = {_BUILDERS.get(Path(name).suffix.lower()) for name in files}
    if None in kinds or len(kinds) != 1:
        raise ValueError(
            f"got the files {', '.join(map(shown, files))}; expected {', '.join(_BUILDERS)}, all of"
            " one kind."
        )
    for name in files:
        if not Path(name).is_file():
            raise ValueError(f"there is no file {shown(name)}; expected a file of chats.")
    return _csv_rows(files) if kinds == {"csv"} else read_rows(str(kinds.pop()), files)


def _csv_rows(files: list[str]) -> Dataset:
    """All cells as the texts that they are: `datasets` takes "NA" for nothing and "4" for 4."""
    from datasets import Dataset

    rows: list[dict[str, str]] = []
    for name in files:
        with open(name, encoding="utf-8-sig", newline="") as file:
            for number, row in enumerate(csv.DictReader(file), 1):
                if None in row or None in row.values():
                    raise ValueError(
                        f"row {number} of {shown(name)} has another number of cells than its first"
                        " line; expected one a column."
                    )
                rows.append(row)
    return Dataset.from_list(rows)


def _split(rows: Dataset, fraction: float, together: int) -> dict[str, Dataset]:
    if len(rows) < 2:
        raise ValueError(
            f"there is {len(rows)} row to train on; expected at least 2 to hold some out, or a"
            " validation_file."
        )
    num_held_out = max(1, round(len(rows) * fraction / together)) * together
    num_train = len(rows) - num_held_out
    return {
        "train": rows.select(range(num_train)),
        "validation": rows.select(range(num_train, len(rows))),
    }
