"""Random-ratio masking hides every count equally often, uniformly over positions."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch.nn import functional as F

from ardm import random_ratio_mask
from ardm.id_checks import check_ids
from ardm.masking import keyed_random_ratio_mask, order_uniforms, strata
from ardm.reveals import hide_last, mean_cross_entropy, stratified_num_left
from ardm.stages import Stages

MASK = 9
PLAIN = Stages.plain(MASK)


def ids_of(batch, length):
    return torch.randint(0, MASK, (batch, length))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def keyed(ids, numbers, size, **options):
    return keyed_random_ratio_mask(ids, MASK, numbers, seed=5, global_batch_size=size, **options)


def assert_chi_square(counts, p_value=1e-3):
    assert len(counts) == 1 or stats.chisquare(torch.as_tensor(counts).numpy()).pvalue > p_value


# ------------------------------------------------------------------------------------- which tokens
def test_every_count_equally_often_one_row_at_a_time():
    """Without strata: the counts of single-row batches, ends included."""
    length, source = 5, generator()
    counts = torch.zeros(length + 1, dtype=torch.long)
    for _ in range(2000):
        counts[(random_ratio_mask(ids_of(1, length), MASK, generator=source)[0] == MASK).sum()] += 1
    assert counts[0] == 0
    assert_chi_square(counts[1:])


def test_every_count_and_every_set_of_positions_equally_often():
    length = 4
    masked = random_ratio_mask(ids_of(24_000, length), MASK, generator=generator())[0] == MASK
    counts = masked.sum(1)
    for count in range(1, length + 1):
        rows = masked[counts == count]
        # stratified: exactly even, up to the strata that straddle two counts
        assert abs(len(rows) - 6000) <= 1
        subsets = list(itertools.combinations(range(length), count))
        codes = (rows * 2 ** torch.arange(length)).sum(1)
        observed = [(codes == sum(2**p for p in subset)).sum() for subset in subsets]
        assert sum(observed) == len(rows)
        assert_chi_square(observed)


def test_a_batch_of_as_many_rows_as_tokens_holds_each_count_once():
    for length in (1, 2, 7, 32):
        for seed in range(20):
            masked = (
                random_ratio_mask(ids_of(length, length), MASK, generator=generator(seed))[0]
                == MASK
            )
            assert masked.sum(1).sort().values.tolist() == list(range(1, length + 1))


def test_strata_are_a_random_permutation_for_each_step_and_seed():
    permutations = torch.stack([strata(4, 0, step) for step in range(4800)])
    assert (permutations.sort(1).values == torch.arange(4)).all()
    codes = (permutations * 4 ** torch.arange(4)).sum(1)
    assert_chi_square(codes.unique(return_counts=True)[1])
    assert len(codes.unique()) == 24
    assert not torch.equal(strata(64, 0), strata(64, 1))


def test_stratified_counts_round_to_the_ends():
    n = torch.tensor([5, 5, 5, 0, 1])
    u = torch.tensor([0.0, 1 - 2**-53, 0.2, 0.7, 0.999], dtype=torch.float64)
    assert stratified_num_left(n, u, PLAIN).tolist() == [1, 5, 2, 0, 1]
    ones = torch.ones(5, dtype=torch.float64)
    assert stratified_num_left(n, ones, PLAIN).tolist() == [5, 5, 5, 0, 1]


@settings(max_examples=60)
@given(st.data(), st.integers(0, 6), st.integers(1, 9), st.integers(0, 2**31))
def test_labels_and_ids_are_two_halves_and_only_maskable_tokens_are_drawn(
    data, batch, length, seed
):
    torch.manual_seed(seed)
    ids, attention, prompt = ids_of(batch, length), *torch.randint(0, 2, (2, batch, length))
    attention[~attention.any(1), 0] = 1  # a row without real tokens is refused
    outside = (attention == 0) | (prompt == 1)
    ids[outside] = torch.randint(0, MASK + 1, (int(outside.sum()),))  # mask ids are allowed there
    maskable = (~outside).sum(1)
    known = None
    if data.draw(st.booleans()):
        known = (torch.rand(batch) * maskable).long()
    before = ids.clone()
    masked_ids, labels = random_ratio_mask(
        ids,
        MASK,
        attention_mask=attention,
        prompt_mask=prompt,
        num_known=known,
        generator=generator(seed),
    )
    hidden = labels != -100
    assert torch.equal(ids, before)
    assert not (hidden & outside).any()
    assert (masked_ids[hidden] == MASK).all() and torch.equal(masked_ids[~hidden], ids[~hidden])
    assert torch.equal(labels[hidden], ids[hidden])
    counts = hidden.sum(1)
    if known is None:
        assert ((counts >= 1) | (maskable == 0)).all()
    else:
        assert torch.equal(counts, maskable - known)


def test_positions_are_uniform_among_the_maskable_ones():
    attention, prompt = torch.tensor([[0, 1, 1, 1, 1, 1]]), torch.tensor([[0, 1, 0, 0, 0, 0]])
    options = {"attention_mask": attention.expand(8000, -1), "prompt_mask": prompt.expand(8000, -1)}
    hidden = random_ratio_mask(ids_of(8000, 6), MASK, **options, generator=generator())[1] != -100
    assert hidden[:, :2].sum() == 0
    assert hidden.sum(1).bincount(minlength=5).tolist() == [0, 2000, 2000, 2000, 2000]
    one = hidden[hidden.sum(1) == 1][:, 2:]
    assert_chi_square(one.sum(0))


def test_the_same_generator_gives_the_same_masks_and_moves_on():
    ids, first, second = ids_of(8, 8), generator(1), generator(1)
    draws = [random_ratio_mask(ids, MASK, generator=first)[1] for _ in range(3)]
    assert all(
        torch.equal(draw, random_ratio_mask(ids, MASK, generator=second)[1]) for draw in draws
    )
    assert not torch.equal(draws[0], draws[1])
    torch.manual_seed(1)
    assert torch.equal(random_ratio_mask(ids, MASK)[1], draws[0])


def test_int32_and_strided_ids_mask_like_contiguous_int64():
    ids = ids_of(6, 5)
    reference = random_ratio_mask(ids, MASK, generator=generator())
    for other in (ids.int(), ids.t().contiguous().t(), ids.repeat_interleave(2, 1)[:, ::2]):
        masked_ids, labels = random_ratio_mask(other, MASK, generator=generator())
        assert masked_ids.dtype == labels.dtype == torch.int64
        assert torch.equal(masked_ids, reference[0]) and torch.equal(labels, reference[1])


def test_hide_last_hides_the_last_in_the_order():
    ids, rank = torch.tensor([[4, 5, 6, 7]]), torch.tensor([[2.0, 0.0, 3.0, 1.0]])
    for count, expected in ((0, []), (1, [2]), (2, [0, 2]), (3, [0, 2, 3]), (4, [0, 1, 2, 3])):
        maskable, left = torch.ones_like(ids).bool(), torch.tensor([count])
        labels = hide_last(ids, PLAIN, maskable, left, rank)[1]
        assert (labels[0] != -100).nonzero().flatten().tolist() == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_ids": [[1, 2]]}, "list"),
        ({"input_ids": torch.zeros(4, dtype=torch.long)}, "shape"),
        ({"input_ids": torch.zeros(2, 4)}, "float32"),
        ({"input_ids": torch.full((2, 4), MASK)}, "mask id 9"),
        ({"attention_mask": torch.ones(2, 3)}, "attention_mask"),
        ({"prompt_mask": torch.ones(4)}, "prompt_mask"),
        ({"num_known": torch.tensor([0, 4])}, r"num_known is \[0, 4\]"),
        ({"num_known": torch.tensor([-1, 0])}, "num_known"),
        ({"num_known": torch.tensor([1])}, "num_known is"),
    ],
)
def test_bad_input_is_refused(change, message):
    arguments = {"input_ids": torch.zeros(2, 4, dtype=torch.long), "mask_token_id": MASK} | change
    with pytest.raises(ValueError, match=message):
        random_ratio_mask(**arguments)


def test_check_ids_names_the_range():
    check_ids(torch.tensor([[0, 3]]), 4)
    for bad in (torch.tensor([[0, 4]]), torch.tensor([[-1, 0]])):
        with pytest.raises(ValueError, match=r"expected 0\.\.3"):
            check_ids(bad, 4)


# ------------------------------------------------------------------------------------- for training
def test_masks_depend_on_the_sample_number_alone_and_not_on_the_micro_batch():
    size, steps = 6, 3
    ids, numbers = ids_of(size * steps, 7), torch.arange(size * steps)
    whole = torch.cat(
        [keyed(ids[i : i + size], numbers[i : i + size], size)[1] for i in range(0, len(ids), size)]
    )
    for micro in (1, 2, 3):
        parts = [
            keyed(ids[i : i + micro], numbers[i : i + micro], size)[1]
            for i in range(0, len(ids), micro)
        ]
        assert torch.equal(torch.cat(parts), whole)
    # as the samples of a step are dealt to two processes
    every_other = numbers[:size].view(2, 3).t().flatten()
    assert torch.equal(keyed(ids[every_other], every_other, size)[1], whole[every_other])
    assert torch.equal(keyed(ids[:size], numbers[:size], size)[1], whole[:size])  # no state
    other_seed = keyed_random_ratio_mask(
        ids[:size], MASK, numbers[:size], seed=6, global_batch_size=size
    )[1]
    assert not torch.equal(other_seed, whole[:size])


def test_a_global_batch_of_as_many_rows_as_tokens_holds_each_count_once():
    length, seen = 8, set()
    for step in range(30):
        numbers = torch.arange(step * length, (step + 1) * length)
        counts = (keyed(ids_of(length, length), numbers, length)[1] != -100).sum(1)
        assert counts.sort().values.tolist() == list(range(1, length + 1))
        seen.add(tuple(counts.tolist()))
    assert len(seen) == 30  # another assignment in every step


def test_counts_of_one_place_are_uniform_over_the_steps():
    counts = [
        (keyed(ids_of(1, 4), torch.tensor([8 * step + 3]), 8)[1] != -100).sum()
        for step in range(1500)
    ]
    assert_chi_square(torch.stack(counts).bincount()[1:])


def test_max_ratio_bounds_the_counts():
    numbers = torch.arange(4000)
    counts = (keyed(ids_of(4000, 10), numbers, 4000, max_ratio=0.4)[1] != -100).sum(1)
    assert counts.bincount().tolist() == [0, 1000, 1000, 1000, 1000]


def test_keyed_masks_leave_padding_and_prompt_alone():
    ids, attention, prompt = ids_of(12, 6), torch.ones(12, 6), torch.zeros(12, 6)
    attention[:, 4:], prompt[:, 0] = 0, 1
    hidden = (
        keyed(ids, torch.arange(12), 12, attention_mask=attention, prompt_mask=prompt)[1] != -100
    )
    assert not hidden[:, [0, 4, 5]].any()
    assert hidden.sum(1).bincount().tolist() == [0, 4, 4, 4]


def test_orders_of_rows_are_uniform():
    orders = order_uniforms(3, torch.arange(6000), 3, PLAIN).argsort(1)
    codes = (orders * 3 ** torch.arange(3)).sum(1).unique(return_counts=True)[1]
    assert len(codes) == 6
    assert_chi_square(codes)
    uniforms = order_uniforms(3, torch.arange(200), 50, PLAIN)  # rows share nothing, shifted or not
    assert len(uniforms.unique()) == uniforms.numel()


# --------------------------------------------------------------------------------------------- loss
def loop_loss(logits, labels):
    """Mean cross-entropy of each row, written out."""
    rows = []
    for row_logits, row_labels in zip(logits.double(), labels, strict=True):
        terms = [
            -(scores[label] - scores.exp().sum().log())
            for scores, label in zip(row_logits, row_labels, strict=True)
            if label != -100
        ]
        rows.append(sum(terms) / len(terms) if terms else torch.tensor(0.0, dtype=torch.float64))
    return torch.stack(rows)


def test_mean_cross_entropy_is_the_hand_written_mean():
    logits, labels = torch.randn(5, 6, 4, requires_grad=True), torch.randint(0, 4, (5, 6))
    labels[torch.rand(5, 6) < 0.5] = -100
    labels[3] = -100
    loss = mean_cross_entropy(logits, labels)
    torch.testing.assert_close(loss.double(), loop_loss(logits, labels))
    assert loss[3] == 0

    chosen = (labels != -100) | (torch.rand(5, 6) < 0.3)  # more logits than labels are allowed
    torch.testing.assert_close(mean_cross_entropy(logits[chosen], labels, chosen), loss)
    gradients = [
        torch.autograd.grad(x.sum(), logits)[0]
        for x in (loss, mean_cross_entropy(logits[chosen], labels, chosen))
    ]
    torch.testing.assert_close(*gradients)

    fewer = chosen & (torch.arange(6) < 3)  # labels elsewhere are ignored
    expected = loop_loss(logits, labels.where(fewer, torch.tensor(-100)))
    torch.testing.assert_close(mean_cross_entropy(logits[fewer], labels, fewer).double(), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_loss_is_at_least_float32(dtype):
    logits, labels = torch.randn(3, 4, 5).to(dtype), torch.randint(0, 5, (3, 4))
    loss = mean_cross_entropy(logits, labels)
    assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    expected = (
        F.cross_entropy(logits.double().flatten(0, 1), labels.flatten(), reduction="none")
        .view(3, 4)
        .mean(1)
    )
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-5)
