"""Rows of a text: what an external scorer reads, where its logits are taken, and of which tokens.

    causal: one row a window; the logits before each token that is new in it
    masked: one row a token; the logits where it is masked

A text that is too long for the scorer is read in windows that overlap, in which only the tokens
that are new are scored.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a scorer's batch.

    Args:
        text: number of the text.
        input_ids: what is read.
        places: where logits are taken.
        targets: the tokens that they are of.
    """

    text: int
    input_ids: list[int]
    places: list[int]
    targets: list[int]


RowsOf = Callable[[int, list[int]], Iterator[Row]]  # of the number and the ids of a text


def window_sizes(
    limit: int, num_added: int, max_length: int | None, stride: int | None
) -> tuple[int, int]:
    """Sizes of windows that a scorer can read.

    Args:
        limit: tokens that it can read.
        num_added: special tokens among them.
        max_length: longest window, special tokens included; None = the limit.
        stride: tokens from window to window; None = half of what fits in one.

    Returns:
        Tokens of text in a window, and from window to window.

    Raises:
        ValueError: if there is no room for two tokens, or windows do not overlap.
    """
    capacity = (limit if max_length is None else max_length) - num_added
    if capacity < 2 or capacity + num_added > limit:
        raise ValueError(
            f"max_length is {max_length}; expected {2 + num_added} to the scorer's limit, {limit}."
        )
    step = capacity // 2 if stride is None else stride
    if not 1 <= step < capacity:
        raise ValueError(
            f"stride is {stride}; expected 1 to {capacity - 1}, fewer tokens than a window has."
        )
    return capacity, step


def scored_spans(length: int, capacity: int, step: int) -> Iterator[tuple[int, int, int]]:
    """Cuts a text; the last window is moved back, so that it has all its context.

    Args:
        length: tokens of the text.
        capacity: tokens of a window.
        step: from window to window, fewer than `capacity`.

    Yields:
        Begin, end and first new position of each window.
    """
    begin = new = 0
    while new < length:
        end = min(begin + capacity, length)
        yield max(end - capacity, 0), end, new
        begin += step
        new = end


def causal_rows(
    bos: int | None, capacity: int, step: int, text: int, ids: list[int]
) -> Iterator[Row]:
    """Rows of a scorer that predicts the next token.

    Args:
        bos: put before a text that does not begin with it; None = the first token is only read.
        capacity: tokens of a window.
        step: tokens from window to window.
        text: number of the text.
        ids: of the text.

    Yields:
        A row a window.
    """
    ids = ids if bos is None or ids[:1] == [bos] else [bos, *ids]
    for begin, end, new in scored_spans(len(ids), capacity, step):
        scored = range(max(new, 1), end)  # nothing comes before the first
        places = [i - 1 - begin for i in scored]
        targets = [ids[i] for i in scored]
        yield Row(text=text, input_ids=ids[begin:end], places=places, targets=targets)


def masked_rows(
    mask: int,
    before: list[int],
    after: list[int],
    capacity: int,
    step: int,
    text: int,
    ids: list[int],
) -> Iterator[Row]:
    """Rows of a scorer that predicts masked tokens.

    Args:
        mask: put in the place of the scored token.
        before: special tokens before a window.
        after: special tokens behind it.
        capacity: tokens of a window, without those.
        step: tokens from window to window.
        text: number of the text.
        ids: of the text.

    Yields:
        A row a token.
    """
    for begin, end, new in scored_spans(len(ids), capacity, step):
        for i in range(new, end):
            hidden = [*before, *ids[begin:i], mask, *ids[i + 1 : end], *after]
            place = len(before) + i - begin
            yield Row(text=text, input_ids=hidden, places=[place], targets=[ids[i]])
