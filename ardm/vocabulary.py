"""Vocabulary: what the ids of a model mean, by its configuration.

    values, special ids that texts hold (EOS, BOS, UNK), and ids that no text holds: mask and pad,
    and those behind the last value, which are only ever given (class tokens)

A configuration may lack any of these, and all that is said of stages: it need not be ours.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol

import torch

from .checks import check_integer
from .stages import Stages
from .value_trees import ValueTree, check_label_types, check_labels, digit_labels

STAGE_ORDERS = ("stagewise", "interleaved")
PARAMETRIZATIONS = ("data", "direct")
_MOST_STAGES = 64  # in base 2 enough for 2^64 values
_ORDINARY = " (the ids of the vocabulary but mask, pad, EOS, BOS and UNK)"


class VocabularyConfig(Protocol):
    """The part of a model's configuration that says what ids mean; it may have a `pad_token_id`."""

    vocab_size: int  # special ids included
    mask_token_id: Any  # int; ARDMConfig's type allows None, only to refuse it in words


def impossible_ids(config: VocabularyConfig) -> set[int]:
    """The ids that no text holds, and so have probability 0: mask, a mere pad id, class tokens.

    What is padding is told by the attention mask. A pad id that is the EOS, BOS or UNK id as well
    (`tokenizer.pad_token = tokenizer.eos_token`) stands in texts, and has a probability there.

    Args:
        config: of a model; it may lack any of these ids.

    Returns:
        The ids: often one or two, or none.
    """
    of_texts = text_ids(config)
    never: set[Any] = {getattr(config, "pad_token_id", None)} - of_texts
    never = (never | {getattr(config, "mask_token_id", None)} | given_ids(config)) - {None}
    size = getattr(config, "tokenizer_size", None)  # of an adopted model with spare rows
    if size is not None:
        size = check_integer("tokenizer_size", size, 1, config.vocab_size, " (vocab_size)")
        never |= {*range(size, config.vocab_size)}
    num_values = getattr(config, "num_values", None)
    if num_values is None:
        return never
    others = _ordinary_ids(config.vocab_size, frozenset(never | of_texts))
    return never.union(others[check_integer("num_values", num_values, 1, len(others), _ORDINARY) :])


def text_ids(config: VocabularyConfig) -> set[int]:
    """The special ids that texts hold: EOS (one or several), BOS and UNK, as far as there are.

    Those that a tokenizer sets around texts are no part of them: see [`given_ids`].
    """
    found: set[Any] = set()
    for name in ("eos_token_id", "bos_token_id", "unk_token_id"):
        ids = getattr(config, name, None)
        found |= set(ids) if isinstance(ids, (list, tuple)) else {ids}
    return found - {None} - given_ids(config)


def eos_ids(config: VocabularyConfig) -> set[int]:
    """The ids that a model writes at the end of a text: EOS, one or several, but no given ones."""
    ids: Any = getattr(config, "eos_token_id", None)
    return text_ids(config) & (set(ids) if isinstance(ids, (list, tuple)) else {ids})


def given_ids(config: VocabularyConfig) -> set[int]:
    """The ids that stand around texts, as [CLS] and [SEP] do: always known, never generated.

    Args:
        config: of a model; its `given_token_ids`, if it has any.

    Returns:
        The ids; none of a model that was trained as an ARDM from the beginning.
    """
    return {*(getattr(config, "given_token_ids", None) or ())}


def with_given_tokens(
    config: VocabularyConfig, input_ids: torch.Tensor, prompt_mask: torch.Tensor | None
) -> torch.Tensor | None:
    """The prompt mask, with the model's [`given_ids`] in it.

    Args:
        config: of the model.
        input_ids: int64 (B, L).
        prompt_mask: (B, L), 1 on given tokens, or None.

    Returns:
        The same, or bool (B, L) where the model has such ids.
    """
    ids = given_ids(config)
    if not ids or not isinstance(input_ids, torch.Tensor):
        return prompt_mask
    given_BL = torch.isin(input_ids, torch.tensor([*ids], device=input_ids.device))
    if prompt_mask is None or prompt_mask.shape != given_BL.shape:
        return given_BL if prompt_mask is None else prompt_mask  # refused where it is checked
    return given_BL | prompt_mask.bool()


@lru_cache(maxsize=32)
def _ordinary_ids(vocab_size: int, others: frozenset[int]) -> list[int]:
    """All ids but others, rising."""
    return [token for token in range(vocab_size) if token not in others]


def stages_of(config: VocabularyConfig, mask_token_id: int | None = None) -> Stages:
    """How the values of a model are revealed: in one stage, unless its configuration has more.

    Args:
        config: of a model. Of ours, or another with its fields `num_stages`, `branching_factor` or
            `value_tree`, `stage_order`, `parametrization`.
        mask_token_id: the id that hides tokens; None: the configuration's.

    Returns:
        The stages, made once for configurations that say the same.

    Raises:
        ValueError: if the settings do not fit together, or the mask is another than the root.
    """
    own: Any = getattr(config, "mask_token_id", None)
    root = own if mask_token_id is None else mask_token_id
    settings = tuple(getattr(config, name, default) for name, default in _SETTINGS.items())
    if settings == (*_SETTINGS.values(),):
        impossible_ids(config)  # refuses a num_values that is none
        return Stages.plain(root, config.vocab_size)
    if own is None or root != own:
        raise ValueError(
            f"mask_token_id is {root}; expected the configuration's {own}, the root of its stages."
        )
    *others, table = settings
    ids = frozenset(impossible_ids(config)), frozenset(text_ids(config))
    rows = None if table is None else tuple(map(tuple, table))
    for number, row in enumerate(rows or ()):  # 1.0 and True would be found in the cache as 1
        check_label_types(number, row)
    return _staged(config.vocab_size, own, *ids, *others, rows)


# the settings of stages, and what they are where a configuration says nothing of them
_SETTINGS: dict[str, Any] = {
    "num_stages": 1,
    "stage_order": STAGE_ORDERS[0],
    "parametrization": PARAMETRIZATIONS[0],
    "branching_factor": None,
    "value_tree": None,
}


@lru_cache(maxsize=32)
def _staged(
    vocab_size: int,
    root: int,
    impossible: frozenset[int],
    of_texts: frozenset[int],
    num_stages: int,
    stage_order: str,
    parametrization: str,
    branching_factor: int | None,
    table: tuple[tuple[int, ...], ...] | None,
) -> Stages:
    num_stages = check_integer("num_stages", num_stages, 1, _MOST_STAGES)
    for name, value, names in (
        ("stage_order", stage_order, STAGE_ORDERS),
        ("parametrization", parametrization, PARAMETRIZATIONS),
    ):
        if value not in names:
            raise ValueError(f"{name} is {value!r}; expected one of {', '.join(names)}.")
    values = _ordinary_ids(vocab_size, impossible | of_texts)
    labels = _labels(len(values), num_stages, branching_factor, table)
    if not labels:
        return Stages.plain(root, vocab_size)
    if not values:
        raise ValueError(
            f"vocab_size is {vocab_size} with special ids alone; expected some values."
        )
    interleaved = stage_order == "interleaved"
    with torch.device("cpu"):  # transformers makes models where tensors have no content
        tree = ValueTree(vocab_size, root, values, labels, sorted(of_texts))
        return Stages(vocab_size, root, tree, interleaved, direct=parametrization == "direct")


def _labels(
    num_values: int,
    num_stages: int,
    branching_factor: int | None,
    table: Sequence[Sequence[int]] | None,
) -> Sequence[Sequence[int]]:
    """The rows of coarse values, from a table or as digits."""
    if table is not None and branching_factor is not None:
        raise ValueError(
            f"got a value_tree and branching_factor={branching_factor}; expected one of the two."
        )
    if table is None:
        if branching_factor is None and num_stages == 1:
            return []
        if branching_factor is None:
            raise ValueError(
                f"num_stages is {num_stages} without branching_factor or value_tree;"
                " expected one of the two."
            )
        check_integer("branching_factor", branching_factor, 2)
        return digit_labels(num_values, num_stages, branching_factor)
    if num_stages not in (1, len(table) + 1):
        raise ValueError(
            f"value_tree has {len(table)} rows and num_stages is {num_stages};"
            " expected num_stages - 1 rows."
        )
    check_labels(table, num_values)
    return table
