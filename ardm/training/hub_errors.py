"""What the Hub refused, or why it was not reached: in one line, with what to do about it.

Its library says the same in pages, and much of it with codes: a repository that is missing and one
that is private are both 401 to who is not logged in.
"""

from collections.abc import Iterator
from typing import Any

from .one_line import in_one_line

_LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"
_TRANSIENT = (408, 429, 500, 502, 503, 504)
_MOST = 160  # characters of the Hub's own words


def hub_cause(error: BaseException) -> str | None:
    """Says in words what an answer of the Hub, or its silence, means.

    Args:
        error: any, as raised by a library that asks the Hub.

    Returns:
        One line without a full stop; None if neither the error nor what it was raised from came
        from the Hub.
    """
    from huggingface_hub.errors import HTTPError, OfflineModeIsEnabled

    found = _from_hub(error)
    if found is None:
        return None
    if isinstance(found, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, so that the Hub is not asked"
    assert isinstance(found, HTTPError)
    status = hub_status(found)
    if status is None:
        return f"no connection to {_endpoint()}: {_words(str(found) or type(found).__name__)}"
    said = getattr(found, "server_message", None)
    return _meaning(found, status) + (f": {_words(said)}" if said else "")


def _meaning(error: BaseException, status: int) -> str:
    from huggingface_hub.errors import (
        GatedRepoError,
        RemoteEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(error, GatedRepoError):
        return (
            f"the repository is gated ({status}): ask for access on its page in a browser, then"
            f" {_LOG_IN}"
        )
    if isinstance(error, RepositoryNotFoundError):
        return f"there is no such repository ({status}), or it is private: if so, {_LOG_IN}"
    if isinstance(error, RevisionNotFoundError):
        return f"the repository has no such revision ({status})"
    if isinstance(error, RemoteEntryNotFoundError):
        return f"the repository has no {_file(error)} ({status})"
    if status == 401:
        return f"the Hub does not accept the token ({status}); {_LOG_IN} to one that is valid"
    if status == 403:
        return f"the token has no right to do this ({status}); {_LOG_IN} to one with write access"
    if status == 429:
        return f"too many requests ({status}); wait some minutes"
    if status >= 500:
        return f"the Hub failed ({status})"
    return f"the Hub refused ({status})"


def _file(error: Any) -> str:
    """What was asked for: transformers tells it, the Hub does not."""
    return str(error.response.url).partition("?")[0].rpartition("/")[2]


def hub_status(error: BaseException) -> int | None:
    """The HTTP status of the Hub's answer; None if there was none."""
    found = _from_hub(error)
    return getattr(getattr(found, "response", None), "status_code", None)


def is_transient(error: BaseException) -> bool:
    """Whether the same request may succeed a little later.

    Args:
        error: any.

    Returns:
        True for a lost connection, too many requests and a Hub that failed.
    """
    from huggingface_hub.errors import HTTPError

    found = _from_hub(error)
    if not isinstance(found, HTTPError):
        return False
    status = hub_status(found)
    return status is None or status in _TRANSIENT


def _from_hub(error: BaseException) -> BaseException | None:
    """The first of an error and its causes that the Hub's library or its connection raised."""
    from huggingface_hub.errors import HTTPError, OfflineModeIsEnabled

    kinds = (HTTPError, OfflineModeIsEnabled)
    return next((each for each in _causes(error) if isinstance(each, kinds)), None)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _endpoint() -> str:
    from huggingface_hub import constants

    return constants.ENDPOINT


def _words(text: str) -> str:
    return in_one_line(text, _MOST).rstrip(".")
