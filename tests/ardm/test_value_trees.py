"""The tables of a value tree agree with its labels and with each other, by brute force."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ardm.value_trees import ValueTree, check_labels, digit_labels

MASK = 3


# ----------------------------------------------------------------------------- by the definition
def digits(value, num_stages, branching_factor):
    """S digits, the most significant first."""
    return [
        value // branching_factor ** (num_stages - 1 - place) % branching_factor
        for place in range(num_stages)
    ]


def paths_of(labels, values, special_ids):
    """id -> what tells its nodes of the levels 0..S apart, from the definition alone."""
    paths = {}
    for place, value in enumerate(values):
        inner = [("label", row[place]) for row in labels]
        paths[value] = ["root", *inner, ("id", value)]
    for token in special_ids:
        paths[token] = ["root", *[("chain", token)] * len(labels), ("id", token)]
    return paths


@st.composite
def trees(draw):
    """vocab_size, root, values, labels and special ids of any tree, on any ids."""
    num_values = draw(st.integers(1, 9))
    num_special = draw(st.integers(0, 3))
    num_unused = draw(st.integers(0, 2))
    ids = draw(st.permutations(range(num_values + num_special + num_unused + 1)))
    fine = st.lists(st.integers(-3, 12), min_size=num_values, max_size=num_values)
    rows = [draw(fine)]
    for _ in range(draw(st.integers(0, 3))):
        coarser = {label: draw(st.integers(-1, 3)) for label in sorted({*rows[0]})}
        rows.insert(0, [coarser[label] for label in rows[0]])
    root, values, special_ids = ids[0], ids[1 : num_values + 1], ids[num_values + 1 :]
    return len(ids), root, values, rows, special_ids[:num_special]


DIGITS = (9, 8, [0, 1, 2, 3, 4, 5, 6, 7], digit_labels(8, 3, 2), [])
RAGGED = (8, 3, [0, 1, 2, 4, 5], digit_labels(5, 3, 2), [6, 7])
CHAINS = (4, 0, [2], [[5], [5]], [3, 1])


def over_trees(law):
    """A law of any tree, and of these three."""
    for arguments in (DIGITS, RAGGED, CHAINS):
        law = example(arguments)(law)
    return settings(max_examples=40)(given(trees())(law))


# -------------------------------------------------------------------------------------- all tables
@over_trees
def test_ids_stand_together_below_a_node_where_their_labels_say_so(arguments):
    vocab_size, root, values, labels, special_ids = arguments
    tree = ValueTree(*arguments)
    paths = paths_of(labels, values, special_ids)
    assert tree.num_stages == len(labels) + 1
    assert tree.ancestors_SV.shape == (tree.num_stages + 1, vocab_size)
    for level in range(tree.num_stages + 1):
        names = {}
        for token, path in paths.items():
            names.setdefault(path[level], set()).add(int(tree.ancestors_SV[level, token]))
        nodes = [next(iter(same)) for same in names.values()]
        assert all(len(same) == 1 for same in names.values()) and len({*nodes}) == len(nodes)
    assert tree.ancestors_SV[0, [*paths]].unique().tolist() == [root]
    assert tree.ancestors_SV[-1].tolist() == [*range(vocab_size)]
    for token in {*range(vocab_size)} - {*paths}:  # stands for itself
        assert tree.ancestors_SV[:, token].tolist() == [token] * (tree.num_stages + 1)


@over_trees
def test_inner_nodes_are_numbered_from_the_vocabulary_on_level_by_level(arguments):
    vocab_size, _, values, labels, special_ids = arguments
    tree = ValueTree(*arguments)
    first = vocab_size
    for level, row in enumerate(labels, 1):
        nodes = tree.ancestors_SV[level, [*values, *special_ids]].unique().tolist()
        count = len({*row}) + len(special_ids)
        assert nodes == [*range(first, first + count)]
        assert tree.level_M[nodes].tolist() == [level] * count
        first += count
    assert tree.num_nodes == first
    assert {len(table) for table in (tree.level_M, tree.parent_M, tree.row_M, tree.slot_M)} == {
        first
    }
    # within a level as along the leaves: what stands above neighbours never falls
    for level in range(1, tree.num_stages):
        assert (tree.ancestors_SV[level, tree.leaf_order].diff() >= 0).all()


@over_trees
def test_parents_levels_children_and_slots_agree(arguments):
    _, root, values, _, special_ids = arguments
    tree = ValueTree(*arguments)
    leaves = [*values, *special_ids]
    expected = {root: (0, root)}
    for token in leaves:
        path = tree.ancestors_SV[:, token].tolist()
        expected |= {node: (level, path[level - 1]) for level, node in enumerate(path) if level}
    for node in range(tree.num_nodes):
        level, parent = expected.get(node, (tree.num_stages, root))
        assert (int(tree.level_M[node]), int(tree.parent_M[node])) == (level, parent)
        children = [child for child, (at, above) in expected.items() if at and above == node]
        row = tree.children_RW[tree.row_M[node]].tolist()
        assert sorted(row[: len(children)]) == sorted(children)
        assert row[len(children) :] == [-1] * (len(row) - len(children))
        assert [int(tree.slot_M[child]) for child in row[: len(children)]] == [
            *range(len(children))
        ]
    inner = [node for node in expected if expected[node][0] < tree.num_stages]
    assert sorted(tree.row_M[inner].tolist()) == [*range(1, len(tree.children_RW))]
    assert (tree.children_RW[0] == -1).all() and not tree.row_M[leaves].any()


@over_trees
def test_leaves_and_sizes_by_counting(arguments):
    vocab_size, _, values, _, special_ids = arguments
    tree = ValueTree(*arguments)
    texts = [*values, *special_ids]
    assert sorted(tree.leaf_order.tolist()) == sorted(texts)
    for node in range(tree.num_nodes):
        if node < vocab_size and tree.level_M[node] and node not in texts:
            continue  # no text holds it
        below = {token for token in texts if node in tree.ancestors_SV[:, token]}
        assert tree.leaves(node) == sorted(below)
        # side by side: one slice of the leaves
        places = [place for place, leaf in enumerate(tree.leaf_order.tolist()) if leaf in below]
        assert places == [*range(places[0], places[0] + len(below))]
    for level in range(tree.num_stages):
        nodes = tree.ancestors_SV[level, tree.leaf_order].unique_consecutive()
        sizes = [int((tree.children_RW[tree.row_M[node]] >= 0).sum()) for node in nodes]
        assert tree.sizes[level] == sizes


@over_trees
def test_the_layout_holds_first_children_before_second_ones(arguments):
    tree = ValueTree(*arguments)
    nodes_of_levels, runs_of_levels = tree.layout()
    assert len(nodes_of_levels) == tree.num_stages + 1 == len(runs_of_levels) + 1
    for level, nodes in enumerate(nodes_of_levels):
        of_level = tree.ancestors_SV[level, tree.leaf_order].unique()
        assert torch.equal(nodes.sort().values, of_level)
    for (above, below), runs in zip(pairwise(nodes_of_levels), runs_of_levels, strict=True):
        assert all(one != other for (one, _), (other, _) in pairwise(runs))
        parents, children = iter(above.tolist()), iter(below.tolist())
        for size, count in runs:
            group = [next(parents) for _ in range(count)]
            for slot in range(size):
                for parent in group:
                    assert int(tree.children_RW[tree.row_M[parent], slot]) == next(children)
            assert all((tree.children_RW[tree.row_M[node]] >= 0).sum() == size for node in group)
        assert not [*parents, *children]


@over_trees
def test_children_with_more_children_come_first(arguments):
    tree = ValueTree(*arguments)
    counts = (tree.children_RW[tree.row_M] >= 0).sum(1)  # of a leaf none
    for row in tree.children_RW:
        assert (counts[row[row >= 0]].diff() <= 0).all()


def test_a_tree_does_not_hang_on_the_names_of_its_labels():
    by_digits = ValueTree(5, 4, [0, 1, 2, 3], [[0, 0, 1, 1]])
    renamed = ValueTree(5, 4, [0, 1, 2, 3], [[-7, -7, 40, 40]])
    for name in ("ancestors_SV", "leaf_order", "parent_M", "level_M", "children_RW", "slot_M"):
        assert torch.equal(getattr(by_digits, name), getattr(renamed, name)), name


# ------------------------------------------------------------------------------- digits and chains
@given(st.integers(1, 4), st.integers(2, 5), st.data())
def test_digits_are_the_leading_ones_of_the_base(num_stages, branching_factor, data):
    num_values = data.draw(st.integers(1, min(branching_factor**num_stages, 300)))
    labels = digit_labels(num_values, num_stages, branching_factor)
    assert len(labels) == num_stages - 1
    for value in range(num_values):
        written = digits(value, num_stages, branching_factor)
        number = 0
        for row, digit in zip(labels, written, strict=False):
            number = number * branching_factor + digit
            assert row[value] == number
    check_labels(labels, num_values)
    if num_stages > 1:
        tree = ValueTree(num_values + 1, num_values, range(num_values), labels)
        assert max(map(max, tree.sizes)) <= branching_factor
        full = num_values == branching_factor**num_stages
        assert full == (tree.sizes[-1] == [branching_factor] * branching_factor ** (num_stages - 1))


def test_ragged_digits_by_hand():
    tree = ValueTree(6, 5, range(5), digit_labels(5, 3, 2))
    assert tree.ancestors_SV.tolist() == [
        [5, 5, 5, 5, 5, 5],
        [6, 6, 6, 6, 7, 5],
        [8, 8, 9, 9, 10, 5],
        [0, 1, 2, 3, 4, 5],
    ]
    assert tree.sizes == [[2], [2, 1], [2, 2, 1]]
    assert tree.leaves(6) == [0, 1, 2, 3] and tree.leaves(10) == tree.leaves(7) == [4]
    assert tree.leaves(5) == [0, 1, 2, 3, 4] and tree.leaves(2) == [2]


def test_special_ids_are_chains():
    tree = ValueTree(8, MASK, [0, 1, 2, 4], [[0, 0, 1, 1]], special_ids=[5, 7])
    assert tree.sizes == [[4], [2, 2, 1, 1]] and tree.num_nodes == 12
    for token in (5, 7):
        above = int(tree.ancestors_SV[1, token])
        assert above >= 8 and tree.leaves(above) == [token]
    assert tree.ancestors_SV[:, 6].tolist() == [6, 6, 6]  # a mere pad id


def test_one_value_and_one_child_everywhere():
    tree = ValueTree(2, 1, [0], [[0], [0]])
    assert tree.sizes == [[1], [1], [1]] and tree.num_nodes == 4
    assert tree.ancestors_SV[:, 0].tolist() == [1, 2, 3, 0]


@pytest.mark.parametrize(("num_values", "num_stages", "base"), [(5, 2, 2), (2, 0, 2), (65, 3, 4)])
def test_digits_that_do_not_cover_the_values_are_refused(num_values, num_stages, base):
    message = rf"num_stages={num_stages} and branching_factor={base} cover {base**num_stages}"
    with pytest.raises(ValueError, match=f"{message} values; expected at least {num_values}"):
        digit_labels(num_values, num_stages, base)
    if num_stages:
        assert digit_labels(base**num_stages, num_stages, base)


# ---------------------------------------------------------------------------------- what is no tree
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([[0, 1, 1]], r"row 0 has 3 labels; expected 4, one for each value"),
        ([[0, 1, 1, 0, 2]], "row 0 has 5 labels"),
        ([[]], "row 0 has 0 labels"),
        ([[0, 0, 1, 1], [0, 1, 2]], "row 1 has 3 labels"),
        ([[0, 0.5, 1, 1]], "row 0 has 4 labels of type float, int; expected integers"),
        ([[0, 0, True, 1]], "of type bool, int"),
        ([["a", "a", "b", "b"]], "of type str"),
        ([[None] * 4], "of type NoneType"),
        ([[0, 0, 1, 1], [0, 1, 1, 2]], "label 1 of row 1 stands below 0 and 1 of row 0"),
        ([[0, 0, 0, 0], [0, 0, 1, 1], [4, 2, 4, 3]], "label 4 of row 2 stands below 0 and 1 of"),
        # the finest row first
        ([[0, 1, 2, 3], [0, 0, 1, 1]], "expected each row to be a coarsening of the next"),
    ],
)
def test_tables_that_are_no_tree_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        check_labels(labels, 4)
    with pytest.raises(ValueError, match=message):
        ValueTree(5, 4, range(4), labels)


@given(trees(), st.data())
def test_a_label_moved_elsewhere_is_noticed(arguments, data):
    """A label of a lower row below two labels of the row above it is no tree."""
    _, _, values, labels, _ = arguments
    if len(labels) < 2 or len({*labels[0]}) < 2:
        return
    one = data.draw(st.sampled_from(range(len(values))))
    other = data.draw(
        st.sampled_from([v for v in range(len(values)) if labels[0][v] != labels[0][one]])
    )
    broken = [list(row) for row in labels]
    broken[1][other] = broken[1][one]
    with pytest.raises(ValueError, match="value_tree is no tree"):
        check_labels(broken, len(values))


def test_integers_of_numpy_are_told_by_type():
    """A table comes here as Python's integers: the configuration makes them so."""
    with pytest.raises(ValueError, match="of type int64"):
        check_labels([list(np.array([0, 0, 1, 1]))], 4)
