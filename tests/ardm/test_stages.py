"""Stages go by the tree: children's probabilities, levels, slots; and what a configuration says."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ardm import ARDMConfig
from ardm.stages import Stages
from ardm.vocabulary import stages_of

MASK, PAD = 3, 7
TREES = {
    "digits": {"vocab_size": 9, "mask_token_id": 8, "num_stages": 3, "branching_factor": 2},
    "ragged": {"vocab_size": 7, "mask_token_id": 0, "num_stages": 2, "branching_factor": 4},
    "wide": {"vocab_size": 26, "mask_token_id": 25, "num_stages": 2, "branching_factor": 5},
    "table": {"vocab_size": 7, "mask_token_id": 6, "value_tree": [[0, 0, 0, 0, 1, 1]] * 2},
    "special ids": {
        "vocab_size": 9,
        "mask_token_id": MASK,
        "pad_token_id": PAD,
        "bos_token_id": 0,
        "eos_token_id": [5, 8],
        "value_tree": [[0, 1, 0, 0]],
    },
}


def made(name, **changes):
    settings = TREES[name] | changes
    settings.setdefault("num_stages", 1 + len(settings.get("value_tree") or ()))
    return stages_of(SimpleNamespace(**settings))


@pytest.fixture(params=TREES)
def stages(request):
    return made(request.param)


def inner_nodes(stages):
    """All nodes that are no leaves."""
    below = stages.tree.ancestors_SV[:-1, stages.tree.leaf_order]
    return below.unique()


def children_of(stages, node):
    """Its children, by who is whose parent."""
    reached = stages.tree.ancestors_SV[1:, stages.tree.leaf_order].unique()
    children = reached[stages.parents(reached) == node].tolist()
    return sorted(children, key=lambda child: int(stages.tree.slot_M[child]))


# ----------------------------------------------------------------------------------- probabilities
def test_data_children_have_the_mass_of_their_leaves(stages):
    nodes = inner_nodes(stages)
    outputs = torch.randn(len(nodes), stages.vocab_size, dtype=torch.float64) * 3
    probs = stages.child_logits(outputs, nodes).softmax(-1)
    for node, masses, of_children in zip(nodes.tolist(), outputs.exp(), probs, strict=True):
        whole = masses[stages.tree.leaves(node)].sum()
        children = children_of(stages, node)
        expected = [masses[stages.tree.leaves(child)].sum() / whole for child in children]
        torch.testing.assert_close(of_children[: len(children)], torch.stack(expected))
        assert (of_children[len(children) :] == 0).all()  # exactly


@pytest.mark.parametrize("name", TREES)
def test_direct_children_have_logits_of_their_own_at_each_stage(name):
    stages = made(name, parametrization="direct")
    nodes = inner_nodes(stages)
    counts = [
        [len(children_of(stages, n)) for n in nodes[stages.level(nodes) == level]]
        for level in range(stages.num_stages)
    ]
    widths = [*map(max, counts)]
    assert stages.num_outputs == sum(widths)
    outputs = torch.randn(len(nodes), stages.num_outputs)
    logits = stages.child_logits(outputs, nodes)
    for node, output, of_children in zip(nodes.tolist(), outputs, logits, strict=True):
        level = int(stages.level(torch.tensor(node)))
        first = sum(widths[:level])
        children = children_of(stages, node)
        expected = output[first : first + len(children)]
        assert torch.equal(of_children[: len(children)], expected)
        assert (of_children[len(children) :] == -torch.inf).all()


@pytest.mark.parametrize("parametrization", ["data", "direct"])
@pytest.mark.parametrize("name", TREES)
def test_probabilities_sum_to_one_over_children_and_are_zero_elsewhere(name, parametrization):
    stages = made(name, parametrization=parametrization)
    nodes = inner_nodes(stages)
    for scale in (0.0, 1.0, 100.0):
        outputs = torch.randn(4, len(nodes), stages.num_outputs, dtype=torch.float64) * scale
        logits = stages.child_logits(outputs, nodes.expand(4, -1))
        assert logits.shape == (4, len(nodes), stages.tree.children_RW.shape[1])
        probs = logits.softmax(-1)
        torch.testing.assert_close(probs.sum(-1), torch.ones_like(probs[..., 0]))
        there = stages.tree.children_RW[stages.tree.row_M[nodes]] >= 0
        assert (probs[:, ~there] == 0).all() and not logits.isnan().any()


@pytest.mark.parametrize("parametrization", ["data", "direct"])
def test_a_leaf_has_one_child(parametrization):
    for stages in (made(name, parametrization=parametrization) for name in TREES):
        leaves = stages.tree.leaf_order
        outputs = torch.randn(len(leaves), stages.num_outputs)
        probs = stages.child_logits(outputs, leaves).softmax(-1)
        assert (probs[:, 0] == 1).all() and not probs[:, 1:].any()


def test_a_leaf_stays_what_it_is(stages):
    """Its only child is the first one: a loss of 0, not of infinity."""
    assert not stages.child_slots(stages.tree.leaf_order, stages.tree.leaf_order).any()


def test_the_product_along_a_path_is_the_softmax(stages):
    """The chain rule down the tree, whatever its shape."""
    leaves = stages.tree.leaf_order
    outputs = torch.randn(stages.vocab_size, dtype=torch.float64)
    total = torch.zeros(len(leaves), dtype=torch.float64)
    for level in range(stages.num_stages):
        nodes = stages.coarsen(leaves, level)
        logits = stages.child_logits(outputs.expand(len(leaves), -1), nodes)
        slots = stages.child_slots(nodes, leaves)
        total += logits.log_softmax(-1).gather(1, slots[:, None])[:, 0]
    torch.testing.assert_close(total, outputs[leaves].log_softmax(-1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("parametrization", ["data", "direct"])
@pytest.mark.parametrize("name", TREES)
def test_gradients_are_finite_at_huge_logits(name, parametrization, dtype):
    """Also those of the cross-entropy of a child that all but cannot be: 2e4 nats, not infinity."""
    stages = made(name, parametrization=parametrization)
    leaves = stages.tree.leaf_order
    for level in range(stages.num_stages):
        nodes = stages.coarsen(leaves, level)
        slots = stages.child_slots(nodes, leaves)
        signs = torch.randint(0, 2, (64, len(leaves), stages.num_outputs)) * 2 - 1
        outputs = (signs * 1e4).to(dtype).requires_grad_()
        logits = stages.child_logits(outputs, nodes.expand(64, -1))
        losses = F.cross_entropy(logits.flatten(0, 1), slots.repeat(64), reduction="none")
        losses.sum().backward()
        assert losses.isfinite().all() and outputs.grad.isfinite().all()
        assert losses.max() <= 2e4 + 5 and losses.min() >= 0
        assert outputs.grad.abs().max() <= 1 + 1e-6
        branches = len({*nodes.tolist()}) < len({*stages.coarsen(leaves, level + 1).tolist()})
        assert not branches or losses.max() > 1.9e4


def test_the_gradient_is_that_of_the_masses_written_out(stages):
    nodes = inner_nodes(stages)
    outputs = torch.randn(len(nodes), stages.vocab_size, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(len(nodes), stages.tree.children_RW.shape[1], dtype=torch.float64)
    log_probs = stages.child_logits(outputs, nodes).log_softmax(-1)
    possible = log_probs.isfinite()
    (gradient,) = torch.autograd.grad((log_probs * weights)[possible].sum(), outputs)
    total = 0.0
    for node, output, weight in zip(nodes.tolist(), outputs, weights, strict=True):
        whole = output[stages.tree.leaves(node)].exp().sum()
        for slot, child in enumerate(children_of(stages, node)):
            total = (
                total + weight[slot] * (output[stages.tree.leaves(child)].exp().sum() / whole).log()
            )
    (expected,) = torch.autograd.grad(total, outputs)
    torch.testing.assert_close(gradient, expected)


def test_half_precision_is_summed_in_float32(stages):
    nodes = inner_nodes(stages)
    outputs = torch.randn(len(nodes), stages.vocab_size)
    for dtype in (torch.bfloat16, torch.float16):
        logits = stages.child_logits(outputs.to(dtype), nodes)
        assert logits.dtype == torch.float32
        assert torch.equal(logits, stages.child_logits(outputs.to(dtype).float(), nodes))
    for dtype in (torch.float32, torch.float64):
        assert stages.child_logits(outputs.to(dtype), nodes).dtype == dtype


# --------------------------------------------------------------------------------- nodes and levels
def test_slots_and_children_are_inverse(stages):
    leaves = stages.tree.leaf_order
    for level in range(stages.num_stages):
        nodes = stages.coarsen(leaves, level)
        slots = stages.child_slots(nodes, leaves)
        below = stages.children(nodes, slots)
        assert torch.equal(below, stages.coarsen(leaves, level + 1))
        assert torch.equal(stages.parents(below), nodes)
        assert torch.equal(stages.child_slots(nodes[:, None], leaves[:, None])[:, 0], slots)


def test_coarsen_level_and_parents_by_climbing(stages):
    leaves = stages.tree.leaf_order
    climbed = leaves
    for level in reversed(range(stages.num_stages + 1)):
        assert torch.equal(stages.coarsen(leaves, level), climbed)
        assert (stages.level(climbed) == level).all()
        assert stages.is_hidden(climbed).tolist() == [level < stages.num_stages] * len(leaves)
        climbed = stages.parents(climbed)
    assert (climbed == stages.mask_token_id).all()  # the root is its own parent
    levels = torch.randint(0, stages.num_stages + 1, (5, len(leaves)))
    mixed = stages.coarsen(leaves, levels)
    assert torch.equal(stages.level(mixed), levels)
    assert torch.equal(
        mixed[2],
        torch.stack(
            [stages.coarsen(leaf, level) for leaf, level in zip(leaves, levels[2], strict=True)]
        ),
    )


def test_what_no_text_holds_stays_what_it_is():
    stages = made("special ids")
    pad = torch.tensor([PAD])
    for level in range(stages.num_stages + 1):
        assert stages.coarsen(pad, level).tolist() == [PAD]
    assert not stages.is_hidden(pad).any() and stages.level(pad).tolist() == [2]
    assert stages.is_hidden(torch.tensor([MASK, 9, stages.num_nodes - 1])).all()


def test_numbers_of_nodes_and_outputs(stages):
    nodes = {*inner_nodes(stages).tolist(), *range(stages.vocab_size)}
    assert stages.num_nodes == len(nodes) and nodes == {*range(stages.num_nodes)}
    assert stages.num_outputs == stages.vocab_size
    assert made("digits", parametrization="direct").num_outputs == 2 + 2 + 2
    assert made("wide", parametrization="direct").num_outputs == 5 + 5
    # three values and three specials below the mask; at most three values below one of them
    assert made("special ids", parametrization="direct").num_outputs == 5 + 3


def test_reveals_of_stages_count_together_where_they_overlap():
    assert made("digits").reveals([4, 2, 3]) == [4, 2, 3]
    assert made("digits", stage_order="interleaved").reveals([4, 2, 3]) == [9]
    assert Stages.plain(8).reveals([4]) == [4]


# ----------------------------------------------------------------------------------- a single stage
def test_plain_stages_do_nothing():
    stages = Stages.plain(MASK, 9)
    ids, nodes = torch.tensor([0, 8, 5]), torch.full((3,), MASK)
    outputs = torch.randn(3, 9, dtype=torch.bfloat16)
    assert stages.child_logits(outputs, nodes) is outputs
    assert stages.child_slots(nodes, ids) is ids and stages.children(nodes, ids) is ids
    assert (stages.num_stages, stages.num_nodes, stages.num_outputs) == (1, 9, 9)
    assert stages.coarsen(ids, 1).tolist() == [0, 8, 5]
    assert stages.coarsen(ids, 0).tolist() == stages.parents(ids).tolist() == [MASK] * 3
    assert stages.coarsen(ids, torch.tensor([0, 1, 0])).tolist() == [MASK, 8, MASK]
    held = torch.tensor([MASK, 8, MASK])
    assert stages.level(held).tolist() == [0, 1, 0]
    assert stages.is_hidden(held).tolist() == [True, False, True]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"num_stages": 1, "branching_factor": 8},
        {"num_stages": 1, "branching_factor": 100},
        {"stage_order": "interleaved"},
        {"parametrization": "direct"},
        {"value_tree": []},
    ],
)
def test_one_stage_is_the_plain_model_however_it_is_said(settings):
    for config in (
        SimpleNamespace(vocab_size=9, mask_token_id=8, **settings),
        ARDMConfig(vocab_size=9, mask_token_id=8, **settings),
    ):
        stages = stages_of(config)
        assert stages.tree is None and not stages.interleaved and not stages.direct
        assert (stages.num_stages, stages.num_nodes, stages.num_outputs) == (1, 9, 9)


# ------------------------------------------------------------------------------ by a configuration
@pytest.mark.parametrize("name", TREES)
def test_a_configuration_of_ours_and_any_other_say_the_same(name):
    for stage_order, parametrization in itertools.product(
        ("stagewise", "interleaved"), ("data", "direct")
    ):
        settings = {"stage_order": stage_order, "parametrization": parametrization}
        ours = stages_of(ARDMConfig(**TREES[name], **settings))
        assert ours is stages_of(ARDMConfig(**TREES[name], **settings)) is made(name, **settings)
        assert ours is stages_of(ARDMConfig(**TREES[name], **settings), ours.mask_token_id)
        assert ours.interleaved == (stage_order == "interleaved")
        assert ours.direct == (parametrization == "direct")
    assert made(name) is not made(name, stage_order="interleaved")


def test_a_configuration_that_says_nothing_has_one_stage():
    assert stages_of(SimpleNamespace(vocab_size=5, mask_token_id=4)).tree is None
    assert stages_of(SimpleNamespace(vocab_size=5), 2).mask_token_id == 2
    assert stages_of(SimpleNamespace(vocab_size=5, mask_token_id=4), 2).mask_token_id == 2


def test_values_are_the_ids_without_a_meaning_of_their_own():
    stages = made("special ids")  # values 1, 2, 4, 6
    assert stages.tree.leaf_order.sort().values.tolist() == [0, 1, 2, 4, 5, 6, 8]
    together = stages.tree.leaves(int(stages.coarsen(torch.tensor(1), 1)))
    assert together == [1, 4, 6]
    for token in (0, 2, 5, 8):  # BOS, a value alone, two EOS
        assert stages.tree.leaves(int(stages.coarsen(torch.tensor(token), 1))) == [token]


def test_ids_behind_the_values_are_no_leaves():
    """Class tokens are only ever given: each stands for itself at all levels."""
    stages = made("digits", vocab_size=12, num_values=8)
    assert stages.tree.leaf_order.tolist() == [*range(8)] and stages.num_nodes == 12 + 2 + 4
    classes = torch.tensor([9, 10, 11])
    for level in range(4):
        assert torch.equal(stages.coarsen(classes, level), classes)
    assert not stages.is_hidden(classes).any()
    assert torch.equal(stages.coarsen(torch.arange(8), 1), 12 + torch.arange(8) // 4)


def test_tables_of_numpy_and_torch_are_tables():
    rows = [[0, 0, 0, 0, 1, 1], [0, 0, 1, 1, 2, 3]]
    expected = made("table", value_tree=rows)
    for table in (
        np.array(rows),
        torch.tensor(rows),
        tuple(map(tuple, rows)),
        [np.array(row) for row in rows],
    ):
        config = ARDMConfig(vocab_size=7, mask_token_id=6, value_tree=table)
        assert config.num_stages == 3 and config.value_tree == rows
        assert stages_of(config) is expected


# ---------------------------------------------------------------------------------------- refusals
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"num_stages": 2},
            "num_stages=2 and branching_factor=2 cover 4 values; expected at least 8",
        ),
        ({"num_stages": 1}, "cover 2 values; expected at least 8"),
        ({"num_stages": 0}, "num_stages is 0; expected an integer in 1..64"),
        ({"num_stages": 65}, "num_stages is 65; expected an integer in 1..64"),
        ({"branching_factor": None}, "num_stages is 3 without branching_factor or value_tree"),
        ({"branching_factor": 1}, "branching_factor is 1; expected an integer of at least 2"),
        ({"stage_order": "random"}, "stage_order is 'random'; expected one of stagewise, interl"),
        ({"parametrization": "both"}, "parametrization is 'both'; expected one of data, direct"),
        ({"value_tree": [[0] * 8] * 2}, "got a value_tree and branching_factor=2; expected one"),
        (
            {"branching_factor": None, "value_tree": [[0] * 8]},
            "value_tree has 1 rows and num_stages is 3; expected num_stages - 1 rows",
        ),
        ({"branching_factor": None, "value_tree": [[0] * 7] * 2}, "row 0 has 7 labels"),
        (
            {"branching_factor": None, "value_tree": [[*range(8)], [0] * 8]},
            "value_tree is no tree: label 0 of row 1",
        ),
        ({"num_values": 0}, r"num_values is 0; expected an integer in 1\.\.8 \(the ids of the voc"),
        ({"num_values": 9}, r"num_values is 9; expected an integer in 1\.\.8"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        made("digits", **changes)
    with pytest.raises(ValueError, match=message):
        ARDMConfig(**(TREES["digits"] | changes))


@pytest.mark.parametrize(
    "table",
    [[[0.0, 0.0, 0.0, 0.0, 1.0, 1.0]], [[0, 0, 0, 0, True, True]], [[[0]] * 6], [["a"] * 6]],
)
def test_a_table_of_other_things_is_refused_whatever_was_made_before(table):
    """1.0 and True equal 1, and would find what was made of it."""
    made("table", value_tree=[[0, 0, 0, 0, 1, 1]])
    with pytest.raises(ValueError, match="row 0 has 6 labels of type"):
        made("table", value_tree=table)
    with pytest.raises(ValueError, match="row 0 has 6 labels of type"):
        ARDMConfig(vocab_size=7, mask_token_id=6, value_tree=table)


@pytest.mark.parametrize("table", [5, "abc", [0, 1], {"rows": [[0]]}])
def test_a_table_without_rows_is_refused(table):
    with pytest.raises(ValueError, match=r"value_tree is .*; expected rows of labels"):
        ARDMConfig(vocab_size=7, mask_token_id=6, value_tree=table)


def test_a_mask_that_is_not_the_root_is_refused():
    config = SimpleNamespace(**TREES["digits"])
    with pytest.raises(ValueError, match="mask_token_id is 2; expected the configuration's 8"):
        stages_of(config, 2)
    del config.mask_token_id
    for mask in (None, 8):
        with pytest.raises(ValueError, match=f"mask_token_id is {mask}; expected the conf"):
            stages_of(config, mask)


def test_direct_logits_share_no_weights_with_an_embedding():
    with pytest.raises(ValueError, match="tie_word_embeddings is True; expected False with direct"):
        ARDMConfig(**TREES["digits"], parametrization="direct", tie_word_embeddings=True)
    ARDMConfig(**TREES["digits"], tie_word_embeddings=True)
