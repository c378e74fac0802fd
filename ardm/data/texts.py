"""Texts: from the standard library, files, directories and the Hub, to train and to validate on.

Held out is the end of the corpus: training text + validation text = the whole text, in this order.
"""

from __future__ import annotations

import gzip
import lzma
import os
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # datasets takes a second to import
    from datasets import Dataset, IterableDataset

PathLike = str | os.PathLike[str]

_OPENERS: dict[str, Any] = {".xz": lzma.open, ".gz": gzip.open}
_BUILDERS = {".json": "json", ".jsonl": "json", ".csv": "csv", ".parquet": "parquet"}
_STRINGS = ("string", "large_string", "string_view")


def embedded_text() -> str:
    """The standard library's documentation topics: half a megabyte of English, always there.

    Returns:
        All topics in the order of their keys, joined by blank lines. Differs between Python
        versions.
    """
    from pydoc_data.topics import topics

    return "\n\n".join(topics[key] for key in sorted(topics))


def read_text(path: PathLike) -> str:
    """Reads one UTF-8 text file, as it is: line ends are kept.

    Args:
        path: the file; decompressed when its name ends in `.xz` or `.gz`.

    Returns:
        The text, at least one character.

    Raises:
        ValueError: the file is missing, a directory, unreadable, corrupt, empty or not UTF-8.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a directory, expected one text file")
    try:
        with _OPENERS.get(path.suffix, open)(path, "rb") as file:
            text = file.read().decode("utf-8")
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist, expected a text file") from None
    except UnicodeDecodeError as error:
        where = f"at byte offset {error.start}: {error.reason}"
        raise ValueError(f"{path} is not UTF-8 text ({where}); convert it to UTF-8") from error
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read, is it corrupt? ({error})") from error
    if not text:
        raise ValueError(f"{path} is empty, expected text")
    return text


def load_texts(
    *,
    dataset_name: str | None = None,
    dataset_config_name: str | None = None,
    train_file: PathLike | None = None,
    validation_file: PathLike | None = None,
    validation_fraction: float = 0.05,
    text_column: str | None = None,
    streaming: bool = False,
) -> dict[str, Dataset | IterableDataset]:
    """Loads a corpus; with no argument, the embedded text.

    Args:
        dataset_name: a data set of the Hub, or a local folder, also one written by `save_to_disk`.
        dataset_config_name: the configuration of `dataset_name`.
        train_file: one text (`.txt` or any other name, also `.xz`, `.gz`), a table of texts
            (`.json`, `.jsonl`, `.csv`, `.parquet`), or a directory of texts, one document each,
            sorted by path.
        validation_file: the same, for validation.
        validation_fraction: the part held out at the end without a validation split or file, in
            (0, 0.5]: of the characters of a single text, of the rows if there are several.
        text_column: the column of the texts; by default `"text"`, or else the only column of
            strings.
        streaming: give `IterableDataset`s; the number of rows must be known if validation rows are
            held out.

    Returns:
        `"train"` and `"validation"`, data sets with the one column `text`.

    Raises:
        ValueError: arguments that do not go together, or a corpus that cannot be found, read or
            split.
    """
    if not 0 < validation_fraction <= 0.5:
        raise ValueError(
            f"validation_fraction is {validation_fraction}, expected more than 0 and at most 0.5"
        )
    _check_together(dataset_name, dataset_config_name, train_file, validation_file)
    if dataset_name is not None:
        splits = _named_splits(dataset_name, dataset_config_name, streaming)
    elif train_file is not None:
        splits = {"train": _file_rows(Path(train_file), streaming)}
    else:
        splits = {"train": _rows([embedded_text()])}
    if validation_file is not None:
        splits["validation"] = _file_rows(Path(validation_file), streaming)
    splits = {name: _only_text(rows, text_column) for name, rows in splits.items()}
    if "validation" not in splits:
        splits["train"], splits["validation"] = _hold_out(splits["train"], validation_fraction)
    return {name: _streamed(rows) for name, rows in splits.items()} if streaming else splits


def _check_together(
    dataset_name: str | None,
    dataset_config_name: str | None,
    train_file: PathLike | None,
    validation_file: PathLike | None,
) -> None:
    """Raises ValueError where one argument needs or excludes another."""
    if dataset_name is not None and train_file is not None:
        raise ValueError(
            f"got dataset_name={dataset_name!r} and train_file={str(train_file)!r},"
            " expected one of them"
        )
    if dataset_config_name is not None and dataset_name is None:
        raise ValueError(f"got dataset_config_name={dataset_config_name!r} without a dataset_name")
    if validation_file is not None and dataset_name is None and train_file is None:
        raise ValueError(
            f"got validation_file={str(validation_file)!r} without a train_file or dataset_name"
        )


def text_column_of(rows: Dataset | IterableDataset, text_column: str | None = None) -> str:
    """Finds the column of the texts.

    Args:
        rows: a data set; a stream of unknown features has its first row looked at.
        text_column: the name wanted; None takes `"text"`, or else the only column of strings.

    Returns:
        The column's name.

    Raises:
        ValueError: no such column of strings, or several to choose from.
    """
    if rows.features is None:
        first: dict[str, Any] = next(iter(rows), {})
        columns = list(first)
        strings = [name for name, value in first.items() if isinstance(value, str)]
    else:
        columns = list(rows.features)
        strings = [
            name for name in columns if getattr(rows.features[name], "dtype", None) in _STRINGS
        ]
    wanted = text_column or ("text" if "text" in strings or len(strings) != 1 else strings[0])
    if wanted not in strings:
        fault = "holds no strings" if wanted in columns else "is not there"
        raise ValueError(
            f"text column {wanted!r} {fault};"
            f" expected text_column to be one of {strings}, of {columns}."
        )
    return wanted


def _rows(texts: list[str]) -> Dataset:
    from datasets import Dataset

    return Dataset.from_dict({"text": texts})


def _streamed(rows: Dataset | IterableDataset) -> IterableDataset:
    from datasets import Dataset

    return rows.to_iterable_dataset() if isinstance(rows, Dataset) else rows


def _load(what: str, *args: Any, **kwargs: Any) -> Any:
    """`datasets.load_dataset`, with its many errors made one that says what may be given."""
    import datasets
    from datasets.exceptions import DatasetsError

    try:
        return datasets.load_dataset(*args, **kwargs)
    except (DatasetsError, OSError, ValueError) as error:
        raise ValueError(f"cannot load {what} ({type(error).__name__}: {error})") from error


def _named_splits(
    name: str, config_name: str | None, streaming: bool
) -> dict[str, Dataset | IterableDataset]:
    from datasets import DatasetDict, load_from_disk

    if any((Path(name) / marker).is_file() for marker in ("state.json", "dataset_dict.json")):
        saved = load_from_disk(name)
        splits = dict(saved) if isinstance(saved, DatasetDict) else {"train": saved}
    else:
        asked = (
            f"the data set {name!r}; expected a data set of the Hub (owner/name),"
            " a local folder of data files or one of save_to_disk"
        )
        splits = dict(_load(asked, name, config_name, streaming=streaming))
    if "train" not in splits:
        raise ValueError(
            f"the data set {name!r} has the splits {sorted(splits)}, expected one called 'train'"
        )
    return {split: splits[split] for split in ("train", "validation") if split in splits}


def _file_rows(path: Path, streaming: bool) -> Dataset | IterableDataset:
    if path.is_dir():
        return _rows([read_text(file) for file in _text_files(path)])
    builder = _builder(path)
    if builder is None:
        return _rows([read_text(path)])
    if not path.is_file():
        raise ValueError(f"{path} does not exist, expected a file of texts")
    asked = f"{path}; expected a {builder} file of texts"
    return _load(asked, builder, data_files=str(path), split="train", streaming=streaming)


def _builder(path: Path) -> str | None:
    suffixes = [suffix for suffix in path.suffixes if suffix not in _OPENERS]
    return _BUILDERS.get(suffixes[-1]) if suffixes else None


def _text_files(folder: Path) -> list[Path]:
    files = [
        file for file in sorted(folder.rglob("*")) if file.is_file() and not _hidden(file, folder)
    ]
    if not files:
        raise ValueError(f"the directory {folder} holds no files, expected text files")
    if tables := [file for file in files if _builder(file)]:
        raise ValueError(
            f"the directory {folder} holds {tables[0].name};"
            " pass tables one by one, or as dataset_name"
        )
    return files


def _hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


def _only_text(
    rows: Dataset | IterableDataset, text_column: str | None
) -> Dataset | IterableDataset:
    column = text_column_of(rows, text_column)
    rows = rows.select_columns([column])
    return rows if column == "text" else rows.rename_column(column, "text")


def _hold_out(
    rows: Dataset | IterableDataset, fraction: float
) -> tuple[Dataset | IterableDataset, Dataset | IterableDataset]:
    from datasets import Dataset

    if not isinstance(rows, Dataset):
        num_rows = _known_length(rows)
        num_train = num_rows - _num_held_out(num_rows, fraction, "rows")
        return rows.take(num_train), rows.skip(num_train)
    if len(rows) == 1:
        text = rows[0]["text"] or ""
        num_train = len(text) - _num_held_out(len(text), fraction, "characters")
        return _rows([text[:num_train]]), _rows([text[num_train:]])
    num_train = len(rows) - _num_held_out(len(rows), fraction, "rows")
    return rows.select(range(num_train)), rows.select(range(num_train, len(rows)))


def _num_held_out(total: int, fraction: float, unit: str) -> int:
    if total < 2:
        raise ValueError(
            f"the corpus has {total} {unit}, expected at least 2 to hold some out for validation"
        )
    return max(1, round(total * fraction))


def _known_length(rows: IterableDataset) -> int:
    split = (rows.info.splits or {}).get("train")
    if split is None or not split.num_examples:
        raise ValueError(
            "this stream has no validation split and no known length;"
            " give validation_file or do not stream"
        )
    return split.num_examples
