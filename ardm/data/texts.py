"""Texts: from the standard library, files, folders and the Hub, to train and to validate on.

Held out is a validation part, else a test part, else the end of the corpus: training text +
validation text = the whole text, in this order. A file and a folder are read alike, whichever
argument names them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .characters import characters
from .compression import DataFile, shown
from .formats import Reading
from .loader import Loader
from .named import hub_rows
from .paths import Choice, may_be_on_the_hub
from .reports import Splits

if TYPE_CHECKING:  # datasets takes a second to import
    from datasets import Dataset, IterableDataset

logger = logging.getLogger(__name__)

PathLike = str | os.PathLike[str]
Paths = PathLike | Sequence[PathLike]


def embedded_text() -> str:
    """The standard library's documentation topics: half a megabyte of English, always there.

    Returns:
        All topics in the order of their keys, joined by blank lines. Differs between Python
        versions.
    """
    from pydoc_data.topics import topics

    return "\n\n".join(topics[key] for key in sorted(topics))


def read_text(path: PathLike) -> str:
    """Reads one text file, as it is: line ends are kept.

    Args:
        path: the file, in UTF-8 or with a byte order mark, which is dropped; unpacked when its name
            ends in `.gz`, `.bz2`, `.xz` or `.zst`.

    Returns:
        The text, at least one character.

    Raises:
        ValueError: the file is missing, a directory, unreadable, corrupt, empty or not UTF-8.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{shown(path)} is a directory, expected one text file")
    text = "".join(characters(DataFile(path, str(path))))
    if not text:
        raise ValueError(f"{shown(path)} is empty, expected text")
    return text


def load_texts(
    *,
    dataset_name: str | None = None,
    dataset_config_name: str | None = None,
    train_file: Paths | None = None,
    validation_file: Paths | None = None,
    validation_fraction: float = 0.05,
    text_column: str | None = None,
    line_by_line: bool = False,
    include: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    streaming: bool = False,
) -> Splits:
    """Loads a corpus; with no argument, the embedded text.

    Args:
        dataset_name: a data set of the Hub, or what `train_file` may be, read in the same way.
        dataset_config_name: the configuration of `dataset_name`.
        train_file: a text (one document, or many with `line_by_line`), a table of texts (`.json`,
            `.jsonl`, `.ndjson`, `.csv`, `.tsv`, `.parquet`, `.arrow`: a document a row), FASTA or
            FASTQ (a document a sequence), all of them also packed (`.gz`, `.bz2`, `.xz`, `.zst`,
            `.zip`); a folder of these, a folder of `save_to_disk`, a pattern (`texts/*.txt`), an
            address, or several of all these.
        validation_file: the same, for validation; it comes before the data's own validation part.
        validation_fraction: the part held out at the end without a validation part or file, in
            (0, 0.5]: of the characters of a single document, of the documents if there are several.
        text_column: the column of the texts; by default `"text"`, or else the only column of
            strings.
        line_by_line: each line of a text is a document, without its line end.
        include: patterns of the files to read in folders, such as `"*.txt"`; none = all.
        exclude: patterns of the files to pass over.
        streaming: give `IterableDataset`s. Data of the Hub is then read when it is used, and the
            number of its rows must be known if validation rows are held out; files are read first.

    Returns:
        `"train"` and `"validation"`, data sets with the one column `text`, mapped from the disk;
        `.report` tells what was read, skipped and left out, and so does a line of the log.

    Raises:
        ValueError: arguments that do not go together, or a corpus that cannot be found, read or
            split.
    """
    if not 0 < validation_fraction <= 0.5:
        raise ValueError(
            f"validation_fraction is {validation_fraction}, expected more than 0 and at most 0.5"
        )
    _check_together(dataset_name, dataset_config_name, train_file)
    if dataset_name is None and train_file is None:
        of_files = {
            "validation_file": None if validation_file is None else _told(validation_file),
            "text_column": text_column,
            "line_by_line": line_by_line,
            "include": include,
            "exclude": exclude,
        }
        _check_not_given(of_files)
    loader = Loader(Reading(text_column, line_by_line), Choice(include or (), exclude or ()))
    fraction = validation_fraction if validation_file is None else None
    given = train_file if dataset_name is None else dataset_name
    if given is None:
        splits = loader.of_text(embedded_text(), fraction)
    elif dataset_name is None or _is_local(dataset_name):
        splits = loader.of_paths(_listed(given), dataset_config_name, fraction)
    else:
        rows = hub_rows(dataset_name, dataset_config_name, streaming)
        splits = loader.of_rows(rows, f"the data set {dataset_name!r}", fraction)
    if validation_file is not None:
        splits["validation"] = loader.validation(_listed(validation_file))
    if streaming:
        splits = {name: _streamed(rows) for name, rows in splits.items()}
    result = Splits(splits, loader.reports)
    logger.info("%s", result.report)
    return result


def load_validation_texts(
    validation_file: Paths,
    *,
    text_column: str | None = None,
    line_by_line: bool = False,
    include: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
) -> Splits:
    """Loads texts to validate on alone; the arguments are those of [`load_texts`].

    Args:
        validation_file: a file of texts, a folder of them, a pattern or an address, or several; of
            what has parts, the one that would be held out.
        text_column: the column of the texts.
        line_by_line: each line of a text is a document.
        include: patterns of the files to read in folders.
        exclude: patterns of the files to pass over.

    Returns:
        `"validation"`, a data set with the one column `text`.
    """
    loader = Loader(Reading(text_column, line_by_line), Choice(include or (), exclude or ()))
    splits = {"validation": loader.validation(_listed(validation_file))}
    result = Splits(splits, loader.reports)
    logger.info("%s", result.report)
    return result


def _check_together(
    dataset_name: str | None,
    dataset_config_name: str | None,
    train_file: Paths | None,
) -> None:
    """Raises ValueError where one argument needs or excludes another."""
    if dataset_name is not None and train_file is not None:
        raise ValueError(
            f"got dataset_name={dataset_name!r} and train_file={_told(train_file)},"
            " expected one of them"
        )
    if dataset_config_name is not None and dataset_name is None:
        raise ValueError(f"got dataset_config_name={dataset_config_name!r} without a dataset_name")


def _check_not_given(of_files: Mapping[str, object]) -> None:
    """Raises ValueError for what the embedded text has no use for."""
    for name, value in of_files.items():
        if value:
            raise ValueError(f"got {name}={value} without a train_file or dataset_name")


def _listed(given: Paths | None) -> list[PathLike]:
    paths = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    if not paths or not all(isinstance(each, (str, os.PathLike)) for each in paths):
        raise ValueError(f"got {given!r}; expected a path, or several.")
    return paths  # type: ignore[return-value]  # others are refused


def _told(given: Paths) -> str:
    return ", ".join(repr(shown(path)) for path in _listed(given))


def _is_local(name: str) -> bool:
    return os.path.lexists(name) or not may_be_on_the_hub(name)


def _streamed(rows: Dataset | IterableDataset) -> IterableDataset:
    from datasets import Dataset

    return rows.to_iterable_dataset() if isinstance(rows, Dataset) else rows
