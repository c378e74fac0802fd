"""Sequences that a model writes: new ones, spans filled in, what may stand between given flanks.

Each is a row of ids in which some residues are hidden; marks and padding stay what they are, so
that the number of residues is given. In texts, what was generated is in [[ ]], and an end that is
no end of the molecule is "...".

Shapes: L positions of a row, n rows.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..training import check_integer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from ..modeling_ardm import ARDMForMaskedLM

_COMPLETIONS = 3


def spread_rows(rows: Any, number: int) -> Tensor:
    """Rows of a data set, evenly spread over it.

    Args:
        rows: with `input_ids` (L,), in torch format.
        number: how many; all if there are fewer.

    Returns:
        int64 (n, L).
    """
    number = check_integer("num_samples", number, 1)
    places = torch.linspace(0, len(rows) - 1, min(number, len(rows))).long()
    return rows[places.tolist()]["input_ids"]


def hidden_span(
    input_ids: Tensor, tokenizer: "PreTrainedTokenizerBase", begin: float, end: float
) -> Tensor:
    """Which positions are hidden: a span of a row's residues.

    Args:
        input_ids: int64 (L,).
        tokenizer: with marks and padding, which no span holds.
        begin: of the span, as a share of the residues, in [0, 1].
        end: of the span.

    Returns:
        bool (L,), at least one residue.
    """
    given = (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id)
    places = (~torch.isin(input_ids, torch.tensor(given))).nonzero().flatten()
    first = min(int(begin * len(places)), len(places) - 1)
    last = max(int(end * len(places)), first + 1)
    hidden = torch.zeros_like(input_ids, dtype=torch.bool)
    hidden[places[first:last]] = True
    return hidden


def complete(
    model: "ARDMForMaskedLM",
    tokenizer: "PreTrainedTokenizerBase",
    input_ids: Tensor,
    hidden: Tensor,
    **options: Any,
) -> list[str]:
    """Rows whose hidden residues are generated, as texts.

    Args:
        model: has `generate`.
        tokenizer: its tokenizer.
        input_ids: int64 (n, L), on the CPU.
        hidden: bool (n, L), what is generated.
        **options: of `generate`: `seed`, `num_return_sequences`.

    Returns:
        A text for each result.
    """
    canvas = input_ids.masked_fill(hidden, model.config.mask_token_id)
    filled: Any = model.generate(canvas.to(model.device), **options)
    hidden = hidden.repeat_interleave(len(filled) // len(hidden), 0)
    pairs = zip(filled.cpu(), hidden, strict=True)
    return [_shown(tokenizer, ids, generated) for ids, generated in pairs]


def _shown(tokenizer: "PreTrainedTokenizerBase", ids: Tensor, hidden: Tensor) -> str:
    letters = []
    within = False
    tokens = tokenizer.convert_ids_to_tokens(ids.tolist())
    for token, generated in zip(tokens, hidden.tolist(), strict=True):
        if generated != within:
            letters.append("]]" if within else "[[")
            within = generated
        if token not in (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token):
            letters.append(token)
    if within:
        letters.append("]]")
    begin = "" if tokenizer.bos_token in tokens else "..."
    end = "" if tokenizer.eos_token in tokens else "..."
    return f"{begin}{''.join(letters)}{end}"


def write_sequences(
    model: "ARDMForMaskedLM",
    tokenizer: "PreTrainedTokenizerBase",
    templates: Tensor,
    row: Tensor,
    seed: int = 0,
) -> dict[str, list[str]]:
    """What a report shows: new sequences, a span filled in, residues between flanks.

    Args:
        model: has `generate`.
        tokenizer: its tokenizer.
        templates: int64 (n, L), rows of which only the length and the ends are used.
        row: int64 (L,), of which a part is hidden.
        seed: key of what is drawn.

    Returns:
        Texts by what they are: "samples", all generated; "infilled", of the row the middle third;
        "between flanks", several ways from its first quarter to its last.
    """
    whole = torch.stack([hidden_span(each, tokenizer, 0, 1) for each in templates])
    samples = complete(model, tokenizer, templates, whole, seed=seed)
    shown = {"samples": [text.replace("[[", "").replace("]]", "") for text in samples]}
    # other seeds: with the same one all would be drawn from the same numbers
    kinds = {"infilled": (1 / 3, 2 / 3, 1), "between flanks": (1 / 4, 3 / 4, _COMPLETIONS)}
    for number, (name, (begin, end, copies)) in enumerate(kinds.items(), 1):
        span = hidden_span(row, tokenizer, begin, end)
        options = {"seed": seed + number, "num_return_sequences": copies}
        shown[name] = complete(model, tokenizer, row[None], span[None], **options)
    return shown
