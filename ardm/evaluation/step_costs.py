"""Step costs of a loaded model, to be shown at once: saved with it, or measured on a text.

    bits per token of a plan  =  cost(plan) / (L ln 2)            an upper bound, see step_losses.py

`recipes/plan_steps.py` measures on held-out data, with errors; this is the quick look.
"""

from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedTokenizerBase

from ..data.framing import frame_of
from ..networks import longest_sequence
from ..plans import monotone_fit
from ..step_losses import StepLosses, measure_step_losses
from ..training import new_figure, plain
from ..vocabulary import stages_of
from .step_report import compare_plans

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WINDOW = 128  # tokens of a piece that is measured, at most
PIECES = 4  # that are measured, at most
_COLOURS = {"optimal": "#08519c", "cosine": "#d94801", "uniform": "#238b45"}


def step_budgets(num_reveals: int, num_stages: int = 1) -> list[int]:
    """Numbers of steps to compare: powers of two from one step a stage, and all one at a time.

    Args:
        num_reveals: tokens of a sequence, times stages.
        num_stages: each takes a step at least.

    Returns:
        Rising numbers, the last of them `num_reveals`.
    """
    powers = [2**k for k in range(num_reveals.bit_length())]
    return [*(steps for steps in powers if num_stages <= steps < num_reveals), num_reveals]


def saved_step_losses(model: Any) -> StepLosses | None:
    """What `recipes/plan_steps.py` has written into the model's `generation_config.json`.

    Args:
        model: as `ardm.hub.load_folder` gives it.

    Returns:
        The mean losses, as of one sequence; None if there are none, or of interleaved stages,
        whose saved table has no bound of its own.
    """
    losses = model.generation_config.per_step_losses
    if losses is None or stages_of(model.config).interleaved:
        return None
    return StepLosses(torch.tensor(losses, dtype=torch.float64)[None])


def step_losses_of_text(
    model: Any, tokenizer: PreTrainedTokenizerBase, text: str, seed: int = 0
) -> StepLosses:
    """Measures the losses on the first tokens of a text, or on texts of the model's own.

    Args:
        model: as `ardm.hub.load_folder` gives it.
        tokenizer: its tokenizer.
        text: the first four pieces of 128 tokens (or as many as the model takes) are measured, or
            all of a shorter text as one piece; blank = four texts that the model writes.
        seed: of the orders, and of these texts.

    Returns:
        The losses of the pieces.

    Raises:
        ValueError: if the text has fewer than two tokens, or holds the mask token.
    """
    frame = frame_of(model, tokenizer)
    longest = longest_sequence(model)
    length = WINDOW if longest is None else min(WINDOW, longest - frame.num_tokens)
    if text.strip():
        ids = tokenizer(text, add_special_tokens=False).input_ids
        if len(ids) < 2:
            raise ValueError(f"the text to measure has {len(ids)} tokens; expected 2 or more.")
        length = min(length, len(ids))
        count = min(PIECES, len(ids) // length)
    else:
        count = PIECES
        ids = [tokenizer.mask_token_id] * (count * length)
    pieces = [ids[start : start + length] for start in range(0, count * length, length)]
    pieces_BL = torch.tensor([[*frame.before, *piece, *frame.after] for piece in pieces])
    pieces_BL = pieces_BL.to(model.device)
    everything_BL = torch.ones_like(pieces_BL)  # also what looks like padding
    if not text.strip():
        # a text that ends early would have padding behind it
        pieces_BL = model.generate(pieces_BL, everything_BL, seed=seed, eos_token_id=None)
    generator = torch.Generator().manual_seed(seed)
    return measure_step_losses(model, pieces_BL, everything_BL, generator=generator)


def saved_costs(model: Any) -> "Figure | None":
    """Draws what steps cost by what was saved with a model.

    Args:
        model: as `ardm.hub.load_folder` gives it.

    Returns:
        A figure; None where [`saved_step_losses`] has none.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    losses = saved_step_losses(model)
    if losses is None:
        return None
    title = f"sequences of {losses.num_tokens} tokens, as measured by plan_steps.py"
    return cost_figure(losses, title, stages_of(model.config).num_stages)


def costs_of_text(
    model: Any, tokenizer: PreTrainedTokenizerBase, text: str, seed: int = 0
) -> "Figure":
    """Measures what steps cost on a text, and draws it.

    Args:
        model: as for [`step_losses_of_text`].
        tokenizer: the same.
        text: the same.
        seed: the same.

    Returns:
        A figure.

    Raises:
        ImportError: if matplotlib is not installed.
        ValueError: as [`step_losses_of_text`].
    """
    losses = step_losses_of_text(model, tokenizer, text, seed)
    what = "your text" if text.strip() else "texts of the model's own"
    title = f"measured on {len(losses)} x {losses.num_tokens} tokens of {what}"
    return cost_figure(losses, title, stages_of(model.config).num_stages)


def cost_figure(losses: StepLosses, title: str = "", num_stages: int = 1) -> "Figure":
    """Draws the bound on bits per token against the number of steps, for each kind of plan.

    The same few sequences choose the optimal plans and price all of them, which would praise those
    for the noise that they fit; so both go by the non-increasing curve of the same sum. (Not of
    interleaved stages, whose table has no such curve.)

    Args:
        losses: that the plans are made from and priced by.
        title: said above.
        num_stages: of the model.

    Returns:
        A figure with one pair of axes.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    losses = _without_rises(losses)
    budgets = step_budgets(losses.num_tokens * num_stages, num_stages)
    rows = [compare_plans(steps, losses, losses) for steps in budgets]
    figure = new_figure((7.2, 3.2))
    bits_per_token = "bits per token (upper bound)"
    axes = figure.add_subplot(xlabel="steps = calls of the network", ylabel=bits_per_token)
    for kind, colour in _COLOURS.items():
        bits = [row["bits_per_token"][kind] for row in rows]
        axes.plot(budgets, bits, color=colour, marker="o", markersize=4, label=f"{kind} plan")
    axes.set_xscale("log")
    axes.set_xticks(budgets, [str(number) for number in budgets])
    axes.minorticks_off()
    axes.set_title(title, fontsize=10)
    floor = rows[-1]["bits_per_token"]["uniform"]
    axes.axhline(floor, color="0.6", linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
    plain(axes)
    note = f"{floor:.2f} bits one at a time"
    axes.legend(frameon=False, title=note, title_fontsize=8, alignment="left")
    return figure


def _without_rises(losses: StepLosses) -> StepLosses:
    """As of one sequence: the mean curve of each stage, made non-increasing."""
    if losses.reveal_nats is not None:
        return losses
    curves_SL = losses.nats.view(-1, losses.nats.shape[-1])
    fitted_SL = torch.tensor([monotone_fit(curve_L) for curve_L in curves_SL], dtype=torch.float64)
    return StepLosses(fitted_SL.view(losses.nats.shape)[None])
