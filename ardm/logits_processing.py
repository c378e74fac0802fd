"""Logits processing: transformers' processors, applied to every position of a step by itself.

Stock processors take rows (N, V) of logits for the next token of N left-to-right texts. Here each
(row, position) is one of their rows. Most stock processors ask nothing, or only which tokens a text
holds: they see the whole row. Those that look at the tokens just before, or count them, get exactly
the text left of the position - which is complete only when generating left to right, one token at a
time; elsewhere they are refused.

Shapes: B batch, L length, K positions, V vocabulary, N = B * K.
"""

import copy
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from transformers.generation import logits_process as stock

from .canvas import Canvas

_ANYWHERE = (
    stock.TemperatureLogitsWarper,
    stock.TopPLogitsWarper,
    stock.TopKLogitsWarper,
    stock.MinPLogitsWarper,
    stock.TypicalLogitsWarper,
    stock.EpsilonLogitsWarper,
    stock.EtaLogitsWarper,
    stock.RepetitionPenaltyLogitsProcessor,
    stock.EncoderRepetitionPenaltyLogitsProcessor,
    stock.SuppressTokensLogitsProcessor,
    stock.InfNanRemoveLogitsProcessor,
    stock.LogitNormalization,
    stock.SequenceBiasLogitsProcessor,
    *([stock.TopHLogitsWarper] if hasattr(stock, "TopHLogitsWarper") else []),  # of newer versions
)
_READS_TOKENS = (
    stock.RepetitionPenaltyLogitsProcessor,
    stock.EncoderRepetitionPenaltyLogitsProcessor,
)
_AFTER_PREFIX = (
    stock.MinLengthLogitsProcessor,
    stock.MinNewTokensLengthLogitsProcessor,
    stock.NoRepeatNGramLogitsProcessor,
    stock.EncoderNoRepeatNGramLogitsProcessor,
    stock.PrefixConstrainedLogitsProcessor,
    stock.ForcedBOSTokenLogitsProcessor,
    stock.ForcedEOSTokenLogitsProcessor,
    stock.ExponentialDecayLengthPenalty,
    stock.SuppressTokensAtBeginLogitsProcessor,
    stock.WatermarkLogitsProcessor,
)


class LogitsProcessing:
    """Applies processors in turn.

    Args:
        processors: stock ones, or callables (input_ids (N, L), logits (N, V)) -> logits, which may
            also ask by name for `positions` int64 (N,), where the logits are, and `cur_step`, the
            number of the forward pass. Their input_ids are whole rows, mask ids and padding
            included.
        one_by_one: whether positions are generated left to right, one at a time.

    Raises:
        ValueError: on a processor that cannot work here.
    """

    def __init__(self, processors: Sequence[Callable[..., Tensor]], one_by_one: bool):
        self.processors = [
            (processor, _needs_prefix(processor), _extra_arguments(processor))
            for processor in processors
        ]
        for processor, needs_prefix, _ in self.processors:
            name = type(processor).__name__
            if needs_prefix and not one_by_one:
                raise ValueError(
                    f"{name} needs the text left of each position; expected order='left_to_right'"
                    " with one token a step and without resampling."
                )

    def __call__(
        self,
        logits_BKV: Tensor,
        canvas: Canvas,
        positions_BK: Tensor,
        open_BK: Tensor,
        step: int,
    ) -> Tensor:
        """Processed logits (B, K, V), of which only those at open positions matter.

        Args:
            logits_BKV: of the network.
            canvas: the rows.
            positions_BK: int64 (B, K), where the logits are.
            open_BK: bool (B, K), which of them may be filled.
            step: number of the forward pass.

        Returns:
            Of the shape of `logits_BKV`.
        """
        shape = logits_BKV.shape
        logits_NV = logits_BKV.flatten(0, 1)
        positions_N = positions_BK.flatten()
        open_N = open_BK.flatten()
        # later steps on a CPU only: a GPU would have to wait for the answer
        looks = step == 0 or logits_NV.device.type == "cpu"
        was_possible_N = open_N & logits_NV.amax(-1).isfinite() if looks else None
        for processor, needs_prefix, arguments in self.processors:
            before_NV = logits_NV
            if needs_prefix:  # one position a row
                logits_NV = _with_prefix(processor, logits_NV, canvas, positions_N, open_N)
            elif isinstance(processor, _READS_TOKENS) and not arguments:
                # padding is no text, whatever id stands there; the mask id is impossible anyway
                text_NL = canvas.text(canvas.mask_token_id).repeat_interleave(shape[1], 0)
                logits_NV = processor(text_NL, logits_NV)
            elif _is_stock(processor):
                logits_NV = processor(canvas.token_ids, logits_NV)  # does not look at the ids
            else:
                extra = {"positions": positions_N, "cur_step": step}
                asked = {name: extra[name] for name in arguments}
                rows_NL = canvas.token_ids.repeat_interleave(shape[1], 0)
                logits_NV = processor(rows_NL, logits_NV, **asked)
            _check_like(processor, logits_NV, before_NV)
        if was_possible_N is not None:
            self._check_possible(logits_NV, was_possible_N)
        return logits_NV.view(shape)

    def _check_possible(self, logits_NV: Tensor, was_possible_N: Tensor) -> None:
        """Raises ValueError where finite logits became NaN, infinite, or all impossible."""
        # the largest is NaN if one is
        if (was_possible_N & ~logits_NV.amax(-1).isfinite()).any():
            names = ", ".join(_name(processor) for processor, *_ in self.processors)
            raise ValueError(
                f"logits_processor ({names}) gave NaN, +inf or only -inf at a position;"
                " expected finite logits for some token."
            )


def _name(processor: Any) -> str:
    return getattr(processor, "__name__", type(processor).__name__)


def _check_like(processor: Any, logits: Any, before_NV: Tensor) -> None:
    """Raises ValueError unless a processor gave logits like those that it was given."""
    if isinstance(logits, Tensor):
        alike = logits.shape == before_NV.shape and logits.device == before_NV.device
        if alike and logits.is_floating_point():
            return
        got = f"{logits.dtype} {tuple(logits.shape)} on {logits.device}"
    else:
        got = f"a {type(logits).__name__}"
    raise ValueError(
        f"the logits processor {_name(processor)} returned {got}; expected logits like those given,"
        f" {before_NV.dtype} {tuple(before_NV.shape)} on {before_NV.device}."
    )


def _needs_prefix(processor: Any) -> bool:
    unknown = set(_extra_arguments(processor)) - {"positions", "cur_step"}
    name = type(processor).__name__
    if unknown:
        raise ValueError(
            f"{name} asks for {sorted(unknown)}; expected some of positions, cur_step."
        )
    if isinstance(processor, stock.SequenceBiasLogitsProcessor):
        # single tokens are wanted or unwanted anywhere
        return any(len(sequence) > 1 for sequence in processor.sequence_bias)
    if isinstance(processor, _AFTER_PREFIX):
        return True
    if _is_stock(processor) and not isinstance(processor, _ANYWHERE):
        raise ValueError(
            f"{name} does not work here;"
            " expected another processor (or `guidance_scale` for guidance)."
        )
    return False


def _is_stock(processor: Any) -> bool:
    return type(processor).__module__.startswith("transformers.")


def _extra_arguments(processor: Any) -> list[str]:
    """Names of what a processor takes beyond ids and logits."""
    parameters = list(inspect.signature(processor).parameters.values())[2:]
    return [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]


def _with_prefix(
    processor: Any, logits_NV: Tensor, canvas: Canvas, positions_N: Tensor, open_N: Tensor
) -> Tensor:
    """Applies a left-to-right processor to rows of one position each, by length of their texts."""
    places_N = canvas.place_BL.gather(1, positions_N[:, None])[:, 0]
    text_NL = canvas.text(canvas.mask_token_id)
    output_NV = logits_NV.clone()
    numbered = isinstance(processor, _NUMBERED)
    for length in places_N[open_N].unique().tolist():
        rows = ((places_N == length) & open_N).nonzero()[:, 0]
        for part in rows.split(1) if numbered else (rows,):
            apply = _for_row(processor, int(part), len(places_N)) if numbered else processor
            output_NV[part] = apply(text_NL[part, :length], logits_NV[part])
    return output_NV


_NUMBERED = (stock.PrefixConstrainedLogitsProcessor, stock.EncoderNoRepeatNGramLogitsProcessor)


def _for_row(processor: Any, row: int, num_rows: int) -> Any:
    """What a processor that goes by a row's number does to one row.

    There is no public way to tell it the number.
    """
    alone = copy.copy(processor)
    if isinstance(processor, stock.PrefixConstrainedLogitsProcessor):
        allowed = processor._prefix_allowed_tokens_fn
        alone._prefix_allowed_tokens_fn = lambda _, text: allowed(row, text)
    else:
        text = row * processor.batch_size // num_rows  # one text may stand for several rows
        alone.batch_size = 1
        alone.generated_ngrams = processor.generated_ngrams[text : text + 1]
    return alone
