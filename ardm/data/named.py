"""Data sets that others keep: on the Hub, at an address, or written by `datasets` itself."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from ..training import fingerprint
from ..training.hub_errors import hub_cause
from ..training.local_paths import public
from ..training.one_line import in_one_line
from .compression import DataFile, check_no_archive, shown

if TYPE_CHECKING:  # datasets takes a second to import
    from datasets import Dataset, IterableDataset

_LOGGER = logging.getLogger(__name__)

Rows = dict[str, "Dataset | IterableDataset"]

_BYTES_AT_ONCE = 2**22


def download(address: str) -> DataFile:
    """Fetches a file into the cache of `datasets`, if it has changed since.

    Args:
        address: `https://...`, `hf://...` or what else `datasets` takes.

    Returns:
        The file, with the format that the address ends in.

    Raises:
        ValueError: if it cannot be had, or is an archive.
    """
    from datasets import DownloadConfig, DownloadManager

    told = public(address)
    path_there = unquote(urlsplit(address).path)
    check_no_archive(path_there, told)
    begin = time.time()
    try:
        config = DownloadConfig(max_retries=1)
        path = Path(DownloadManager(download_config=config).download(address))
        if path.stat().st_mtime < begin and _has_no_mark(path):
            config.force_download = True
            path = Path(DownloadManager(download_config=config).download(address))
    except (OSError, ValueError, ImportError) as error:
        reason = f"{type(error).__name__}: {error}".replace(address, told)
        raise ValueError(
            f"{told} cannot be fetched ({reason}); expected the address of one file of texts."
        ) from error
    return DataFile(path, told, address=path_there)


def _has_no_mark(path: Path) -> bool:
    """Whether a file in the cache has no ETag, by which `datasets` knows a changed one."""
    facts = path.with_name(f"{path.name}.json")
    return facts.is_file() and json.loads(facts.read_text(encoding="utf-8"))["etag"] is None


def is_saved(folder: Path) -> bool:
    """Whether a folder was written by `save_to_disk`."""
    return any((folder / marker).is_file() for marker in ("state.json", "dataset_dict.json"))


def saved_rows(folder: Path) -> Rows:
    """What `save_to_disk` wrote.

    Args:
        folder: of a `Dataset` or `DatasetDict`.

    Returns:
        The data sets by name; a single one is called "train".

    Raises:
        ValueError: if it cannot be read.
    """
    from datasets import DatasetDict, load_from_disk

    try:
        saved = load_from_disk(str(folder))
    except (OSError, ValueError, LookupError, TypeError) as error:  # the last ones of its own files
        raise ValueError(
            f"the data set {shown(folder)} cannot be read, is it empty or damaged?"
            f" ({type(error).__name__}: {error})"
        ) from error
    splits = dict(saved) if isinstance(saved, DatasetDict) else {"train": saved}
    return {str(name): _known_by_content(rows) for name, rows in splits.items()}


def declares_configurations(folder: Path) -> bool:
    """Whether a folder is a repository of data whose card says what its parts are."""
    card = folder / "README.md"
    if not card.is_file():
        return False
    text = card.read_text(encoding="utf-8", errors="replace")
    head = re.match(r"---\r?\n(.*?)\r?\n---", text, re.DOTALL)
    return head is not None and re.search(r"^configs:", head[1], re.MULTILINE) is not None


def repository_rows(folder: Path, config_name: str | None) -> Rows:
    """A folder that is a repository of data, read by `datasets` as it would be from the Hub.

    Args:
        folder: the repository.
        config_name: which of its configurations.

    Returns:
        The data sets by name.

    Raises:
        ValueError: if it cannot be read, or its path looks like a pattern to `datasets`.
    """
    from datasets import DownloadMode

    if re.search(r"[*?\[\]]", str(folder.absolute())):
        raise ValueError(
            f"{shown(folder)} has configurations, which `datasets` cannot read from a path with"
            " '*', '?' or brackets; rename the folder."
        )
    # what was read before may not be what is there now
    again = DownloadMode.FORCE_REDOWNLOAD
    asked = f"the data set {shown(folder)}"
    loaded = _load(asked, str(folder), config_name, download_mode=again)
    return {str(name): _known_by_content(rows) for name, rows in loaded.items()}


def hub_rows(name: str, config_name: str | None, streaming: bool) -> Rows:
    """A data set of the Hub.

    Args:
        name: "owner/name".
        config_name: which of its configurations.
        streaming: read it when it is used.

    Returns:
        The data sets by name.

    Raises:
        ValueError: if it cannot be found or read.
    """
    expected = (
        "expected a data set of the Hub (owner/name), a local folder of data files or one of"
        " save_to_disk"
    )
    asked = f"the data set {name!r}"
    with _offline_if_unreachable(name) as silent:
        cause = None if silent is None else hub_cause(silent) or in_one_line(silent)
        try:
            loaded = _load(f"{asked}; {expected}", name, config_name, streaming=streaming)
        except ValueError as error:
            if cause is None:
                raise
            nothing = f"there is no such folder, and the Hub gives none of that name ({cause})"
            raise ValueError(f"cannot load {asked}: {nothing}; {expected}.") from error
    if cause is not None:
        _LOGGER.warning("%s: the Hub does not answer (%s): only its cache is used", name, cause)
    return {str(key): rows for key, rows in loaded.items()}


def read_rows(builder: str, files: list[str]) -> Dataset:
    """The rows of files, with all of their columns.

    Args:
        builder: of `datasets`: "json" or "parquet".
        files: that it reads.

    Returns:
        The rows, in order.

    Raises:
        ValueError: if they cannot be read.
    """
    told = f"the files {', '.join(map(shown, files))}"
    rows = _load(told, builder, data_files=files, split="train")
    return _known_by_content(rows)


def _load(what: str, *args: Any, **kwargs: Any) -> Any:
    """`datasets.load_dataset`, with its many errors made one that says what may be given."""
    import datasets
    from datasets.exceptions import DatasetsError

    try:
        return datasets.load_dataset(*args, **kwargs)
    except (DatasetsError, OSError, ValueError) as error:
        raise ValueError(f"cannot load {what} ({type(error).__name__}: {error})") from error


@contextmanager
def _offline_if_unreachable(name: str) -> Iterator[Exception | None]:
    """Has `datasets` look into its cache alone where the Hub does not answer.

    It would try again for half a minute, for a name that is mistyped, too.

    Args:
        name: of the data set.

    Yields:
        Why the Hub does not answer; None if it does.
    """
    import datasets

    before = datasets.config.HF_HUB_OFFLINE
    silent = _silence(name)
    datasets.config.HF_HUB_OFFLINE = before or silent is not None
    try:
        yield silent
    finally:
        datasets.config.HF_HUB_OFFLINE = before


def _silence(name: str) -> Exception | None:
    """What keeps the Hub from answering; "not found" is an answer."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        HfApi().dataset_info(name, timeout=10)
    except HfHubHTTPError:
        return None
    except Exception as error:  # that of httpx or requests, as the version of the Hub's client is
        return error
    return None


def _known_by_content(rows: Dataset) -> Dataset:
    """Lets caches tell the rows by what is in their files, not by names and times."""

    def content() -> Iterator[bytes]:
        yield rows._fingerprint.encode()
        for each in rows.cache_files:
            with open(each["filename"], "rb") as file:
                while chunk := file.read(_BYTES_AT_ONCE):
                    yield chunk

    rows._fingerprint = fingerprint(content())
    return rows
