"""Before an upload: what would make it fail after hours of training, found before them.

A name that is none, no token, one that is not valid, that may only read or is somebody else's.
"""

import warnings
from typing import Any

from .hub_errors import hub_cause, is_transient
from .one_line import in_one_line

_SECONDS = 10.0  # for the Hub to say whose token it is


def check_upload(repo_id: str | None, *, create_pr: bool = False) -> None:
    """Finds out before the training what would make the upload fail after it.

    A Hub that cannot be asked right now costs a warning: it may be back by then.

    Args:
        repo_id: "user/name" on the Hub.
        create_pr: the repository may be somebody else's.

    Raises:
        ValueError: if there is no such name, or no Hub token, or one that is not valid or may not
            write there.
    """
    from huggingface_hub import get_token
    from huggingface_hub.errors import HTTPError, OfflineModeIsEnabled

    name = check_name(repo_id)
    if get_token() is None:
        raise ValueError(
            "no Hub token found;"
            " log in with `hf auth login` or set HF_TOKEN to one with write access."
        )
    try:
        account = _account()
    except (HTTPError, OfflineModeIsEnabled) as error:
        if not is_transient(error):
            raise ValueError(
                f"nothing can be uploaded to {repo_id}: {hub_cause(error)}."
            ) from error
        warnings.warn(
            f"the Hub could not be asked about {repo_id}: {hub_cause(error)}.", stacklevel=2
        )
        return
    _check_rights(account, name, create_pr)


def check_name(repo_id: str | None) -> str:
    """Makes sure that a name may be a repository's.

    Args:
        repo_id: "user/name" on the Hub.

    Returns:
        The name.

    Raises:
        ValueError: if it is none.
    """
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    if not repo_id:
        raise ValueError("hub_model_id is missing; expected user/name, where to upload to.")
    none = f"hub_model_id is {repo_id!r}, which is no repository's name; expected user/name"
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ValueError(f"{none} ({in_one_line(error, 120)})") from error
    if "/" not in repo_id or not repo_id.isascii():
        raise ValueError(f"{none}.")
    return repo_id


def _account() -> dict[str, Any]:
    """Whose token it is; `HfApi.whoami` would wait for ever."""
    from huggingface_hub import constants
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

    address = f"{constants.ENDPOINT}/api/whoami-v2"
    response = get_session().get(address, headers=build_hf_headers(), timeout=_SECONDS)
    hf_raise_for_status(response)
    return response.json()


def _check_rights(account: dict[str, Any], repo_id: str, create_pr: bool) -> None:
    token = account.get("auth", {}).get("accessToken", {})
    if token.get("role") == "read":
        raise ValueError(
            f"the Hub token {token.get('displayName', '')!r} may only read; expected one with"
            f" write access to {repo_id}."
        )
    names = [account["name"], *(each["name"] for each in account.get("orgs", ()))]
    namespace = repo_id.partition("/")[0]
    if not create_pr and namespace.lower() not in map(str.lower, names):
        raise ValueError(
            f"the Hub token is of {account['name']}, who cannot upload to {repo_id}; expected a"
            f" name that begins with {' or '.join(f'{name}/' for name in names)}."
        )
