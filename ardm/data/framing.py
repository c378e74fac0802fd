"""Framing: windows with the special tokens that a tokenizer sets around a text, which are given.

    window = before + ids of the text + after        prompt_mask = 1 on before and after

Models that were not trained as ARDMs have them in every sequence they know, as [CLS] and [SEP].
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerBase

if TYPE_CHECKING:  # datasets takes a second to import
    from datasets import Dataset, IterableDataset

Rows = TypeVar("Rows", bound="Dataset | IterableDataset")


class Frame(NamedTuple):
    """What stands around a text.

    Args:
        before: ids in front of it.
        after: ids behind it.
    """

    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, given_token_ids: Collection[int]) -> Frame:
        """The frame that a tokenizer sets, of ids that its model takes as given.

        Args:
            tokenizer: of the model.
            given_token_ids: of the model's configuration; others are written by the model.

        Returns:
            The frame; an empty one for a model of no such ids.
        """
        ids, special = _around_one_token(tokenizer)
        if 0 not in special:
            return cls()
        first, last = special.index(0), len(special) - special[::-1].index(0)
        kept = [
            tuple(token for token in part if token in given_token_ids)
            for part in (ids[:first], ids[last:])
        ]
        return cls(*kept)

    @property
    def num_tokens(self) -> int:
        """How many tokens it has."""
        return len(self.before) + len(self.after)

    def around(self, windows: Rows) -> Rows:
        """Windows within this frame.

        Args:
            windows: rows with `input_ids` int64 (L,), in torch format.

        Returns:
            Rows with `input_ids` int64 (L + length of the frame,) and `prompt_mask` beside, made
            when they are read; the other columns as they are.
        """
        from datasets import Dataset

        if not (self.before or self.after):
            return windows
        if isinstance(windows, Dataset):
            return windows.with_transform(self._frame_batch)
        return windows.with_format(None).map(self._frame_row).with_format("torch")

    def _frame_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        framed = {name: torch.as_tensor(values) for name, values in batch.items()}
        if "input_ids" not in framed:
            return framed
        ids = framed["input_ids"].long()
        count = len(ids)
        before = torch.tensor(self.before, dtype=torch.long).expand(count, -1)
        after = torch.tensor(self.after, dtype=torch.long).expand(count, -1)
        framed["input_ids"] = torch.cat([before, ids, after], dim=1)
        framed["prompt_mask"] = torch.cat(
            [torch.ones_like(before), torch.zeros_like(ids), torch.ones_like(after)], dim=1
        )
        return framed

    def _frame_row(self, row: dict[str, Any]) -> dict[str, Any]:
        batch = self._frame_batch({"input_ids": torch.as_tensor(row["input_ids"])[None]})
        return {name: values[0].tolist() for name, values in batch.items()}


def _around_one_token(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """Ids of a text of one token, and 1 where it is one that the tokenizer sets."""
    if not tokenizer.is_fast:
        encoded = tokenizer("a", return_special_tokens_mask=True)
        return encoded["input_ids"], encoded["special_tokens_mask"]
    # whatever its vocabulary is: it may know no text that could be named here
    token = Tokenizer(WordLevel({"a": 0})).encode("a")
    processor = tokenizer.backend_tokenizer.post_processor
    framed = token if processor is None else processor.process(token, None, True)
    return framed.ids, framed.special_tokens_mask


def frame_of(model: Any, tokenizer: PreTrainedTokenizerBase) -> Frame:
    """What stands around a text that a model reads.

    Args:
        model: what its configuration has as `given_token_ids` is its frame.
        tokenizer: its tokenizer.

    Returns:
        The frame; an empty one for a model that was trained on bare text.
    """
    given = getattr(model.config, "given_token_ids", None)
    return Frame.of(tokenizer, given) if given else Frame()
