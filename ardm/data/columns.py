"""Which column of a table holds the texts."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # datasets takes a second to import
    from datasets import Dataset, IterableDataset

_STRINGS = ("string", "large_string", "string_view")
# columns that hold the text in another form, beside which the only strings are names of the rows
_OTHER_FORMS = {
    "messages": "chats; write each as one text, such as by tokenizer.apply_chat_template",
    "conversations": "chats; write each as one text, such as by tokenizer.apply_chat_template",
    "conversation": "chats; write each as one text, such as by tokenizer.apply_chat_template",
    "input_ids": "tokens; write their text, such as by tokenizer.decode",
    "tokens": "lists of tokens; join each to one text",
}


class NoTexts(ValueError):
    """A table has no column of strings at all."""


def text_column_of(rows: Dataset | IterableDataset, text_column: str | None = None) -> str:
    """Finds the column of the texts in a data set.

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
    return choose_column(strings, columns, text_column, "the data set")


def choose_column(
    strings: Collection[str], columns: Collection[str], wanted: str | None, where: str
) -> str:
    """Chooses the column of the texts by its name.

    Args:
        strings: names of the columns of strings.
        columns: names of all columns.
        wanted: the name that is asked for; None takes `"text"`, or else the only one of `strings`.
        where: what has them, for messages.

    Returns:
        The name.

    Raises:
        ValueError: no such column of strings, several to choose from, or two of that name.
        NoTexts: no column of strings nor one called "text", and none is asked for.
    """
    chosen = _chosen(strings, columns, wanted, where)
    if (number := [*columns].count(chosen)) > 1:
        raise ValueError(
            f"{where} has {number} columns called {chosen!r}; expected one: rename the others, or"
            " name another column by text_column."
        )
    return chosen


def _chosen(
    strings: Collection[str], columns: Collection[str], wanted: str | None, where: str
) -> str:
    if wanted in strings or (wanted is None and "text" in strings):
        return wanted or "text"
    if wanted is None:
        for name, form in _OTHER_FORMS.items():
            if name in columns:
                raise ValueError(
                    f"{where} holds {name!r}, {form}, in a column 'text' - or name another column"
                    f" by text_column: one of {[*strings]}."
                )
        if len(strings) == 1:
            return next(iter(strings))
        if not strings and "text" not in columns:
            raise NoTexts(_no_column(None, strings, columns, where))
    both = {"prompt", "completion"} <= set(strings) and wanted is None
    raise ValueError(
        _no_column(wanted, strings, columns, where)
        + (" For 'prompt' and 'completion' as one text, write them as a column 'text'." * both)
    )


def _no_column(
    wanted: str | None, strings: Collection[str], columns: Collection[str], where: str
) -> str:
    if not columns:
        return f'{where} holds no rows; expected some such as {{"text": "..."}}.'
    way_out = " Write the text of each row as one string in a column 'text'." * (not strings)
    if wanted is None and "text" not in columns:
        fault = f"no column of {where} is called 'text'"
    else:
        wanted = wanted or "text"
        fault = f"text column {wanted!r} of {where} "
        fault += "holds no strings" if wanted in columns else "is not there"
    return (
        f"{fault}; expected text_column (--text_column) to be one of {[*strings]}, of"
        f" {[*columns]}.{way_out}"
    )
