"""ARDMGenerationMixin.generate: fills the masks of a sequence in any order, several at a time. One loop.

    queue = the masked positions in order          (orders.py; arXiv 2110.02037, algorithm 1)
    for each group of the plan:                    (plans.py)
        logits  <- network(x) at the group's positions only
        x[group] <- a draw from softmax(logits / temperature), independently within the group

Randomness: row r of a call with `seed` draws from the stream (seed, r), one number for each place in the row. A row's
bits depend on nothing else: not on its neighbours, on padding, or on how many tokens a step are drawn.

Shapes: B batch, L length, S steps, K the largest group of a step, V vocabulary.
"""

import copy
import os
from collections.abc import Callable
from types import NoneType
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from .draws import make_draw
from .generation_config_ardm import PLAN_SETTINGS, SETTINGS, ARDMGenerationConfig, ARDMGenerationOutput
from .masking import check_ids
from .orders import generation_queue, order_scores
from .plans import check_plan, fixed_size_plan, group_bounds, uniform_plan
from .randomness import draw_seed, keyed_uniforms

_ORDER_STREAM, _TOKEN_STREAM = 11, 12


class ARDMGenerationMixin:
    """Gives a masked language model `generate`. Put it before the model class in the bases."""

    config: Any
    device: Any
    generation_config: Any  # an ARDMGenerationConfig; typed as the model class types it
    generation_config_class: Any
    __call__: Callable[..., Any]

    @torch.no_grad()
    def generate(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *,
        generation_config: GenerationConfig | None = None,
        generator: torch.Generator | None = None,
        **kwargs: Any,
    ) -> Tensor | ARDMGenerationOutput:
        """Generates every mask id of `input_ids`; nothing else is touched (arXiv 2110.02037, algorithm 1).

        Exact samples of the model at one token a step; `tokens_per_step=4` draws four at a time, independently given
        the known ones. Without `input_ids` and `max_new_tokens`: one sequence of `max_position_embeddings` tokens.

        Args:
            input_ids: int64 (B, L). Rows may have different numbers of masks.
            attention_mask: (B, L), 1 on real tokens, 0 on padding on either side; None: all but the pad id.
            generation_config: settings that replace the model's own; see [`ARDMGenerationConfig`].
            generator: source of the seed where `seed` is None; may live on another device. None: torch's global one.
            **kwargs: any field of [`ARDMGenerationConfig`], with precedence over all configurations.

        Returns:
            int64 (B * num_return_sequences, L + max_new_tokens), or [`ARDMGenerationOutput`].

        Raises:
            ValueError: on an unknown argument or one out of range; on ids of the wrong shape, type or range; if
                the sequence would exceed the model's positions; if the network returns NaN.
        """
        config = self._resolve_generation_config(generation_config, kwargs)
        ids, attention_mask = self._prepare_canvas(input_ids, attention_mask, config)
        copies, order = config.num_return_sequences or 1, "random" if config.order is None else config.order
        seeds, rows = _row_streams(config.seed, generator, copies, len(ids))
        ids, attention_mask = ids.repeat_interleave(copies, 0), attention_mask.repeat_interleave(copies, 0)
        if isinstance(order, Tensor) and order.ndim == 2:
            order = order.repeat_interleave(copies, 0)

        # places, not indices: padding on the left must not change a row's random numbers
        place_BL = (attention_mask.long().cumsum(1) - 1).clamp(min=0)
        stream_B1 = seeds.to(ids.device)[:, None], rows.to(ids.device)[:, None]
        scores_BL = order_scores(order, place_BL, keyed_uniforms(*stream_B1, _ORDER_STREAM, place_BL))
        masked_BL = (ids == self._mask_token_id(config)) & attention_mask
        bounds = group_bounds([_row_plan(config, count) for count in masked_BL.sum(1).tolist()])
        output = self._fill(
            ids,
            None if attention_mask.all() else attention_mask,
            generation_queue(scores_BL, masked_BL),
            bounds,
            keyed_uniforms(*stream_B1, _TOKEN_STREAM, place_BL),
            make_draw(config),
        )
        if config.return_dict_in_generate:
            return output
        assert output.sequences is not None
        return output.sequences

    def _fill(
        self,
        ids: Tensor,
        attention_mask: Tensor | None,
        queue_BL: Tensor,
        bounds_BS: Tensor,
        uniforms_BL: Tensor,
        draw: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]],
    ) -> ARDMGenerationOutput:
        """The loop: for each group, logits at its positions, a draw, a write."""
        steps = bounds_BS.shape[1] - 1
        widths = bounds_BS.diff(dim=1).amax(0).tolist() if len(ids) else []  # known on the host: no sync in the loop
        bounds_BS = bounds_BS.to(ids.device)
        order_BL = torch.full_like(ids, -1)
        log_probs_BL = torch.zeros(ids.shape, dtype=torch.float64, device=ids.device)
        for step, width in enumerate(widths):
            begin_B1, end_B1 = bounds_BS[:, step, None], bounds_BS[:, step + 1, None]
            # Rows with a smaller group repeat its last position: the same draw, written twice.
            index_BK = torch.minimum(begin_B1 + torch.arange(width, device=ids.device), end_B1 - 1)
            positions_BK = queue_BL.gather(1, index_BK.clamp(min=0))
            logits_BKV = self(input_ids=ids, attention_mask=attention_mask, logits_positions=positions_BK).logits
            tokens_BK, log_probs_BK = draw(logits_BKV, uniforms_BL.gather(1, positions_BK), ids)
            active_B1 = end_B1 > begin_B1  # rows that are finished keep what they have
            for canvas, new in ((ids, tokens_BK), (order_BL, step), (log_probs_BL, log_probs_BK)):
                canvas.scatter_(1, positions_BK, torch.where(active_B1, new, canvas.gather(1, positions_BK)))
        if not log_probs_BL.isfinite().all():
            raise ValueError("the network returned NaN or only -inf logits; expected finite logits for some token.")
        generated = int(bounds_BS[:, -1].sum())
        return ARDMGenerationOutput(
            sequences=ids,
            order=order_BL,
            log_probs=log_probs_BL,
            num_forward_passes=steps,
            tokens_per_forward=generated / (len(ids) * steps) if steps else 0.0,
        )

    # --------------------------------------------------------------------------------------------- preparation
    def _resolve_generation_config(
        self, generation_config: GenerationConfig | None, kwargs: dict[str, Any]
    ) -> ARDMGenerationConfig:
        """Precedence: the call's arguments, its generation_config, the model's own, the defaults."""
        unknown = sorted(set(kwargs) - set(SETTINGS))
        if unknown:
            raise ValueError(f"unknown arguments {unknown}; expected some of {sorted(SETTINGS)}.")
        if not isinstance(generation_config, (ARDMGenerationConfig, NoneType)):
            got = type(generation_config).__name__
            raise ValueError(f"generation_config is a {got}; expected an ARDMGenerationConfig.")
        config = copy.copy(self.generation_config)
        passed = vars(generation_config) if generation_config is not None else {}
        for layer in ({name: passed[name] for name in SETTINGS if passed.get(name) is not None}, kwargs):
            if any(layer.get(name) is not None for name in PLAN_SETTINGS):  # one way to plan replaces the others
                layer = dict.fromkeys(PLAN_SETTINGS) | layer
            config.update(**layer)
        config.update(defaults_only=True, **config._get_default_generation_params())
        return config

    def _mask_token_id(self, config: ARDMGenerationConfig) -> int:
        mask_token_id = config.mask_token_id
        if mask_token_id is None:
            mask_token_id = getattr(self.config, "mask_token_id", None)
        if mask_token_id is None:
            raise ValueError("mask_token_id is None; expected the mask token's id in the generation or model config.")
        if mask_token_id >= self.config.vocab_size:
            raise ValueError(f"mask_token_id is {mask_token_id}; expected at most {self.config.vocab_size - 1}.")
        return mask_token_id

    def _prepare_canvas(
        self, input_ids: Tensor | None, attention_mask: Tensor | None, config: ARDMGenerationConfig
    ) -> tuple[Tensor, Tensor]:
        """Checks the input and appends `max_new_tokens` masks: ids and bool mask (B, L), copies of the caller's."""
        new_tokens, limit = config.max_new_tokens, self.config.max_position_embeddings
        if input_ids is None:
            input_ids = torch.empty(1, 0, dtype=torch.long, device=self.device)
            new_tokens = limit if new_tokens is None else new_tokens
        check_ids(input_ids, self.config.vocab_size)
        if input_ids.device != self.device:
            raise ValueError(f"input_ids is on {input_ids.device}; expected the model's device {self.device}.")
        if attention_mask is None:
            pad_token_id = config.pad_token_id if config.pad_token_id is not None else self.config.pad_token_id
            attention_mask = torch.ones_like(input_ids) if pad_token_id is None else input_ids != pad_token_id
        if not isinstance(attention_mask, Tensor) or attention_mask.shape != input_ids.shape:
            got = tuple(attention_mask.shape) if isinstance(attention_mask, Tensor) else type(attention_mask).__name__
            raise ValueError(f"attention_mask is {got}; expected a tensor {tuple(input_ids.shape)} like input_ids.")
        new_tokens = new_tokens or 0
        if input_ids.shape[1] + new_tokens > limit:
            raise ValueError(
                f"{input_ids.shape[1]} positions and max_new_tokens={new_tokens} make "
                f"{input_ids.shape[1] + new_tokens}; expected at most max_position_embeddings={limit}."
            )
        ids, real = input_ids.long(), attention_mask.bool().to(input_ids.device)
        return _append_masks(ids, real, new_tokens, self._mask_token_id(config)) if new_tokens else (ids.clone(), real)

    def adjust_generation_fn(
        self,
        generation_config: GenerationConfig | None,
        from_auto_class: bool,
        from_pipeline: str | None,
        pretrained_model_name_or_path: str | os.PathLike,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """transformers' hook in `from_pretrained`: loads `generation_config.json` into this package's class.

        Args:
            generation_config: one passed to `from_pretrained`, or None.
            from_auto_class: for transformers' telemetry.
            from_pipeline: for transformers' telemetry.
            pretrained_model_name_or_path: where the model comes from.
            *args: download arguments, positional in transformers' call.
            **kwargs: further download arguments.

        Raises:
            ValueError: if there is a `generation_config.json` that cannot be read.
        """
        if generation_config is not None:
            settings = {name: getattr(generation_config, name, None) for name in SETTINGS}
            self.generation_config = self.generation_config_class(**settings)
            return
        names = ("cache_dir", "force_download", "proxies", "local_files_only", "token", "revision", "subfolder")
        download = dict(zip(names, args, strict=False)) | kwargs
        download.pop("trust_remote_code", None)
        try:
            self.generation_config = self.generation_config_class.from_pretrained(
                pretrained_model_name_or_path, _from_auto=from_auto_class, _from_pipeline=from_pipeline, **download
            )
        except OSError as error:  # no such file: the configuration made from the model's stays
            if "valid JSON" in str(error):
                raise ValueError(f"generation_config.json cannot be read: {error}") from error


def _append_masks(ids: Tensor, real: Tensor, count: int, mask_token_id: int) -> tuple[Tensor, Tensor]:
    """Inserts `count` masks right after each row's last real token; padding on the right moves behind them."""
    length = ids.shape[1]
    places = torch.arange(length, device=ids.device)
    end_B1 = ((places + 1) * real).amax(1, keepdim=True) if length else ids.new_zeros(len(ids), 1)
    target = torch.arange(length + count, device=ids.device).expand(len(ids), -1)
    is_new = (target >= end_B1) & (target < end_B1 + count)
    if not length:
        return torch.full_like(target, mask_token_id), is_new
    source = torch.where(target < end_B1, target, target - count).clamp(min=0)
    return ids.gather(1, source).masked_fill(is_new, mask_token_id), real.gather(1, source) | is_new


def _row_streams(
    seed: int | list[int] | None, generator: torch.Generator | None, copies: int, batch_size: int
) -> tuple[Tensor, Tensor]:
    """The key (seed, row) of each row's random stream, int64 (B * copies,) each."""
    if seed is not None and generator is not None:
        raise ValueError("got seed and generator; expected at most one of them.")
    if isinstance(seed, (list, tuple)):
        if len(seed) != batch_size:
            raise ValueError(f"seed is a list of {len(seed)}; expected one seed for each of the {batch_size} rows.")
        return torch.tensor(seed).repeat_interleave(copies), torch.arange(copies).repeat(batch_size)
    seed = draw_seed(generator) if seed is None else seed
    return torch.tensor(seed).expand(batch_size * copies), torch.arange(batch_size * copies)


def _row_plan(config: ARDMGenerationConfig, num_masked: int) -> list[int]:
    if config.plan is not None:
        return check_plan(config.plan, num_masked)
    if config.steps is not None:
        return uniform_plan(num_masked, min(config.steps, num_masked))
    return fixed_size_plan(num_masked, config.tokens_per_step or 1)
