"""Rows of stages are drawn on their own, what is given is refined, and nodes become children."""

import itertools

import pytest
import torch

from .rows import full
from .staged import ORDERS, PARAMETRIZATIONS

MASK, PAD, EOS = 7, 6, 5
SIZES = {
    "vocab_size": 9,  # values 0..4 and 8, EOS, pad, mask
    "mask_token_id": MASK,
    "pad_token_id": PAD,
    "eos_token_id": EOS,
    "num_stages": 3,
    "branching_factor": 2,
    "max_position_embeddings": 16,
}


@pytest.fixture(scope="module")
def models(tiny_model):
    """In float64: batches of fewer rows round float32 in another way."""
    return {
        (stage_order, parametrization): tiny_model(
            stage_order=stage_order, parametrization=parametrization, **SIZES
        ).double()
        for stage_order, parametrization in itertools.product(ORDERS, PARAMETRIZATIONS)
    }


@pytest.fixture(params=[*zip(ORDERS, PARAMETRIZATIONS, strict=True)], ids=" ".join)
def model(request, models):
    """Each order and each parametrisation once; test_stage_laws.py has them all."""
    return models[request.param]


CALLS = {
    "random": {},
    "left to right": {"order": "left_to_right"},
    "confidence": {"order": "confidence", "tokens_per_step": 2},
    "steps": {"steps": 7},
    "cosine": {"steps": 5, "plan": "cosine"},
    "binomial": {"steps": 9, "plan": "binomial"},
    "threshold": {"order": "margin", "threshold": 0.6},
    "entropy bound": {"entropy_bound": 0.5},
    "drawn": {"order": "drawn_confidence", "tokens_per_step": 3},
    "noise": {"order": "entropy", "order_temperature": 0.5},
    "likeliest": {"do_sample": False, "order": "drawn_probability", "threshold": 0.8},
    "warped": {"temperature": 0.7, "top_k": 1, "top_p": 0.9},
    "blocks": {"block_length": 2, "order": "entropy", "tokens_per_step": 2},
    "resampled": {"resample_steps": 3, "resample_fraction": 0.5},
    "surest again": {"resample_steps": 2, "resample_order": "least_confident", "steps": 8},
    "resampled between": {"resample_steps": 4, "resample_order": "remdm_cap"},
    "between blocks": {"resample_steps": 2, "resample_order": "remdm_conf", "block_length": 3},
    "guided": {"guidance_scale": 2.0},
    "guided threshold": {"guidance_scale": 0.5, "threshold": 0.7, "order": "confidence"},
}
calls = pytest.mark.parametrize("call", CALLS)


def coarse(model, ids, level):
    return model.stages.coarsen(torch.as_tensor(ids), torch.as_tensor(level))


def given_rows(model):
    """Rows of unlike lengths: masks, prompts and coarse values; without padding."""
    node = coarse(model, [0, 2, 4, 8], [1, 2, 2, 1]).tolist()
    return [[1, MASK, MASK, node[0], MASK], [node[1], node[2], 8, node[3]], [MASK, MASK, 3]]


def padded(rows, side):
    width = max(map(len, rows))
    fill = [[PAD] * (width - len(row)) for row in rows]
    if side == "left":
        return torch.tensor([pad + row for pad, row in zip(fill, rows, strict=True)])
    return torch.tensor([row + pad for row, pad in zip(rows, fill, strict=True)])


# ------------------------------------------------------------------------------- rows on their own
@calls
def test_a_row_depends_on_nothing_but_itself(model, call):
    settings = CALLS[call] | {"eos_token_id": None}
    rows = given_rows(model)
    seeds = [5, 6, 7]
    alone = [
        full(model, torch.tensor([row]), seed=[seed], **settings)
        for row, seed in zip(rows, seeds, strict=True)
    ]
    for side in ("left", "right"):
        ids = padded(rows, side)
        out = full(model, ids, seed=seeds, **settings)
        assert (out.sequences[ids == PAD] == PAD).all() and (out.order[ids == PAD] == -1).all()
        for row, expected in enumerate(alone):
            real = ids[row] != PAD
            assert out.sequences[row, real].tolist() == expected.sequences[0].tolist()
            assert out.order[row, real].tolist() == expected.order[0].tolist()
            torch.testing.assert_close(out.log_probs[row, real], expected.log_probs[0])


@pytest.mark.parametrize("call", ["random", "confidence", "binomial", "resampled", "drawn"])
def test_results_of_a_row_are_those_of_its_copies(model, call):
    ids = padded(given_rows(model)[:2], "right")
    several = model.generate(ids, num_return_sequences=3, seed=4, **CALLS[call])
    copies = model.generate(ids.repeat_interleave(3, 0), seed=4, **CALLS[call])
    assert several.shape == (6, 5) and torch.equal(several, copies)
    order = torch.stack([torch.randperm(5).repeat(3) for _ in range(2)])
    of_rows = model.generate(ids, num_return_sequences=3, seed=4, order=order)
    again = model.generate(ids.repeat_interleave(3, 0), seed=4, order=order.repeat_interleave(3, 0))
    assert torch.equal(of_rows, again)


def test_one_stage_however_it_is_said_draws_the_same(tiny_model):
    sizes = {"vocab_size": 9, "mask_token_id": 8}
    plain = tiny_model(**sizes)
    for extra in ({"branching_factor": 8}, {"stage_order": "interleaved"}):
        other = tiny_model(**sizes, num_stages=1, **extra)
        assert other.state_dict().keys() == plain.state_dict().keys()
        for call in ("random", "confidence", "resampled between", "threshold"):
            ids = torch.full((2, 6), 8)
            out, expected = (full(m, ids, seed=1, **CALLS[call]) for m in (other, plain))
            assert torch.equal(out.sequences, expected.sequences)
            assert torch.equal(out.log_probs, expected.log_probs)


# ------------------------------------------------------------------------------------ what is given
@calls
def test_given_values_stay_and_coarse_ones_are_refined(model, call):
    stages = model.stages
    ids = padded(given_rows(model), "right")
    out = full(model, ids, seed=2, num_return_sequences=4, eos_token_id=None, **CALLS[call])
    given = ids.repeat_interleave(4, 0)
    assert (out.sequences < 9).all() and not stages.is_hidden(out.sequences).any()
    below = stages.coarsen(out.sequences, stages.level(given))
    assert torch.equal(below, given)  # of a leaf itself, of a node what it stands for
    was_hidden = stages.is_hidden(given)
    assert torch.equal(out.order >= 0, was_hidden)
    assert (out.log_probs[~was_hidden] == 0).all() and (out.log_probs <= 0).all()


@pytest.mark.parametrize("level", [1, 2])
def test_a_whole_coarse_canvas_may_be_given(model, level):
    leaves = torch.tensor([[0, 2, 4, 1, 8, EOS], [3, 3, 8, EOS, 0, 1]])
    canvas = coarse(model, leaves, level)
    out = full(model, canvas, seed=1, eos_token_id=None)
    assert torch.equal(coarse(model, out.sequences, level), canvas)
    assert out.num_forward_passes == 6 * (3 - level)
    plan = [2, 4] if level == 2 or not model.stages.interleaved else [5, 7]
    passes = full(model, canvas, plan=plan).num_forward_passes
    assert passes == 2 if level == 2 or model.stages.interleaved else passes == 4


def test_new_tokens_start_from_the_mask(model):
    prompt = coarse(model, [[0, 2], [1, 8]], [[3, 1], [3, 3]])
    out = full(model, prompt, max_new_tokens=3, seed=1, eos_token_id=None)
    assert out.sequences.shape == (2, 5)
    assert torch.equal(coarse(model, out.sequences[:, :2], model.stages.level(prompt)), prompt)


# ------------------------------------------------------------------------------------ what is shown
def ancestors(stages, nodes, levels):
    """The nodes at levels above, by climbing."""
    for _ in range(stages.num_stages):
        nodes = torch.where(stages.level(nodes) > levels, stages.parents(nodes), nodes)
    return nodes


def canvases(model, start, **settings):
    """All canvases of a call, the first one included."""
    out = full(model, start, seed=3, output_history=True, eos_token_id=None, **settings)
    assert len(out.history) == out.num_forward_passes
    assert torch.equal(out.history[-1], out.sequences)
    return [start, *out.history]


@calls
def test_positions_move_from_parent_to_child_alone(model, call):
    stages = model.stages
    for before, after in itertools.pairwise(
        canvases(model, padded(given_rows(model), "left"), **CALLS[call])
    ):
        level = stages.level(before)
        if "resample_steps" in CALLS[call]:  # at most one reveal is taken back at a time
            could_go_back = torch.ones_like(level, dtype=torch.bool)
            if not stages.interleaved:  # of those alone that the present stage has revealed
                could_go_back = level > level.amin(1, keepdim=True)
                could_go_back |= (level == 3).all(1, keepdim=True)
            level = (level - could_go_back.long()).clamp(min=0)
        assert torch.equal(ancestors(stages, after, level), ancestors(stages, before, level))
        assert (stages.level(after) >= level).all()


@pytest.mark.parametrize("order", ["random", "confidence", "drawn_probability", "right_to_left"])
def test_one_reveal_a_step_is_one_of_those_that_may_come_next(model, order):
    stages = model.stages
    start = padded(given_rows(model)[:1] * 20, "right")
    reveals = 3 * 5 - int(stages.level(start[0]).sum())
    every = canvases(model, start, order=order)
    assert len(every) == reveals + 1
    for before, after in itertools.pairwise(every):
        moved = before != after
        assert (moved.sum(1) == 1).all()
        level = stages.level(before)
        assert torch.equal(stages.level(after), level + moved)
        if not stages.interleaved:  # of those that are the least far
            assert (level[moved] == level.amin(1)).all()


@pytest.mark.parametrize("call", ["steps", "resampled", "resampled between", "between blocks"])
def test_levels_are_never_more_than_one_apart_in_stages(models, call):
    """Nor does what is sent back fall behind the stage."""
    for (stage_order, _), model in models.items():
        far = 0
        for canvas in canvases(model, torch.full((30, 6), MASK), **CALLS[call]):
            level = model.stages.level(canvas)
            far = max(far, int((level.amax(1) - level.amin(1)).max()))
        assert far == 1 if stage_order == "stagewise" else far > 1


@pytest.mark.parametrize("order", ["random", "confidence", "right_to_left"])
def test_blocks_are_done_from_left_to_right_in_each_stage(model, order):
    start = torch.full((10, 5), MASK)
    every = canvases(model, start, order=order, block_length=2)
    moved = torch.stack([before != after for before, after in itertools.pairwise(every)])
    assert (moved.sum(2) == 1).all()
    blocks = moved.long().argmax(2).t() // 2  # (rows, steps)
    stages = [blocks] if model.stages.interleaved else blocks.split(5, 1)
    for of_stage in stages:
        assert (of_stage.diff(dim=1) >= 0).all() and (of_stage[:, -1] == 2).all()


# ---------------------------------------------------------------------------------------- guidance
def next_log_prob(model, outputs, before, after):
    """log p(after | before) at one position, from its outputs."""
    stages = model.stages
    logits = stages.child_logits(outputs, before).log_softmax(-1)
    return float(logits[stages.tree.slot_M[after]])


@pytest.mark.parametrize("scale", [0.0, 1.0, 2.5])
def test_guidance_is_of_the_networks_logits(model, scale):
    """Leaves' logits are guided, or those of children: then masses are taken."""
    node = int(coarse(model, 2, 1))
    start = torch.tensor([[1, MASK, 3, node, MASK]])
    every = canvases(model, start, order="left_to_right", guidance_scale=scale)
    total = 0.0
    for before, after in itertools.pairwise(every):
        (position,) = (before != after)[0].nonzero()[:, 0].tolist()
        free = before.clone()
        free[0, [0, 2]] = MASK  # the prompt; a coarse value is none
        given, without = (model(ids).logits[0, position].double() for ids in (before, free))
        outputs = without + scale * (given - without)
        outputs = torch.where(given == -torch.inf, given, outputs).detach()
        total += next_log_prob(model, outputs, before[0, position], after[0, position])
    out = full(model, start, seed=3, order="left_to_right", guidance_scale=scale, eos_token_id=None)
    assert abs(total - float(out.log_probs.sum())) < 1e-6


@pytest.mark.parametrize("order", ["left_to_right", "confidence"])
def test_log_probs_are_those_of_the_canvases(model, order):
    """Each position's sum over its reveals, with several at a step."""
    start = padded(given_rows(model)[:1], "right")
    settings = {"order": order, "tokens_per_step": 4}
    every = canvases(model, start, **settings)
    expected = torch.zeros(5, dtype=torch.float64)
    for before, after in itertools.pairwise(every):
        outputs = model(before).logits[0].detach()
        for position in (before != after)[0].nonzero()[:, 0].tolist():
            path = [after[0, position]]
            while path[-1] != before[0, position]:
                path.append(model.stages.parents(path[-1]))
            for below, above in itertools.pairwise(path):
                expected[position] += next_log_prob(model, outputs[position], above, below)
    out = full(model, start, seed=3, eos_token_id=None, **settings)
    torch.testing.assert_close(out.log_probs[0], expected, rtol=0, atol=1e-6)
