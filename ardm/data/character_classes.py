"""Classes of characters as coarse values: what can be seen of a token, as a table.

    first row     vowel, consonant, letter of another script, digit, punctuation, white space, other
    second row    the same, capitals and beginnings of words apart

of a token's first visible character, by its Unicode category. For tables see value_tables.py.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Hashable, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from .value_tables import Table, value_ids

_VOWELS = frozenset("aeiou")


def character_class_table(tokenizer: PreTrainedTokenizerBase) -> Table:
    """Classes of tokens by what they look like.

    A token belongs with its first visible character: vowel, consonant, letter of another script,
    digit, punctuation (symbols, too), white space, other (as a part of a character, or a special
    token). The finer row tells capitals apart, and whether a token begins a word.

    Args:
        tokenizer: of characters, bytes or pieces of words.

    Returns:
        One or two rows: one that would tell nothing more than its neighbours is left out.

    Raises:
        ValueError: if all values are of one class, or no two are.
    """
    looks = [_look(text) for text in _texts(tokenizer, value_ids(tokenizer))]
    kinds = [kind for kind, *_ in looks]
    table = [_numbered(kinds), _numbered(looks)]
    num_values = len(kinds)
    rows: Table = []
    for row in table:
        if (len({*rows[-1]}) if rows else 1) < len({*row}) < num_values:
            rows.append(row)
    if not rows:
        raise ValueError(
            f"the {num_values} values of the tokenizer are of {len({*kinds})} classes of"
            " characters; expected more than one, and fewer than values."
        )
    return rows


def _texts(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[str]:
    """What each id writes behind a letter: there a tokenizer puts the spaces that belong to it."""
    options: dict[str, Any] = {"clean_up_tokenization_spaces": False}
    alone = tokenizer.batch_decode([[token] for token in ids], **options)
    anchors = (i for i, text in enumerate(alone) if text.isascii() and text.isalpha())
    anchor = next((i for i in anchors if len(alone[i]) == 1), None)
    if anchor is not None:
        behind = tokenizer.batch_decode([[ids[anchor], token] for token in ids], **options)
        alone = [text.removeprefix(alone[anchor]) for text in behind]
    special = {*tokenizer.all_special_ids}
    return ["" if token in special else text for token, text in zip(ids, alone, strict=True)]


def _look(text: str) -> tuple[str, bool, bool]:
    """The class of a token's first visible character, whether it is a capital, begins a word."""
    visible = text.lstrip()
    if not visible:
        return ("white space" if text else "other"), False, False
    letter = unicodedata.normalize("NFD", visible[0])[0]  # without its accents
    return _kind(letter), letter.isupper(), visible != text


def _kind(letter: str) -> str:
    category = unicodedata.category(letter)[0]
    if letter == "\N{REPLACEMENT CHARACTER}":  # bytes that are a part of a character
        return "other"
    if category == "L" and letter.isascii():
        return "vowel" if letter.lower() in _VOWELS else "consonant"
    kinds = {"L": "other letter", "N": "digit", "P": "punctuation", "S": "punctuation"}
    return kinds.get(category, "other")


def _numbered(classes: Sequence[Hashable]) -> list[int]:
    """Classes as 0, 1, ..., in the order in which they first come."""
    numbers: dict[Hashable, int] = {}
    return [numbers.setdefault(each, len(numbers)) for each in classes]
