"""Per-step losses as a model's files: for its generation, as JSON with their errors, as pictures.

Losses arrive in nats and are shown in bits: bits = nats / ln 2.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..named_plans import blockwise_steps
from ..plans import cosine_plan, monotone_fit, uniform_plan
from ..step_losses import StepLosses
from ..training import (
    new_figure,
    plain,
    png,
    write_atomically,
    write_json_atomically,
    write_text_atomically,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..generation_config_ardm import ARDMGenerationConfig

# light, middle and dark, one set a stage
_SHADES = (
    ("#9ecae1", "#6baed6", "#08519c"),
    ("#fdbe85", "#fd8d3c", "#a63603"),
    ("#bae4b3", "#74c476", "#006d2c"),
    ("#cbc9e2", "#9e9ac8", "#54278f"),
    ("#cccccc", "#969696", "#252525"),
)
_COLOURS = {"optimal": "#08519c", "cosine": "#d94801", "uniform": "#238b45"}


def compare_plans(steps: int, chosen_on: StepLosses, held_out: StepLosses) -> dict[str, Any]:
    """What the optimal, the cosine and the uniform plan of so many steps cost.

    They are priced on sequences that chose none of them. Of several stages each has a plan; the
    cosine and the uniform one share the steps out evenly.

    Args:
        steps: number of groups, 1..L; of S stages S..S*L.
        chosen_on: the losses that the optimal plan is made from.
        held_out: other sequences of the same length, which price the plans.

    Returns:
        "steps"; by kind of plan "bits_per_token" (an upper bound), "extra_bits" over one token a
        step and its "standard_error", both in bits per token and from differences sequence by
        sequence; "optimal_plan".

    Raises:
        ValueError: if `steps` is outside 1..L, or the sequences differ in length.
    """
    *stages, length = chosen_on.nats.shape
    plans: dict[str, list[Any]] = {"optimal": chosen_on.optimal_plan(steps)}
    shares = blockwise_steps([length] * math.prod(stages), steps)
    for kind, split in (("cosine", cosine_plan), ("uniform", uniform_plan)):
        of_stages = [split(length, share) for share in shares]
        plans[kind] = of_stages if stages else of_stages[0]
    unit = chosen_on.num_tokens * math.log(2)
    ones = [1] * (length * math.prod(stages))
    extra = {kind: held_out.cost(plan, ones) for kind, plan in plans.items()}
    return {
        "steps": steps,
        "bits_per_token": {kind: held_out.cost(plan)[0] / unit for kind, plan in plans.items()},
        "extra_bits": {kind: value / unit for kind, (value, _) in extra.items()},
        "standard_error": {kind: error / unit for kind, (_, error) in extra.items()},
        "optimal_plan": plans["optimal"],
    }


def table(rows: Sequence[Mapping[str, Any]], length: int) -> str:
    """The comparison as text, and the optimal plans.

    Args:
        rows: of [`compare_plans`], each with "seconds", what one sequence takes.
        length: what a sequence is drawn in at one at a time: tokens, or reveals of all stages.

    Returns:
        Lines.
    """
    lines = [
        "                  seconds    bits per token",
        "steps  at once  a sequence   optimal   over one at a time   cosine   uniform",
    ]
    for row in rows:
        bits = row["bits_per_token"]
        extra = row["extra_bits"]["optimal"]
        error = row["standard_error"]["optimal"]
        lines.append(
            f"{row['steps']:5d}  {length / row['steps']:7.4g}  {row['seconds']:10.3f}   "
            f"{bits['optimal']:7.3f}   {f'{extra:+.3f} ± {error:.3f}':>18s}   "
            f"{bits['cosine']:6.3f}   {bits['uniform']:7.3f}"
        )
    plans = [f"{row['steps']:5d}  {describe_plan(row['optimal_plan'])}" for row in rows]
    return "\n".join([*lines, "", "steps  optimal plan: steps x at once", *plans])


def describe_plan(plan: Sequence[Any]) -> str:
    """A plan in short: "12x1 3x4" is twelve steps of one token and three of four; stages by "|"."""
    if plan and not isinstance(plan[0], int):
        return " | ".join(map(describe_plan, plan))
    return " ".join(f"{len([*group])}x{size}" for size, group in groupby(plan))


def save_step_losses(
    folder: str | os.PathLike[str],
    generation_config: ARDMGenerationConfig,
    losses: StepLosses,
    about: Mapping[str, Any],
) -> None:
    """Writes the losses where `generate(plan="optimal")` finds them, and their errors beside it.

    Args:
        folder: the model's; `generation_config.json` and `per_step_losses.json` are replaced in it,
            each at once.
        generation_config: the model's, which is given the losses.
        losses: measured.
        about: what else is to be known of them: data, seed, date, results; numbers that are not
            finite become null.
    """
    measured = losses.to_dict()
    folder = Path(folder)
    generation_config.per_step_losses = losses.for_plans.tolist()
    write_json_atomically(folder / "per_step_losses.json", {**about, **measured})
    write_text_atomically(
        folder / "generation_config.json", generation_config.to_json_string(use_diff=True)
    )


def plot_step_losses(
    nats: Tensor, standard_error: Tensor, path: str | os.PathLike[str], unit: str = "token"
) -> None:
    """Draws the loss at each number of known tokens, with its error and the curve fitted to it.

    Args:
        nats: (L,) or of S stages (S, L), of `measure_step_losses`.
        standard_error: of its shape; NaN where it is not known.
        path: the PNG file, replaced atomically.
        unit: what L counts: "reveal" where stages are interleaved.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    figure = new_figure((7.2, 4.2))
    axes = figure.add_subplot(
        xlabel=f"{unit}s known", ylabel=f"bits for one more {unit}", xlim=(0, nats.shape[-1] - 0.5)
    )
    if nats.ndim == 2:
        axes.set(xlabel="tokens known of the stage", ylabel="bits for one more reveal")
    nats_SL = nats.view(-1, nats.shape[-1]) / math.log(2)
    errors_SL = standard_error.view(nats_SL.shape).nan_to_num() / math.log(2)
    for stage, (bits_L, errors_L) in enumerate(zip(nats_SL, errors_SL, strict=True)):
        name = f"stage {stage + 1}" if len(nats_SL) > 1 else None
        _draw_curve(axes, bits_L, errors_L, stage, name)
    axes.set_ylim(bottom=0)
    plain(axes)
    note = "non-increasing fit, which plans are made from" if len(nats_SL) > 1 else None
    axes.legend(frameon=False, title=note, title_fontsize=8, alignment="left")
    write_atomically(path, png(figure))


def _draw_curve(
    axes: Axes, bits_L: Tensor, errors_L: Tensor, number: int, name: str | None
) -> None:
    light, middle, dark = _SHADES[number % len(_SHADES)]
    known = range(len(bits_L))
    low, high = ((bits_L + sign * errors_L).tolist() for sign in (-1, 1))
    band = axes.fill_between(known, low, high, color=light, linewidth=0, alpha=0.6)
    band.set_label("measured, ± 1 standard error" if name is None else "_")
    axes.plot(known, bits_L.tolist(), color=middle, linewidth=0.8)
    label = name or "non-increasing fit, which plans are made from"
    axes.plot(known, monotone_fit(bits_L), color=dark, linewidth=1.6, label=label)


def plot_quality_against_steps(
    rows: Sequence[Mapping[str, Any]],
    length: int,
    path: str | os.PathLike[str],
    title: str = "",
    unit: str = "token",
) -> None:
    """Draws the bound against the number of steps for each kind of plan, and the time it takes.

    Args:
        rows: of [`compare_plans`], each with "seconds", what one sequence takes.
        length: units of a sequence.
        path: the PNG file, replaced atomically.
        title: said above.
        unit: what is drawn one at a time: a token, or "reveal" where there are stages.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    figure = new_figure((7.2, 6.0))
    bound, time = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (2, 1)})
    _draw_bounds(bound, rows)
    bound.set_title(title, fontsize=10)
    _draw_seconds(time, rows)
    steps = [row["steps"] for row in rows]
    time.set_xticks(steps, [str(number) for number in steps])
    time.minorticks_off()
    above = bound.secondary_xaxis("top", functions=(lambda x: x, lambda x: x))
    above.set_xticks(steps, [f"{length / number:g}" for number in steps])
    above.set_xlabel(f"{unit}s a step")
    above.minorticks_off()
    plain(time)
    plain(bound)
    note = f"± 1 standard error of the difference\nto one {unit} a step"
    bound.legend(frameon=False, title=note, title_fontsize=8, alignment="left")
    write_atomically(path, png(figure))


def _draw_bounds(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    steps = [row["steps"] for row in rows]
    style: dict[str, Any] = {"marker": "o", "markersize": 4, "capsize": 2}
    for kind, colour in _COLOURS.items():
        bits = [row["bits_per_token"][kind] for row in rows]
        errors = [row["standard_error"][kind] for row in rows]
        axes.errorbar(steps, bits, errors, color=colour, label=f"{kind} plan", **style)
    axes.set(ylabel="bits per token (upper bound)")


def _draw_seconds(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    steps = [row["steps"] for row in rows]
    axes.plot(steps, [row["seconds"] for row in rows], color="0.3", marker="o", markersize=4)
    axes.set(ylabel="seconds a sequence", xlabel="steps = calls of the network")
    axes.set(xscale="log", yscale="log")
