"""Stages: a value is revealed level by level, from the mask down a tree (value_trees.py).

    p(child | node) = mass of the child's leaves / mass of the node's leaves     (arXiv 2110.02037,
                                                        section 4, the "data" parametrisation)

under the network's softmax over the vocabulary; or of logits for the children alone ("direct").
An order arranges the S*n reveals of n tokens, the coarsest of each token first: `stagewise`, all of
level 1, then all of level 2, ... (arXiv 2110.02037), or `interleaved`, in any arrangement (arXiv
2510.08632, 2505.18495). In both the next reveal is uniform over those that may come next. So with m
of the N = S*n reveals left

    -log p(x) <= E  N * sum_p w_p CE(next child at p) / sum_p w_p

with w_p = 1 where the stage has not come (stagewise), or the number of reveals left at p
(interleaved). One stage is the plain model: the children of the mask are the ids themselves, and
the logits theirs.

Shapes: B batch, L length, N any number of positions, V vocabulary, S stages, M nodes, W children.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from .value_trees import Runs, ValueTree

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class _Tables:
    """A tree's tables on one device, as [`ValueTree`] has them, and where logits stand."""

    ancestors_SV: Tensor
    parent_M: Tensor
    level_M: Tensor
    slot_M: Tensor
    row_M: Tensor
    children_RW: Tensor
    leaves_K: Tensor  # in the order of the layout
    logit_RW: Tensor  # for each child its place among the logits of all nodes and the ends
    ends_2: Tensor  # logits of a leaf's one child, which is certain, and of no child: 0 and -inf

    def to(self, device: torch.device) -> "_Tables":
        return _Tables(*(getattr(self, table.name).to(device) for table in fields(self)))


@dataclass(frozen=True, eq=False)
class Stages:
    """How the values of a model are revealed.

    Args:
        vocab_size: V.
        mask_token_id: the root of the tree.
        tree: the levels between the mask and the values; None: there are none, S = 1.
        interleaved: whether stages may overlap.
        direct: whether the network gives logits for children instead of for the vocabulary.
    """

    vocab_size: int
    mask_token_id: int
    tree: ValueTree | None = None
    interleaved: bool = False
    direct: bool = False
    _tables_on: dict[torch.device, _Tables] = field(default_factory=dict, init=False, repr=False)
    # of the levels S-1..1, whose masses are sums of those of the level below
    _runs: list[Runs] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.tree is None:
            return
        # at once, not when they are first asked for: `forward` may be compiled by then
        names = {table.name for table in fields(_Tables)} & {*vars(self.tree)}
        nodes_of_levels, runs_of_levels = self.tree.layout()
        self._tables_on[_CPU] = _Tables(
            **{name: getattr(self.tree, name) for name in names},
            leaves_K=nodes_of_levels[-1],
            logit_RW=self._places_of_logits(torch.cat(nodes_of_levels[:0:-1])),
            ends_2=torch.tensor([0.0, -torch.inf]),
        )
        object.__setattr__(self, "_runs", runs_of_levels[:0:-1])

    def __getstate__(self) -> dict[str, Any]:
        """Without what is on another device: it is made again where it is needed."""
        on_cpu = {device: tables for device, tables in self._tables_on.items() if device == _CPU}
        return vars(self) | {"_tables_on": on_cpu}

    @staticmethod
    def plain(mask_token_id: int, vocab_size: int = 0) -> "Stages":
        """A single stage: from the mask to a token."""
        return Stages(vocab_size, mask_token_id)

    @property
    def num_stages(self) -> int:
        """S, the reveals of a token."""
        return 1 if self.tree is None else self.tree.num_stages

    @property
    def num_nodes(self) -> int:
        """M, the number of ids that a canvas may hold."""
        return self.vocab_size if self.tree is None else self.tree.num_nodes

    @property
    def num_outputs(self) -> int:
        """Logits that a network gives for each position."""
        if self.tree is None or not self.direct:
            return self.vocab_size
        return sum(map(max, self.tree.sizes))

    def reveals(self, of_stages: Sequence[int]) -> list[int]:
        """The reveals that a plan's groups must not mix: those of each stage, or all of them.

        Args:
            of_stages: S numbers, positions that each stage reveals.

        Returns:
            The same, or their sum where stages overlap.
        """
        return [sum(of_stages)] if self.interleaved else [*of_stages]

    # ---------------------------------------------------------------------------------- nodes
    def is_hidden(self, ids: Tensor) -> Tensor:
        """bool, of the ids' shape: the mask and all other nodes that are no leaves."""
        hidden = ids == self.mask_token_id
        return hidden if self.tree is None else hidden | (ids >= self.vocab_size)

    def level(self, nodes: Tensor) -> Tensor:
        """int64, of the nodes' shape: 0 the mask's, S that of the ids of texts."""
        if self.tree is None:
            return (nodes != self.mask_token_id).long()
        try:
            return self._tables(nodes).level_M[nodes]
        except IndexError as error:
            raise ValueError(f"nodes hold other ids; expected 0..{self.num_nodes - 1}.") from error

    def num_left(self, nodes: Tensor) -> Tensor:
        """int64, of the nodes' shape: reveals from there to a leaf."""
        return self.num_stages - self.level(nodes)

    def coarsen(self, ids: Tensor, level: Tensor | int) -> Tensor:
        """The nodes at a level that ids stand below.

        Args:
            ids: int64, of the vocabulary.
            level: 0..S, a number or int64 that broadcasts with the ids.

        Returns:
            int64, of the broadcast shape; an id that no text holds stays what it is.

        Raises:
            ValueError: (on a CPU) if one is a coarse value, or a level is beyond S.
        """
        if self.tree is None:
            return torch.where(
                torch.as_tensor(level, device=ids.device) > 0, ids, self.mask_token_id
            )
        try:
            return self._tables(ids).ancestors_SV[level, ids]
        except IndexError as error:
            raise ValueError(
                f"ids or levels are out of range; expected ids of the vocabulary, below"
                f" {self.vocab_size}, and levels of at most {self.num_stages}."
            ) from error

    def parents(self, nodes: Tensor) -> Tensor:
        """int64, of the nodes' shape: what each node becomes when its last reveal is taken back."""
        if self.tree is None:
            return torch.full_like(nodes, self.mask_token_id)
        return self._tables(nodes).parent_M[nodes]

    def child_slots(self, nodes: Tensor, ids: Tensor) -> Tensor:
        """Which of its children each node has to become on the way to an id.

        Args:
            nodes: int64 (N,); a leaf stays what it is.
            ids: int64 (N,), leaves below them.

        Returns:
            int64 (N,), what [`child_logits`] is indexed by.
        """
        if self.tree is None:
            return ids
        level = self.level(nodes)
        children = self.coarsen(ids, (level + 1).clamp(max=self.num_stages))
        slots = self._tables(nodes).slot_M[children]
        return slots.masked_fill(level == self.num_stages, 0)

    def children(self, nodes: Tensor, slots: Tensor) -> Tensor:
        """The nodes that stand at places among the children: the inverse of [`child_slots`].

        Args:
            nodes: int64 (N,), no leaves.
            slots: int64 (N,).

        Returns:
            int64 (N,).
        """
        if self.tree is None:
            return slots
        rows = self._tables(nodes).row_M[nodes]
        return self._tables(nodes).children_RW[rows, slots]

    # --------------------------------------------------------------------------- probabilities
    def child_logits(self, outputs: Tensor, nodes: Tensor) -> Tensor:
        """Logits of the next reveal: of the children of the nodes at which positions stand.

        Args:
            outputs: (..., V) or, of a direct parametrisation, (..., outputs): the network's.
            nodes: int64 (...), what the canvas holds there.

        Returns:
            (..., W), -inf beyond a node's children: exactly 0 in any softmax. A leaf has one child.
        """
        if self.tree is None:
            return outputs
        if outputs.dtype in (torch.float16, torch.bfloat16):
            outputs = outputs.float()
        tables = self._tables(nodes)
        levels = [outputs] if self.direct else self._log_masses(outputs)
        ends = tables.ends_2.to(outputs.dtype).expand(*outputs.shape[:-1], 2)
        logits = torch.cat([*levels, ends], -1)
        return logits.gather(-1, tables.logit_RW[tables.row_M[nodes]])

    def target_logits(self, outputs: Tensor, nodes: Tensor) -> Tensor:
        """[`child_logits`] to score values that are there, which may have probability 0.

        Below a coarse value of mass 0 nothing has a probability: the reveal that led there has said
        -inf, and what follows adds nothing to it.

        Args:
            outputs: as for [`child_logits`].
            nodes: as for [`child_logits`].

        Returns:
            (..., W), finite where all children of a coarse value would be -inf.
        """
        logits = self.child_logits(outputs, nodes)
        if self.tree is None:
            return logits
        dead = (logits.amax(-1) == -torch.inf) & (nodes != self.mask_token_id)
        return logits.masked_fill(dead[..., None], 0)

    def _log_masses(self, logits: Tensor) -> list[Tensor]:
        """(..., nodes) of each level but the root's, from the leaves up."""
        levels = [logits.index_select(-1, self._tables(logits).leaves_K)]
        for runs in self._runs:
            parts = levels[-1].split([size * count for size, count in runs], -1)
            parts = [
                part if size == 1 else _log_sum(part.unflatten(-1, (size, count)))
                for part, (size, count) in zip(parts, runs, strict=True)
            ]
            levels.append(torch.cat(parts, -1) if len(parts) > 1 else parts[0])
        return levels

    def _tables(self, like: Tensor) -> _Tables:
        """The tables where a tensor is."""
        if like.device not in self._tables_on:
            self._tables_on[like.device] = self._tables_on[_CPU].to(like.device)
        return self._tables_on[like.device]

    def _places_of_logits(self, nodes: Tensor) -> Tensor:
        """int64 (R, W): for each child its place in what [`child_logits`] gathers from."""
        tree = self.tree
        assert tree is not None
        end = len(nodes)
        place_M = torch.zeros(tree.num_nodes, dtype=torch.long)
        place_M[nodes] = torch.arange(end)
        places_RW = place_M[tree.children_RW]
        if self.direct:
            widths = torch.tensor([0, *map(max, tree.sizes)])
            end = int(widths.sum())
            first_R = torch.zeros(len(places_RW), dtype=torch.long)
            first_R[tree.row_M] = widths.cumsum(0)[tree.level_M.clamp(max=tree.num_stages - 1)]
            places_RW = first_R[:, None] + torch.arange(places_RW.shape[1])
        places_RW[tree.children_RW < 0] = end + 1  # -inf
        places_RW[0, 0] = end  # a leaf stays what it is
        return places_RW


def _log_sum(parts: Tensor) -> Tensor:
    """log of the sum of exp over the last dimension but one, with a gradient of fewer steps."""
    if not parts.requires_grad:
        return parts.logsumexp(-2)
    highest = parts.detach().amax(-2, keepdim=True)
    highest = highest.nan_to_num(0.0, 0.0, 0.0)  # infinity less itself would be no number
    return (parts - highest).exp().sum(-2).log() + highest.squeeze(-2)
