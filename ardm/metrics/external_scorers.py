"""Nats of texts under another language model of transformers, the scorer.

    causal: -log p(x_i | x_<i) of each token
    masked: -log p(x_i | x_-i) of each token, masked alone:
            the pseudo-log-likelihood of arXiv 1910.14659, equation 1

A text becomes rows (`scorer_rows.py`), and one loop takes all rows.

Shapes: N scored tokens of a batch of rows, V vocabulary.
"""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from os import PathLike
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

# by its absolute name, as evaluate copies this file and its siblings elsewhere
from ardm.training import check_integer, evaluating, progress_bar
from ardm.training.model_folders import find_model

from .scorer_kinds import scorer_kind, sees_ahead
from .scorer_rows import Row, RowsOf, causal_rows, masked_rows, window_sizes

# at most a quarter of a gigabyte of logits in float32
_LOGITS_A_CALL = 2**26
_TOKENS_A_CALL = 2**14
_KINDS: dict[str, Any] = {"causal": AutoModelForCausalLM, "masked": AutoModelForMaskedLM}


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """A language model that texts are scored with; made by [`load_scorer`].

    Args:
        model: called with `input_ids` and `attention_mask`.
        tokenizer: its own.
        kind: "causal" or "masked".
        rows_of: what is read of a text, by its number and ids.
        batch_size: rows in one call; None = by memory.
        vocab_size: of the model.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    kind: str
    rows_of: RowsOf
    batch_size: int | None
    vocab_size: int

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The texts in the scorer's tokens, without special ones.

        Args:
            texts: B texts.

        Returns:
            B lists of ids.

        Raises:
            ValueError: if the model lacks any of them.
        """
        # verbose: no warning of long texts, which are read in windows
        ids = [
            self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
            for text in texts
        ]
        highest = max(map(max, filter(None, ids)), default=-1)
        if highest >= self.vocab_size:
            raise ValueError(
                f"the tokenizer gives id {highest};"
                f" expected ids below the scorer's {self.vocab_size}."
            )
        return ids

    def lost_share(self, texts: Sequence[str], ids: Sequence[list[int]]) -> float:
        """How much of the texts the scorer's tokens do not tell.

        Args:
            texts: B texts.
            ids: of each, as [`Scorer.ids`] gives them.

        Returns:
            Of their characters those that decoding does not give back, in [0, 1]: unknown to the
            tokenizer, dropped, or changed by it, as to lower case. Spaces around a text are none.
        """
        unknown = self.tokenizer.unk_token_id
        if unknown in (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id):
            unknown = None  # as of GPT-2, whose bytes leave nothing unknown
        lost = 0
        for text, row in zip(texts, ids, strict=True):
            told = self.tokenizer.decode(
                [token for token in row if token != unknown], clean_up_tokenization_spaces=False
            )
            lost += (Counter(text.strip()) - Counter(told)).total()
        return lost / max(sum(len(text.strip()) for text in texts), 1)

    @torch.no_grad()
    def nats(self, ids: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
        """Scores texts; their batching does not change the result beyond rounding in the network.

        Args:
            ids: of each of B texts.

        Returns:
            Sum over each text's scored tokens, float64 (B,) nats, and their number, int64 (B,), on
            the CPU.
        """
        nats = torch.zeros(len(ids), dtype=torch.float64)
        num_scored = torch.zeros(len(ids), dtype=torch.int64)
        by_length = sorted(range(len(ids)), key=lambda text: len(ids[text]))  # little padding
        rows = (row for text in by_length for row in self.rows_of(text, ids[text]))
        bar = progress_bar(total=sum(map(len, ids)), what="scoring", unit="token")
        with bar, evaluating(self.model):
            for batch in _batches(self, rows):
                text_N, nats_N = _score(self, batch)
                nats.index_add_(0, text_N, nats_N)
                num_scored += torch.bincount(text_N, minlength=len(ids))
                bar.update(len(nats_N))
        return nats, num_scored


def load_scorer(
    model: PreTrainedModel | str | PathLike[str],
    tokenizer: PreTrainedTokenizerBase | str | PathLike[str] | None = None,
    *,
    kind: str | None = None,
    batch_size: int | None = None,
    max_length: int | None = None,
    stride: int | None = None,
) -> Scorer:
    """A scorer from a model or its name, with everything checked.

    Args:
        model: the model, or a name or folder to load it from; a loaded one moves to the GPU if
            there is one.
        tokenizer: its own, or a name or folder; None = from the model's name.
        kind: "causal" or "masked"; None = as [`scorer_kind`] tells.
        batch_size: rows in one call; None = by memory.
        max_length: longest window, special tokens included; None = the limit of model and
            tokenizer.
        stride: tokens from window to window, fewer than fit in one; None = half of them.

    Returns:
        [`Scorer`].

    Raises:
        ValueError: if the kind is unknown or not what the model is, a tokenizer or its mask token
            is missing, or a size is out of range.
    """
    if kind not in (None, *_KINDS):
        raise ValueError(f"kind is {kind!r}; expected 'causal' or 'masked'.")
    if batch_size is not None:
        batch_size = check_integer("batch_size", batch_size, 1)
    network, own, kind = _loaded(model, tokenizer, kind)
    if kind == "causal" and sees_ahead(network):
        raise ValueError(
            "the scorer's logits depend on later tokens; expected a causal model, or kind='masked'."
        )
    return Scorer(
        model=network,
        tokenizer=own,
        kind=kind,
        rows_of=_rows_of(kind, network, own, max_length, stride),
        batch_size=batch_size,
        vocab_size=getattr(network.config, "vocab_size", None) or len(own),
    )


def _loaded(model: Any, tokenizer: Any, kind: str | None) -> tuple[Any, Any, str]:
    if isinstance(model, (str, PathLike)):
        model = find_model(model, what="scorer")
        tokenizer = tokenizer or model
        kind = kind or scorer_kind(AutoConfig.from_pretrained(model))
        found = _KINDS[kind].from_pretrained(model)
        model = found.to("cuda" if torch.cuda.is_available() else "cpu")
    if isinstance(tokenizer, (str, PathLike)):
        tokenizer = AutoTokenizer.from_pretrained(tokenizer)
    if tokenizer is None:
        raise ValueError(
            "tokenizer is None; expected the scorer's, as the model is not given by name."
        )
    return model, tokenizer, kind or scorer_kind(model)


def _rows_of(
    kind: str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int | None,
    stride: int | None,
) -> RowsOf:
    limits = (getattr(model.config, "max_position_embeddings", None), tokenizer.model_max_length)
    limit = min((n for n in limits if n is not None and n > 0), default=sys.maxsize)
    if kind == "causal":
        sizes = window_sizes(limit, 0, max_length, stride)
        return partial(causal_rows, tokenizer.bos_token_id, *sizes)
    if tokenizer.mask_token_id is None:
        raise ValueError("the tokenizer of a masked scorer has no mask token; expected one.")
    before, after = _added_tokens(tokenizer)
    sizes = window_sizes(limit, len(before) + len(after), max_length, stride)
    return partial(masked_rows, tokenizer.mask_token_id, before, after, *sizes)


def _added_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """Special tokens that the tokenizer puts before and after a text."""
    encoded = tokenizer("a", return_special_tokens_mask=True)
    ids = encoded["input_ids"]
    special = encoded["special_tokens_mask"]
    num_before = len(list(takewhile(bool, special)))
    num_after = len(list(takewhile(bool, reversed(special[num_before:]))))
    return ids[:num_before], ids[len(ids) - num_after :]


def _batches(scorer: Scorer, rows: Iterable[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    longest = 0
    num_tokens = min(_LOGITS_A_CALL // scorer.vocab_size, _TOKENS_A_CALL)
    for row in (row for row in rows if row.targets):
        longest = max(longest, len(row.input_ids))
        if batch and len(batch) >= (scorer.batch_size or num_tokens // longest):
            yield batch
            batch = []
            longest = len(row.input_ids)
        batch.append(row)
    if batch:
        yield batch


def _score(scorer: Scorer, rows: list[Row]) -> tuple[Tensor, Tensor]:
    """The number of the text, int64 (N,), and the nats, float64 (N,), of every scored token."""
    lengths = [len(row.input_ids) for row in rows]
    input_ids = torch.full((len(rows), max(lengths)), scorer.tokenizer.pad_token_id or 0)
    for padded, row, length in zip(input_ids, rows, lengths, strict=True):
        padded[:length] = torch.tensor(row.input_ids)
    attention_mask = (torch.arange(input_ids.shape[1]) < torch.tensor(lengths)[:, None]).long()
    device = next(scorer.model.parameters()).device
    inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
    logits = scorer.model(**{name: tensor.to(device) for name, tensor in inputs.items()}).logits
    scored = [
        (i, place, target)
        for i, row in enumerate(rows)
        for place, target in zip(row.places, row.targets, strict=True)
    ]
    row_N, place_N, target_N = torch.tensor(scored, device=device).T
    nats_N = cross_entropy(logits[row_N, place_N].double(), target_N, reduction="none")
    return torch.tensor([row.text for row in rows])[row_N.cpu()], nats_N.cpu()
