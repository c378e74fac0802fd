"""Assembly: from the settings of a call to the small objects that decoding.py runs.

    canvas             inputs.py              what is filled: the rows, and their random numbers
    passes             passes.py, plans.py    how many tokens each pass sends back and fills
    resampling         resampling.py          what goes back to mask
    network            guidance.py            the model, guided if asked
    logits_processing  logits_processing.py   what is done to the logits
    selection          selection.py           the order, where it looks at logits
    draw               draws.py               from logits to a token
    stopping           stopping.py            where rows end
    streaming          streaming.py           who watches

Here names become callables: none of these objects looks at a setting.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .canvas import Canvas
from .decoding import Decoding
from .draws import Draw, Warp, most_likely, sampling, warping
from .generation_config_ardm import ARDMGenerationConfig
from .guidance import guided
from .inputs import GenerativeModel, make_canvas, special_ids
from .logits_processing import LogitsProcessing
from .networks import MaskedLanguageModel, Network, position_logits
from .orders import logit_order
from .passes import Passes, make_passes, row_plan
from .randomness import generator_of
from .resampling import RESAMPLE_ORDERS, Resampling
from .selection import Amount, Selection, above_threshold, within_entropy
from .stopping import Stopping, any_of
from .streaming import Streamer, Streaming
from .vocabulary import with_given_tokens


def assemble(
    model: GenerativeModel,
    input_ids: Tensor | None,
    attention_mask: Tensor | None,
    config: ARDMGenerationConfig,
    *,
    generator: torch.Generator | None = None,
    logits_processor: Sequence[Callable[..., Tensor]] | None = None,
    stopping_criteria: Sequence[Callable[..., Any]] | None = None,
    streamer: Streamer | None = None,
) -> Decoding:
    """All that one call of `generate` is made of, checked, before the network is called.

    Args:
        model: the network.
        input_ids: int64 (B, L), or None.
        attention_mask: (B, L), or None.
        config: the call's settings.
        generator: source of the seed where that is None.
        logits_processor: see [`LogitsProcessing`].
        stopping_criteria: see [`Stopping`].
        streamer: see [`Streaming`].

    Returns:
        The decoding, ready to run.

    Raises:
        ValueError: if the settings do not fit the input, or each other.
    """
    canvas = make_canvas(model, input_ids, attention_mask, config, generator)
    resampling = make_resampling(config)
    chances = canvas.uniforms_of_plan() if config.plan == "binomial" else None
    num_stages = canvas.stages.num_stages
    counts = canvas.hidden_BL.sum(1).tolist()
    passes = plan_passes(config, canvas.sizes(), counts, num_stages, resampling, chances)
    logits_processing = None
    if logits_processor:
        if canvas.stages.direct:
            raise ValueError("got a logits_processor; expected none with direct logits.")
        left_to_right = num_stages == 1 and is_left_to_right(config, passes)
        logits_processing = LogitsProcessing(logits_processor, left_to_right)
    return Decoding(
        canvas=canvas,
        passes=passes,
        network=make_network(model, canvas, config.guidance_scale),
        draw=make_draw(config),
        selection=make_selection(config, generator),
        resampling=resampling,
        logits_processing=logits_processing,
        stopping=make_stopping(model, canvas, config, stopping_criteria),
        history=[] if config.output_history else None,
        # last, as it puts the prompt: nothing is shown of a call that is refused
        streaming=None if streamer is None else Streaming(streamer, canvas, resampling is not None),
    )


# ------------------------------------------------------------------------------- how many, and when
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
    order = RESAMPLE_ORDERS[config.resample_order]
    resampling = Resampling(config.resample_steps, config.resample_fraction, order)
    if resampling.between and _amount(config):
        raise ValueError(
            f"resample_order={config.resample_order!r} needs to know how many tokens a step fills;"
            " expected no threshold or entropy_bound with it."
        )
    if config.steps is not None and config.steps <= resampling.steps:
        raise ValueError(
            f"steps is {config.steps} and resample_steps {resampling.steps};"
            " expected more steps: the resampling passes count among them."
        )
    one_group = isinstance(config.plan, (list, tuple)) and len(config.plan) == 1
    if resampling.between and (one_group or config.steps == resampling.steps + 1):
        raise ValueError(
            f"resample_order={config.resample_order!r} lies between steps;"
            " expected a plan of at least two."
        )
    return resampling


def plan_passes(
    config: ARDMGenerationConfig,
    sizes: list[list[list[int]]],
    num_positions: list[int],
    num_stages: int,
    resampling: Resampling | None,
    chances: list[Tensor] | None = None,
) -> Passes:
    """Each row's passes; unless left to chance, rows with the same masks have the same.

    Args:
        config: the call's settings.
        sizes: of each row, how many reveals each block of each stage has.
        num_positions: of each row, how many it generates.
        num_stages: of the model.
        resampling: or None.
        chances: for each row the numbers of a plan that is left to chance, or None.

    Returns:
        The passes of all rows.

    Raises:
        ValueError: if the plan does not fit the masks or the other settings.
    """
    if isinstance(config.plan, str) and config.steps is None:
        raise ValueError(
            f"plan is {config.plan!r} without steps; expected plan={config.plan!r}, steps=N."
        )
    if config.plan == "optimal" and config.block_length is not None:
        raise ValueError(
            "plan='optimal' has no blocks; expected steps or tokens_per_step with block_length."
        )
    steps = config.steps
    if steps is not None and resampling is not None:
        steps -= resampling.steps
    make_plan = partial(
        row_plan,
        tokens_per_step=config.tokens_per_step,
        steps=steps,
        plan=config.plan,
        losses=config.per_step_losses,
        num_stages=num_stages,
    )
    if chances is not None:
        rows = [make_plan(row, uniforms=of_row) for row, of_row in zip(sizes, chances, strict=True)]
        return make_passes(rows, resampling, num_positions)
    plans: dict[str, list[list[int]]] = {}
    for row in sizes:
        if repr(row) not in plans:
            plans[repr(row)] = make_plan(row)
    return make_passes([plans[repr(row)] for row in sizes], resampling, num_positions)


def is_left_to_right(config: ARDMGenerationConfig, passes: Passes) -> bool:
    """Whether every token is drawn with all tokens left of it known, and once."""
    alone = max(passes.widths, default=1) <= 1 and _amount(config) is None
    return config.order == "left_to_right" and alone and not config.resample_steps


# ------------------------------------------------------------------------ logits, choices and draws
def make_network(
    model: MaskedLanguageModel, canvas: Canvas, guidance_scale: float | None
) -> Network:
    """The model as a function of ids and positions, guided where there is a prompt to guide by.

    Args:
        model: the network.
        canvas: the rows, before the first step.
        guidance_scale: 1 or None = off.

    Returns:
        The network of the loop.
    """
    scale = 1.0
    if guidance_scale is not None and canvas.given_BL.any():
        scale = float(guidance_scale)
    attention_mask = None
    if not canvas.real_BL.all():
        attention_mask = canvas.real_BL.repeat(1 if scale == 1 else 2, 1)
    logits_at = position_logits(model, canvas.mask_token_id)

    def network(ids: Tensor, positions: Tensor | None) -> Tensor:
        return logits_at(ids, attention_mask, positions)

    if scale == 1:
        return network
    around_BL = with_given_tokens(model.config, canvas.ids, None)
    prompt_BL = canvas.given_BL if around_BL is None else canvas.given_BL & ~around_BL
    return guided(network, prompt_BL, canvas.mask_token_id, scale)


def make_selection(
    config: ARDMGenerationConfig, generator: torch.Generator | None
) -> Selection | None:
    """How the logits decide what is filled.

    Args:
        config: the call's settings.
        generator: for a callable order; None: one made from the seed.

    Returns:
        The selection; None where an order and a plan that need no logits decide alone.
    """
    amount = _amount(config)
    warp = _warp(config) if config.select_after_warping else None
    if callable(config.order) and generator is None:
        generator = generator_of(config.seed)
    order = logit_order(config.order, generator)
    if order is None and amount is None:
        return None
    return Selection(order, float(config.order_temperature or 0), amount, warp)


def make_draw(config: ARDMGenerationConfig) -> Draw:
    """The function from logits and uniforms to tokens and their log-probabilities."""
    if not config.do_sample:
        return most_likely
    return sampling(_warp(config))


def _warp(config: ARDMGenerationConfig) -> Warp | None:
    return warping(config.temperature, config.top_k, config.top_p, config.min_p)


def _amount(config: ARDMGenerationConfig) -> Amount | None:
    if config.threshold is not None:
        return above_threshold(float(config.threshold))  # tensors compare with no fractions
    return within_entropy(float(config.entropy_bound)) if config.entropy_bound is not None else None


# ------------------------------------------------------------------------------------------ the end
def make_stopping(
    model: MaskedLanguageModel,
    canvas: Canvas,
    config: ARDMGenerationConfig,
    criteria: Sequence[Callable[..., Any]] | None,
) -> Stopping | None:
    """Where rows end.

    Args:
        model: whose configuration may hold the special ids.
        canvas: the rows, before the first step.
        config: the call's settings.
        criteria: transformers' criteria, or callables.

    Returns:
        The stopping; None where neither an EOS id nor a criterion can end a row.

    Raises:
        ValueError: if there is no id to put behind an end.
    """
    eos_token_ids = special_ids("eos_token_id", model, config)
    if not eos_token_ids and not criteria:
        return None
    fillers = special_ids("pad_token_id", model, config) + eos_token_ids
    if not fillers:
        raise ValueError(
            "stopping_criteria need a pad_token_id (or eos_token_id) to put behind a row's end."
        )
    asked = any_of(criteria) if criteria else None
    return Stopping(canvas, eos_token_ids, asked, fillers[0])
