"""Nats of texts under another language model of transformers, the scorer.

    causal: -log p(x_i | x_<i) of each token
    masked: -log p(x_i | x_-i) of each token, masked alone (pseudo-log-likelihood, arXiv 1910.14659,
        equation 1)

A text becomes rows: what the scorer reads, where its logits are taken, and of which tokens. One
    loop takes all rows.

Shapes: N scored tokens of a batch of rows, V vocabulary.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from os import PathLike
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from tqdm.auto import tqdm
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer

# at most a quarter of a gigabyte of logits in float32
_LOGITS_A_CALL = 2**26
_TOKENS_A_CALL = 2**14


@dataclass(frozen=True, kw_only=True)
class _Row:
    text: int  # number of the text
    input_ids: list[int]
    places: list[int]  # where logits are taken
    targets: list[int]  # the tokens that they are of


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """A language model that texts are scored with; made by [`load_scorer`]."""

    model: Any
    tokenizer: Any
    kind: str  # "causal" or "masked"
    rows_of: Callable[[int, list[int]], Iterator[_Row]]  # of the number and the ids of a text
    batch_size: int | None
    vocab_size: int

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The texts in the scorer's tokens, without special ones. Raises ValueError if the model
        lacks any.
        """
        # verbose: no warning of long texts, which are read in windows
        ids = [
            self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
            for text in texts
        ]
        highest = max(map(max, filter(None, ids)), default=-1)
        if highest >= self.vocab_size:
            raise ValueError(
                f"the tokenizer gives id {highest}; expected ids below the scorer's"
                f" {self.vocab_size}."
            )
        return ids

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
        bar = tqdm(total=sum(map(len, ids)), unit="token", disable=not sys.stderr.isatty())
        with bar, _evaluating(self.model):
            for rows in _batches(
                self, (row for text in by_length for row in self.rows_of(text, ids[text]))
            ):
                text_N, nats_N = _score(self, rows)
                nats.index_add_(0, text_N, nats_N)
                num_scored += torch.bincount(text_N, minlength=len(ids))
                bar.update(len(nats_N))
        return nats, num_scored


def load_scorer(
    model: Any,
    tokenizer: Any = None,
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
    if kind not in (None, "causal", "masked") or (batch_size is not None and batch_size < 1):
        raise ValueError(
            f"kind is {kind!r}, batch_size {batch_size}; expected 'causal' or 'masked', and at"
            " least 1."
        )
    if isinstance(model, (str, PathLike)):
        tokenizer = tokenizer or model
        kind = kind or scorer_kind(AutoConfig.from_pretrained(model))
        auto: Any = AutoModelForCausalLM if kind == "causal" else AutoModelForMaskedLM
        model = auto.from_pretrained(model).to("cuda" if torch.cuda.is_available() else "cpu")
    if isinstance(tokenizer, (str, PathLike)):
        tokenizer = AutoTokenizer.from_pretrained(tokenizer)
    if tokenizer is None:
        raise ValueError(
            "tokenizer is None; expected the scorer's, as the model is not given by name."
        )
    kind = kind or scorer_kind(model)
    if kind == "masked" and tokenizer.mask_token_id is None:
        raise ValueError("the tokenizer of a masked scorer has no mask token; expected one.")
    if kind == "causal" and _sees_ahead(model):
        raise ValueError(
            "the scorer's logits depend on later tokens; expected a causal model, or kind='masked'."
        )
    before, after = _added_tokens(tokenizer) if kind == "masked" else ([], [])
    capacity, step = _window_sizes(model, tokenizer, max_length, stride, len(before) + len(after))
    rows_of = {
        "causal": partial(_causal_rows, tokenizer.bos_token_id, capacity, step),
        "masked": partial(_masked_rows, tokenizer.mask_token_id, before, after, capacity, step),
    }[kind]
    size = getattr(model.config, "vocab_size", None) or len(tokenizer)
    return Scorer(
        model=model,
        tokenizer=tokenizer,
        kind=kind,
        rows_of=rows_of,
        batch_size=batch_size,
        vocab_size=size,
    )


def scorer_kind(model: Any) -> str:
    """What a model or configuration of transformers predicts: the next token or masked ones.

    Args:
        model: a model, recognised by the names of its classes, or a configuration, by its
            `architectures`, else by `is_decoder`.

    Returns:
        "causal" or "masked".

    Raises:
        ValueError: if it is neither.
    """
    is_config = not hasattr(model, "config")
    names = (
        (model.architectures or [])
        if is_config
        else [base.__name__ for base in type(model).__mro__]
    )
    for name in names:
        if name.endswith("ForMaskedLM"):
            return "masked"
        if name.endswith(("ForCausalLM", "LMHeadModel")):
            return "causal"
    if is_config and getattr(model, "is_decoder", False):
        return "causal"
    raise ValueError(
        f"cannot tell what the scorer {type(model).__name__} {names[:1]} predicts; expected a"
        " causal or masked language model, or kind='causal' or 'masked'."
    )


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    training = [
        module for module in model.modules() if module.training
    ]  # frozen parts of it may not be
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@torch.no_grad()
def _sees_ahead(model: Any) -> bool:
    """Whether the second token changes the first's logits, as in a BertLMHeadModel that is not set
    to be a decoder.
    """
    probe = torch.tensor([[0, 0], [0, 1]], device=next(model.parameters()).device)
    with _evaluating(model):
        first, other = (
            model(input_ids=probe, attention_mask=torch.ones_like(probe)).logits[:, 0].float()
        )
    finite = first.isfinite()  # ids that a model never gives have -inf
    return bool(
        (first - other)[finite].abs().max() > 0.1 * first[finite].std()
    )  # well above rounding in bfloat16


def _added_tokens(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Special tokens that the tokenizer puts before and after a text."""
    ids, special = map(
        tokenizer("a", return_special_tokens_mask=True).get, ("input_ids", "special_tokens_mask")
    )
    num_before = len(list(takewhile(bool, special)))
    num_after = len(list(takewhile(bool, reversed(special[num_before:]))))
    return ids[:num_before], ids[len(ids) - num_after :]


def _window_sizes(
    model: Any, tokenizer: Any, max_length: int | None, stride: int | None, num_added: int
) -> list[int]:
    """Tokens of text in a window, and from window to window."""
    limits = (getattr(model.config, "max_position_embeddings", None), tokenizer.model_max_length)
    limit = min((n for n in limits if n is not None and n > 0), default=sys.maxsize)
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
    return [capacity, step]


def _windows(length: int, capacity: int, step: int) -> Iterator[tuple[int, int, int]]:
    """Begin, end and first new position of each window. The last one is moved back, so that it has
    all its context.
    """
    begin = new = 0
    while new < length:
        end = min(begin + capacity, length)
        yield max(end - capacity, 0), end, new
        begin = begin + step
        new = end


def _causal_rows(
    bos: int | None, capacity: int, step: int, text: int, ids: list[int]
) -> Iterator[_Row]:
    ids = ids if bos is None or ids[:1] == [bos] else [bos, *ids]
    for begin, end, new in _windows(len(ids), capacity, step):
        scored = range(max(new, 1), end)  # nothing comes before the first
        places = [i - 1 - begin for i in scored]
        targets = [ids[i] for i in scored]
        yield _Row(text=text, input_ids=ids[begin:end], places=places, targets=targets)


def _masked_rows(
    mask: int,
    before: list[int],
    after: list[int],
    capacity: int,
    step: int,
    text: int,
    ids: list[int],
) -> Iterator[_Row]:
    for begin, end, new in _windows(len(ids), capacity, step):
        for i in range(new, end):
            hidden = [*before, *ids[begin:i], mask, *ids[i + 1 : end], *after]
            yield _Row(
                text=text, input_ids=hidden, places=[len(before) + i - begin], targets=[ids[i]]
            )


def _batches(scorer: Scorer, rows: Iterator[_Row]) -> Iterator[list[_Row]]:
    batch: list[_Row] = []
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


def _score(scorer: Scorer, rows: list[_Row]) -> tuple[Tensor, Tensor]:
    """The number of the text, int64 (N,), and the nats, float64 (N,), of every scored token of some
    rows.
    """
    lengths = [len(row.input_ids) for row in rows]
    input_ids = torch.full((len(rows), max(lengths)), scorer.tokenizer.pad_token_id or 0)
    for padded, row, length in zip(input_ids, rows, lengths, strict=True):
        padded[:length] = torch.tensor(row.input_ids)
    attention_mask = (torch.arange(input_ids.shape[1]) < torch.tensor(lengths)[:, None]).long()
    device = next(scorer.model.parameters()).device
    logits = scorer.model(
        input_ids=input_ids.to(device), attention_mask=attention_mask.to(device)
    ).logits
    scored = [
        (i, *scored)
        for i, row in enumerate(rows)
        for scored in zip(row.places, row.targets, strict=True)
    ]
    row_N, place_N, target_N = torch.tensor(scored, device=device).T
    nats_N = cross_entropy(logits[row_N, place_N].double(), target_N, reduction="none")
    return torch.tensor([row.text for row in rows])[row_N.cpu()], nats_N.cpu()
