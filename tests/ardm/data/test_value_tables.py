"""Laws of value tables: K labels a row, rows nested, trees that a model takes; groups as asked."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ardm import ARDMConfig
from ardm.data import build_tokenizer, cluster_table, frequency_table, value_ids
from ardm.vocabulary import stages_of

TEXT = "The quick brown fox - 42 - jumps, over the lazy dog!\n" * 20
KINDS = {kind: build_tokenizer(kind, TEXT, size) for kind, size in [("char", None), ("bpe", 300)]}
KINDS["ends"] = build_tokenizer("char", TEXT)
KINDS["ends"].add_special_tokens({"bos_token": "[BOS]", "eos_token": "[EOS]"})
every_kind = pytest.mark.parametrize("kind", KINDS)
SIZES = {"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 8}


def config_of(tokenizer, table):
    names = ("mask", "pad", "eos", "bos", "unk")
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in names}
    return ARDMConfig(vocab_size=len(tokenizer), value_tree=table, **ids, **SIZES)


def check(tokenizer, table):
    """A table that a model takes, of which no level is superfluous."""
    values = value_ids(tokenizer)
    assert all(len(row) == len(values) for row in table)
    assert all(type(label) is int for row in table for label in row)
    partitions = [*map(set, table), set(values)]
    for coarse, fine in itertools.pairwise([*table, range(len(values))]):
        assert len({*zip(coarse, fine, strict=True)}) == len({*fine})  # one parent a label
    sizes = [len(part) for part in partitions]
    assert sizes == sorted({*sizes}) and sizes[0] > 1
    tree = stages_of(config_of(tokenizer, table)).tree
    # the labels are those of these ids: what has one label has one node, and the other way round
    for level, row in enumerate(table, 1):
        nodes = tree.ancestors_SV[level, values].tolist()
        assert len({*zip(nodes, row, strict=True)}) == len({*nodes}) == len({*row})


def counts_of(tokenizer, seed=0):
    return np.random.default_rng(seed).integers(0, 100, len(tokenizer))


# --------------------------------------------------------------------------------------- values
@every_kind
def test_values_are_all_ids_but_five_special_ones(kind):
    tokenizer = KINDS[kind]
    special = {"[MASK]", "[PAD]", "[UNK]", "[BOS]", "[EOS]"}
    tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    assert value_ids(tokenizer) == [i for i, token in enumerate(tokens) if token not in special]


def test_a_vocabulary_of_special_tokens_has_no_values():
    class Empty:
        mask_token_id = 0
        pad_token_id = eos_token_id = bos_token_id = unk_token_id = None

        def __len__(self):
            return 1

        def get_vocab(self):
            return {"[MASK]": 0}

    with pytest.raises(ValueError, match="all are special"):
        value_ids(Empty())


# ------------------------------------------------------------------------------------ frequency
@every_kind
@pytest.mark.parametrize("sizes", [[2], [2, 5], [3, 4, 9]])
def test_bands_are_nested_and_fall_in_frequency(kind, sizes):
    tokenizer = KINDS[kind]
    counts = counts_of(tokenizer)
    table = frequency_table(tokenizer, counts, sizes)
    check(tokenizer, table)
    of_values = counts[value_ids(tokenizer)]
    for row, size in zip(table, sizes, strict=True):
        row = np.array(row)
        assert {*row.tolist()} == set(range(size))
        for band in range(size - 1):
            assert of_values[row == band].min() >= of_values[row == band + 1].max()


def test_bands_have_about_equal_mass_where_counts_are_flat():
    tokenizer = KINDS["bpe"]
    table = frequency_table(tokenizer, np.ones(len(tokenizer)), [4, 16])
    for row in table:
        sizes = np.bincount(row)
        assert sizes.max() - sizes.min() <= 2


@given(st.lists(st.integers(0, 1000), min_size=27, max_size=27), st.integers(2, 12))
@settings(max_examples=50)
def test_any_counts_make_as_many_bands_as_asked(counts, size):
    tokenizer = build_tokenizer("char", "abcdefghijklmnopqrstuvwx")
    if not sum(counts[:24]):
        counts[0] = 1
    check(tokenizer, frequency_table(tokenizer, counts, [size, 2 * size - 1]))


def test_given_sizes_are_kept_and_a_mapping_of_counts_will_do():
    tokenizer = build_tokenizer("char", "abcdef")
    counts = {4: 10, 2: 9, 0: 8}  # e, c, a, then the others by their ids
    assert frequency_table(tokenizer, counts, [[2, 4]]) == [[1, 1, 0, 1, 0, 1]]
    assert frequency_table(tokenizer, counts, [2, [1, 1, 4]])[1] == [2, 2, 1, 2, 0, 2]
    check(tokenizer, frequency_table(tokenizer, counts, [[2, 4], [1, 1, 1, 3]]))


def test_a_coarse_row_leaves_a_border_for_each_of_its_bands():
    """All finer borders but the last lie in the first eighth of the mass."""
    tokenizer = build_tokenizer("char", "abcdefghijklmnopqrstuvwxyz")
    table = frequency_table(tokenizer, [1] * 29, [4, [1, 1, 1, 22, 1]])
    check(tokenizer, table)
    assert np.bincount(table[0]).tolist() == [2, 1, 22, 1]


BAD_FREQUENCIES = {
    "shape": ([1.0] * 5, [2]),
    "negative": ([-1.0] * 9, [2]),
    "none": ([float("nan")] * 9, [2]),
    "0 for all": ([0] * 9, [2]),
    "the id 9": ({9: 1}, [2]),
    "sizes are empty": ([1] * 9, []),
    "rising": ([1] * 9, [3, 2]),
    "below 6": ([1] * 9, [6]),
    "sum to 5": ([1] * 9, [[2, 3]]),
    "sizes is 1;": ([1] * 9, [1]),
    "a size of row 0 is 0": ([1] * 9, [[0, 6]]),
    "nested": ([1] * 9, [[1, 5], [2, 2, 2]]),
}


@pytest.mark.parametrize("named", BAD_FREQUENCIES)
def test_bad_frequencies_are_refused(named):
    counts, sizes = BAD_FREQUENCIES[named]
    pattern = {"none": "negative", "below 6": "6", "sizes is 1;": "is 1; expected"}
    with pytest.raises(ValueError, match=pattern.get(named, named)):
        frequency_table(build_tokenizer("char", "abcdef"), counts, sizes)


# ------------------------------------------------------------------------------------- clusters
def blobs(tokenizer, number=4, width=0.01, seed=0):
    """(V, 3) points around distant centres, and the centre of each."""
    source = np.random.default_rng(seed)
    centre = source.integers(0, number, len(tokenizer))
    corners = 10 * np.eye(number)[:, : number - 1] - 5
    return corners[centre] + width * source.normal(size=(len(tokenizer), number - 1)), centre


@every_kind
def test_clusters_are_nested_balanced_and_as_many_as_asked(kind):
    tokenizer = KINDS[kind]
    numbers = (3, 9) if kind != "bpe" else (4, 32)
    points = torch.randn(len(tokenizer), 5, generator=torch.Generator().manual_seed(1))
    table = cluster_table(points, tokenizer, numbers, seed=3)
    check(tokenizer, table)
    assert [len({*row}) for row in table] == [*numbers]
    num_values = len(value_ids(tokenizer))
    assert np.bincount(table[0]).max() <= np.ceil(2 * num_values / numbers[0])
    assert table == cluster_table(points.numpy(), tokenizer, numbers, seed=3)
    # the values' rows alone are the same table
    assert table == cluster_table(points[value_ids(tokenizer)], tokenizer, numbers, seed=3)


def test_what_lies_together_is_a_cluster():
    tokenizer = KINDS["bpe"]
    points, centre = blobs(tokenizer)
    table = cluster_table(points, tokenizer, [4])
    pairs = {*zip(table[0], centre[value_ids(tokenizer)].tolist(), strict=True)}
    assert len(pairs) == 4


def test_rows_of_embeddings_are_those_of_the_values_ids():
    tokenizer = build_tokenizer("char", "abcdef")
    tokenizer.eos_token = "b"  # a value no longer, and the ids behind it move up
    points = np.array([0, 9, 0, 0, 9, 9, 1, 2, 3.0])[:, None]
    (row,) = cluster_table(points, tokenizer, [2])
    assert len(row) == 5 and row[0] == row[1] == row[2] != row[3] == row[4]


def test_no_cluster_has_more_than_twice_its_share():
    tokenizer = KINDS["bpe"]
    source = np.random.default_rng(0)
    points = source.normal(size=(len(tokenizer), 2)) * 0.01
    points[:7] += 100 * source.normal(size=(7, 2))  # of which k-means makes all clusters but one
    (row,) = cluster_table(points, tokenizer, [8])
    assert np.bincount(row).max() <= np.ceil(2 * len(row) / 8)


def test_points_that_are_all_the_same_are_dealt_out():
    tokenizer = KINDS["char"]
    table = cluster_table(np.zeros((len(tokenizer), 2)), tokenizer, [3, 7])
    check(tokenizer, table)
    assert [len({*row}) for row in table] == [3, 7]


BAD_CLUSTERS = {
    r"shape \(9,\)": (np.zeros(9), [2]),
    r"shape \(4, 2\)": (np.zeros((4, 2)), [2]),
    r"shape \(9, 0\)": (np.zeros((9, 0)), [2]),
    "not finite": (np.full((9, 2), np.nan), [2]),
    "rising": (np.zeros((9, 2)), [3, 3]),
    "num_clusters is 6": (np.zeros((9, 2)), [6]),
    "are empty": (np.zeros((9, 2)), []),
}


@pytest.mark.parametrize("named", BAD_CLUSTERS)
def test_bad_clusters_are_refused(named):
    points, numbers = BAD_CLUSTERS[named]
    with pytest.raises(ValueError, match=named):
        cluster_table(points, build_tokenizer("char", "abcdef"), numbers)


def test_without_scikit_learn_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn.cluster", None)
    with pytest.raises(ImportError, match="pip install scikit-learn"):
        cluster_table(np.zeros((9, 2)), build_tokenizer("char", "abcdef"), [2])
