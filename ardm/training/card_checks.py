"""A card before it is uploaded: what the Hub wants of it, and the name that it will have there."""

import re
from collections.abc import Container

from .card_parts import UNNAMED
from .one_line import in_one_line

_WANTED = {
    "license": "nobody knows what may be done with the model",
    "library_name": "the Hub does not know what loads it",
    "pipeline_tag": "the Hub does not list it under its task",
}
_PICTURE = re.compile(r"!\[[^\]]*\]\(([^)\s]+)\)")


def with_name(card: str, repo_id: str) -> str:
    """Puts the name on the Hub where a card has none yet.

    Args:
        card: the text of README.md.
        repo_id: "user/name".

    Returns:
        The card whose commands load the model from there.
    """
    return card.replace(UNNAMED, repo_id)


def missing_in_card(card: str, files: Container[str]) -> list[str]:
    """What a card lacks.

    Args:
        card: the text of README.md.
        files: paths that will lie beside it.

    Returns:
        A sentence each, without a full stop.

    Raises:
        ValueError: if its metadata cannot be read.
    """
    from huggingface_hub import ModelCard

    try:
        data = ModelCard(card).data
    # of YAML and of its checks, which have no common base
    except Exception as error:
        cause = in_one_line(error)
        raise ValueError(f"README.md: its metadata cannot be read: {cause}") from error
    unsaid = [
        f"its metadata has no {name}, so that {why}"
        for name, why in _WANTED.items()
        if getattr(data, name, None) in (None, "unknown")
    ]
    pictures = dict.fromkeys(_PICTURE.findall(card))
    gone = [name for name in pictures if "://" not in name and name not in files]
    return unsaid + [f"it shows {name}, which is not in the folder" for name in gone]
