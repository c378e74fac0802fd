"""Setting checks: what each setting of a generation may be, by itself.

    CHECKS[name](name, value) raises ValueError unless the value is one that the setting can have

Orders are names of orders.py and resampling.py: generation_config_ardm.py checks them, and what
goes together.
"""

from collections.abc import Callable
from functools import partial

from .checks import check_integer, check_number


def _check_flag(name: str, value: object) -> None:
    if value not in (True, False):
        raise ValueError(f"{name} is {value!r}; expected True or False.")


def _check_one_or_many(name: str, value: object, maximum: int | None = None) -> None:
    for item in value if isinstance(value, (list, tuple)) else [value]:
        check_integer(name, item, 0, maximum)


def _check_plan(name: str, value: object) -> None:
    if isinstance(value, str) and value == "optimal":
        return
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{name} is {value!r}; expected a list of group sizes, or 'optimal'.")
    for size in value:
        check_integer(f"{name}'s group size", size, 1)


def _check_losses(name: str, value: object) -> None:
    if not isinstance(value, (list, tuple)) or not value:
        got = type(value).__name__
        raise ValueError(f"{name} is {got}; expected a list of nats, one for each step.")
    for loss in value:
        check_number(f"a value of {name}", loss, or_zero=True)


_from_one = partial(check_integer, minimum=1)
_from_zero = partial(check_integer, minimum=0)
_share = partial(check_number, maximum=1.0)
_nonnegative = partial(check_number, or_zero=True)

CHECKS: dict[str, Callable[[str, object], object]] = {
    "max_new_tokens": _from_zero,
    "order_temperature": _nonnegative,
    "tokens_per_step": _from_one,
    "steps": _from_one,
    "plan": _check_plan,
    "per_step_losses": _check_losses,
    "threshold": _share,
    "entropy_bound": _nonnegative,
    "resample_steps": _from_zero,
    "resample_fraction": _share,
    "block_length": _from_one,
    "guidance_scale": _nonnegative,
    "do_sample": _check_flag,
    "temperature": partial(check_number, others="; do_sample=False takes the likeliest token"),
    "top_k": _from_one,
    "top_p": _share,
    "min_p": _share,
    "num_return_sequences": _from_one,
    "seed": partial(_check_one_or_many, maximum=2**63 - 1),
    "return_dict_in_generate": _check_flag,
    "output_history": _check_flag,
    "mask_token_id": _from_zero,
    "pad_token_id": _from_zero,
    "bos_token_id": _from_zero,
    "eos_token_id": _check_one_or_many,
}
