"""Setting checks: what each setting of a generation may be, by itself.

    CHECKS[name](name, value) raises ValueError unless the value is one that the setting can have

Orders are names of orders.py and resampling.py: generation_config_ardm.py checks them, and what
goes together.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from .checks import check_integer, check_number
from .named_plans import PLAN_NAMES

# What no use comes near, and nothing overflows at: 32-bit floats, tables of passes, memory.
_MOST = 10**9
_MOST_PASSES_OR_ROWS = 10**6
_LARGEST = 1e9
_COLDEST = 1e-20


def _check_count(name: str, value: object, minimum: int, maximum: int = _MOST) -> None:
    if isinstance(value, int) and value.bit_length() > 256:
        raise ValueError(
            f"{name} has {value.bit_length()} bits; expected an integer in {minimum}..{maximum}."
        )
    check_integer(name, value, minimum, maximum)


def _check_flag(name: str, value: object) -> None:
    # numpy's bool has the name of Python's; 0 and 1 are flags, a tensor or 1.0 is none
    if type(value).__name__ not in ("bool", "bool_", "int") or value not in (True, False):
        raise ValueError(f"{name} is {value!r}; expected True or False.")


def _check_ids(name: str, value: object) -> None:
    for item in value if isinstance(value, (list, tuple)) else [value]:
        _check_count(name, item, 0)


def _check_seed(name: str, value: object) -> None:
    for item in value if isinstance(value, (list, tuple)) else [value]:
        if isinstance(item, int) and item.bit_length() > 63:
            raise ValueError(
                f"{name} has {item.bit_length()} bits; expected an integer of at least 0 and at"
                " most 63 bits, or a list with one a row."
            )
        check_integer(name, item, 0)


def _check_temperature(name: str, value: object) -> None:
    others = "; do_sample=False takes the likeliest token"
    if check_number(name, value, _LARGEST, others=others) < _COLDEST:
        raise ValueError(f"{name} is {value!r}; expected a number of at least {_COLDEST}{others}.")


def _check_plan(name: str, value: object) -> None:
    if isinstance(value, str) and value in PLAN_NAMES:
        return
    if not isinstance(value, (list, tuple)):
        names = ", ".join(map(repr, PLAN_NAMES))
        raise ValueError(
            f"{name} is {value!r}; expected a list of group sizes, or with steps one of {names}."
        )
    for size in _flat(value):
        _check_count(f"{name}'s group size", size, 1)


def _check_losses(name: str, value: object) -> None:
    if not isinstance(value, (list, tuple)) or not value:
        got = type(value).__name__
        raise ValueError(f"{name} is {got}; expected a list of nats, one for each step.")
    for loss in _flat(value):
        _nonnegative(f"a value of {name}", loss)


def _flat(values: Any) -> list[Any]:
    """The items of a list, or of the list of each stage."""
    nested = values and all(isinstance(part, (list, tuple)) for part in values)
    return [item for part in values for item in part] if nested else [*values]


_from_one = partial(_check_count, minimum=1)
_from_zero = partial(_check_count, minimum=0)
_share = partial(check_number, maximum=1.0)
_nonnegative = partial(check_number, maximum=_LARGEST, or_zero=True)

CHECKS: dict[str, Callable[[str, object], object]] = {
    "max_new_tokens": _from_zero,
    "order_temperature": _nonnegative,
    "select_after_warping": _check_flag,
    "tokens_per_step": _from_one,
    "steps": _from_one,
    "plan": _check_plan,
    "per_step_losses": _check_losses,
    "threshold": _share,
    "entropy_bound": _nonnegative,
    "resample_steps": partial(_check_count, minimum=0, maximum=_MOST_PASSES_OR_ROWS),
    "resample_fraction": _share,
    "block_length": _from_one,
    "guidance_scale": _nonnegative,
    "do_sample": _check_flag,
    "temperature": _check_temperature,
    "top_k": _from_one,
    "top_p": _share,
    "min_p": _share,
    "num_return_sequences": partial(_check_count, minimum=1, maximum=_MOST_PASSES_OR_ROWS),
    "seed": _check_seed,
    "return_dict_in_generate": _check_flag,
    "output_history": _check_flag,
    "mask_token_id": _from_zero,
    "pad_token_id": _from_zero,
    "bos_token_id": _from_zero,
    "eos_token_id": _check_ids,
}
