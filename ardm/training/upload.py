"""Upload: a saved folder becomes a repository on the Hub, whatever kind of model is in it.

All files arrive in one commit, so that nobody loads one model's settings with
another's weights. Nothing local changes, and the same call again goes on: of large files only those
are sent that the Hub does not have, and without a difference there is no commit.
"""

import logging
import os
import re
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .hub_errors import hub_cause, hub_status, is_transient
from .one_line import in_one_line
from .upload_checks import check_name, check_upload
from .upload_files import FolderFiles, files_to_upload, outdated

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import ModelInfo

_WAITS = (2.0, 10.0)  # seconds before the second and third try
_LONGEST_WAIT = 330.0  # the Hub counts requests in windows of 5 minutes
# or a .gitignore in the repository would keep files out without a word
_IGNORE_NOTHING = "# nothing is ignored\n"
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Upload:
    """What an upload has changed; as a text, what a person wants to know of it.

    Args:
        address: of the repository, its branch or the pull request.
        files: that were uploaded, or were there already.
        changed: whether there is a new commit.
        removed: files of a model that was there before, which loading would have taken.
        kept: files that the repository has beside these.
    """

    address: str
    files: FolderFiles
    changed: bool
    removed: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()

    def __str__(self) -> str:
        count = f"{len(self.files.sizes)} files, {self.files.num_bytes / 1e6:,.1f} MB"
        lines = [f"{self.address} ({count}{'' if self.changed else '; nothing had changed'})"]
        if self.removed:
            lines.append(f"Removed there, of the model before: {', '.join(self.removed)}.")
        if self.kept:
            lines.append(f"There beside it, from before: {', '.join(self.kept)}.")
        return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class _Target:
    """Where to, and how."""

    repo_id: str
    private: bool | None
    commit_message: str | None
    revision: str | None
    create_pr: bool

    def again(self, folder: Path) -> str:
        """The command that tries the same again."""
        words = ["--model_name_or_path", str(folder), "--hub_model_id", self.repo_id]
        if self.private:
            words.append("--private")
        if self.create_pr:
            words.append("--create_pr")
        for name in ("revision", "commit_message"):
            if value := getattr(self, name):
                words += [f"--{name}", value]
        return shlex.join(["python", "-m", "ardm", "push", *words])


def upload_folder(
    folder: str | os.PathLike[str],
    repo_id: str,
    private: bool | None = None,
    *,
    commit_message: str | None = None,
    revision: str | None = None,
    create_pr: bool = False,
) -> Upload:
    """Uploads a saved model to the Hub, without checkpoints and logs; makes the repository.

    What is there already is replaced where it has the same name. Other files stay and are told,
    but those that loading would take in the new model's place, as the shards of other weights, are
    removed in the same commit; the repository's history keeps all.

    Args:
        folder: what `save_folder` wrote, with the model card.
        repo_id: "user/name" on the Hub.
        private: whether a new repository is private; None = the account's default.
        commit_message: None = one that says how many files.
        revision: the branch to write to, made if needed; None = main.
        create_pr: open a pull request instead of writing to main.

    Returns:
        What it has changed.

    Raises:
        ValueError: if the folder holds no model, `repo_id` is not a repository's name, or both a
            revision and a pull request are asked for.
        RuntimeError: if nobody is logged in who may write there, or the Hub refuses or cannot be
            reached, with the command that tries again.
        KeyboardInterrupt: if it was stopped, with the same command.
    """
    from huggingface_hub.errors import HTTPError  # the base of refusals and failed connections

    if create_pr and revision:
        raise ValueError(f"got create_pr and revision {revision!r}; expected one of them.")
    files = files_to_upload(folder)
    target = _Target(
        repo_id=check_name(repo_id),
        private=private,
        commit_message=commit_message,
        revision=revision,
        create_pr=create_pr,
    )
    again = f"Nothing is lost. Try again with: {target.again(Path(folder))}"
    try:
        check_upload(repo_id, create_pr=create_pr)
        with _progress_on_terminals():
            return _upload_with_patience(Path(folder), files, target)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(f"the upload to {repo_id}. {again}") from stop
    # a file that cannot be read, the Hub's refusal of a card, and what threads that send files wrap
    except (HTTPError, OSError, ValueError, RuntimeError) as error:
        # of a card that it refuses, its library says more than its answer
        of_library = isinstance(error, ValueError) and not isinstance(error, HTTPError)
        told = None if of_library else hub_cause(error)
        cause = told or in_one_line(error).rstrip(".")
        raise RuntimeError(
            f"the upload of {folder} to {repo_id} failed: {cause}. {again}"
        ) from error


def _upload_with_patience(folder: Path, files: FolderFiles, target: _Target) -> Upload:
    """Tries again after a lost connection, which costs nothing of what has arrived."""
    from huggingface_hub.errors import HTTPError

    # The Hub's library does so itself for what sends files, and raises RuntimeError where that was
    # not enough, but not for the commit and what is asked before. A pull request is tried once: a
    # lost answer to it would make a second one.
    for wait in () if target.create_pr else _WAITS:
        try:
            return _upload_once(folder, files, target)
        except HTTPError as error:
            seconds = _wait_asked_for(error) or wait
            if not is_transient(error) or seconds > _LONGEST_WAIT:
                raise
            cause = hub_cause(error)
            _LOGGER.warning("%s: %s. Next try in %g s.", target.repo_id, cause, seconds)
            time.sleep(seconds)
    return _upload_once(folder, files, target)


def _wait_asked_for(error: Any) -> float | None:
    """Seconds until requests are answered again, by either of the Hub's headers."""
    if hub_status(error) != 429:
        return None
    headers = error.response.headers
    told = re.search(r"\bt=(\d+)", headers.get("ratelimit", ""))
    seconds = told[1] if told else headers.get("retry-after", "")
    return float(seconds) + 1 if seconds.isdecimal() else None


def _upload_once(folder: Path, files: FolderFiles, target: _Target) -> Upload:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    api = HfApi()
    before = _repository(api, target)
    there = {file.rfilename for file in before.siblings or ()}
    removed = outdated(there, set(files.sizes))
    additions = [CommitOperationAdd(name, str(folder / name)) for name in files.sizes]
    if ".gitignore" in there:
        api.preupload_lfs_files(
            target.repo_id,
            additions,
            revision=target.revision,
            create_pr=target.create_pr,
            gitignore_content=_IGNORE_NOTHING,
            free_memory=False,
        )
    commit = api.create_commit(
        target.repo_id,
        [*(CommitOperationDelete(name) for name in removed), *additions],
        commit_message=target.commit_message or f"Upload a model of {len(additions)} files",
        revision=target.revision,
        create_pr=target.create_pr,
    )
    address = f"{api.endpoint}/{target.repo_id}"
    if target.revision:
        address += f"/tree/{target.revision}"
    return Upload(
        address=commit.pr_url or address,
        files=files,
        changed=commit.oid != before.sha,
        removed=tuple(removed),
        kept=tuple(sorted(there - set(files.sizes) - {*removed, ".gitattributes"})),
    )


def _repository(api: "HfApi", target: _Target) -> "ModelInfo":
    """The repository as it is, made if there is none."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        found = api.model_info(target.repo_id)
    except RepositoryNotFoundError:
        api.create_repo(target.repo_id, private=target.private, exist_ok=True)
        found = api.model_info(target.repo_id)
    if target.private and not found.private:
        raise ValueError(
            "the repository exists and is public, expected a private one; change that in its"
            " settings, or leave out --private"
        )
    if target.revision is None:
        return found
    if not target.revision.startswith("refs/"):
        api.create_branch(target.repo_id, branch=target.revision, exist_ok=True)
    return api.model_info(target.repo_id, revision=target.revision)


@contextmanager
def _progress_on_terminals() -> Iterator[None]:
    """No bars in the Hub's library where nobody watches them grow."""
    from huggingface_hub.utils import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    quiet = not sys.stderr.isatty() and not are_progress_bars_disabled()
    if quiet:
        disable_progress_bars()
    try:
        yield
    finally:
        if quiet:
            enable_progress_bars()
