"""Assembly: from the settings of a call to the small objects that decoding.py runs."""

from typing import Any

import torch

from .generation_config_ardm import ARDMGenerationConfig
from .orders import LOGIT_ORDERS
from .passes import Passes, make_passes, row_plan
from .resampling import Resampling
from .selection import Amount, Selection, above_threshold, within_entropy


def make_resampling(config: ARDMGenerationConfig) -> Resampling | None:
    """What goes back to mask; None where nothing does.

    Args:
        config: the call's settings.

    Returns:
        The resampling, or None.

    Raises:
        ValueError: if it does not go together with the other settings.
    """
    if not config.resample_steps:
        return None
    assert config.resample_fraction is not None and config.resample_order is not None
    resampling = Resampling(config.resample_steps, config.resample_fraction, config.resample_order)
    if resampling.between and _amount(config):
        raise ValueError(
            f"resample_order={resampling.order!r} needs to know how many tokens a step fills;"
            " expected no threshold or entropy_bound with it."
        )
    if config.steps is not None and config.steps <= resampling.steps:
        raise ValueError(
            f"steps is {config.steps} and resample_steps {resampling.steps}; expected more steps:"
            " the resampling passes count among them."
        )
    one_group = isinstance(config.plan, (list, tuple)) and len(config.plan) == 1
    if resampling.between and (one_group or config.steps == resampling.steps + 1):
        raise ValueError(
            f"resample_order={resampling.order!r} lies between steps; expected a plan of at least"
            " two."
        )
    return resampling


def plan_passes(
    config: ARDMGenerationConfig, num_masks: list[int], resampling: Resampling | None
) -> Passes:
    """Each row's passes; rows with the same number of masks have the same ones.

    Args:
        config: the call's settings.
        num_masks: of each row.
        resampling: or None.

    Returns:
        The passes of all rows.

    Raises:
        ValueError: if the plan does not fit the masks or the other settings.
    """
    if config.plan == "optimal" and config.steps is None:
        raise ValueError("plan is 'optimal' without steps; expected plan='optimal', steps=N.")
    if config.plan == "optimal" and config.block_length is not None:
        raise ValueError(
            "plan='optimal' has no blocks; expected steps or tokens_per_step with block_length."
        )
    steps = config.steps
    if steps is not None and resampling is not None:
        steps -= resampling.steps
    settings: dict[str, Any] = {
        "tokens_per_step": config.tokens_per_step,
        "steps": steps,
        "plan": config.plan,
    }
    settings |= {"losses": config.per_step_losses, "block_length": config.block_length}
    plans: dict[int, list[list[int]]] = {
        count: row_plan(count, **settings) for count in sorted(set(num_masks))
    }
    return make_passes([plans[count] for count in num_masks], resampling)


def _amount(config: ARDMGenerationConfig) -> Amount | None:
    if config.threshold is not None:
        return above_threshold(config.threshold)
    return within_entropy(config.entropy_bound) if config.entropy_bound is not None else None


def make_selection(
    config: ARDMGenerationConfig, generator: torch.Generator | None
) -> Selection | None:
    """How the logits decide what is filled; None where an order and a plan that need no logits
    decide alone.

    Args:
        config: the call's settings.
        generator: for a callable order; None: one made from the seed.

    Returns:
        The selection, or None.
    """
    amount: Amount | None = _amount(config)
    order: Any = config.order if callable(config.order) or config.order in LOGIT_ORDERS else None
    if not (order or amount):
        return None
    if callable(order) and generator is None:
        seed: Any = (
            config.seed[0]
            if isinstance(config.seed, (list, tuple)) and config.seed
            else config.seed
        )
        generator = (
            torch.default_generator if seed is None else torch.Generator().manual_seed(int(seed))
        )
    return Selection(order, config.order_temperature or 0.0, amount, generator)


def is_left_to_right(config: ARDMGenerationConfig, passes: Passes) -> bool:
    """Whether every token is drawn with all tokens left of it known, and once."""
    alone = max(passes.widths, default=1) <= 1 and _amount(config) is None
    return config.order == "left_to_right" and alone and not config.resample_steps
