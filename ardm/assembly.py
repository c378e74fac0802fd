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
from typing import Any

import torch
from torch import Tensor
from transformers.generation import StoppingCriteriaList

from .canvas import Canvas
from .decoding import Decoding
from .draws import Draw, most_likely, sampling
from .generation_config_ardm import ARDMGenerationConfig
from .guidance import guided
from .inputs import GenerativeModel, make_canvas, special_ids
from .logits_processing import LogitsProcessing
from .networks import MaskedLanguageModel, Network
from .orders import logit_order
from .passes import Passes, make_passes, row_plan
from .resampling import RESAMPLE_ORDERS, Resampling
from .selection import Amount, Selection, above_threshold, within_entropy
from .stopping import Stopping
from .streaming import Streamer, Streaming


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
    passes = plan_passes(config, canvas.num_masks_B1[:, 0].tolist(), resampling)
    logits_processing = None
    if logits_processor:
        logits_processing = LogitsProcessing(logits_processor, is_left_to_right(config, passes))
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
    plans = {
        count: row_plan(
            count,
            tokens_per_step=config.tokens_per_step,
            steps=steps,
            plan=config.plan,
            losses=config.per_step_losses,
            block_length=config.block_length,
        )
        for count in sorted(set(num_masks))
    }
    return make_passes([plans[count] for count in num_masks], resampling)


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
    never = None  # the model gives its own mask id no probability, another one would be drawn
    if canvas.mask_token_id != getattr(model.config, "mask_token_id", None):
        never = torch.tensor([canvas.mask_token_id], device=canvas.ids.device)

    def network(ids: Tensor, positions: Tensor | None) -> Tensor:
        output = model(input_ids=ids, attention_mask=attention_mask, logits_positions=positions)
        logits = output.logits
        return logits if never is None else logits.index_fill(-1, never, -torch.inf)

    if scale == 1:
        return network
    return guided(network, canvas.given_BL, canvas.mask_token_id, scale)


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
    if callable(config.order) and generator is None:
        generator = _generator_of(config.seed)
    order = logit_order(config.order, generator)
    if order is None and amount is None:
        return None
    return Selection(order, config.order_temperature or 0.0, amount)


def make_draw(config: ARDMGenerationConfig) -> Draw:
    """The function from logits and uniforms to tokens and their log-probabilities."""
    if not config.do_sample:
        return most_likely
    return sampling(config.temperature, config.top_k, config.top_p, config.min_p)


def _amount(config: ARDMGenerationConfig) -> Amount | None:
    if config.threshold is not None:
        return above_threshold(config.threshold)
    return within_entropy(config.entropy_bound) if config.entropy_bound is not None else None


def _generator_of(seed: int | list[int] | None) -> torch.Generator:
    """A call has one generator, though its rows may have a seed each: the first one's."""
    if isinstance(seed, (list, tuple)):
        seed = seed[0] if seed else None
    if seed is None:
        return torch.default_generator
    return torch.Generator().manual_seed(int(seed))


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
    asked = StoppingCriteriaList(criteria) if criteria else None
    return Stopping(canvas, eos_token_ids, asked, fillers[0])
