"""Tokenizers of chats: with an EOS token and a chat template, which answers need."""

from collections.abc import Iterable, Mapping
from typing import Any

from transformers import PreTrainedTokenizerBase

from .chats import messages_of, set_chat_template, set_eos_token
from .tokenization import build_tokenizer

_NAMES = "User: Assistant: \n"  # what the plain chat template writes


def character_tokenizer(rows: Iterable[Mapping[str, Any]]) -> PreTrainedTokenizerBase:
    """A tokenizer of a new model: the characters of chats, and of the plain template.

    Args:
        rows: of chats.

    Returns:
        The tokenizer.
    """
    texts = (str(each.get("content", "")) for row in rows for each in messages_of(row))
    return build_tokenizer("char", [_NAMES, *texts])


def prepare_tokenizer(
    tokenizer: PreTrainedTokenizerBase,
    template: str | None,
    eos_token: str | None = None,
    new_token: bool = True,
) -> list[str]:
    """Gives a tokenizer what answers need: an EOS token and a chat template.

    Args:
        tokenizer: changed in place.
        template: as for [`ardm.data.chats.set_chat_template`].
        eos_token: as for [`ardm.data.chats.set_eos_token`].
        new_token: whether an EOS may be a new token; else it is the SEP token where there is one.

    Returns:
        What was done, in words.
    """
    told = []
    sep = tokenizer.sep_token
    if not new_token and eos_token is None and tokenizer.eos_token is None and sep is not None:
        eos_token = sep
        told.append(f"the tokenizer has no EOS token: its {sep!r} ends answers")
    if set_eos_token(tokenizer, eos_token):
        told.append(f"the tokenizer has no EOS token: it gets {tokenizer.eos_token!r}")
    said = set_chat_template(tokenizer, template)
    return told if said is None else [*told, said]
