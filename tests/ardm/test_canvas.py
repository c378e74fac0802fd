"""The canvas against row-by-row references: where masks go, who queues, whose numbers are whose."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ardm.canvas import ORDER, ORDER_NOISE, REVISION, TOKEN, Canvas
from ardm.inputs import append_masks, row_streams
from ardm.stages import Stages

MASK, PAD = 3, 4
LAWS = settings(max_examples=80)


@st.composite
def batches(draw, shortest=1, any_real=False):
    """ids (B, L) with masks, and which are real: padding on either side of a row, or anywhere."""
    shape = draw(st.integers(1, 4)), draw(st.integers(shortest, 8))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    if any_real:
        real = torch.rand(shape, generator=generator) < 0.7
    else:
        edges = torch.randint(0, shape[1] + 1, (2, shape[0], 1), generator=generator).sort(0).values
        real = (torch.arange(shape[1]) >= edges[0]) & (torch.arange(shape[1]) < edges[1])
    ids = torch.randint(0, MASK, shape, generator=generator)
    ids[torch.rand(shape, generator=generator) < 0.6] = MASK
    # what stands in padding is not hidden
    return ids.masked_fill(~real, draw(st.sampled_from([PAD, MASK]))), real


def canvas_of(ids, real, order="random", block_length=None, seeds=None):
    return Canvas(
        ids.clone(),
        real,
        Stages.plain(MASK),
        row_streams(seeds or 7, None, 1, len(ids)),
        order,
        block_length,
    )


# ---------------------------------------------------------------------------------------- new masks
@LAWS
@given(batches(shortest=0, any_real=True), st.integers(0, 5))
def test_masks_go_right_behind_the_last_real_token(batch, count):
    ids, real = batch
    new_ids, new_real = append_masks(ids, real, count, MASK)
    assert new_ids.shape == new_real.shape == (len(ids), ids.shape[1] + count)
    for row, is_real, new_row, is_new_real in zip(
        ids.tolist(), real.tolist(), new_ids.tolist(), new_real.tolist(), strict=True
    ):
        end = max((place + 1 for place, here in enumerate(is_real) if here), default=0)
        assert new_row == row[:end] + [MASK] * count + row[end:]
        assert is_new_real == is_real[:end] + [True] * count + is_real[end:]


# ------------------------------------------------------------------------------------------ streams
def test_rows_draw_from_the_streams_of_their_seed():
    def pairs(*arguments):
        return list(zip(*map(torch.Tensor.tolist, row_streams(*arguments)), strict=True))

    assert pairs(5, None, 1, 3) == [(5, 0), (5, 1), (5, 2)]
    assert pairs(5, None, 2, 2) == [(5, 0), (5, 1), (5, 2), (5, 3)]  # copies are rows like others
    assert pairs([5, 2**62], None, 1, 2) == [(5, 0), (2**62, 0)]
    assert pairs([5, 9], None, 3, 2) == [(5, 0), (5, 1), (5, 2), (9, 0), (9, 1), (9, 2)]
    first, again, later = (
        pairs(None, generator, 1, 2)
        for generator in map(
            torch.Generator.manual_seed,
            (torch.Generator(), torch.Generator(), torch.Generator()),
            (1, 1, 2),
        )
    )
    assert first == again != later and [row for _, row in first] == [0, 1]
    generator = torch.Generator().manual_seed(1)
    assert pairs(None, generator, 1, 2) == first != pairs(None, generator, 1, 2)
    torch.manual_seed(3)
    by_global = pairs(None, None, 1, 2)
    torch.manual_seed(3)
    assert pairs(None, None, 1, 2) == by_global
    with pytest.raises(
        ValueError, match="seed is a list of 2; expected one seed for each of the 3 rows"
    ):
        row_streams([1, 2], None, 1, 3)
    with pytest.raises(ValueError, match="both seed and generator"):
        row_streams(0, torch.Generator(), 1, 1)


@LAWS
@given(batches())
def test_a_places_numbers_depend_on_its_row_alone(batch):
    ids, real = batch
    seeds = list(range(10, 10 + len(ids)))
    canvas = canvas_of(ids, real, seeds=seeds)
    assert (canvas.uniforms_BR >= 0).all() and (canvas.uniforms_BR < 1).all()
    for row, is_real in enumerate(real):
        alone = canvas_of(
            ids[row : row + 1, is_real],
            torch.ones(1, int(is_real.sum()), dtype=torch.bool),
            seeds=[seeds[row]],
        )
        for name in ("uniforms_BR", "scores_BR", "place_BL", "hidden_BL", "given_BL"):
            assert torch.equal(getattr(alone, name)[0], getattr(canvas, name)[row, is_real]), name


def test_every_kind_row_place_and_key_has_a_number_of_its_own():
    canvas = canvas_of(torch.full((3, 8), MASK), torch.ones(3, 8, dtype=torch.bool))
    numbers = [
        canvas.uniforms(kind, canvas.place_BL) for kind in (ORDER, TOKEN, ORDER_NOISE, REVISION)
    ]
    numbers += [canvas.uniforms(TOKEN, canvas.place_BL, key) for key in (1, 2)]
    numbers += [
        canvas.uniforms(ORDER_NOISE, canvas.place_BL, canvas.step_B1 + key) for key in (1, 2)
    ]
    assert len(torch.stack(numbers).unique()) == 8 * 24
    assert torch.equal(canvas.scores_BR, numbers[0]) and torch.equal(canvas.uniforms_BR, numbers[1])


# ------------------------------------------------------------------------------------- who is where
@LAWS
@given(batches(any_real=True), st.none() | st.integers(1, 4))
def test_places_blocks_and_what_is_hidden(batch, block_length):
    ids, real = batch
    canvas = canvas_of(ids, real, block_length=block_length)
    for row in range(len(ids)):
        hidden = [p for p in range(ids.shape[1]) if real[row, p] and ids[row, p] == MASK]
        reals = [p for p in range(ids.shape[1]) if real[row, p]]
        assert canvas.hidden_BL[row].nonzero()[:, 0].tolist() == hidden and canvas.num_reveals_B1[
            row
        ] == len(hidden)
        assert canvas.given_BL[row].nonzero()[:, 0].tolist() == [
            p for p in reals if p not in hidden
        ]
        assert canvas.place_BL[row, reals].tolist() == list(range(len(reals)))
        first = hidden[: block_length or len(hidden)]
        assert canvas.open_positions(blockwise=True)[row].nonzero()[:, 0].tolist() == first
        assert canvas.open_positions(blockwise=False)[row].nonzero()[:, 0].tolist() == hidden
        if block_length:
            assert canvas.block_BL[row, hidden].tolist() == [
                index // block_length for index in range(len(hidden))
            ]
            # after the first block the second is next; a row without masks is past the last
            canvas.hidden_BL[row, first] = False
            second = hidden[block_length : 2 * block_length]
            assert canvas.open_positions(blockwise=True)[row].nonzero()[:, 0].tolist() == second
            past = canvas._first_block(canvas.hidden_BL)
            assert past[row] == (1 if second else ids.shape[1])
            canvas.hidden_BL[row, hidden] = True
    assert (
        (canvas.order_BL == -1).all()
        and (canvas.log_probs_BL == 0).all()
        and (canvas.step_B1 == 0).all()
    )


@LAWS
@given(
    batches(),
    st.sampled_from(["random", "left_to_right", "right_to_left", "explicit"]),
    st.integers(0, 2**31),
)
def test_the_queue_is_the_open_positions_in_their_order(batch, order, seed):
    ids, real = batch
    torch.manual_seed(seed)
    explicit = torch.stack([torch.randperm(ids.shape[1]) for _ in ids])
    canvas = canvas_of(ids, real, explicit if order == "explicit" else order)
    open_BL = canvas.hidden_BL & (torch.rand(ids.shape) < 0.7)
    width = int(torch.randint(0, ids.shape[1] + 1, ()))
    queue = canvas.queue(open_BL, width)
    assert queue.shape == (len(ids), width)
    for row in range(len(ids)):
        expected = open_BL[row].nonzero()[:, 0].tolist()
        if order == "explicit":
            expected = [p for p in explicit[row].tolist() if p in expected]
        elif order == "random":
            expected.sort(
                key=lambda p, row=row: float(canvas.uniforms(ORDER, canvas.place_BL)[row, p])
            )
        elif order == "right_to_left":
            expected.reverse()
        assert queue[row, : len(expected)].tolist() == expected[:width]
        assert len(set(queue[row].tolist())) == width  # the rest are others, each once


# ---------------------------------------------------------------------------------- write and erase
@LAWS
@given(batches(), st.integers(0, 8), st.integers(0, 2**31))
def test_a_step_writes_what_is_chosen_and_nothing_else(batch, width, seed):
    ids, real = batch
    torch.manual_seed(seed)
    canvas = canvas_of(ids, real)
    canvas.step_B1 += torch.randint(0, 5, (len(ids), 1))
    expected = {
        name: getattr(canvas, name).clone()
        for name in ("ids", "log_probs_BL", "order_BL", "hidden_BL")
    }
    step = canvas.step_B1.clone()
    width = min(width, ids.shape[1])
    positions = canvas.queue(canvas.hidden_BL, width)
    chosen = canvas.hidden_BL.gather(1, positions) & (torch.rand(positions.shape) < 0.6)
    tokens = torch.randint(0, MASK, positions.shape)
    log_probs = -torch.rand(positions.shape, dtype=torch.float64)
    canvas.write(positions, tokens, log_probs, chosen)
    canvas.end_step(chosen)
    for row in range(len(ids)):
        for column in range(width):
            if chosen[row, column]:
                position = positions[row, column]
                expected["ids"][row, position] = tokens[row, column]
                expected["log_probs_BL"][row, position] = log_probs[row, column]
                expected["order_BL"][row, position] = step[row, 0]
                expected["hidden_BL"][row, position] = False
        # a row that fills nothing takes no step
        assert canvas.step_B1[row] == step[row] + bool(chosen[row].any())
    for name, value in expected.items():
        assert torch.equal(getattr(canvas, name), value), name


@LAWS
@given(batches(), st.sampled_from(["random", "left_to_right"]), st.integers(0, 2**31))
def test_what_goes_back_is_hidden_and_draws_anew(batch, order, seed):
    ids, real = batch
    torch.manual_seed(seed)
    seeds = list(range(len(ids)))
    canvas = canvas_of(ids, real, order, seeds=seeds)
    others = canvas_of(ids, real, order, seeds=seeds)
    was_hidden, given_BL = canvas.hidden_BL.clone(), canvas.given_BL.clone()
    for one in (canvas, others):  # all that was hidden is generated
        one.ids, one.hidden_BL = one.ids.masked_fill(was_hidden, 0), torch.zeros_like(was_hidden)
    before = {name: getattr(canvas, name).clone() for name in ("ids", "uniforms_BR", "scores_BR")}
    back = was_hidden & (torch.rand(ids.shape) < 0.5)
    revision = torch.randint(1, 4, (len(ids), 1))
    canvas.send_back(back, revision)
    assert torch.equal(canvas.hidden_BL, back) and torch.equal(canvas.given_BL, given_BL)
    assert torch.equal(canvas.ids, before["ids"].masked_fill(back, MASK))
    for name in ("uniforms_BR", "scores_BR"):
        assert torch.equal(getattr(canvas, name)[~back], before[name][~back]), name
    assert (canvas.uniforms_BR != before["uniforms_BR"])[back].all()
    assert (canvas.scores_BR != before["scores_BR"])[back].all() == (
        order == "random" or not back.any()
    )
    # a place's new numbers depend on its row and revision alone, not on what else goes back
    others.send_back(was_hidden, revision)
    assert torch.equal(others.uniforms_BR[back], canvas.uniforms_BR[back])
    assert torch.equal(others.scores_BR[back], canvas.scores_BR[back])
    later = canvas_of(ids, real, order, seeds=seeds)
    later.send_back(back, revision + 1)
    assert (later.uniforms_BR != canvas.uniforms_BR)[back].all()
    for row in range(len(ids)):
        alone = canvas_of(ids[row : row + 1], real[row : row + 1], order, seeds=[seeds[row]])
        alone.send_back(back[row : row + 1], revision[row : row + 1])
        assert torch.equal(alone.uniforms_BR[0], canvas.uniforms_BR[row])
