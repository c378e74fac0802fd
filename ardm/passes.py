"""Passes: how many reveals each call of the network takes back and makes, known beforehand.

    one row:  (0, k_1), (0, k_2), ..., (0, k_S)       the plan: S steps, of all its reveals
              ..., (0, k_i), (n, n), (0, k_i+1), ...  resampling between the steps
              ..., (0, k_S), (n, n), (n, n)           resampling after the last

A plan may be cut into blocks: no group reaches over the end of a block. Several stages (stages.py)
are blocks, too, one after the other, and k counts reveals. Rows differ in their number of masks, so
each has its own list; a row that has finished its plan waits with (0, 0).

Shapes: B batch, S passes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from .group_costs import optimal_group_plan
from .named_plans import CLOCKS, SPLITS, binomial_plan, blockwise_steps, linear_time_plan
from .plans import (
    Losses,
    fixed_size_plan,
    optimal_plan,
    stage_losses,
    stage_plan,
    uniform_plan,
)
from .resampling import Resampling

_NO_LOSSES = (
    "plan is 'optimal' but per_step_losses is not set; expected the losses measured on data."
)


class Pass(NamedTuple):
    """One call of the network for one row."""

    back: int = 0  # reveals that are taken back before it
    fill: int = 0  # reveals that it makes
    open: int = 0  # hidden positions among which those are chosen


@dataclass
class Passes:
    """All rows' passes, as tables.

    Args:
        back_BS: int64 (B, S), reveals taken back before each pass.
        fill_BS: int64 (B, S), reveals made.
        known_BS: int64 (B, S), reveals known after each pass, at least.
        revision_BS: int64 (B, S), how many passes of the row have taken reveals back, this one
            included.
        widths: for each pass, the most positions that any row fills.
        alike: for each pass, whether all rows fill that many, and choose among as many.
        pools: for each pass, the most positions that any row chooses among.
        revises: for each pass, whether any row takes reveals back.
        num_planned: passes before those that only resample.
    """

    back_BS: Tensor
    fill_BS: Tensor
    known_BS: Tensor
    revision_BS: Tensor
    widths: list[int]
    alike: list[bool]
    pools: list[int]
    revises: list[bool]
    num_planned: int

    def to(self, device: torch.device) -> "Passes":
        """The same with its tables on a device; its lists stay on the host, where the loop is."""
        names = ("back_BS", "fill_BS", "known_BS", "revision_BS")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})


def row_plan(
    stages: Sequence[Sequence[int]],
    *,
    tokens_per_step: int | None = None,
    steps: int | None = None,
    plan: Sequence[int] | Sequence[Sequence[int]] | str | None = None,
    losses: Sequence[float] | Sequence[Sequence[float]] | None = None,
    uniforms: Tensor | None = None,
    num_stages: int | None = None,
) -> list[list[int]]:
    """One row's plan, block by block.

    Args:
        stages: for each stage how many positions each of its blocks generates: with one stage and
            one block [[number of masks]].
        tokens_per_step: positions a step; or
        steps: number of steps, or of masks if those are fewer, split evenly; or
        plan: group sizes, or a name of named_plans.py for how `steps` are split.
        losses: nats at each number of known reveals (of several stages a list each), for "optimal".
        uniforms: float64 (N,) in [0, 1), one for each of the N to be generated, for "binomial".
        num_stages: of the model, how many lists a plan may have; None: as many as `stages`.

    Returns:
        Group sizes of each block; all together they sum to N.

    Raises:
        ValueError: if a plan does not sum to N or reaches over the end of a block, there are fewer
            steps than blocks, or the losses do not reach that far back.
    """
    lengths = [*map(sum, stages)]
    sizes = [size for blocks in stages for size in blocks]
    if isinstance(plan, (list, tuple)):
        return _cut(stage_plan(plan, lengths, "masks of every row", num_stages), sizes)
    if not sizes:
        return []
    if steps is None:
        return [fixed_size_plan(size, tokens_per_step or 1) for size in sizes]
    if plan == "optimal":
        steps = min(steps, sum(lengths))
        if num_stages is not None and num_stages > len(stages):
            return [[*_optimal_group_plan(_group_tail(losses, lengths[0]), steps)]]
        curves = tuple(curve for curve in _tails(losses, lengths) if curve)
        return [[*plan] for plan in _optimal(curves, steps)]
    if plan in CLOCKS:
        return _by_clock(str(plan), sizes, _even_shares(steps, len(sizes)), uniforms)
    split = SPLITS[str(plan or "uniform")]
    return [
        split(size, share) for size, share in zip(sizes, blockwise_steps(sizes, steps), strict=True)
    ]


def _by_clock(
    plan: str, sizes: list[int], shares: list[int], uniforms: Tensor | None
) -> list[list[int]]:
    """Blocks whose steps are ticks, of which there may be more than positions."""
    if plan == "linear_time":
        return [linear_time_plan(*block) for block in zip(sizes, shares, strict=True)]
    assert uniforms is not None
    return [
        binomial_plan(chances, share)
        for chances, share in zip(uniforms.split(sizes), shares, strict=True)
    ]


def _even_shares(steps: int, num_blocks: int) -> list[int]:
    if steps < num_blocks:
        raise ValueError(
            f"steps is {steps}; expected at least one for each of the {num_blocks} blocks or"
            " stages."
        )
    return uniform_plan(steps, num_blocks)


@lru_cache(maxsize=1024)
def _optimal(curves: tuple[tuple[float, ...], ...], steps: int) -> list[list[int]]:
    """The search once for each number of masks, not at each call."""
    return optimal_plan(curves, steps)


@lru_cache(maxsize=64)
def _optimal_group_plan(table: tuple[tuple[float, ...], ...], steps: int) -> list[int]:
    if len(table[0]) == 1:  # not the best plan: it takes a group to cost its first reveal
        return optimal_plan([loss for (loss,) in table], steps)
    return optimal_group_plan(torch.tensor(table, dtype=torch.float64), steps)


def _group_tail(losses: Losses | None, length: int) -> tuple[tuple[float, ...], ...]:
    """Of interleaved stages, the rows of the last `length` reveals of their table."""
    if losses is None or not len(losses):
        raise ValueError(_NO_LOSSES)
    rows = [*losses]
    if len(rows) >= length and not any(isinstance(row, (list, tuple)) for row in rows):
        return tuple((loss,) for loss in rows[len(rows) - length :])  # of first reveals alone
    if len(rows) < length or not all(isinstance(row, (list, tuple)) for row in rows):
        raise ValueError(
            f"per_step_losses has {len(rows)} entries; expected for interleaved stages a list for"
            f" each of at least {length} reveals, as `measure_step_losses(...).for_plans` has them."
        )
    return tuple(map(tuple, rows[len(rows) - length :]))


def _cut(plan: list[int], sizes: list[int]) -> list[list[int]]:
    blocks: list[list[int]] = []
    rest = [*plan]
    for size in sizes:
        block: list[int] = []
        while sum(block) < size:
            block.append(rest.pop(0))
        if sum(block) > size:
            raise ValueError(
                f"plan {plan} has a group that reaches over the end of a block;"
                f" expected blocks {sizes}."
            )
        blocks.append(block)
    return blocks


def _tails(losses: Losses | None, lengths: Sequence[int]) -> list[tuple[float, ...]]:
    """Of each stage the losses of its last steps: the rest of the sequence counts as known."""
    if losses is None or not len(losses):
        raise ValueError(_NO_LOSSES)
    curves = stage_losses(losses)
    if len(curves) != len(lengths):
        raise ValueError(
            f"per_step_losses has {len(curves)} curves; expected {len(lengths)}, one for each"
            " stage, as `measure_step_losses(...).for_plans` has them."
        )
    for curve, length in zip(curves, lengths, strict=True):
        if len(curve) < length:
            raise ValueError(
                f"per_step_losses has {len(curve)} steps;"
                f" expected at least {length}, the row's masks."
            )
    return [
        tuple(curve[len(curve) - length :]) for curve, length in zip(curves, lengths, strict=True)
    ]


def row_passes(blocks: list[list[int]], resampling: Resampling | None) -> list[Pass]:
    """One row's passes up to the end of its plan, with the resampling that lies between the steps.

    Args:
        blocks: as [`row_plan`] gives them.
        resampling: or None.

    Returns:
        The passes.
    """
    planned: list[Pass] = []
    gaps: list[tuple[int, Pass]] = []  # after how many steps resampling may lie, and its pass
    for block in blocks:
        hidden = sum(block)
        known = 0
        for size in block:
            planned.append(Pass(0, size, hidden))
            hidden -= size
            known += size
            if hidden and resampling is not None and resampling.between:
                number = resampling.number(known, hidden)
                gaps.append((len(planned), Pass(number, number, hidden + number)))
    if not gaps or resampling is None:
        return planned
    # spread evenly; several in one gap where there are fewer gaps than passes
    for i in reversed(range(resampling.steps)):
        after, extra = gaps[(2 * i + 1) * len(gaps) // (2 * resampling.steps)]
        planned.insert(after, extra)
    return planned


def make_passes(
    plans: Sequence[list[list[int]]],
    resampling: Resampling | None,
    num_positions: Sequence[int] | None = None,
) -> Passes:
    """All rows' passes.

    Args:
        plans: of each row, as [`row_plan`] gives them.
        resampling: or None.
        num_positions: of each row, how many it generates; None: as many as its plan has.

    Returns:
        The tables; S is the longest row's number.
    """
    rows = [row_passes(blocks, resampling) for blocks in plans]
    num_planned = max(map(len, rows), default=0)
    rows = [[*row, *[Pass()] * (num_planned - len(row))] for row in rows]
    if resampling is not None and not resampling.between:
        if num_positions is None:
            num_positions = [sum(map(sum, blocks)) for blocks in plans]
        for row, positions in zip(rows, num_positions, strict=True):
            number = resampling.number(positions, 0)
            row += [Pass(number, number, number)] * resampling.steps
    if not any(fill for row in rows for _, fill, _ in row):
        rows = [[] for _ in rows]
        num_planned = 0
    return _tables(rows, num_planned)


def _tables(rows: list[list[Pass]], num_planned: int) -> Passes:
    """The passes of rows that have equally many, as tables."""
    num_passes = len(rows[0]) if rows else 0
    table_BS3 = torch.tensor(rows, dtype=torch.long).reshape(len(rows), num_passes, 3)
    back_BS, fill_BS, open_BS = table_BS3.unbind(-1)
    return Passes(
        back_BS=back_BS,
        fill_BS=fill_BS,
        known_BS=(fill_BS - back_BS).cumsum(1),
        revision_BS=(back_BS > 0).cumsum(1),
        widths=fill_BS.amax(0).tolist() if rows else [],
        alike=((fill_BS == fill_BS[:1]) & (open_BS == open_BS[:1])).all(0).tolist(),
        pools=open_BS.amax(0).tolist() if rows else [],
        revises=(back_BS > 0).any(0).tolist(),
        num_planned=num_planned,
    )
