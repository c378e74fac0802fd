"""Canvas: the rows that are being generated, what is hidden of them, and their random numbers.

Randomness: row r of a call has the stream (seed, r), with one number for each kind of chance and
each *place* (a position's number among its row's real tokens). So a row's numbers depend on nothing
else: not on its neighbours, not on padding, not on how many tokens a step are drawn. A place that
is sent back to mask gets new numbers, keyed by how many times its row has been revised. Tokens that
are drawn at every step, though only some are kept, have numbers keyed by the row's step.

With several stages a position holds the node of a tree (stages.py) that it has come to, and every
reveal of it has numbers of its own.

Shapes: B batch, L length, K positions of one step, S stages, R = S*L reveals, stage after stage.
"""

import torch
from torch import Tensor

from .arrangements import open_positions, reveal_scores
from .orders import all_positions
from .randomness import keyed_uniforms
from .stages import Stages

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
        ids: int64 (B, L), mask ids where a token is to be generated, or nodes below which it is to
            be; changed in place.
        real_BL: bool (B, L), False on padding.
        stages: of the model.
        streams: int64 (B,) seeds and (B,) row numbers, as [`row_streams`] gives them.
        order: one that needs no logits, as [`reveal_scores`] takes it: in which the hidden
            positions queue up.
        block_length: hidden positions of a row, from left to right, that make a block; None: all of
            them.

    Attributes:
        hidden_BL: bool (B, L), what is still to be generated.
        given_BL: bool (B, L), real tokens that were given.
        given_level_BL: `level_BL` before the first step.
        step_B1: int64 (B, 1), how many steps have filled positions of the row.
        order_BL: int64 (B, L), the row's step that wrote each position last, -1 where it was given.
        log_probs_BR: float64 (B, R), nats: log-probability of each reveal, 0 where none was made.
    """

    def __init__(
        self,
        ids: Tensor,
        real_BL: Tensor,
        stages: Stages,
        streams: tuple[Tensor, Tensor],
        order: str | Tensor,
        block_length: int | None = None,
    ):
        self.ids = ids
        self.real_BL = real_BL
        self.stages = stages
        self.mask_token_id = stages.mask_token_id
        self.hidden_BL = stages.is_hidden(ids) & real_BL
        self.given_BL = real_BL & ~self.hidden_BL
        self.given_level_BL = self.level_BL
        self.num_reveals_B1 = self.num_left_B1
        self.place_BL = (real_BL.long().cumsum(1) - 1).clamp(min=0)
        self.block_BL = None
        if block_length:
            self.block_BL = (self.hidden_BL.long().cumsum(1) - 1) // block_length
        self._streams = [stream.to(ids.device)[:, None] for stream in streams]
        self._order = order
        self.scores_BR = self._scores(self._uniforms_of_reveals(ORDER))
        self.uniforms_BR = self._uniforms_of_reveals(TOKEN)
        self.step_B1 = torch.zeros_like(self.num_reveals_B1)
        self.order_BL = torch.full_like(ids, -1)
        self.log_probs_BR = torch.zeros_like(self.uniforms_BR)

    # ------------------------------------------------------------------------------------- chances
    def uniforms(self, kind: int, place: Tensor, *keys: Tensor | int) -> Tensor:
        """float64 uniforms (B, K) in [0, 1) of places (B, K), from each row's stream of a kind."""
        return keyed_uniforms(*self._streams, kind, place, *keys)

    def uniforms_of_step(self, positions_BK: Tensor) -> Tensor:
        """float64 (B, K): numbers of positions (B, K) that are new at each of the row's steps."""
        return self.uniforms(TOKEN_OF_STEP, self.place_BL.gather(1, positions_BK), self.step_B1)

    def uniforms_of_plan(self) -> list[Tensor]:
        """For each row float64 (N,), a number for each of its reveals, left to right."""
        uniforms_BR = self._uniforms_of_reveals(PLAN)
        left_BR = (self._stage_S1 >= self.level_BL[:, None]).flatten(1)
        return [uniforms_R[left_R] for uniforms_R, left_R in zip(uniforms_BR, left_BR, strict=True)]

    def _uniforms_of_reveals(self, kind: int, *keys: Tensor) -> Tensor:
        """float64 (B, R), a number for each reveal; with one stage, for each place."""
        num_stages = self.stages.num_stages
        if num_stages == 1:
            return self.uniforms(kind, self.place_BL, *keys)
        stage_R = self._stage_S1.expand(-1, self.ids.shape[1]).flatten()
        return self.uniforms(kind, self.place_BL.repeat(1, num_stages), stage_R, *(keys or (0,)))

    def _scores(self, uniforms_BR: Tensor) -> Tensor:
        uniforms_BSL = uniforms_BR.view(self._shape_BSL)
        where = (self.place_BL, uniforms_BSL, self.level_BL, self.stages)
        return reveal_scores(self._order, *where).flatten(1)

    @property
    def _shape_BSL(self) -> tuple[int, int, int]:
        return len(self.ids), self.stages.num_stages, self.ids.shape[1]

    @property
    def _stage_S1(self) -> Tensor:
        return torch.arange(self.stages.num_stages, device=self.ids.device)[:, None]

    # --------------------------------------------------------------------------- what is left, when
    @property
    def level_BL(self) -> Tensor:
        """int64 (B, L), how many reveals have led to what each position holds; S where known."""
        known_BL = ~self.hidden_BL
        if self.stages.tree is None:
            return known_BL.long()
        return self.stages.level(self.ids).masked_fill(known_BL, self.stages.num_stages)

    @property
    def num_left_B1(self) -> Tensor:
        """int64 (B, 1), reveals that are left."""
        return (self.stages.num_stages - self.level_BL).sum(1, keepdim=True)

    @property
    def log_probs_BL(self) -> Tensor:
        """float64 (B, L), nats: with which each position was drawn, 0 where it was given."""
        return self.log_probs_BR.view(self._shape_BSL).sum(1)

    @property
    def last_log_probs_BL(self) -> Tensor:
        """float64 (B, L), nats: with which each position's last reveal was drawn."""
        last_BL = (self.level_BL - 1).clamp(min=0) * self.ids.shape[1] + all_positions(self.ids)
        return self.log_probs_BR.gather(1, last_BL)

    @property
    def token_ids(self) -> Tensor:
        """int64 (B, L), ids of the vocabulary: the mask's for all that is still to be generated."""
        if self.stages.tree is None:
            return self.ids
        return self.ids.masked_fill(self.ids >= self.stages.vocab_size, self.mask_token_id)

    def sizes(self) -> list[list[list[int]]]:
        """For each row how many reveals each block of each stage has; interleaved, of all at once.

        Returns:
            One list a row, of one list a stage, of numbers above 0.
        """
        counts = [self.level_BL <= stage for stage in self._stage_S1]
        counts = [sum(counts)] if self.stages.interleaved else counts
        block_BL = torch.zeros_like(self.ids) if self.block_BL is None else self.block_BL
        blocks_BL = block_BL.clamp(min=0)
        num_blocks = int(blocks_BL.max()) + 1 if blocks_BL.numel() else 1
        empty = self.ids.new_zeros(len(self.ids), num_blocks)
        tables = [empty.scatter_add(1, blocks_BL, count.long()) for count in counts]
        rows = torch.stack(tables, 1).tolist()
        return [[[size for size in part if size] for part in row] for row in rows]

    def open_positions(self, blockwise: bool) -> Tensor:
        """bool (B, L): what may be revealed next; with `blockwise` in the first block with any."""
        open_BL = self.hidden_BL
        if self.stages.tree is not None:  # else no level is looked at
            open_BL = open_positions(self.level_BL, open_BL, self.stages)
        if self.block_BL is None or not blockwise:
            return open_BL
        return open_BL & (self.block_BL == self._first_block(open_BL))

    def returnable(self, blockwise: bool) -> Tensor:
        """bool (B, L): generated positions whose last reveal may be taken back.

        One stage after the other, those that the present one has revealed. With `blockwise` they
        are of the block that is being generated.
        """
        open_BL = self.open_positions(blockwise=False)
        made_BL = self.level_BL > self.given_level_BL
        if not self.stages.interleaved:
            made_BL = made_BL & ~open_BL
        if self.block_BL is None or not blockwise:
            return made_BL
        return made_BL & (self.block_BL == self._first_block(open_BL))

    def _first_block(self, open_BL: Tensor) -> Tensor:
        """int64 (B, 1): the first block with open positions; beyond the last one if none has."""
        assert self.block_BL is not None
        return self.block_BL.masked_fill(~open_BL, self.ids.shape[1]).amin(1, keepdim=True)

    def text(self, filler: int) -> Tensor:
        """int64 (B, L): each row's real tokens from the first column on, then fillers."""
        first_BL = (~self.real_BL).to(torch.int8).argsort(dim=1, stable=True)
        return self.token_ids.masked_fill(~self.real_BL, filler).gather(1, first_BL)

    def of_next(self, values_BR: Tensor, positions_BK: Tensor | None = None) -> Tensor:
        """(B, K), of the next reveal of some positions, or of all, from a table of reveals."""
        if self.stages.num_stages == 1:
            return values_BR if positions_BK is None else values_BR.gather(1, positions_BK)
        return values_BR.gather(1, self._next_reveals(positions_BK))

    def _next_reveals(self, positions_BK: Tensor | None = None) -> Tensor:
        """int64 (B, K), where tables of reveals hold the next one of some positions, or of all."""
        num_stages = self.stages.num_stages
        if positions_BK is None:
            positions_BK = all_positions(self.ids)
        if num_stages == 1:
            return positions_BK
        level_BK = self.level_BL.gather(1, positions_BK).clamp(max=num_stages - 1)
        return level_BK * self.ids.shape[1] + positions_BK

    def queue(self, open_BL: Tensor, width: int) -> Tensor:
        """int64 (B, width): each row's open positions in their order, then others up to `width`."""
        scores_BL = self.of_next(self.scores_BR).masked_fill(~open_BL, torch.inf)
        # the lowest come sorted, and no two of a row are equal: no tie to break
        return scores_BL.topk(width, dim=1, largest=False).indices

    def reveals_of_queue(self, open_BL: Tensor, count_B1: Tensor, most: int) -> Tensor:
        """int64 (B, L): how many of the next `count` <= `most` reveals each open position makes."""
        left_BSL = open_BL[:, None] & (self._stage_S1 >= self.level_BL[:, None])
        scores_BR = self.scores_BR.masked_fill(~left_BSL.flatten(1), torch.inf)
        first_BK = scores_BR.topk(most, dim=1, largest=False).values
        last_B1 = first_BK.gather(1, (count_B1 - 1).clamp(min=0))
        made_BR = (scores_BR <= last_B1) & (count_B1 > 0) & left_BSL.flatten(1)
        return made_BR.view(left_BSL.shape).sum(1)

    # -------------------------------------------------------------------------------------- changes
    def send_back(self, back_BL: Tensor, revision_B1: Tensor) -> None:
        """Takes the last reveal of positions back and gives them new random numbers.

        Args:
            back_BL: bool (B, L), what is hidden.
            revision_B1: int64 (B, 1), how many times the row has been revised, this time included.
        """
        self.ids = torch.where(back_BL, self.stages.parents(self.ids), self.ids)
        self.hidden_BL = self.hidden_BL | back_BL
        again_BR = self._uniforms_of_reveals(TOKEN, revision_B1)
        self._renew(self.uniforms_BR, again_BR, back_BL)
        scores_BR = self._scores(self._uniforms_of_reveals(ORDER, revision_B1))
        # random: a new turn for all that is hidden, or what goes back came first; others: the same
        turn_BL = self.hidden_BL & back_BL.any(1, keepdim=True)
        if self.stages.interleaved:
            turns_BR = turn_BL.repeat(1, self.stages.num_stages)
            self.scores_BR = torch.where(turns_BR, scores_BR, self.scores_BR)
        else:
            self._renew(self.scores_BR, scores_BR, turn_BL)

    def _renew(self, table_BR: Tensor, new_BR: Tensor, which_BL: Tensor) -> None:
        """Replaces the next reveal's entry of some positions."""
        index_BL = self._next_reveals()
        new_BL = torch.where(which_BL, new_BR.gather(1, index_BL), table_BR.gather(1, index_BL))
        table_BR.scatter_(1, index_BL, new_BL)

    def write(
        self,
        positions_BK: Tensor,
        nodes_BK: Tensor,
        log_probs_BK: Tensor,
        chosen_BK: Tensor | None = None,
    ) -> None:
        """Writes the next reveals of one step, or some more of the same step.

        Args:
            positions_BK: int64 (B, K), distinct within a row.
            nodes_BK: int64 (B, K), what each becomes: with one stage a token.
            log_probs_BK: float64 (B, K), nats.
            chosen_BK: bool (B, K), which of them are written; None: all.
        """
        reveals_BK = self._next_reveals(positions_BK)
        plain = self.stages.tree is None
        hidden = self.hidden_BL.new_zeros(()) if plain else self.stages.is_hidden(nodes_BK)
        changes = (
            (self.ids, positions_BK, nodes_BK),
            (self.log_probs_BR, reveals_BK, log_probs_BK),
            (self.order_BL, positions_BK, self.step_B1),
            (self.hidden_BL, positions_BK, hidden),
        )
        for table, index_BK, new in changes:
            new = new.expand_as(index_BK)
            if chosen_BK is not None:
                new = torch.where(chosen_BK, new, table.gather(1, index_BK))
            table.scatter_(1, index_BK, new)

    def end_step(self, chosen_BK: Tensor | None = None) -> None:
        """Counts a step of the rows in which something was chosen; None: of all."""
        self.step_B1 = self.step_B1 + (1 if chosen_BK is None else chosen_BK.any(1, keepdim=True))

    def cut(self, behind_BL: Tensor, pad_token_id: int) -> None:
        """Turns the end of rows into padding that counts as not generated."""
        self.ids = self.ids.masked_fill(behind_BL, pad_token_id)
        self.order_BL = self.order_BL.masked_fill(behind_BL, -1)
        reveals_BR = behind_BL.repeat(1, self.stages.num_stages)
        self.log_probs_BR = self.log_probs_BR.masked_fill(reveals_BR, 0.0)
        self.hidden_BL = self.hidden_BL & ~behind_BL
        self.real_BL = self.real_BL & ~behind_BL
