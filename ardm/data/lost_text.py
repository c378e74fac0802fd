"""LostText: what of a text its tokens do not tell, so that a bound on them is none on the text.

A tokenizer may read characters as the unknown token, drop them, or change them (to lower case, to
another accent or white space). Nats of the tokens then say nothing of these characters, and nats by
character or byte would be those of another text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from tokenizers import Encoding, Tokenizer
from transformers import PreTrainedTokenizerBase

from .pieces import pieces_of

if TYPE_CHECKING:  # datasets takes a second to import
    from datasets import Dataset, IterableDataset

UNITS = ("num_characters", "num_bytes", "num_unknown", "num_changed")


@dataclass(frozen=True)
class LostText:
    """Characters of a text that its tokens do not tell; false if there is none.

    Args:
        num_characters: of the text.
        num_unknown: those read as the unknown token.
        num_changed: others that decoding the tokens does not give back: dropped, or changed.
    """

    num_characters: int
    num_unknown: int = 0
    num_changed: int = 0

    @classmethod
    def of(cls, units: Mapping[str, Any]) -> LostText:
        """From the columns of windows, as far as they were counted.

        Args:
            units: arrays or tensors of "num_characters", "num_unknown" and "num_changed".

        Returns:
            Their sums.
        """
        names = ("num_characters", "num_unknown", "num_changed")
        return cls(*(int(units[name].sum()) if name in units else 0 for name in names))

    @property
    def refusal(self) -> str | None:
        """Why there is no figure by character or byte, or None if there can be one."""
        if not self:
            return None
        return f"no bits per character or byte, as the tokens do not tell all of the text: {self}"

    def __bool__(self) -> bool:
        return self.num_unknown + self.num_changed > 0

    @property
    def unknown_share(self) -> float:
        """Of the characters, those that are unknown to the tokenizer, in [0, 1]."""
        return self.num_unknown / max(self.num_characters, 1)

    @property
    def changed_share(self) -> float:
        """Of the characters, those that the tokenizer drops or changes, in [0, 1]."""
        return self.num_changed / max(self.num_characters, 1)

    def __str__(self) -> str:
        parts = {
            "unknown to the tokenizer ([UNK])": self.num_unknown,
            "dropped or changed by the tokenizer": self.num_changed,
        }
        counts = (
            f"{number:,} ({100 * number / max(self.num_characters, 1):.3g} %) are {what}"
            for what, number in parts.items()
            if number
        )
        return f"of {self.num_characters:,} characters {' and '.join(counts) or 'none is lost'}"


def lost_in_windows(windows: Dataset | IterableDataset) -> LostText | None:
    """What the tokens of windows do not tell of their text.

    Args:
        windows: of [`ardm.data.make_windows`].

    Returns:
        The counts over all windows; None for a stream, which is not read for this.
    """
    from datasets import Dataset

    if not isinstance(windows, Dataset):
        return None
    return LostText.of(windows.select_columns(list(UNITS)).with_format("numpy")[:])


def lost_text(
    tokenizer: PreTrainedTokenizerBase, texts: str | Iterable[str], *, special_tokens: bool = False
) -> LostText:
    """What a tokenizer loses of texts.

    Args:
        tokenizer: a fast tokenizer; no special tokens are added.
        texts: a text, or several.
        special_tokens: whether those spelled out are these tokens, as in chats; else they are text.

    Returns:
        The counts over all texts.
    """
    backend = plain_backend(tokenizer)
    backend.encode_special_tokens = not special_tokens
    totals = np.zeros(len(UNITS), np.int64)
    for text in [texts] if isinstance(texts, str) else texts:
        for piece in pieces_of(text):
            encoding = backend.encode(piece, add_special_tokens=False)
            units_4N, rest_4 = units_of(encoding, piece, backend, tokenizer.unk_token_id)
            totals += units_4N.sum(1) + rest_4
    num_characters, _, num_unknown, num_changed = totals.tolist()
    return LostText(num_characters, num_unknown, num_changed)


def plain_backend(tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    """A copy of what encodes, to which special tokens spelled out are text like any other.

    What an earlier call left in the tokenizer, as truncation, is not in it.
    """
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = True
    return backend


def units_of(
    encoding: Encoding, text: str, backend: Tokenizer, unk_token_id: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """What the tokens of a text stand for.

    Args:
        encoding: of the text.
        text: at least one character.
        backend: that made the encoding.
        unk_token_id: of the unknown token, or None.

    Returns:
        int32 (4, N), for each token of `UNITS` what begins in it; a tokenizer may drop trailing
        spaces, but they were there, in the last. int32 (4,), the same of a text without tokens.
        Changed characters are known of the whole text only; they are spread over its tokens, from
        the first on.
    """
    num_tokens = len(encoding.ids)
    lengths = utf8_lengths(text)
    if num_tokens == 0:
        rest_4 = np.array([len(text), lengths[-1], 0, len(text)], np.int32)
        return np.empty((len(UNITS), 0), np.int32), rest_4
    ends_N = np.fromiter((end for _, end in encoding.offsets), np.int32, num_tokens)
    ends_N = np.maximum.accumulate(ends_N)
    ends_N[-1] = len(text)
    characters_N = np.diff(ends_N, prepend=np.int32(0))
    bytes_N = np.diff(lengths[ends_N], prepend=np.int32(0))
    is_unknown_N = np.array(encoding.ids) == (-1 if unk_token_id is None else unk_token_id)
    changed = _num_changed(encoding.ids, text, backend, is_unknown_N, ends_N)
    # rounded up: windows of the first part of a text do not pass for unchanged
    changed_N = np.diff(-(-np.arange(num_tokens + 1, dtype=np.int64) * changed // num_tokens))
    units = (characters_N, bytes_N, characters_N * is_unknown_N, changed_N)
    return np.stack(units).astype(np.int32), np.zeros(len(UNITS), np.int32)


def _num_changed(
    ids: list[int], text: str, backend: Tokenizer, is_unknown_N: np.ndarray, ends_N: np.ndarray
) -> int:
    """Characters that decoding does not give back, the unknown ones left out."""
    if is_unknown_N.any():
        begins_N = np.concatenate([[0], ends_N[:-1]])
        known = np.flatnonzero(~is_unknown_N).tolist()
        text = "".join(text[begins_N[i] : ends_N[i]] for i in known)
        ids = [ids[i] for i in known]
    decoded = backend.decode(ids, skip_special_tokens=False)
    if decoded == text:
        return 0
    return max((Counter(text) - Counter(decoded)).total(), 1)


def utf8_lengths(text: str) -> np.ndarray:
    """int32 (characters + 1,): bytes of UTF-8 before each character, and of them all."""
    code_points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    lengths = 1 + sum((code_points >= limit).astype(np.int32) for limit in (0x80, 0x800, 0x10000))
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
