"""Networks: what the rest of the core asks of a model.

    logits(p) = f(x)_p    for every position p that is asked for, given the known tokens of x

A likelihood takes the model itself; a generation a function of ids and positions, into which the
padding, guidance and the like have gone already. A model that knows nothing of positions (any
masked language model of transformers) gives all logits, of which those asked for are picked.

Shapes: B batch, L length, K positions of a row, N positions of all rows, V vocabulary.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from .model_classes import check_no_padding, is_causal_class
from .vocabulary import VocabularyConfig, impossible_ids, stages_of

# ids int64 (B, L), positions int64 (B, K) or None: all -> logits (B, K or L, V)
Network = Callable[[Tensor, Tensor | None], Tensor]
# ids, attention mask (B, L) or None, positions as `MaskedLanguageModel` takes them -> logits
PositionLogits = Callable[[Tensor, Tensor | None, Tensor | None], Tensor]


def check_no_nan(values: Tensor) -> None:
    """Raises ValueError if what comes from the network is not a number."""
    if values.isnan().any():
        raise ValueError(
            "the network returned NaN or only -inf logits; expected finite logits for some token"
            " (are its weights finite?)."
        )


class LogitsOutput(Protocol):
    """What a model's call returns: transformers' `MaskedLMOutput`, or anything with its logits."""

    logits: Any  # a Tensor; transformers' type allows None


class MaskedLanguageModel(Protocol):
    """A model that is called with ids and gives the logits of some positions.

    `logits_positions` bool (B, L) asks for its N true entries, logits (N, V) in row-major order;
    int64 (B, K) for K positions of each row, logits (B, K, V); None for all, (B, L, V).
    """

    @property
    def config(self) -> VocabularyConfig: ...

    def __call__(
        self,
        *,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        logits_positions: Tensor | None,
    ) -> LogitsOutput: ...


def position_logits(model: MaskedLanguageModel, mask_token_id: int | None = None) -> PositionLogits:
    """The model as a function from ids, attention mask and positions to logits.

    A model that names `logits_positions` in its signature is asked for them, and gives its mask id
    no probability by itself. Of any other the positions are picked from all logits, and what no
    text holds is made impossible.

    Args:
        model: any masked language model, also within a wrapper (DDP, PEFT, torch.compile).
        mask_token_id: the id that hides tokens; None: the configuration's.

    Returns:
        (ids, attention mask, positions) -> logits, of [`MaskedLanguageModel`]'s shapes; ValueError
        if the model answers in another shape, or has no attention mask and rows have padding.

    Raises:
        ValueError: if the model predicts next tokens.
    """
    check_bidirectional(model)
    named, passes_on = _takes_positions(model)
    takes_mask = _takes_mask(model)
    own_mask_id = getattr(model.config, "mask_token_id", None)
    mask_token_id = own_mask_id if mask_token_id is None else mask_token_id
    stages = stages_of(model.config, mask_token_id)
    never = impossible_ids(model.config) | {mask_token_id}
    if named:
        never = set() if mask_token_id == own_mask_id else {mask_token_id}
    if stages.direct:
        never = set()  # logits are of children: none of them is the mask

    def logits_at(ids: Tensor, attention_mask: Tensor | None, positions: Tensor | None) -> Tensor:
        inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": attention_mask}
        if not takes_mask:
            check_no_padding(type(model), attention_mask)
        asked = positions if named or (passes_on and _tells(positions, ids)) else None
        if asked is not None:
            inputs["logits_positions"] = asked
        logits = model(**inputs).logits
        _check_answer(logits, ids, asked, named, stages.num_outputs)
        if positions is not None and not named and logits.shape[:-1] == ids.shape:
            logits = select_positions(logits, positions)
        if not never:
            return logits
        return logits.index_fill(-1, torch.tensor([*never], device=ids.device), -torch.inf)

    return logits_at


def _takes_positions(model: MaskedLanguageModel) -> tuple[bool, bool]:
    """Whether a model takes `logits_positions`, and whether it may be a wrapper of one that does.

    `**kwargs` beside `input_ids` tell nothing: transformers' models drop what they do not know.
    """
    call = model.forward if isinstance(model, nn.Module) else model
    parameters = inspect.signature(call).parameters
    anything = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    return "logits_positions" in parameters, anything and "input_ids" not in parameters


def _takes_mask(model: MaskedLanguageModel) -> bool:
    """Whether a model reads an attention mask: not one that swallows it beside its `input_ids`."""
    call = model.forward if isinstance(model, nn.Module) else model
    parameters = inspect.signature(call).parameters
    return "attention_mask" in parameters or "input_ids" not in parameters


def check_bidirectional(model: MaskedLanguageModel) -> None:
    """Makes sure that logits at a position are of that position, by what transformers' class it is.

    Args:
        model: the network; an adopted one says in its configuration that it is not causal.

    Raises:
        ValueError: for a decoder of transformers, whose logits at p are those of p + 1.
    """
    model = unwrapped(model)
    if getattr(model.config, "is_causal", True) is False:
        return
    known = getattr(model.config, "model_type", None) in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    if known and is_causal_class(type(model)):  # one of someone's own may attend otherwise
        raise ValueError(
            f"the model is a {type(model).__name__}, which predicts the next token from those to"
            " the left; expected a masked language model, whose logits at a position are of that"
            " position and see both sides (ardm.adopt makes one of it)."
        )


def unwrapped(model: MaskedLanguageModel) -> MaskedLanguageModel:
    """The model inside of wrappers that have no configuration of their own (DDP)."""
    while isinstance(model, nn.Module) and isinstance(getattr(model, "module", None), nn.Module):
        model = model.module  # type: ignore[assignment]
    return model


def padding_row(model: Any) -> int | None:
    """The row of padding in a table of positions that counts real ones behind it, as RoBERTa's.

    Args:
        model: the network.

    Returns:
        The row: position p is row p + 1 behind it; None where position p is row p.
    """
    for name, module in model.named_modules() if isinstance(model, nn.Module) else ():
        padding = getattr(module, "padding_idx", None)  # I-BERT's table is a class of its own
        if name.endswith("position_embeddings") and isinstance(padding, int):
            return padding
    return None


def longest_sequence(model: Any) -> int | None:
    """The longest sequence that a model takes; None without a limit.

    Args:
        model: the network. RoBERTa and its relatives begin to count behind their padding's row, and
            name the rows.

    Returns:
        A number of positions.
    """
    longest = getattr(model.config, "max_position_embeddings", None)
    padding = padding_row(model)
    return longest if longest is None or padding is None else longest - padding - 1


def _check_answer(
    logits: Tensor, ids: Tensor, asked: Tensor | None, heard: bool, num_outputs: int
) -> None:
    """Raises ValueError unless the logits are of what was asked for, or of all if not heard."""
    fits = logits.shape[:-1] == ids.shape and not (heard and asked is not None)
    if asked is not None:
        # how many a bool mask asks for a GPU would have to count: they are where they are used
        fits |= logits.ndim == 2 if asked.dtype == torch.bool else logits.shape[:-1] == asked.shape
    if not fits or logits.shape[-1] != num_outputs:
        raise ValueError(
            f"the model answers with logits {tuple(logits.shape)} to ids {tuple(ids.shape)};"
            f" expected vocab_size={num_outputs} logits (of a direct parametrisation those of all"
            " stages) for each position asked for."
        )


def _tells(positions: Tensor | None, ids: Tensor) -> bool:
    """Whether the shape of an answer tells if it is of these positions or of all."""
    return positions is not None and (positions.dtype == torch.bool or positions.shape != ids.shape)


def select_positions(values_BLV: Tensor, positions: Tensor) -> Tensor:
    """The vectors at positions bool (B, L) -> (N, V), row by row, or int64 (B, K) -> (B, K, V)."""
    if positions.dtype == torch.bool:
        return values_BLV[positions]
    return values_BLV.gather(1, positions[..., None].expand(-1, -1, values_BLV.shape[-1]))


def execution_device(model: Any) -> torch.device:
    """Where a model's inputs belong: where it runs if its weights lie elsewhere (offloaded).

    Args:
        model: with a `device`; accelerate's hooks tell where parts of an offloaded one run.

    Returns:
        The device.
    """
    if model.device.type != "meta":
        return model.device
    for module in model.modules():
        hook = getattr(module, "_hf_hook", None)
        for part in getattr(hook, "hooks", [hook]):
            if getattr(part, "execution_device", None) is not None:
                return torch.device(part.execution_device)
    return model.device


@contextmanager
def evaluating(model: object) -> Iterator[None]:
    """The model without dropout, and afterwards as it was; a mere callable is left alone."""
    modules = model.modules() if isinstance(model, nn.Module) else ()
    training = [module for module in modules if module.training]  # frozen parts may not be
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True
