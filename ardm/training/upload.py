"""Upload: a saved folder becomes a repository on the Hub, whatever kind of model is in it.

What would make it fail after hours of training is looked for before: a name, and a token.
"""

import os
from pathlib import Path

# `*` matches across folders, too
_NOT_UPLOADED = ["checkpoint*", "logs/*", "*hparams.yml", "*events.out.*", ".*", "*.tmp"]


def check_upload(repo_id: str | None) -> None:
    """Finds out before the training what would make the upload fail after it.

    Args:
        repo_id: "user/name" on the Hub.

    Raises:
        ValueError: if there is no name, or no Hub token.
    """
    from huggingface_hub import get_token

    if not repo_id:
        raise ValueError("hub_model_id is missing; expected user/name, where to upload to.")
    if get_token() is None:
        raise ValueError(
            "no Hub token found;"
            " log in with `hf auth login` or set HF_TOKEN to one with write access."
        )


def upload_folder(folder: str | os.PathLike[str], repo_id: str, private: bool | None = None) -> str:
    """Uploads a saved model to the Hub, without checkpoints and logs; makes the repository.

    Args:
        folder: what `save_folder` wrote, with the model card.
        repo_id: "user/name" on the Hub.
        private: whether a new repository is private; None = the account's default.

    Returns:
        The address of the repository.

    Raises:
        ValueError: if the folder holds no model, `repo_id` is not a repository's name, or nobody is
            logged in.
        RuntimeError: if the Hub refuses or cannot be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError  # the base of refusals and failed connections

    if not (Path(folder) / "config.json").is_file():
        raise ValueError(f"{folder} has no config.json; expected a folder that save_folder wrote.")
    check_upload(repo_id)
    api = HfApi()
    try:
        url = api.create_repo(repo_id, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=url.repo_id, folder_path=Path(folder), ignore_patterns=_NOT_UPLOADED
        )
    except (HTTPError, ConnectionError) as error:
        raise RuntimeError(f"the upload to {repo_id} failed: {error}") from error
    return str(url)
