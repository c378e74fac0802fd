"""ARDMGenerationConfig: what `generate` takes.

A setting that is None is unset: the next source decides (the call, its `generation_config`, the
model's own `generation_config.json`, the defaults - in this order). Only an explicit None in the
call itself turns a setting off.
"""

import inspect
import warnings
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Any

from torch import Tensor
from transformers import GenerationConfig

from .orders import ORDER_NAMES
from .replacements import REPLACEMENTS, in_place_of
from .resampling import RESAMPLE_NAMES
from .setting_checks import CHECKS

PLAN_SETTINGS = ("tokens_per_step", "steps", "plan")  # how many at a time: at most one of them
_ALIKE = 0.75  # of two names' letters, from which on one may be a misspelling of the other
_ADAPTIVE = ("threshold", "entropy_bound")  # how many more: at most one of them


class ARDMGenerationConfig(GenerationConfig):
    """Settings of [`ARDMGenerationMixin.generate`], saved as `generation_config.json`.

    Args:
        **kwargs: any of

            - max_new_tokens: masks appended to each row after its last real token.
            - order: "random" (default), "left_to_right", "right_to_left"; "confidence", "margin" or
              "entropy": the position whose distribution is surest first; "drawn_confidence" or
              "drawn_probability": tokens are drawn everywhere at each step, and those with the
              highest (log-)probability are kept; a LongTensor (L,) or (B, L) of positions; or a
              callable (logits (B, L, V), masked bool (B, L), generator) ->
              scores (B, L), highest first; scores within a millionth of the row's largest are
              equal, and the leftmost comes first. Of S stages (L,) the same in each, (S, L), or
              (S*L,) in which each position occurs S times; logits are of the next reveal.
            - order_temperature: Gumbel noise on the scores of an order that looks at the logits
              (default 0; without effect on others).
            - select_after_warping: orders, threshold and entropy_bound look at the distribution
              after temperature, top_k, top_p and min_p instead of before them (default False).
            - tokens_per_step: positions generated in each step (default 1), of several stages
              reveals; or
            - steps: number of network calls, each row's masks split evenly over them; or
            - plan: list of group sizes that sums to the number of masks of every row (of several
              stages a list for each, or one for all; of interleaved ones sizes that sum to all
              reveals); or with `steps` how those are split:
              "uniform" (default), "larger_first", "cosine", "linear_time", "binomial" (see
              named_plans.py), or "optimal", the cheapest split by `per_step_losses`.
            - per_step_losses: measured nats at each number of known tokens, for plan="optimal":
              `measure_step_losses(...).for_plans`, of several stages a list for each, of
              interleaved ones a list for each reveal.
            - threshold: a step also takes every position whose likeliest token (with an order by
              drawn tokens, the one drawn) has this probability; or
            - entropy_bound: a step also takes positions while the sum of their entropies less the
              largest is at most this, in nats. With either, the plan says how far a row is at
              least.
            - resample_steps: passes that send generated tokens back to mask (of several stages,
              back by one) and predict them again (default 0); they count in `steps`. Those between
              the steps need a row with at least two steps in a block.
            - resample_fraction: share of the generated tokens that goes back in each (default 0.1),
              at least one.
            - resample_order: which: "random" (default) or "least_confident", after the last step;
              "remdm_cap", "remdm_rescale" or "remdm_conf", between the steps.
            - block_length: a row's masks are generated in blocks of this size from left to right,
              by `order` inside.
            - guidance_scale: classifier-free guidance against the prompt masked out; 1 = off.
            - do_sample: draw (default) or take the most likely token.
            - temperature, top_k, top_p, min_p: as in transformers, None = off; the default is the
              model's own distribution.
            - num_return_sequences: independent results for each row.
            - seed: int, or a list with one int a row.
            - return_dict_in_generate: return [`ARDMGenerationOutput`] instead of ids.
            - output_history: keep the canvas after each pass in the output's `history`.
            - mask_token_id, pad_token_id, bos_token_id, eos_token_id: special ids; default: the
              model's.

    Raises:
        ValueError: on an unknown setting or a value out of range.
    """

    max_new_tokens: int | None
    order: str | Tensor | Callable[..., Any] | None
    order_temperature: float | None
    select_after_warping: bool | None
    tokens_per_step: int | None
    steps: int | None
    plan: list[int] | list[list[int]] | str | None
    per_step_losses: list[float] | list[list[float]] | None
    threshold: float | None
    entropy_bound: float | None
    resample_steps: int | None
    resample_fraction: float | None
    resample_order: str | None
    block_length: int | None
    guidance_scale: float | None
    do_sample: bool | None
    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    num_return_sequences: int | None
    seed: int | list[int] | None
    return_dict_in_generate: bool | None
    output_history: bool | None
    mask_token_id: int | None
    pad_token_id: int | None
    bos_token_id: int | None
    eos_token_id: int | list[int] | None

    def __init__(self, **kwargs: Any):
        # GenerationConfig's own __init__ is not called: most of its fields steer left-to-right
        # decoding and would be accepted here without an effect.
        for name in SETTINGS:
            setattr(self, name, kwargs.pop(name, None))
        self._commit_hash = kwargs.pop("_commit_hash", None)
        self._from_model_config = kwargs.pop("_from_model_config", None)
        self.transformers_version = kwargs.pop("transformers_version", None)
        check_names("generation settings", kwargs)
        self.validate()

    def validate(self, strict: bool = False, user_set_attributes: set[str] | None = None) -> None:
        """Checks every setting that is not None.

        Args:
            strict: unused, for transformers.
            user_set_attributes: unused, for transformers.

        Raises:
            ValueError: naming the first setting that is out of range.
        """
        for name, check in CHECKS.items():
            if (value := getattr(self, name)) is not None:
                check(name, value)
        self._validate_orders()
        given = [name for name in PLAN_SETTINGS if getattr(self, name) is not None]
        if len(given) > 1 and not (isinstance(self.plan, str) and given == ["steps", "plan"]):
            raise ValueError(
                f"got {' and '.join(given)}; expected at most one of {', '.join(PLAN_SETTINGS)}."
            )
        if self.threshold is not None and self.entropy_bound is not None:
            raise ValueError("got threshold and entropy_bound; expected at most one of them.")

    def _validate_orders(self) -> None:
        for name, names in (("order", ORDER_NAMES), ("resample_order", RESAMPLE_NAMES)):
            value = getattr(self, name)
            if isinstance(value, str) and value not in names:
                raise ValueError(f"{name} is {value!r}; expected one of {', '.join(names)}.")
        order: Any = self.order
        if order is not None and not isinstance(order, (str, Tensor)) and not callable(order):
            raise ValueError(
                f"order is {type(order).__name__}; expected a name, a LongTensor, or a callable."
            )

    def overlay(self, layer: dict[str, Any]) -> None:
        """Puts settings on top of these; one way to say how many at a time replaces the others.

        Args:
            layer: setting by name.

        Raises:
            ValueError: naming the first setting that is out of range.
        """
        given = {name for name, value in layer.items() if value is not None}
        plan = given & {*PLAN_SETTINGS}
        if plan == {"steps"} and "plan" not in layer and isinstance(self.plan, str):
            plan = set()  # another number of steps, split in the same way
        elif plan == {"plan"} and isinstance(layer["plan"], str):
            layer = {"steps": self.steps} | layer
        if plan:
            layer = dict.fromkeys(PLAN_SETTINGS) | layer
        if given & {*_ADAPTIVE}:
            layer = dict.fromkeys(_ADAPTIVE) | layer
        self.update(**layer)

    @classmethod
    def from_model_config(cls, model_config: Any) -> "ARDMGenerationConfig":
        """The settings of a model without a `generation_config.json`: its special ids.

        Args:
            model_config: the model's configuration.

        Returns:
            A new configuration.
        """
        ids = ("mask_token_id", "pad_token_id", "bos_token_id", "eos_token_id")
        return cls(**{name: getattr(model_config, name, None) for name in ids})

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """From the content of a `generation_config.json`, which a later version may have written.

        Args:
            config_dict: setting by name; unknown ones are dropped with a warning.
            **kwargs: settings that replace those of the file, and arguments of transformers.

        Returns:
            A configuration.

        Raises:
            ValueError: on what is no mapping, or an unknown setting among those that replace.
        """
        if not isinstance(config_dict, dict):
            raise ValueError(f"the settings are {config_dict!r:.60}; expected a mapping by name.")
        known = {*SETTINGS, "_commit_hash", "_from_model_config", "transformers_version"}
        if not kwargs.get("return_unused_kwargs"):
            check_names("generation settings", set(kwargs) - known - _OF_TRANSFORMERS)
        if unknown := sorted(set(config_dict) - known):
            warnings.warn(
                f"generation_config.json has settings unknown to this version: {unknown}.",
                stacklevel=2,
            )
        kept = {name: value for name, value in config_dict.items() if name in known}
        return super().from_dict(kept, **kwargs)

    def to_diff_dict(self) -> dict[str, Any]:
        """The settings that `generation_config.json` keeps: all but an order of one call.

        Returns:
            Setting by name.
        """
        return {
            name: _plain(value)
            for name, value in self.to_dict().items()
            if not (value is None or isinstance(value, Tensor) or callable(value))
        }

    @staticmethod
    def _get_default_generation_params() -> dict[str, Any]:
        return {
            "order": "random",
            "do_sample": True,
            "order_temperature": 0.0,
            "select_after_warping": False,
            "resample_steps": 0,
            "resample_fraction": 0.1,
            "resample_order": "random",
            "num_return_sequences": 1,
            "return_dict_in_generate": False,
            "output_history": False,
        }


def _plain(value: Any) -> Any:
    """Numbers of numpy as Python's, which JSON knows."""
    if isinstance(value, (list, tuple)):
        return [*map(_plain, value)]
    return value.item() if hasattr(value, "item") else value


SETTINGS = tuple(inspect.get_annotations(ARDMGenerationConfig))
# arguments of from_pretrained that reach from_dict
_OF_TRANSFORMERS = {"_from_auto", "_from_pipeline", "return_unused_kwargs", "trust_remote_code"}


def check_names(what: str, names: Iterable[str], others: Iterable[str] = ()) -> None:
    """Makes sure that settings exist.

    Args:
        what: they are, for the message.
        names: of settings.
        others: names beside those of settings that may have been meant.

    Raises:
        ValueError: if one does not, with the nearest that does, or with what takes its place.
    """
    unknown = sorted(set(names) - {*SETTINGS})
    if not unknown:
        return
    near = {name: _nearest(name, others) for name in unknown if name not in REPLACEMENTS}
    meant = [name for name in near.values() if name is not None]
    hint = f" (did you mean {', '.join(meant)}?)" if meant else ""
    unheard = None in near.values()  # of a name that resembles none
    expected = f" Expected some of {sorted({*SETTINGS, *others})}." if unheard else ""
    raise ValueError(f"unknown {what} {unknown}{hint}.{in_place_of([*unknown, *meant])}{expected}")


def _nearest(name: str, others: Iterable[str]) -> str | None:
    """What a misspelt name resembles: one of this world, or else of another."""
    for known in ([*SETTINGS, *others], REPLACEMENTS):
        if found := get_close_matches(name, known, 1, _ALIKE):
            return found[0]
    return None
