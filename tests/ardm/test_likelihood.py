"""The NELBO is that of enumerating all orders; its standard error is one; padding is nothing."""

import math

import pytest
import torch

from ardm import ARDMForMaskedLM, masked_losses, nelbo

MASK, PAD = 3, 4


@pytest.fixture(scope="module")
def model(tiny_model):
    return tiny_model(vocab_size=5, mask_token_id=MASK, pad_token_id=PAD, scale=0.8)


@pytest.fixture(scope="module")
def plain(tiny_model):
    return tiny_model(scale=0.8)


@pytest.fixture(scope="module")
def exact(plain, enumeration):
    return enumeration(plain, 4)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def exact_nelbo(exact, start=None, sequences=None):
    """E_order -log p(x | order) in nats, from all orders."""
    return -torch.stack(
        [exact.log_prob(order, None, start, sequences) for order in exact.orders]
    ).mean(0)


def use_order(monkeypatch, rank):
    """Every version of `nelbo` has this one order."""
    uniforms = rank.double() / len(rank)
    monkeypatch.setattr(
        masked_losses,
        "order_uniforms",
        lambda seed, rows, length, stages: uniforms.expand(len(rows), length),
    )


def test_every_sequence_within_four_standard_errors_of_the_exact_value(plain, exact):
    out = nelbo(plain, exact.sequences, num_samples=400, generator=generator())
    z = (out.nats - exact_nelbo(exact)) / out.standard_error
    assert out.nats.dtype == out.standard_error.dtype == torch.float64
    assert len(z) == 81 and z.abs().max() < 4
    assert abs(z.mean()) < 4 / math.sqrt(81)
    assert (out.standard_error < 0.3).all() and (out.num_tokens == 4).all()


def test_all_counts_averaged_over_all_orders_is_exact(plain, exact, monkeypatch):
    total = 0.0
    for order in exact.orders:
        use_order(monkeypatch, order.argsort())
        total = total + nelbo(plain, exact.sequences, num_samples="all").nats
    torch.testing.assert_close(total / 24, exact_nelbo(exact), rtol=0, atol=1e-5)


def test_given_the_order_a_version_is_the_mean_over_the_masked(plain, monkeypatch):
    ids, order = torch.tensor([[0, 2, 1, 1]]), torch.tensor([2, 0, 3, 1])
    use_order(monkeypatch, order.argsort())
    total = 0.0
    for num_known in range(4):
        masked = ids.clone()
        masked[0, order[num_known:]] = MASK
        log_probs = plain(masked).logits[0].double().log_softmax(-1)
        total -= sum(float(log_probs[p, ids[0, p]].detach()) for p in order[num_known:]) / (
            4 - num_known
        )
    assert abs(float(nelbo(plain, ids, num_samples="all").nats) - total) < 1e-5


def test_standard_error_is_calibrated(plain, exact):
    ids = torch.tensor([[0, 2, 1, 1]])
    truth = exact_nelbo(exact, sequences=ids)
    for num_samples in (200, 201):
        out = nelbo(plain, ids.repeat(200, 1), num_samples=num_samples, generator=generator(1))
        z = (out.nats - truth) / out.standard_error
        assert abs(z.mean()) < 4 / math.sqrt(200)
        assert 0.9 < z.std() < 1.1
        ratio = out.nats.std() / out.standard_error.square().mean().sqrt()
        assert 0.9 < ratio < 1.1


@pytest.mark.slow
def test_squared_standard_error_is_unbiased_for_few_versions_too(plain, exact):
    """Four or eight versions say little of one row's error; over many rows it is right."""
    ids = torch.tensor([[0, 2, 1, 1]])
    for num_samples in (2, 4, 5, 8):
        out = nelbo(plain, ids.repeat(4000, 1), num_samples=num_samples, generator=generator(2))
        assert 0.95 < out.nats.std() / out.standard_error.square().mean().sqrt() < 1.05
        assert abs(
            out.nats.mean() - exact_nelbo(exact, sequences=ids)
        ) < 4 * out.nats.std() / math.sqrt(4000)


def test_standard_error_of_all_counts_is_calibrated(tiny_model):
    """Against the spread of many: the terms change smoothly with the count, as is supposed."""
    ratios = []
    for seed in range(4):
        model = tiny_model(seed, max_position_embeddings=12, scale=0.6)
        ids = torch.randint(0, 3, (1, 12)).repeat(300, 1)
        out = nelbo(model, ids, num_samples="all", generator=generator(seed))
        ratios.append(float(out.nats.std() / out.standard_error.square().mean().sqrt()))
    assert 0.9 < sum(ratios) / 4 < 1.1


def test_stratified_counts_have_less_variance_than_independent_ones(tiny_model):
    model = tiny_model(max_position_embeddings=16, scale=0.6)
    ids = torch.randint(0, 3, (1, 16)).repeat(200, 1)
    pairs = (
        nelbo(model, ids.repeat(8, 1), num_samples=2, generator=generator())
        .nats.view(8, 200)
        .mean(0)
    )
    stratified = nelbo(model, ids, num_samples=16, generator=generator()).nats
    assert stratified.std() < pairs.std()
    assert abs(stratified.mean() - pairs.mean()) < 4 * math.hypot(
        stratified.std(), pairs.std()
    ) / math.sqrt(200)


def test_a_fresh_model_knows_nothing(model):
    fresh = ARDMForMaskedLM(model.config).eval()
    attention_mask = torch.tensor([[1] * 6, [0, 0, 1, 1, 1, 1], [1, 0, 0, 0, 0, 0]])
    ids = torch.randint(0, 3, (3, 6)).where(attention_mask == 1, PAD)
    for num_samples in (1, 2, 8, "all"):
        out = nelbo(fresh, ids, attention_mask, num_samples=num_samples)
        expected = torch.tensor([6, 4, 1], dtype=torch.float64) * math.log(3)
        torch.testing.assert_close(out.nats, expected, rtol=0, atol=1e-12)
        torch.testing.assert_close(
            out.bits_per_token, torch.full((3,), math.log2(3), dtype=torch.float64)
        )
        assert (
            out.standard_error.isnan().all()
            if num_samples == 1
            else (out.standard_error < 1e-12).all()
        )


def test_padding_batch_and_chunks_change_nothing(model):
    rows = [[0, 1, 2, 0, 1], [2], [1, 1, 0]]
    right = torch.tensor([row + [PAD] * (7 - len(row)) for row in rows])
    left = torch.tensor([[PAD] * (7 - len(row)) + row for row in rows])
    for num_samples in (6, "all"):
        options = {"num_samples": num_samples}
        reference = nelbo(model, right, right != PAD, generator=generator(), **options)
        assert reference.num_tokens.tolist() == [5, 1, 3]
        garbage = right.where(right != PAD, 1)  # what stands under the padding is not read
        others = [(left, left != PAD, None), (garbage, right != PAD, None)]
        others += [
            (right[:, :5], (right != PAD)[:, :5], None),
            (right, (right != PAD).long(), None),
        ]
        others += [(right, right != PAD, size) for size in (1, 3, 1000)]
        for ids, attention_mask, batch_size in others:
            out = nelbo(
                model, ids, attention_mask, generator=generator(), batch_size=batch_size, **options
            )
            torch.testing.assert_close(out.nats, reference.nats, rtol=0, atol=1e-5)
            torch.testing.assert_close(
                out.standard_error, reference.standard_error, rtol=0, atol=1e-5
            )
        alone = nelbo(model, torch.tensor(rows[:1]), generator=generator(), **options)
        torch.testing.assert_close(alone.nats, reference.nats[:1], rtol=0, atol=1e-5)
        given = {"prompt_mask": (torch.arange(3)[:, None] == 0).expand_as(right)}
        rest = nelbo(model, right, right != PAD, generator=generator(), **options, **given)
        torch.testing.assert_close(rest.nats[1:], reference.nats[1:], rtol=0, atol=1e-5)
        first_two = nelbo(model, right[:2], right[:2] != PAD, generator=generator(), **options)
        torch.testing.assert_close(first_two.nats, reference.nats[:2], rtol=0, atol=1e-5)


def test_prompt_makes_it_conditional(plain, exact, monkeypatch):
    start = torch.tensor([MASK, 1, MASK, MASK])
    ids = exact.sequences[exact.sequences[:, 1] == 1]
    truth = exact_nelbo(exact, start, ids)
    prompt = (start != MASK).expand(len(ids), -1)
    out = nelbo(plain, ids, prompt_mask=prompt, num_samples=400, generator=generator())
    assert (out.num_tokens == 3).all()
    assert ((out.nats - truth) / out.standard_error).abs().max() < 4
    total = 0.0
    for rank in (
        torch.tensor(r) for r in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
    ):
        # one number for each place among the maskable tokens
        use_order(monkeypatch, torch.cat((rank, rank[:1])))
        total = total + nelbo(plain, ids, prompt_mask=prompt, num_samples="all").nats
    torch.testing.assert_close(total / 6, truth, rtol=0, atol=1e-5)


def test_it_is_an_upper_bound(plain, exact):
    log_prob = exact.random_order_probs().log()
    assert (exact_nelbo(exact) >= -log_prob).all()
    out = nelbo(plain, exact.sequences, num_samples=400, generator=generator())
    assert (out.nats + 4 * out.standard_error >= -log_prob).all()
    # and not a trivial one: the orders of this model disagree
    assert (exact_nelbo(exact) + log_prob).max() > 0.05


def test_the_same_generator_gives_the_same_numbers(plain):
    ids, source = torch.randint(0, 3, (3, 8)), generator(1)
    first = [nelbo(plain, ids, generator=source).nats for _ in range(2)]
    assert not torch.equal(*first)
    assert torch.equal(nelbo(plain, ids, generator=generator(1)).nats, first[0])
    torch.manual_seed(1)
    assert torch.equal(nelbo(plain, ids).nats, first[0])
    assert torch.equal(nelbo(plain, ids.int(), generator=generator(1)).nats, first[0])
    strided = ids.t().contiguous().t()
    torch.testing.assert_close(
        nelbo(plain, strided, generator=generator(1)).nats, first[0], rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("num_samples", [1, 2, 5, "all"])
def test_corners(model, num_samples):
    # a single token: nothing is random
    one = nelbo(model, torch.tensor([[0], [2]]), num_samples=num_samples)
    log_probs = model(torch.tensor([[MASK]])).logits[0, 0].double().log_softmax(0).detach()
    torch.testing.assert_close(one.nats, -log_probs[[0, 2]], rtol=0, atol=1e-5)
    assert num_samples == 1 or (one.standard_error < 1e-9).all()

    two = nelbo(model, torch.tensor([[0, 1]]), num_samples=num_samples)
    assert two.nats.isfinite().all()

    ids = torch.zeros(2, 3, dtype=torch.long)
    given = torch.tensor([[0, 0, 0], [1, 1, 1]])
    mixed = nelbo(model, ids, prompt_mask=given, num_samples=num_samples)
    assert mixed.nats[0] > 0 and mixed.nats[1] == 0 and mixed.num_tokens.tolist() == [3, 0]
    assert mixed.bits_per_token[1].isnan()


@pytest.mark.parametrize("num_samples", [2, "all"])
def test_nothing_is_asked_for(model, num_samples):
    ids = torch.zeros(2, 3, dtype=torch.long)
    out = nelbo(model, ids, prompt_mask=torch.ones(2, 3), num_samples=num_samples)
    assert out.nats.tolist() == [0, 0] and out.num_tokens.tolist() == [0, 0]
    assert nelbo(model, ids[:0], num_samples=num_samples).nats.shape == (0,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_ids": torch.tensor([[0, MASK, 1]])}, "mask id 3"),
        # of probability 0: the bound would be infinite
        (
            {"input_ids": torch.tensor([[0, PAD, 1]])},
            "pad id 4",
        ),
        ({"input_ids": torch.tensor([[0, 5, 1]])}, r"expected 0\.\.4"),
        ({"input_ids": torch.tensor([[0, -1, 1]])}, r"expected 0\.\.4"),
        ({"input_ids": torch.tensor([0, 1, 2])}, "shape"),
        ({"input_ids": [[0, 1, 2]]}, "list"),
        ({"input_ids": torch.zeros(1, 9, dtype=torch.long)}, "max_position_embeddings=8"),
        ({"attention_mask": torch.ones(1, 2)}, "attention_mask has shape"),
        ({"prompt_mask": torch.ones(3)}, "prompt_mask has shape"),
        ({"num_samples": 0}, "num_samples is 0"),
        ({"num_samples": -2}, "num_samples is -2"),
        ({"num_samples": 2.5}, "num_samples is 2.5"),
        ({"num_samples": "some"}, "num_samples is 'some'"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": 1.5}, "batch_size is 1.5"),
        ({"num_samples": True}, "num_samples is True"),
        ({"num_samples": "all", "num_orders": 0}, "num_orders is 0"),
        ({"num_orders": 2}, "num_orders is 2 with num_samples=8"),
        ({"row_numbers": torch.arange(2)}, r"row_numbers is torch.int64 \(2,\)"),
        ({"row_numbers": torch.tensor([-1])}, "row_numbers holds -1"),
    ],
)
def test_bad_input_is_refused(model, change, message):
    with pytest.raises(ValueError, match=message):
        nelbo(model, **({"input_ids": torch.zeros(1, 3, dtype=torch.long)} | change))


# ---------------------------------------------------------------------------- keys, orders, dropout
@pytest.mark.parametrize(
    "options", [{"num_samples": 6}, {"num_samples": "all"}, {"num_samples": "all", "num_orders": 3}]
)
def test_parts_of_a_data_set_are_numbered_like_the_whole(plain, options):
    ids = torch.randint(0, 3, (7, 6))
    whole = nelbo(plain, ids, generator=generator(), **options)
    for part in (slice(0, 7, 2), slice(1, 7, 2), [6, 0, 3]):
        numbers = torch.arange(7)[part]
        out = nelbo(plain, ids[part], row_numbers=numbers, generator=generator(), **options)
        torch.testing.assert_close(out.nats, whole.nats[part], rtol=1e-6, atol=0)
        torch.testing.assert_close(
            out.standard_error, whole.standard_error[part], rtol=1e-5, atol=1e-7
        )
    shifted = nelbo(plain, ids, row_numbers=torch.arange(1, 8), generator=generator(), **options)
    assert not torch.isclose(shifted.nats, whole.nats, rtol=1e-4).any()


@pytest.mark.slow
def test_several_orders_at_each_count_are_calibrated_and_unbiased(plain, exact):
    ids = torch.tensor([[0, 2, 1, 1]])
    out = nelbo(plain, ids.repeat(200, 1), num_samples="all", num_orders=40, generator=generator(2))
    z = (out.nats - exact_nelbo(exact, sequences=ids)) / out.standard_error
    assert abs(z.mean()) < 4 / math.sqrt(200)
    assert 0.9 < z.std() < 1.1
    one = nelbo(plain, ids.repeat(8000, 1), num_samples="all", generator=generator(3)).nats
    assert 0.9 < out.nats.std() / (one.std() / math.sqrt(40)) < 1.1


def test_dropout_is_off_and_the_model_left_as_it_was(tiny_model):
    model = tiny_model(hidden_dropout=0.5, attention_dropout=0.5)
    ids = torch.randint(0, 3, (4, 8))
    quiet = nelbo(model, ids, generator=generator()).nats
    model.train()
    model.get_input_embeddings().eval()  # a frozen part stays as it is
    before = [module.training for module in model.modules()]
    assert torch.equal(nelbo(model, ids, generator=generator()).nats, quiet)
    assert [module.training for module in model.modules()] == before and not all(before)
