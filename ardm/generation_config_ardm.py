"""ARDMGenerationConfig and ARDMGenerationOutput: what `generate` takes and gives.

A setting that is None is unset: the next source decides (the call, its `generation_config`, the model's own
`generation_config.json`, the defaults - in this order). Only an explicit None in the call itself turns a setting off.
"""

import inspect
import warnings
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from torch import Tensor
from transformers import GenerationConfig
from transformers.modeling_outputs import ModelOutput

PLAN_SETTINGS = ("tokens_per_step", "steps", "plan")  # three ways to say how many at a time: at most one


class ARDMGenerationConfig(GenerationConfig):
    """Settings of [`ARDMGenerationMixin.generate`], saved as `generation_config.json`. Unset ones are None.

    Args:
        **kwargs: any of

            - max_new_tokens: masks appended to each row after its last real token.
            - order: "random" (default), "left_to_right", "right_to_left", or a LongTensor (L,) or (B, L) of positions.
            - tokens_per_step: positions generated in each step (default 1); or
            - steps: number of steps, each row's masks split evenly over them; or
            - plan: list of group sizes that sums to the number of masks of every row.
            - do_sample: draw (default) or take the most likely token.
            - temperature, top_k, top_p, min_p: as in transformers; the default is the model's own distribution.
            - num_return_sequences: independent results for each row.
            - seed: int, or a list with one int a row.
            - return_dict_in_generate: return [`ARDMGenerationOutput`] instead of ids.
            - mask_token_id, pad_token_id, bos_token_id, eos_token_id: special ids; default: the model's.

    Raises:
        ValueError: on an unknown setting or a value out of range.
    """

    max_new_tokens: int | None
    order: str | Tensor | None
    tokens_per_step: int | None
    steps: int | None
    plan: list[int] | None
    do_sample: bool | None
    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    num_return_sequences: int | None
    seed: int | list[int] | None
    return_dict_in_generate: bool | None
    mask_token_id: int | None
    pad_token_id: int | None
    bos_token_id: int | None
    eos_token_id: int | list[int] | None

    def __init__(self, **kwargs: Any):
        # GenerationConfig's own __init__ is not called: most of its fields steer left-to-right decoding and would be
        # accepted here without an effect.
        for name in SETTINGS:
            setattr(self, name, kwargs.pop(name, None))
        self._commit_hash = kwargs.pop("_commit_hash", None)
        self._from_model_config = kwargs.pop("_from_model_config", None)
        self.transformers_version = kwargs.pop("transformers_version", None)
        if kwargs:
            raise ValueError(f"unknown generation settings {sorted(kwargs)}; expected some of {sorted(SETTINGS)}.")
        self.validate()

    def validate(self, strict: bool = False, user_set_attributes: set[str] | None = None) -> None:
        """Checks every setting that is not None.

        Args:
            strict: unused, for transformers.
            user_set_attributes: unused, for transformers.

        Raises:
            ValueError: naming the first setting that is out of range.
        """
        for name in ("tokens_per_step", "steps", "num_return_sequences", "top_k"):
            _require_integer(name, getattr(self, name), minimum=1)
        for name in ("max_new_tokens", "mask_token_id", "pad_token_id", "bos_token_id"):
            _require_integer(name, getattr(self, name), minimum=0)
        for name, upper in (("temperature", float("inf")), ("top_p", 1.0), ("min_p", 1.0)):
            value: Any = getattr(self, name)
            fits = isinstance(value, Real) and 0 < float(value) <= upper and float(value) < float("inf")
            if value is not None and not fits:
                raise ValueError(f"{name} is {value!r}; expected a number in (0, {upper}].")
        for name in ("do_sample", "return_dict_in_generate"):
            if getattr(self, name) not in (None, True, False):
                raise ValueError(f"{name} is {getattr(self, name)!r}; expected True or False.")
        for value in self.seed if isinstance(self.seed, (list, tuple)) else [self.seed]:
            _require_integer("seed", value, minimum=0, maximum=2**63 - 1)
        if self.plan is not None:
            if not isinstance(self.plan, (list, tuple)):
                raise ValueError(f"plan is {self.plan!r}; expected a list of group sizes.")
            for size in self.plan:
                _require_integer("plan's group size", size, minimum=1)
        given = [name for name in PLAN_SETTINGS if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"got {' and '.join(given)}; expected at most one of {', '.join(PLAN_SETTINGS)}.")

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
            **kwargs: as in transformers.

        Returns:
            A configuration.
        """
        known = {*SETTINGS, "_commit_hash", "_from_model_config", "transformers_version"}
        unknown = sorted(set(config_dict) - known)
        if unknown:
            warnings.warn(f"generation_config.json has settings unknown to this version: {unknown}.", stacklevel=2)
        return super().from_dict({name: value for name, value in config_dict.items() if name in known}, **kwargs)

    def to_diff_dict(self) -> dict[str, Any]:
        """The settings that are not None, for `generation_config.json`; an order of one call's positions is not saved.

        Returns:
            Setting by name.
        """
        settings = self.to_dict().items()
        return {name: value for name, value in settings if value is not None and not isinstance(value, Tensor)}

    @staticmethod
    def _get_default_generation_params() -> dict[str, Any]:
        return {
            "order": "random",
            "do_sample": True,
            "num_return_sequences": 1,
            "return_dict_in_generate": False,
        }


SETTINGS = tuple(inspect.get_annotations(ARDMGenerationConfig))


def _require_integer(name: str, value: Any, minimum: int, maximum: float = float("inf")) -> None:
    integer = isinstance(value, Integral) and not isinstance(value, bool)
    if value is not None and not (integer and minimum <= value <= maximum):
        limits = f"of at least {minimum}" if maximum == float("inf") else f"in {minimum}..{maximum}"
        raise ValueError(f"{name} is {value!r}; expected an integer {limits}.")


@dataclass
class ARDMGenerationOutput(ModelOutput):
    """What [`ARDMGenerationMixin.generate`] returns with `return_dict_in_generate=True`.

    Args:
        sequences: int64 (B, L), the ids.
        order: int64 (B, L), the step at which each position was generated, -1 where it was given.
        log_probs: float64 (B, L), nats: log-probability with which each token was drawn, 0 where it was given.
        num_forward_passes: calls of the network.
        tokens_per_forward: generated tokens per row and call.
    """

    sequences: Tensor | None = None
    order: Tensor | None = None
    log_probs: Tensor | None = None
    num_forward_passes: int | None = None
    tokens_per_forward: float | None = None
