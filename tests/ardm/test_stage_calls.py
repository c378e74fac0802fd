"""A call with stages: ends, streamers, processors, plans and files, and what is refused."""

import itertools
import json

import pytest
import torch
from transformers.generation import SuppressTokensLogitsProcessor

from ardm import ARDMForMaskedLM, log_prob, measure_step_losses

from .rows import full
from .staged import ORDERS

MASK, PAD, EOS = 7, 6, 5
SIZES = {
    "vocab_size": 9,  # values 0..4 and 8, EOS, pad, mask
    "mask_token_id": MASK,
    "pad_token_id": PAD,
    "eos_token_id": EOS,
    "num_stages": 2,
    "branching_factor": 3,
    "max_position_embeddings": 16,
}


@pytest.fixture(scope="module")
def models(tiny_model):
    return {order: tiny_model(stage_order=order, **SIZES).double() for order in ORDERS}


@pytest.fixture(params=ORDERS)
def model(request, models):
    return models[request.param]


def masks(*shape):
    return torch.full(shape, MASK)


# --------------------------------------------------------------------------------------------- ends
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"order": "left_to_right", "tokens_per_step": 3},
        {"order": "confidence", "threshold": 0.6},
        {"resample_steps": 2, "resample_fraction": 0.5},
        {"block_length": 2},
    ],
)
def test_a_row_ends_where_the_whole_one_would(model, settings):
    whole = full(model, masks(60, 6), seed=1, eos_token_id=None, **settings)
    out = full(model, masks(60, 6), seed=1, **settings)
    is_eos = whole.sequences == EOS
    behind = (is_eos.cumsum(1) - is_eos.long()) > 0
    assert behind.any() and not behind.all(1).any()
    assert torch.equal(out.sequences, whole.sequences.masked_fill(behind, PAD))
    assert torch.equal(out.order, whole.order.masked_fill(behind, -1))
    expected = whole.log_probs.masked_fill(behind, 0)
    torch.testing.assert_close(out.log_probs, expected, rtol=0, atol=1e-9)


def test_a_row_that_has_ended_takes_no_further_steps(model):
    """It ends with its first leaf: no coarse value tells."""
    ids = torch.cat((torch.zeros(1, 1).long(), masks(1, 8)), 1)
    suppress = SuppressTokensLogitsProcessor([0, 1, 2, 3, 4, 8], device="cpu")  # EOS at once
    out = full(model, ids, order="left_to_right", logits_processor=[suppress])
    assert out.sequences[0].tolist() == [0, EOS] + [PAD] * 7
    assert out.num_forward_passes == 8 + 1


def test_stopping_criteria_see_no_coarse_value(model):
    seen = []

    def criterion(ids, scores):
        seen.append(ids)
        return ids[:, -1] == 3

    model.generate(masks(4, 5), seed=1, order="left_to_right", stopping_criteria=[criterion])
    assert seen and all(int(ids.max()) < 9 and not (ids == MASK).any() for ids in seen)


# ---------------------------------------------------------------------------------------- streamers
class Shown:
    """A streamer of drafts that keeps what it gets."""

    def __init__(self, drafts):
        self.values = []
        if drafts:
            self.put_draft = lambda value, **kwargs: self.values.append(value.clone())

    def put(self, value):
        self.values.append(value.clone())

    def end(self):
        self.values.append("end")


@pytest.mark.parametrize("drafts", [True, False])
@pytest.mark.parametrize("order", ["random", "left_to_right", "confidence"])
def test_streamers_are_shown_ids_of_the_vocabulary(model, order, drafts):
    streamer = Shown(drafts)
    ids = torch.tensor([[1, 2, MASK, MASK, 10, MASK]])  # 10: a coarse value
    settings = {"order": order, "seed": 3, "output_history": True, "eos_token_id": None}
    out = full(model, ids, streamer=streamer, **settings)
    *values, end = streamer.values
    assert end == "end" and all(int(value.max()) < 9 for value in values)
    assert values[0].tolist() == [[1, 2]]
    if drafts:  # the canvas after each step, masks for all that is still to be said
        expected = [canvas.masked_fill(canvas >= 9, MASK)[:, 2:] for canvas in out.history]
        assert len(values) >= 1 + len(expected)
        for shown, canvas in zip(values[1:], expected, strict=False):
            assert torch.equal(shown, canvas)
    else:
        text = torch.cat([value.flatten() for value in values])
        assert torch.equal(text, out.sequences[0]) and not (text == MASK).any()


# --------------------------------------------------------------------------------------- processors
def test_processors_see_ids_and_logits_of_the_vocabulary(model):
    calls = []

    def forbid(ids, logits, positions, cur_step):
        calls.append((ids.clone(), logits.shape, positions))
        return logits.index_fill(1, torch.tensor([0, 1, 2, 8]), -torch.inf)

    out = full(model, masks(20, 5), seed=1, logits_processor=[forbid], tokens_per_step=2)
    assert {*out.sequences.unique().tolist()} <= {3, 4, EOS, PAD}
    assert len(calls) == out.num_forward_passes
    for ids, shape, positions in calls:
        assert int(ids.max()) < 9 and shape == (len(ids), 9) and len(positions) == len(ids)


def test_a_stock_processor_works_at_every_stage(model):
    suppress = SuppressTokensLogitsProcessor([4, 8, EOS], device="cpu")
    out = model.generate(masks(50, 5), seed=1, logits_processor=[suppress])
    assert {*out.unique().tolist()} == {0, 1, 2, 3}
    # a condition of which all is forbidden
    node = int(model.stages.coarsen(torch.tensor(8), 1))
    suppress = SuppressTokensLogitsProcessor(model.stages.tree.leaves(node), device="cpu")
    with pytest.raises(ValueError, match="NaN or only -inf logits"):
        model.generate(torch.tensor([[node, MASK]]), logits_processor=[suppress])


def test_direct_logits_are_no_processors_business(tiny_model):
    model = tiny_model(parametrization="direct", **SIZES)
    with pytest.raises(
        ValueError, match="got a logits_processor; expected none with direct logits"
    ):
        model.generate(masks(1, 3), logits_processor=[lambda ids, logits: logits])


# ---------------------------------------------------------------------------------- a user's order
def test_a_users_order_is_given_logits_of_the_next_reveal(model):
    """Which are likeliest for the last child, of what may come next."""
    calls = []

    def last_child(logits, masked, generator):
        calls.append((logits.shape, masked.clone()))
        return logits.masked_fill(logits == -torch.inf, -99)[..., -1]

    ids = torch.tensor([[1, MASK, MASK, 10]])
    out = full(model, ids, order=last_child, seed=1, output_history=True, eos_token_id=None)
    stages = model.stages
    assert len(calls) == out.num_forward_passes == 5
    for canvas, (shape, masked) in zip([ids, *out.history], calls, strict=False):
        assert shape == (1, 4, stages.tree.children_RW.shape[1])
        level = stages.level(canvas)
        least = level.amin() if not stages.interleaved else level
        assert torch.equal(masked, stages.is_hidden(canvas) & (level == least))
    out = full(model, masks(3, 4), order=last_child, seed=1, eos_token_id=None)
    values = log_prob(model, out.sequences, last_child)
    torch.testing.assert_close(values, out.log_probs.sum(1), rtol=0, atol=1e-6)


# -------------------------------------------------------------------------------------------- plans
PASSES = {
    "stagewise": [
        ({}, 12),
        ({"tokens_per_step": 4}, 4),
        ({"steps": 5}, 5),
        ({"steps": 99}, 12),
        ({"steps": 4, "plan": "cosine"}, 4),
        ({"steps": 4, "plan": "larger_first"}, 4),
        ({"plan": [[1, 5], [2, 2, 2]]}, 5),
        ({"plan": [1, 5, 2, 2, 2]}, 5),
        ({"plan": [2, 4]}, 4),
        ({"block_length": 4, "tokens_per_step": 4}, 4),
        ({"resample_steps": 3, "steps": 7}, 7),
        ({"resample_steps": 3, "resample_order": "remdm_cap", "steps": 7}, 7),
    ],
    "interleaved": [
        ({}, 12),
        ({"tokens_per_step": 4}, 3),
        ({"steps": 5}, 5),
        ({"steps": 1}, 1),
        ({"plan": [1, 5, 2, 4]}, 4),
        ({"block_length": 4, "tokens_per_step": 4}, 3),
        ({"resample_steps": 3, "steps": 7}, 7),
        ({"resample_steps": 3, "resample_order": "remdm_rescale", "steps": 7}, 7),
    ],
}


@pytest.mark.parametrize("stage_order", ORDERS)
def test_the_passes_count(models, stage_order):
    for settings, passes in PASSES[stage_order]:
        for order in ("random", "confidence"):
            out = full(models[stage_order], masks(2, 6), order=order, eos_token_id=None, **settings)
            assert out.num_forward_passes == passes, settings
            assert not models[stage_order].stages.is_hidden(out.sequences).any()


def test_a_stage_that_is_given_takes_no_steps(models):
    model = models["stagewise"]
    ids = model.stages.coarsen(torch.tensor([[0, 3, 8, 1]]), 1)
    for plan in ([2, 2], [[], [2, 2]]):
        assert full(model, ids, plan=plan, eos_token_id=None).num_forward_passes == 2
    mixed = torch.cat((ids[:, :2], masks(1, 2)), 1)
    out = full(model, mixed, plan=[[2], [1, 3]], eos_token_id=None)
    assert out.num_forward_passes == 3
    with pytest.raises(ValueError, match=r"plan sums to 4; expected 2 \+ 4"):
        model.generate(mixed, plan=[2, 2])


@pytest.mark.parametrize("stage_order", ORDERS)
def test_measured_losses_choose_the_plan(tiny_model, tmp_path, stage_order):
    """Saved beside the weights, and read again."""
    model = tiny_model(stage_order=stage_order, **SIZES)
    measured = measure_step_losses(model, torch.randint(0, 5, (20, 6)))
    losses = measured.for_plans.tolist()
    config = model.generation_config
    config.plan, config.steps, config.per_step_losses = "optimal", 5, losses
    model.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "generation_config.json").read_text())
    assert saved["per_step_losses"] == losses and saved["plan"] == "optimal"
    loaded = ARDMForMaskedLM.from_pretrained(tmp_path)
    assert loaded.generation_config.per_step_losses == losses
    settings = {"seed": 1, "output_history": True, "eos_token_id": None}
    out = full(loaded, masks(3, 6), **settings)
    assert out.num_forward_passes == 5
    plan = measured.optimal_plan(5)
    explicit = full(model, masks(3, 6), plan=plan, **settings)
    assert torch.equal(out.sequences, explicit.sequences)
    level = [0, *[int(model.stages.level(canvas)[0].sum()) for canvas in out.history]]
    flat = [*itertools.chain(*plan)] if stage_order == "stagewise" else plan
    assert [after - before for before, after in itertools.pairwise(level)] == flat


def test_a_plan_of_stages_is_saved(tiny_model, tmp_path):
    model = tiny_model(**SIZES)
    model.generation_config.plan = [[3, 1], [1, 1, 2]]
    model.save_pretrained(tmp_path)
    loaded = ARDMForMaskedLM.from_pretrained(tmp_path)
    assert loaded.generation_config.plan == [[3, 1], [1, 1, 2]]
    assert full(loaded, masks(1, 4), eos_token_id=None).num_forward_passes == 5


def test_losses_of_fewer_tokens_or_stages_are_refused(models):
    curve = [3.0, 2.0, 1.0]
    model = models["stagewise"]
    for losses, message in (
        (curve, "per_step_losses has 1 curves; expected 2, one for each stage"),
        ([curve] * 3, "per_step_losses has 3 curves; expected 2"),
        ([curve, curve], "per_step_losses has 3 steps; expected at least 4"),
    ):
        with pytest.raises(ValueError, match=message):
            model.generate(masks(1, 4), plan="optimal", steps=4, per_step_losses=losses)
    settings = {"plan": "optimal", "steps": 4, "per_step_losses": [curve, curve]}
    with pytest.raises(ValueError, match="per_step_losses has 2 entries; expected for interleaved"):
        models["interleaved"].generate(masks(1, 3), **settings)
    # of a longer text: its end, as if the rest were known
    out = full(model, masks(1, 2), plan="optimal", steps=3, per_step_losses=[curve, curve])
    assert out.num_forward_passes == 3


# ---------------------------------------------------------------------------------- what is refused
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"plan": [4, 2]}, r"plan sums to 6; expected 3 \+ 3, the number of masks"),
        ({"plan": [[2, 1], [2, 2]]}, r"plan sums to 3 \+ 4; expected 3 \+ 3"),
        ({"plan": [[2, 1], [2, 1], [3]]}, "plan has 3 lists; expected 2"),
        ({"plan": [[2, 1], [2, 1, 0]]}, "plan's group size is 0"),
        ({"plan": [1, 1]}, r"plan sums to 2; expected 3 \+ 3"),
        ({"steps": 1}, "steps is 1; expected at least one for each of the 2 blocks"),
        ({"steps": 3, "block_length": 2}, "expected at least one for each of the 4 blocks"),
        ({"order": torch.tensor([0, 0, 1, 1, 2, 2])}, "expected one stage after the other, as the"),
        ({"order": torch.tensor([0, 1, 2, 0, 1, 1])}, "order is no arrangement of the reveals"),
        ({"order": torch.tensor([[0, 1, 2]])}, r"order has shape \(1, 3\); expected \(3,\)"),
        ({"order": torch.tensor([[0, 1, 2], [0, 1, 1]])}, r"order is no permutation of 0\.\.2"),
        ({"mask_token_id": 8}, "mask_token_id is 8; expected the configuration's 7"),
    ],
)
def test_settings_that_do_not_fit_the_stages_are_refused(models, settings, message):
    with pytest.raises(ValueError, match=message):
        models["stagewise"].generate(masks(1, 3), **settings)


def test_orders_and_plans_of_stages_that_overlap(models):
    model = models["interleaved"]
    for order in ([0, 0, 1, 1, 2, 2], [0, 1, 2, 2, 1, 0], [2, 0, 1]):
        out = full(model, masks(1, 3), order=torch.tensor(order), plan=[4, 2], eos_token_id=None)
        assert out.num_forward_passes == 2
    for plan in ([3], [2, 1], [[2, 1], [2, 2]]):
        with pytest.raises(ValueError, match="expected 6, the number of masks of every row"):
            model.generate(masks(1, 3), plan=plan)


def test_ids_beyond_all_nodes_are_refused(model):
    num_nodes = model.stages.num_nodes
    for ids in ([[0, num_nodes]], [[-1, 0]]):
        with pytest.raises(ValueError, match=rf"expected 0\.\.{num_nodes - 1}"):
            model.generate(torch.tensor(ids))
        with pytest.raises(ValueError, match=rf"expected 0\.\.{num_nodes - 1}"):
            model(torch.tensor(ids))
    assert model.generate(torch.tensor([[0, num_nodes - 1]])).shape == (1, 2)
