"""ARDMGenerationMixin.generate: fills the masks of a sequence in any order, several at a time.

    settings <- the call, its generation_config, the model's own, the defaults      (first wins)
    decoding <- small objects made of the settings                                   (assembly.py)
    ids      <- one loop runs them                                                   (decoding.py)

With second thoughts: resampling sends generated tokens back to mask and predicts them again.
"""

import copy
import os
import warnings
from collections.abc import Callable, Sequence
from types import NoneType
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from .assembly import assemble
from .decoding import Decoding
from .generation_config_ardm import (
    SETTINGS,
    ARDMGenerationConfig,
    check_names,
)
from .generation_output_ardm import ARDMGenerationOutput
from .id_checks import check_token_types
from .networks import evaluating
from .streaming import Streamer


class ARDMGenerationMixin:
    """Gives a masked language model `generate`. Put it before the model class in the bases."""

    config: Any  # a GenerativeConfig; typed as the model class types it
    device: torch.device
    generation_config: Any  # an ARDMGenerationConfig; the same
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
        logits_processor: Sequence[Callable[..., Tensor]] | None = None,
        stopping_criteria: Sequence[Callable[..., Any]] | None = None,
        streamer: Streamer | None = None,
        token_type_ids: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor | ARDMGenerationOutput:
        """Generates every mask id of `input_ids` (arXiv 2110.02037, algorithm 1), in all stages.

        Nothing else is touched. Exact samples of the model at one token a step;
        `tokens_per_step=4` draws four at a time, independently given the known ones. Without
        `input_ids` and `max_new_tokens`: one sequence of `max_position_embeddings` tokens.

        A row ends at the first generated EOS token (of the model's or call's `eos_token_id`) behind
        its last given token: what lies behind becomes padding. With one `seed` a row's result
        depends on nothing but the row. A model in training mode is run without dropout, and left as
        it was.

        Args:
            input_ids: int64 (B, L). Rows may have different numbers of masks. With several stages
                a coarse value is one, too, and becomes a value below it.
            attention_mask: (B, L), 1 on real tokens, 0 on padding on either side; None: all but the
                pad id, or simply all if that is an id of texts, too (EOS, BOS or UNK).
            generation_config: settings that replace the model's own; see [`ARDMGenerationConfig`].
            generator: source of the seed where `seed` is None; may live on another device. None:
                torch's global one.
            logits_processor: transformers' processors, or callables; see [`LogitsProcessing`] for
                what they are given.
            stopping_criteria: transformers' criteria, or callables; see [`Stopping`] for what they
                are asked.
            streamer: `TextDiffusionStreamer`, `TextStreamer` or the like, for one row; see
                [`Streaming`].
            token_type_ids: (B, L), as tokenizers such as BERT's return them: zeros alone.
            **kwargs: any field of [`ARDMGenerationConfig`], with precedence over all
                configurations.

        Returns:
            int64 (B * num_return_sequences, L + max_new_tokens), or [`ARDMGenerationOutput`]. Where
            there are neither masks nor new tokens, with a warning, the ids as they are.

        Raises:
            ValueError: on an unknown argument or one out of range; on settings that do not fit
                together; on ids of the wrong shape, type, device or range; if the sequence would
                exceed the model's positions; if the network returns NaN.
        """
        _check_callables("logits_processor", logits_processor)
        _check_callables("stopping_criteria", stopping_criteria)
        check_token_types(token_type_ids)
        config = self._resolve_generation_config(generation_config, kwargs)
        decoding = assemble(
            self,
            input_ids,
            attention_mask,
            config,
            generator=generator,
            logits_processor=logits_processor,
            stopping_criteria=stopping_criteria,
            streamer=streamer,
        )
        if len(decoding.canvas.ids) and not decoding.canvas.hidden_BL.any():
            warnings.warn(_nothing_to_do(decoding, config), stacklevel=3)  # at the caller's line
        try:
            with evaluating(self):
                decoding.run()
        except BaseException:
            if streamer is not None:
                streamer.end()  # who reads in another thread must not wait for ever
            raise
        return _output(decoding) if config.return_dict_in_generate else decoding.canvas.ids

    def _resolve_generation_config(
        self, generation_config: GenerationConfig | None, kwargs: dict[str, Any]
    ) -> ARDMGenerationConfig:
        """The call's arguments on its generation_config on the model's own on the defaults."""
        check_names("arguments", kwargs, _BESIDE_SETTINGS)
        if not isinstance(generation_config, (ARDMGenerationConfig, NoneType)):
            got = type(generation_config).__name__
            raise ValueError(f"generation_config is a {got}; expected an ARDMGenerationConfig.")
        if kwargs.get("eos_token_id", ()) is None:  # the model's own is not to come back
            kwargs = kwargs | {"eos_token_id": []}
        passed = vars(generation_config) if generation_config is not None else {}
        for settings in (vars(self.generation_config), passed):  # set as attributes, unchecked
            names = [name for name in settings if not name.startswith("_")]
            check_names("generation settings", set(names) - {"transformers_version"})
        config = copy.copy(self.generation_config)
        config.overlay({name: passed[name] for name in SETTINGS if passed.get(name) is not None})
        config.overlay(kwargs)
        config.update(defaults_only=True, **config._get_default_generation_params())
        return config

    def adjust_generation_fn(
        self,
        generation_config: GenerationConfig | None,
        from_auto_class: bool,
        from_pipeline: str | None,
        pretrained_model_name_or_path: str | os.PathLike | None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """transformers' hook in `from_pretrained`: loads `generation_config.json` as this class.

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
        if pretrained_model_name_or_path is None:  # weights of the call: no file beside them
            return
        download = dict(zip(_DOWNLOAD_ARGUMENTS, args, strict=False)) | kwargs
        # beside these come settings of the call that replace the model's: its own to check
        known = {*_DOWNLOAD_ARGUMENTS, *SETTINGS}
        download = {name: value for name, value in download.items() if name in known}
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


# arguments of `generate` that are no settings
_BESIDE_SETTINGS = (
    "input_ids",
    "attention_mask",
    "generation_config",
    "generator",
    "logits_processor",
    "stopping_criteria",
    "streamer",
)
# what transformers passes to the hook by position
_DOWNLOAD_ARGUMENTS = (
    "cache_dir",
    "force_download",
    "proxies",
    "local_files_only",
    "token",
    "revision",
    "subfolder",
)


def _check_callables(name: str, values: object) -> None:
    """Raises ValueError unless it is None or a list of callables."""
    if values is not None and not isinstance(values, (list, tuple)):
        raise ValueError(f"{name} is a {type(values).__name__}; expected a list of callables.")
    for value in values or ():
        if not callable(value):
            raise ValueError(f"{name} holds a {type(value).__name__}; expected callables.")


def _nothing_to_do(decoding: Decoding, config: ARDMGenerationConfig) -> str:
    mask = decoding.canvas.mask_token_id
    return (
        f"nothing to generate: input_ids hold no mask (id {mask}), and max_new_tokens is"
        f" {config.max_new_tokens}, so the ids are returned as they are; put tokenizer.mask_token"
        " where there are gaps, or pass max_new_tokens=N to continue the text."
    )


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
