"""ARDMGenerationMixin.generate: fills the masks of a sequence in any order, several at a time, with
second thoughts.

What a call says becomes a few small objects, and one loop (decoding.py) runs them:

    canvas      the rows and their random numbers        passes      how many tokens each step fills
    selection   the order, where it looks at logits      resampling  what goes back to mask
    network     the model, guided if asked               draw        from logits to a token

Shapes: B batch, L length, S passes, V vocabulary.
"""

import copy
import os
from collections.abc import Callable, Sequence
from types import NoneType
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig
from transformers.generation import StoppingCriteriaList

from .assembly import is_left_to_right, make_resampling, make_selection, plan_passes
from .canvas import Canvas, append_masks, row_streams
from .decoding import Decoding
from .draws import make_draw
from .generation_config_ardm import SETTINGS, ARDMGenerationConfig, ARDMGenerationOutput
from .guidance import Network, guided
from .logits_processing import Processing
from .masking import check_ids
from .orders import LOGIT_ORDERS
from .stopping import Endings
from .streaming import Streaming


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
        generation_config: ARDMGenerationConfig | None = None,
        generator: torch.Generator | None = None,
        logits_processor: Sequence[Callable[..., Any]] | None = None,
        stopping_criteria: Sequence[Callable[..., Any]] | None = None,
        streamer: Any = None,
        **kwargs: Any,
    ) -> Tensor | ARDMGenerationOutput:
        """Generates every mask id of `input_ids`; nothing else is touched (arXiv 2110.02037,
        algorithm 1).

        Exact samples of the model at one token a step; `tokens_per_step=4` draws four at a time,
        independently given
        the known ones. Without `input_ids` and `max_new_tokens`: one sequence of
            `max_position_embeddings` tokens.

        A row ends at the first generated EOS token (of the model's or call's `eos_token_id`) behind
        its last given
        token: what lies behind becomes padding. With one `seed` a row's result depends on nothing
            but the row.

        Args:
            input_ids: int64 (B, L). Rows may have different numbers of masks.
            attention_mask: (B, L), 1 on real tokens, 0 on padding on either side; None: all but the
                pad id.
            generation_config: settings that replace the model's own; see [`ARDMGenerationConfig`].
            generator: source of the seed where `seed` is None; may live on another device. None:
                torch's global one.
            logits_processor: transformers' processors, or callables; see [`Processing`] for what
                they are given.
            stopping_criteria: transformers' criteria, or callables; see [`Endings`] for what they
                are asked.
            streamer: `TextDiffusionStreamer`, `TextStreamer` or the like, for one row; see
                [`Streaming`].
            **kwargs: any field of [`ARDMGenerationConfig`], with precedence over all
                configurations.

        Returns:
            int64 (B * num_return_sequences, L + max_new_tokens), or [`ARDMGenerationOutput`].

        Raises:
            ValueError: on an unknown argument or one out of range; on settings that do not fit
                together; on ids of the wrong shape, type, device or range; if the sequence would
                exceed the model's positions; if the network returns NaN.
        """
        for name, callables in (
            ("logits_processor", logits_processor),
            ("stopping_criteria", stopping_criteria),
        ):
            _check_callables(name, callables)
        config = self._resolve_generation_config(generation_config, kwargs)
        canvas = self._prepare_canvas(input_ids, attention_mask, config, generator)
        resampling = make_resampling(config)
        passes = plan_passes(config, canvas.num_masks_B1[:, 0].tolist(), resampling)
        processing = (
            Processing(logits_processor, is_left_to_right(config, passes))
            if logits_processor
            else None
        )
        streaming = (
            Streaming(streamer, canvas, revised=resampling is not None)
            if streamer is not None
            else None
        )
        decoding = Decoding(
            canvas=canvas,
            passes=passes,
            network=self._network(canvas, config),
            draw=make_draw(config),
            selection=make_selection(config, generator),
            whole_rows=callable(config.order),
            resampling=resampling,
            processing=processing,
            endings=self._endings(canvas, config, stopping_criteria),
            streaming=streaming,
            history=[] if config.output_history else None,
        )
        try:
            decoding.run()
        except BaseException:
            if streamer is not None:
                streamer.end()  # who reads in another thread must not wait for ever
            raise
        return _output(decoding) if config.return_dict_in_generate else canvas.ids

    # ---------------------------------------------------------------------------------- preparation
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
        if kwargs.get("eos_token_id", ()) is None:  # the model's own is not to come back
            kwargs = kwargs | {"eos_token_id": []}
        config = copy.copy(self.generation_config)
        passed = vars(generation_config) if generation_config is not None else {}
        for layer in (
            {name: passed[name] for name in SETTINGS if passed.get(name) is not None},
            kwargs,
        ):
            config.overlay(layer)
        config.update(defaults_only=True, **config._get_default_generation_params())
        return config

    def _mask_token_id(self, config: ARDMGenerationConfig) -> int:
        mask_token_id = self._special_id("mask_token_id", config)
        if mask_token_id is None:
            raise ValueError(
                "mask_token_id is None; expected the mask token's id in the generation or model"
                " config."
            )
        return mask_token_id

    def _prepare_canvas(
        self,
        input_ids: Tensor | None,
        attention_mask: Tensor | None,
        config: ARDMGenerationConfig,
        generator: torch.Generator | None,
    ) -> Canvas:
        """Checks the input, appends `max_new_tokens` masks and repeats the rows
        `num_return_sequences` times.
        """
        ids, real_BL = self._checked_input(input_ids, attention_mask, config)
        mask_token_id = self._mask_token_id(config)
        copies = config.num_return_sequences or 1
        new_tokens = config.max_new_tokens or 0
        if input_ids is None and config.max_new_tokens is None:
            new_tokens = self.config.max_position_embeddings
        if ids.shape[1] + new_tokens > self.config.max_position_embeddings:
            raise ValueError(
                f"{ids.shape[1]} positions and max_new_tokens={new_tokens} make"
                f" {ids.shape[1] + new_tokens}; expected at most"
                f" max_position_embeddings={self.config.max_position_embeddings}."
            )
        if new_tokens:
            ids, real_BL = append_masks(ids, real_BL, new_tokens, mask_token_id)
        streams = row_streams(config.seed, generator, copies, len(ids))
        order = _queue_order(config.order)
        if isinstance(order, Tensor) and order.ndim == 2:
            order = order.repeat_interleave(copies, 0)
        ids = ids.repeat_interleave(copies, 0)
        real_BL = real_BL.repeat_interleave(copies, 0)
        return Canvas(ids, real_BL, mask_token_id, streams, order, config.block_length)

    def _checked_input(
        self, input_ids: Tensor | None, attention_mask: Tensor | None, config: ARDMGenerationConfig
    ) -> tuple[Tensor, Tensor]:
        """int64 ids and bool mask of real tokens, (B, L) each."""
        if input_ids is None:
            input_ids = torch.empty(1, 0, dtype=torch.long, device=self.device)
        if isinstance(input_ids, Tensor) and input_ids.device != self.device:
            raise ValueError(
                f"input_ids is on {input_ids.device}; expected the model's device {self.device}."
            )
        check_ids(input_ids, self.config.vocab_size)
        if attention_mask is None:
            pad_token_id = self._special_id("pad_token_id", config)
            if pad_token_id is not None and pad_token_id == self._mask_token_id(config):
                raise ValueError(
                    f"pad_token_id is {pad_token_id}; expected another id than mask_token_id."
                )
            attention_mask = (
                torch.ones_like(input_ids) if pad_token_id is None else input_ids != pad_token_id
            )
        if not isinstance(attention_mask, Tensor) or attention_mask.shape != input_ids.shape:
            got = (
                tuple(attention_mask.shape)
                if isinstance(attention_mask, Tensor)
                else type(attention_mask).__name__
            )
            raise ValueError(
                f"attention_mask is {got}; expected a tensor {tuple(input_ids.shape)} like"
                " input_ids."
            )
        return input_ids.long(), attention_mask.bool().to(input_ids.device)

    def _special_id(self, name: str, config: ARDMGenerationConfig) -> Any:
        """A special id (or ids) of the generation config, or else of the model's; None if there is
        none.
        """
        value = getattr(config, name)
        value = value if value is not None else getattr(self.config, name, None)
        for token in (
            value if isinstance(value, (list, tuple)) else [] if value is None else [value]
        ):
            if not 0 <= token < self.config.vocab_size:
                raise ValueError(
                    f"{name} is {value}; expected ids in 0..{self.config.vocab_size - 1}."
                )
        return value

    def _network(self, canvas: Canvas, config: ARDMGenerationConfig) -> Network:
        """The model as a function of ids and positions, guided where that is asked for and there is
        a prompt.
        """
        scale = (
            1.0
            if config.guidance_scale is None or not canvas.given_BL.any()
            else float(config.guidance_scale)
        )
        attention_mask = (
            None if canvas.real_BL.all() else canvas.real_BL.repeat(1 if scale == 1 else 2, 1)
        )

        never = None  # the model gives its own mask id no probability, another one would be drawn
        if canvas.mask_token_id != getattr(self.config, "mask_token_id", None):
            never = torch.tensor([canvas.mask_token_id], device=canvas.ids.device)

        def network(ids: Tensor, positions: Tensor | None) -> Tensor:
            logits = self(
                input_ids=ids, attention_mask=attention_mask, logits_positions=positions
            ).logits
            return logits if never is None else logits.index_fill(-1, never, -torch.inf)

        return (
            network if scale == 1 else guided(network, canvas.given_BL, canvas.mask_token_id, scale)
        )

    def _endings(
        self,
        canvas: Canvas,
        config: ARDMGenerationConfig,
        criteria: Sequence[Callable[..., Any]] | None,
    ) -> Endings | None:
        eos = self._special_id("eos_token_id", config)
        eos = (
            []
            if eos is None
            else [int(i) for i in (eos if isinstance(eos, (list, tuple)) else [eos])]
        )
        if not eos and not criteria:
            return None
        pad_token_id = self._special_id("pad_token_id", config)
        if pad_token_id is None and not eos:
            raise ValueError(
                "stopping_criteria need a pad_token_id (or eos_token_id) to put behind a row's end."
            )
        asked = StoppingCriteriaList(criteria) if criteria else None
        return Endings(canvas, eos, asked, eos[0] if pad_token_id is None else pad_token_id)

    def adjust_generation_fn(
        self,
        generation_config: GenerationConfig | None,
        from_auto_class: bool,
        from_pipeline: str | None,
        pretrained_model_name_or_path: str | os.PathLike,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """transformers' hook in `from_pretrained`: loads `generation_config.json` into this
        package's class.

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
        names = (
            "cache_dir",
            "force_download",
            "proxies",
            "local_files_only",
            "token",
            "revision",
            "subfolder",
        )
        download = dict(zip(names, args, strict=False)) | kwargs
        download.pop("trust_remote_code", None)
        try:
            self.generation_config = self.generation_config_class.from_pretrained(
                pretrained_model_name_or_path,
                _from_auto=from_auto_class,
                _from_pipeline=from_pipeline,
                **download,
            )
        except OSError as error:  # no such file: the configuration made from the model's stays
            if "valid JSON" in str(error):
                raise ValueError(f"generation_config.json cannot be read: {error}") from error


def _check_callables(name: str, values: Any) -> None:
    """Raises ValueError unless it is None or a list of callables."""
    if values is not None and not isinstance(values, (list, tuple)):
        raise ValueError(f"{name} is a {type(values).__name__}; expected a list of callables.")
    for value in values or ():
        if not callable(value):
            raise ValueError(f"{name} holds a {type(value).__name__}; expected callables.")


def _queue_order(order: Any) -> str | Tensor:
    """The order in which hidden positions queue up before the logits are known."""
    if isinstance(order, Tensor):
        return order
    return "left_to_right" if callable(order) or order in LOGIT_ORDERS else order


def _output(decoding: Decoding) -> ARDMGenerationOutput:
    canvas = decoding.canvas
    passes = decoding.num_forward_passes
    generated = int((canvas.order_BL >= 0).sum())
    return ARDMGenerationOutput(
        sequences=canvas.ids,
        order=canvas.order_BL,
        log_probs=canvas.log_probs_BL,
        num_forward_passes=passes,
        tokens_per_forward=generated / (len(canvas.ids) * passes) if passes else 0.0,
        history=None if decoding.history is None else tuple(decoding.history),
    )
