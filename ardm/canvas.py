"""Canvas: the rows that are being generated, what is hidden of them, and their random numbers.

Randomness: row r of a call has the stream (seed, r), with one number for each kind of chance and
each *place* (a position's number among its row's real tokens). So a row's numbers depend on nothing
else: not on its neighbours, not on padding, not on how many tokens a step are drawn. A place that
is sent back to mask gets new numbers, keyed by how many times its row has been revised. Tokens that
are drawn at every step, though only some are kept, have numbers keyed by the row's step.

Shapes: B batch, L length, K positions of one step.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from .orders import order_scores
from .randomness import keyed_uniforms, seed_from

# one stream for each kind of chance
ORDER = 11
TOKEN = 12
ORDER_NOISE = 13
REVISION = 14
TOKEN_OF_STEP = 15
PLAN = 16


class Canvas:
    """The state that the steps of a generation change.

    Args:
        ids: int64 (B, L), mask ids where a token is to be generated; changed in place.
        real_BL: bool (B, L), False on padding.
        mask_token_id: the id that hides a token.
        streams: int64 (B,) seeds and (B,) row numbers, as [`row_streams`] gives them.
        order: one that needs no logits, as [`order_scores`] takes it: in which the hidden positions
            queue up.
        block_length: masks of a row, from left to right, that make a block; None: all of them.

    Attributes:
        hidden_BL: bool (B, L), what is still to be generated.
        given_BL: bool (B, L), real tokens that were given.
        step_B1: int64 (B, 1), how many steps have filled positions of the row.
        order_BL: int64 (B, L), the row's step that wrote each position last, -1 where it was given.
        log_probs_BL: float64 (B, L), nats: log-probability with which it was drawn, 0 where it was
            given.
    """

    def __init__(
        self,
        ids: Tensor,
        real_BL: Tensor,
        mask_token_id: int,
        streams: tuple[Tensor, Tensor],
        order: str | Tensor,
        block_length: int | None = None,
    ):
        self.ids = ids
        self.real_BL = real_BL
        self.mask_token_id = mask_token_id
        self.hidden_BL = (ids == mask_token_id) & real_BL
        self.given_BL = real_BL & ~self.hidden_BL
        self.num_masks_B1 = self.hidden_BL.sum(1, keepdim=True)
        self.place_BL = (real_BL.long().cumsum(1) - 1).clamp(min=0)
        self.block_BL = None
        if block_length:
            self.block_BL = (self.hidden_BL.long().cumsum(1) - 1) // block_length
        self._streams = [stream.to(ids.device)[:, None] for stream in streams]
        self._order = order
        self.scores_BL = order_scores(order, self.place_BL, self.uniforms(ORDER, self.place_BL))
        self.uniforms_BL = self.uniforms(TOKEN, self.place_BL)
        self.step_B1 = torch.zeros_like(self.num_masks_B1)
        self.order_BL = torch.full_like(ids, -1)
        self.log_probs_BL = torch.zeros(ids.shape, dtype=torch.float64, device=ids.device)

    def uniforms(self, kind: int, place: Tensor, *keys: Tensor | int) -> Tensor:
        """float64 uniforms (B, K) in [0, 1) of places (B, K), from each row's stream of a kind."""
        return keyed_uniforms(*self._streams, kind, place, *keys)

    def uniforms_of_step(self, positions_BK: Tensor) -> Tensor:
        """float64 (B, K): numbers of positions (B, K) that are new at each of the row's steps."""
        return self.uniforms(TOKEN_OF_STEP, self.place_BL.gather(1, positions_BK), self.step_B1)

    def uniforms_of_plan(self) -> list[Tensor]:
        """For each row float64 (N,), a number for each of its hidden positions, left to right."""
        uniforms_BL = self.uniforms(PLAN, self.place_BL)
        return [
            uniforms_L[hidden_L]
            for uniforms_L, hidden_L in zip(uniforms_BL, self.hidden_BL, strict=True)
        ]

    def open_positions(self, blockwise: bool) -> Tensor:
        """bool (B, L): hidden positions; with `blockwise` those of the first block with any."""
        if self.block_BL is None or not blockwise:
            return self.hidden_BL
        return self.hidden_BL & (self.block_BL == self.active_block()[:, None])

    def active_block(self) -> Tensor:
        """int64 (B,): the first block with hidden positions; beyond the last one if none has."""
        assert self.block_BL is not None
        return self.block_BL.masked_fill(~self.hidden_BL, self.ids.shape[1]).amin(1)

    def text(self, filler: int) -> Tensor:
        """int64 (B, L): each row's real tokens from the first column on, then fillers."""
        first_BL = (~self.real_BL).to(torch.int8).argsort(dim=1, stable=True)
        return self.ids.masked_fill(~self.real_BL, filler).gather(1, first_BL)

    def queue(self, open_BL: Tensor, width: int) -> Tensor:
        """int64 (B, width): each row's open positions in their order, then others up to `width`."""
        scores_BL = self.scores_BL.masked_fill(~open_BL, torch.inf)
        # the lowest come sorted, and no two of a row are equal: no tie to break
        return scores_BL.topk(width, dim=1, largest=False).indices

    def send_back(self, back_BL: Tensor, revision_B1: Tensor) -> None:
        """Hides generated tokens again and gives them new random numbers.

        Args:
            back_BL: bool (B, L), what is hidden.
            revision_B1: int64 (B, 1), how many times the row has been revised, this time included.
        """
        self.ids = self.ids.masked_fill(back_BL, self.mask_token_id)
        self.hidden_BL = self.hidden_BL | back_BL
        again_BL = self.uniforms(TOKEN, self.place_BL, revision_B1)
        self.uniforms_BL = torch.where(back_BL, again_BL, self.uniforms_BL)
        turn_BL = self.uniforms(ORDER, self.place_BL, revision_B1)
        scores_BL = order_scores(self._order, self.place_BL, turn_BL)
        # random: a new turn for all that is hidden now, or what is sent back would come first;
        # other orders: the same
        again_BL = self.hidden_BL & back_BL.any(1, keepdim=True)
        self.scores_BL = torch.where(again_BL, scores_BL, self.scores_BL)

    def write(
        self,
        positions_BK: Tensor,
        tokens_BK: Tensor,
        log_probs_BK: Tensor,
        chosen_BK: Tensor | None = None,
    ) -> None:
        """Writes the tokens of one step.

        Args:
            positions_BK: int64 (B, K), distinct within a row.
            tokens_BK: int64 (B, K).
            log_probs_BK: float64 (B, K), nats.
            chosen_BK: bool (B, K), which of them are written; None: all.
        """
        changes = (
            (self.ids, tokens_BK),
            (self.log_probs_BL, log_probs_BK),
            (self.order_BL, self.step_B1),
            (self.hidden_BL, self.hidden_BL.new_zeros(())),
        )
        for table, new in changes:
            new = new.expand_as(positions_BK)
            if chosen_BK is not None:
                new = torch.where(chosen_BK, new, table.gather(1, positions_BK))
            table.scatter_(1, positions_BK, new)
        self.step_B1 = self.step_B1 + (1 if chosen_BK is None else chosen_BK.any(1, keepdim=True))


def append_masks(
    ids: Tensor, real_BL: Tensor, count: int, mask_token_id: int
) -> tuple[Tensor, Tensor]:
    """Inserts masks right after each row's last real token; padding on the right moves behind them.

    Args:
        ids: int64 (B, L).
        real_BL: bool (B, L), False on padding.
        count: number of masks.
        mask_token_id: their id.

    Returns:
        ids int64 and real_BL bool (B, L + count).
    """
    ids = F.pad(ids, (0, count), value=mask_token_id)
    real_BL = F.pad(real_BL, (0, count))
    target_BL = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    # 0 for a row of padding, or of length 0
    end_B1 = F.pad((target_BL + 1) * real_BL, (1, 0)).amax(1, keepdim=True)
    is_new_BL = (target_BL >= end_B1) & (target_BL < end_B1 + count)
    source_BL = torch.where(target_BL < end_B1, target_BL, (target_BL - count).clamp(min=0))
    ids = ids.gather(1, source_BL).masked_fill(is_new_BL, mask_token_id)
    return ids, real_BL.gather(1, source_BL) | is_new_BL


def row_streams(
    seed: int | Sequence[int] | None,
    generator: torch.Generator | None,
    copies: int,
    batch_size: int,
) -> tuple[Tensor, Tensor]:
    """The random stream of each of the B * copies rows.

    Args:
        seed: int, or a list with one a row, or None: drawn from the generator.
        generator: on any device; None = torch's global one.
        copies: results for each row, next to each other.
        batch_size: B.

    Returns:
        Seeds and row numbers, int64 (B * copies,) each.

    Raises:
        ValueError: if both seed and generator are given, or the list has another length.
    """
    if seed is not None and generator is not None:
        raise ValueError("got both seed and generator; expected at most one of them.")
    if generator is not None and not isinstance(generator, torch.Generator):
        raise ValueError(f"generator is a {type(generator).__name__}; expected a torch.Generator.")
    if isinstance(seed, (list, tuple)):
        if len(seed) != batch_size:
            raise ValueError(
                f"seed is a list of {len(seed)};"
                f" expected one seed for each of the {batch_size} rows."
            )
        seeds = torch.tensor(seed).repeat_interleave(copies)
        return seeds, torch.arange(copies).repeat(batch_size)
    seed = seed_from(generator) if seed is None else seed
    return torch.tensor(seed).expand(batch_size * copies), torch.arange(batch_size * copies)
