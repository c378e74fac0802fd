"""Value trees: the coarse values that a value passes through on its way from the mask.

    level 0   the root: the mask id
    level s   nodes; a value stands below exactly one of them           (s = 1..S-1)
    level S   the leaves: the values and special ids themselves

A position of a canvas holds the id of a node: 0..V-1 are the ids of the vocabulary, nodes between
root and leaves have those from V on, the coarsest level first. Digits in base b, the most
significant first, make one tree: value i stands below node floor(i / b^(S-s)) of level s (arXiv
2110.02037, section 4). Any table of coarser and coarser labels makes another. A special id is a
chain of its own: its first reveal says all, the others are certain.

Shapes: V vocabulary, S stages, M nodes of all levels, K values, W children of the widest node.
"""

from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import Any

import torch
from torch import Tensor

Labels = Sequence[Sequence[int]]
Runs = list[tuple[int, int]]  # (children of each, nodes side by side) of a level


def digit_labels(num_values: int, num_stages: int, branching_factor: int) -> list[list[int]]:
    """The table of ancestors that base-b digits are: S-1 rows of K labels, the coarsest first.

    Args:
        num_values: K, at most b^S.
        num_stages: S, at least 1.
        branching_factor: b, at least 2.

    Returns:
        floor(i / b^(S-s)) of each value i at each level s = 1..S-1.

    Raises:
        ValueError: if S digits in base b do not tell K values apart.
    """
    if branching_factor**num_stages < num_values:
        raise ValueError(
            f"num_stages={num_stages} and branching_factor={branching_factor} cover"
            f" {branching_factor**num_stages} values; expected at least {num_values}, those of the"
            " vocabulary without special ids."
        )
    shifts = [branching_factor ** (num_stages - level) for level in range(1, num_stages)]
    return [[value // shift for value in range(num_values)] for shift in shifts]


class ValueTree:
    """Tables of a tree of at least two levels.

    Args:
        vocab_size: V.
        root: the mask id.
        values: ids of the K values, in the order of the labels.
        labels: S-1 rows of K integers, the coarsest first, each row a coarsening of the next.
        special_ids: the other ids that a text may hold.

    Attributes:
        num_stages: S.
        num_nodes: M; node ids are 0..M-1.
        ancestors_SV: int64 (S + 1, V), the node at each level that an id stands below; ids that no
            text holds stand for themselves.
        leaf_order: int64 (leaves,), the ids that texts may hold, siblings side by side.
        parent_M: int64 (M,), the root's its own; ids that no text holds have the root.
        level_M: int64 (M,), 0 the root's and S the leaves'.
        row_M: int64 (M,), where each node stands in `children_RW`; 0 for a leaf.
        children_RW: int64 (R, W), the children of each inner node, those with more children of
            their own first; -1 beyond the last one. Row 0 is that of the leaves.
        slot_M: int64 (M,), the place of each node among its parent's children.
        sizes: for each level 0..S-1 how many children its nodes have, in their order.

    Raises:
        ValueError: if the labels are no tree.
    """

    def __init__(
        self,
        vocab_size: int,
        root: int,
        values: Sequence[int],
        labels: Labels,
        special_ids: Sequence[int] = (),
    ):
        check_labels(labels, len(values))
        self.num_stages = len(labels) + 1
        leaves = torch.tensor([*values, *special_ids], dtype=torch.long)
        table = _with_chains(labels, len(special_ids))
        # nodes of each level in the order in which siblings stand side by side
        places = _places(table)
        order = places[-1].argsort()
        firsts = [0, *torch.tensor([len(p.unique()) for p in places[:-1]]).cumsum(0).tolist()]
        self.num_nodes = vocab_size + firsts[-1]
        self.ancestors_SV = torch.arange(vocab_size).repeat(self.num_stages + 1, 1)
        self.ancestors_SV[0, leaves] = root
        for level, place in enumerate(places[:-1], 1):
            self.ancestors_SV[level, leaves] = vocab_size + firsts[level - 1] + place
        self.leaf_order = leaves[order]
        self._link(root)

    def _link(self, root: int) -> None:
        """Fills the tables that go from node to node."""
        self.level_M = torch.full((self.num_nodes,), self.num_stages)
        self.parent_M = torch.full((self.num_nodes,), root)
        self.row_M = torch.zeros(self.num_nodes, dtype=torch.long)
        self.slot_M = torch.zeros(self.num_nodes, dtype=torch.long)
        self.sizes: list[list[int]] = []
        paths = self.ancestors_SV[:, self.leaf_order]
        # siblings stand side by side, and so do the leaves below them
        links = []
        for above, below in pairwise(paths):
            first = torch.cat((torch.ones(1, dtype=torch.bool), below[1:] != below[:-1]))
            links.append((above[first], below[first]))
        num_rows = 1
        for level, (parents, children) in enumerate(links):
            nodes, sizes = parents.unique_consecutive(return_counts=True)
            self.level_M[nodes] = level
            self.parent_M[children] = parents
            self.row_M[nodes] = num_rows + torch.arange(len(nodes))
            begins = (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
            self.slot_M[children] = torch.arange(len(children)) - begins
            self.sizes.append(sizes.tolist())
            num_rows += len(nodes)
        self.children_RW = torch.full((num_rows, max(map(max, self.sizes))), -1)
        for parents, children in links:
            self.children_RW[self.row_M[parents], self.slot_M[children]] = children

    def layout(self) -> tuple[list[Tensor], list[Runs]]:
        """Nodes in an order in which masses are sums of whole slices.

        Returns:
            For each level 0..S its nodes, int64: of neighbours with as many children the first
            children of all come first, then the second ones, and so on. For each level 0..S-1 its
            runs of such neighbours, (children of each, nodes).
        """
        nodes_of_levels = [self.parent_M[self.ancestors_SV[1, self.leaf_order[:1]]]]
        runs_of_levels = []
        for _ in range(self.num_stages):
            children_NW = self.children_RW[self.row_M[nodes_of_levels[-1]]]
            sizes = (children_NW >= 0).sum(1).tolist()
            runs = [(size, len([*same])) for size, same in groupby(sizes)]
            parts = children_NW.split([count for _, count in runs])
            of_runs = zip(parts, runs, strict=True)
            slices = [part[:, :size].t().flatten() for part, (size, _) in of_runs]
            nodes_of_levels.append(torch.cat(slices))
            runs_of_levels.append(runs)
        return nodes_of_levels, runs_of_levels

    def leaves(self, node: int) -> list[int]:
        """The ids of the vocabulary that stand below a node, or are it.

        Args:
            node: 0..M-1.

        Returns:
            Ids, rising.
        """
        level = int(self.level_M[node])
        below = self.ancestors_SV[level, self.leaf_order] == node
        return sorted(self.leaf_order[below].tolist())


def check_labels(labels: Labels, num_values: int) -> None:
    """Raises ValueError unless these are rows of K integers, each a coarsening of the next.

    Args:
        labels: the coarsest row first.
        num_values: K.

    Raises:
        ValueError: if they are not.
    """
    for number, row in enumerate(labels):
        check_label_types(number, row)
        if len(row) != num_values:
            raise ValueError(
                f"value_tree's row {number} has {len(row)} labels; expected {num_values}, one for"
                " each value (num_values says how many of the ids are values)."
            )
    for number, (coarse, fine) in enumerate(pairwise(labels)):
        above: dict[int, int] = {}
        for parent, label in zip(coarse, fine, strict=True):
            if above.setdefault(label, parent) != parent:
                raise ValueError(
                    f"value_tree is no tree: label {label} of row {number + 1} stands below"
                    f" {above[label]} and {parent} of row {number}; expected each row to be a"
                    " coarsening of the next."
                )


def check_label_types(number: int, row: Sequence[Any]) -> None:
    """Makes sure that labels are Python's integers.

    Args:
        number: of the row, for the message.
        row: of labels.

    Raises:
        ValueError: if one is none.
    """
    kinds = {type(label) for label in row}
    if kinds - {int}:
        names = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise ValueError(
            f"value_tree's row {number} has {len(row)} labels of type {names}; expected integers,"
            " one for each value."
        )


def _with_chains(labels: Labels, num_special: int) -> list[Tensor]:
    """The labels of all leaves at the levels 1..S, those of special ids unlike any other."""
    num_values = len(labels[0])
    table = []
    for row in [*labels, range(num_values)]:
        numbers = torch.tensor(row).unique(return_inverse=True)[1]
        table.append(torch.cat((numbers, num_values + torch.arange(num_special))))
    return table


def _places(table: list[Tensor]) -> list[Tensor]:
    """For each level 1..S the place of every leaf's node, int64 (leaves,) of 0..nodes-1.

    Siblings stand side by side, those with more children first: then nodes with equally many
    children are neighbours, and few slices hold all of a level (see `ValueTree.runs`).
    """
    places = []
    parent = torch.zeros_like(table[0])
    for level, label in enumerate(table):
        below = table[level + 1] if level + 1 < len(table) else label
        num_labels = int(below.max()) + 1
        num_children = (label * num_labels + below).unique().div(num_labels, rounding_mode="floor")
        fewer_last = num_labels - num_children.bincount()[label]
        keys = (parent * (num_labels + 1) + fewer_last) * (int(label.max()) + 1) + label
        parent = keys.unique(return_inverse=True)[1]
        places.append(parent)
    return places
