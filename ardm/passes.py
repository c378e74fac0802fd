"""Passes: how many tokens each call of the network sends back and fills, known beforehand.

    one row:  (0, k_1), (0, k_2), ..., (0, k_S)       the plan: S steps, k_1 + ... + k_S = its masks
              ..., (0, k_i), (n, n), (0, k_i+1), ...  resampling between the steps
              ..., (0, k_S), (n, n), (n, n)           resampling after the last

A plan may be cut into blocks: no group reaches over the end of a block. Rows differ in their number
of masks, so each has its own list; a row that has finished its plan waits with (0, 0).

Shapes: B batch, S passes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from .named_plans import CLOCKS, SPLITS, binomial_plan, linear_time_plan
from .plans import blockwise_steps, check_plan, fixed_size_plan, optimal_plan, uniform_plan
from .resampling import Resampling


class Pass(NamedTuple):
    """One call of the network for one row."""

    back: int = 0  # generated tokens that go back to mask before it
    fill: int = 0  # hidden positions that are filled by it
    open: int = 0  # hidden positions among which those are chosen


@dataclass
class Passes:
    """All rows' passes, as tables.

    Args:
        back_BS: int64 (B, S), tokens sent back before each pass.
        fill_BS: int64 (B, S), positions filled.
        known_BS: int64 (B, S), tokens generated after each pass, at least.
        revision_BS: int64 (B, S), how many passes of the row have sent tokens back, this one
            included.
        widths: for each pass, the most positions that any row fills.
        alike: for each pass, whether all rows fill that many, and choose among as many.
        pools: for each pass, the most positions that any row chooses among.
        revises: for each pass, whether any row sends tokens back.
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
    num_masked: int,
    *,
    tokens_per_step: int | None = None,
    steps: int | None = None,
    plan: Sequence[int] | str | None = None,
    losses: Sequence[float] | None = None,
    block_length: int | None = None,
    uniforms: Tensor | None = None,
) -> list[list[int]]:
    """One row's plan, block by block.

    Args:
        num_masked: positions to generate.
        tokens_per_step: positions a step; or
        steps: number of steps, or of masks if those are fewer, split evenly; or
        plan: group sizes, or a name of named_plans.py for how `steps` are split.
        losses: nats at each number of known tokens, for "optimal".
        block_length: positions of a block; None: one block.
        uniforms: float64 (num_masked,) in [0, 1), for "binomial".

    Returns:
        Group sizes of each block; all together they sum to `num_masked`.

    Raises:
        ValueError: if a plan does not sum to `num_masked` or reaches over the end of a block, there
            are fewer steps than blocks, or the losses do not reach that far back.
    """
    if num_masked == 0 and not isinstance(plan, (list, tuple)):
        return []
    sizes = fixed_size_plan(num_masked, block_length) if block_length else [num_masked]
    if isinstance(plan, (list, tuple)):
        return _cut(check_plan(list(plan), num_masked), sizes)
    if steps is None:
        return [fixed_size_plan(size, tokens_per_step or 1) for size in sizes]
    if plan == "optimal":
        return [list(_optimal(tuple(_tail(losses, num_masked)), min(steps, num_masked)))]
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
            f"steps is {steps}; expected at least one for each of the {num_blocks} blocks."
        )
    return uniform_plan(steps, num_blocks)


@lru_cache(maxsize=1024)
def _optimal(losses: tuple[float, ...], steps: int) -> tuple[int, ...]:
    """The search once for each number of masks, not at each call."""
    return tuple(optimal_plan(losses, steps))


def _cut(plan: list[int], sizes: list[int]) -> list[list[int]]:
    blocks: list[list[int]] = []
    rest = list(plan)
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


def _tail(losses: Sequence[float] | None, num_masked: int) -> list[float]:
    """The losses of the last `num_masked` steps: the rest of the sequence counts as known."""
    if not losses:
        raise ValueError(
            "plan is 'optimal' but per_step_losses is not set;"
            " expected the losses measured on data."
        )
    if len(losses) < num_masked:
        raise ValueError(
            f"per_step_losses has {len(losses)} steps;"
            f" expected at least {num_masked}, the row's masks."
        )
    return list(losses[len(losses) - num_masked :])


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


def make_passes(plans: Sequence[list[list[int]]], resampling: Resampling | None) -> Passes:
    """All rows' passes.

    Args:
        plans: of each row, as [`row_plan`] gives them.
        resampling: or None.

    Returns:
        The tables; S is the longest row's number.
    """
    rows = [row_passes(blocks, resampling) for blocks in plans]
    num_planned = max(map(len, rows), default=0)
    rows = [[*row, *[Pass()] * (num_planned - len(row))] for row in rows]
    if resampling is not None and not resampling.between:
        for row, blocks in zip(rows, plans, strict=True):
            masks = sum(map(sum, blocks))
            number = resampling.number(masks, 0)
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
