"""The bound of stages is the mean over all arrangements; its errors and its parts add up."""

import pytest
import torch

from ardm import log_prob, measure_step_losses, nelbo, per_step_losses, plan_cost

from .staged import (
    KINDS,
    ORDERS,
    PARAMETRIZATIONS,
    close,
    generator,
    settings_of,
    take_all_orders,
)

STAGED = [kind for kind in KINDS if kind[0] != "plain"]
DIGITS = [kind for kind in KINDS if kind[0] == "digits"]


# ------------------------------------------------------------------------------------- it is exact
@pytest.mark.parametrize("kind", KINDS, ids=" ".join)
def test_the_bound_is_the_mean_over_all_arrangements(enumerated, monkeypatch, kind):
    model, exact = enumerated(*kind)
    number = take_all_orders(monkeypatch, exact.stages, exact.length)
    ids = exact.sequences[:: 1 if kind in DIGITS else 3]
    out = nelbo(model, ids, num_samples="all", num_orders=number, batch_size=4096)
    assert (out.num_tokens == exact.length).all()  # tokens, not reveals
    close(out.nats, exact.step_losses(ids).sum(1))


@pytest.mark.parametrize("kind", KINDS, ids=" ".join)
def test_step_losses_are_those_of_the_enumeration(enumerated, monkeypatch, kind):
    model, exact = enumerated(*kind)
    number = take_all_orders(monkeypatch, exact.stages, exact.length)
    ids = exact.sequences[::7]
    losses = measure_step_losses(model, ids, num_orders=number, batch_size=4096)
    shape = (exact.length,)
    if exact.stages.num_stages > 1:
        whole = exact.stages.num_stages * exact.length
        shape = (whole,) if exact.stages.interleaved else (exact.stages.num_stages, exact.length)
    assert losses.sequence_nats.shape == (len(ids), *shape)
    close(losses.sequence_nats.flatten(1), exact.step_losses(ids))


@pytest.mark.parametrize("kind", STAGED, ids=" ".join)
def test_step_losses_sum_to_the_bound(enumerated, kind):
    model, exact = enumerated(*kind)
    ids = exact.sequences[::5]
    losses = measure_step_losses(model, ids, generator=generator())
    out = nelbo(model, ids, num_samples="all", generator=generator())
    close(losses.sequence_nats.flatten(1).sum(1), out.nats, 1e-9)
    close(per_step_losses(model, ids, generator=generator()), losses.nats, 0)
    assert losses.standard_error.shape == losses.nats.shape
    assert [*losses.to_dict()["nats_per_token"]] == losses.nats.tolist()


@pytest.mark.parametrize("kind", DIGITS, ids=" ".join)
def test_prompt_makes_it_conditional(enumerated, monkeypatch, kind):
    model, exact = enumerated(*kind)
    number = take_all_orders(monkeypatch, exact.stages, 2)
    ids = exact.sequences[exact.sequences[:, 1] == 3]
    prompt = torch.tensor([[0, 1, 0]]).expand_as(ids)
    options = {"num_samples": "all", "num_orders": number}
    out = nelbo(model, ids, prompt_mask=prompt, **options)
    expected = exact.step_losses(ids, given=(1,))
    close(out.nats, expected.sum(1))
    left = torch.cat((torch.zeros_like(ids[:, :1]), ids), 1)
    real = torch.tensor([[0, 1, 1, 1]]).expand_as(left)
    given = torch.tensor([[0, 0, 1, 0]]).expand_as(left)
    close(nelbo(model, left, real, prompt_mask=given, **options).nats, expected.sum(1))
    losses = measure_step_losses(model, ids, prompt_mask=prompt, num_orders=number)
    close(losses.sequence_nats.flatten(1), expected)


def test_rows_with_fewer_tokens_have_fewer_losses(enumerated):
    for stage_order, shape in (("stagewise", (2, 2, 3)), ("interleaved", (2, 6))):
        model, _ = enumerated("digits", stage_order, "data")
        real = torch.tensor([[1, 1, 1], [1, 0, 0]])
        losses = measure_step_losses(model, torch.zeros(2, 3).long(), real).sequence_nats
        assert losses.shape == shape and losses[0].isfinite().all()
        short = losses[1].view(-1, shape[-1])
        tokens = 1 if stage_order == "stagewise" else 2
        assert short[:, :tokens].isfinite().all() and short[:, tokens:].isnan().all()


# ----------------------------------------------------------------------------- estimates and errors
@pytest.mark.parametrize("kind", DIGITS, ids=" ".join)
@pytest.mark.parametrize("options", [{"num_samples": 8}, {"num_samples": "all", "num_orders": 2}])
def test_estimates_are_unbiased_and_their_errors_calibrated(enumerated, kind, options):
    model, exact = enumerated(*kind)
    ids = exact.sequences[[6, 33]]
    truth = exact.step_losses(ids).sum(1)
    rows = 500
    out = nelbo(model, ids.repeat(rows, 1), generator=generator(1), batch_size=2048, **options)
    nats, errors = out.nats.view(rows, 2), out.standard_error.view(rows, 2)
    z = (nats.mean(0) - truth) / (nats.std(0) / rows**0.5)
    assert z.abs().max() < 4
    ratio = nats.std(0) / errors.square().mean(0).sqrt()
    assert ratio.min() > 0.87 and ratio.max() < 1.15


@pytest.mark.slow
@pytest.mark.parametrize("kind", DIGITS, ids=" ".join)
def test_z_scores_of_many_versions_are_standard(enumerated, kind):
    model, exact = enumerated(*kind)
    truth = exact.step_losses().sum(1)
    for options in ({"num_samples": 200}, {"num_samples": "all", "num_orders": 40}):
        out = nelbo(model, exact.sequences, generator=generator(2), batch_size=2048, **options)
        z = (out.nats - truth) / out.standard_error
        assert z.abs().max() < 4.5 and abs(z.mean()) < 4 / 64**0.5 and 0.75 < z.std() < 1.3


@pytest.mark.slow
@pytest.mark.parametrize("stage_order", ORDERS)
def test_the_error_of_one_order_at_each_count_is_calibrated(tiny_model, stage_order):
    """It supposes that losses change smoothly with the count: within a stage they do."""
    ratios = []
    for seed in range(4):
        settings = settings_of("digits", stage_order) | {"max_position_embeddings": 12}
        model = tiny_model(seed, scale=0.6, **settings)
        ids = torch.randint(0, 4, (1, 12)).repeat(250, 1)
        out = nelbo(model, ids, num_samples="all", generator=generator(seed))
        ratios.append(float(out.nats.std() / out.standard_error.square().mean().sqrt()))
    assert 0.85 < sum(ratios) / 4 < 1.15


@pytest.mark.parametrize("kind", DIGITS, ids=" ".join)
def test_padding_batch_and_chunks_change_nothing(enumerated, kind):
    model, exact = enumerated(*kind)
    ids = exact.sequences[[1, 5, 8, 11]]
    real = torch.ones_like(ids)
    real[1, -1] = 0
    filler = 0
    for options in ({"num_samples": 5}, {"num_samples": "all"}):
        reference = nelbo(model, ids, real, generator=generator(), **options)
        left = torch.stack(
            [
                row.roll(1) if row_mask[-1] == 0 else row
                for row, row_mask in zip(ids, real, strict=True)
            ]
        )
        left_real = torch.stack([row.roll(1) if row[-1] == 0 else row for row in real])
        others = [(left, left_real, {}), (ids.masked_fill(real == 0, filler), real, {})]
        others += [(ids, real, {"batch_size": size}) for size in (1, 3, 999)]
        numbers = torch.tensor([2, 0])
        for other, mask, extra in others:
            out = nelbo(model, other, mask, generator=generator(), **options, **extra)
            close(out.nats, reference.nats)
            close(out.standard_error, reference.standard_error)
        out = nelbo(model, ids[[2, 0]], row_numbers=numbers, generator=generator(), **options)
        close(out.nats, reference.nats[[2, 0]])


# ------------------------------------------------------------------------------- what a plan costs
@pytest.mark.parametrize("parametrization", PARAMETRIZATIONS)
def test_a_plan_costs_what_its_groups_do_over_all_orders(enumerated, monkeypatch, parametrization):
    model, exact = enumerated("digits", "stagewise", parametrization)
    number = take_all_orders(monkeypatch, exact.stages, 3)
    ids = exact.sequences[::9]
    losses = measure_step_losses(model, ids, num_orders=number)
    for plan, flat in (
        ([[2, 1], [1, 2]], [2, 1, 1, 2]),
        ([3, 1, 1, 1], [3, 1, 1, 1]),
        ([1, 2], [1, 2, 1, 2]),
    ):
        values = [log_prob(model, ids, torch.tensor(o), plan=plan) for o in exact.arrangements()]
        expected = -torch.stack(values).mean(0)
        close(losses.costs(plan), expected)
        close(torch.tensor(losses.cost(plan)[0]).double(), expected.mean())
        assert losses.cost(plan) == losses.cost(flat)
        assert abs(plan_cost(losses.nats, plan) - losses.cost(plan)[0]) < 1e-9
        assert abs(losses.cost(plan, [1, 1, 1])[0] - expected.mean() + losses.nats.sum()) < 1e-5


@pytest.mark.parametrize("tree", ["digits", "deep"])
@pytest.mark.parametrize("parametrization", PARAMETRIZATIONS)
def test_groups_that_overlap_stages_cost_what_they_do_over_all_arrangements(
    enumerated, monkeypatch, tree, parametrization
):
    """Some positions are revealed twice in a group, from the logits that it starts with."""
    model, exact = enumerated(tree, "interleaved", parametrization)
    number = take_all_orders(monkeypatch, exact.stages, exact.length)
    ids = exact.sequences[::11]
    losses = measure_step_losses(model, ids, num_orders=number, batch_size=4096)
    for plan in ([6], [1, 5], [3, 3], [2, 1, 3], [1] * 6):
        values = [exact.log_prob(one, plan, ids) for one in exact.arrangements()]
        close(losses.costs(plan), -torch.stack(values).mean(0))
    with pytest.raises(ValueError, match="plan sums to 3; expected 6"):
        losses.cost([1, 1, 1])
