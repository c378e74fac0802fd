"""Rows that have ended save work, and disturb no others."""

import pytest
import torch
from transformers.generation import (
    MaxLengthCriteria,
)

from ardm import ARDMForMaskedLM

from .rows import MASK, PAD, full, masks

EOS = 2


def test_an_eos_that_never_comes_changes_nothing(model):
    def never(ids, scores):
        return scores.index_fill(1, torch.tensor([EOS]), -torch.inf)

    for order in ("random", "left_to_right", "entropy"):
        settings = {"order": order, "seed": 1, "logits_processor": [never], "tokens_per_step": 2}
        one = full(model, masks(3, 8), **settings)
        two = full(model, masks(3, 8), eos_token_id=EOS, **settings)
        assert torch.equal(one.sequences, two.sequences) and torch.equal(
            one.log_probs, two.log_probs
        )
        assert (
            torch.equal(one.order, two.order)
            and one.num_forward_passes == two.num_forward_passes == 4
        )


@pytest.mark.filterwarnings("ignore:nothing to generate")
def test_a_row_without_masks_has_no_end(model):
    ids = torch.tensor([[0, EOS, 1, PAD], [EOS, MASK, MASK, MASK]])
    settings = {"seed": 1, "eos_token_id": EOS, "stopping_criteria": [MaxLengthCriteria(2)]}
    out = full(model, ids, **settings)
    assert out.sequences[0].tolist() == ids[0].tolist()
    assert out.sequences[1, 2:].tolist() == [PAD, PAD]
    assert full(model, ids[:1], **settings).num_forward_passes == 0


# ------------------------------------------------------------------------------------ what it saves
@pytest.mark.parametrize(
    ("settings", "passes"),
    [
        ({"order": "left_to_right"}, [3, 6]),  # EOS is the third token, the sixth
        ({"order": "left_to_right", "tokens_per_step": 2}, [2, 3]),
        ({"block_length": 3}, [3, 6]),
        ({"block_length": 4, "tokens_per_step": 4}, [1, 2]),
        ({"order": "right_to_left"}, [12, 12]),
        ({"order": "confidence", "block_length": 6, "tokens_per_step": 3}, [2, 2]),
        ({"order": "left_to_right", "threshold": 1e-9}, [1, 1]),
        # a revised text has no end before the last pass
        (
            {"order": "left_to_right", "resample_steps": 2},
            [14, 14],
        ),
    ],
)
def test_rows_stop_early(model, settings, passes):
    def eos_at(place):
        def processor(ids, scores, positions):
            at = (positions == place)[:, None] == (torch.arange(5) == EOS)
            return scores.masked_fill(~at, -torch.inf)

        return processor

    for place, count in zip((2, 5), passes, strict=True):
        out = full(
            model, masks(2, 12), eos_token_id=EOS, logits_processor=[eos_at(place)], **settings
        )
        assert out.num_forward_passes == count
        assert ((out.sequences == EOS) == (torch.arange(12) == place)).all()
        assert ((out.sequences == PAD) == (torch.arange(12) > place)).all()


def test_a_row_that_has_ended_waits_for_the_others(model):
    settings = {"order": "left_to_right", "eos_token_id": EOS, "seed": list(range(6))}
    out = full(model, masks(6, 12), **settings)
    alone = [full(model, masks(1, 12), **(settings | {"seed": row})) for row in range(6)]
    assert [one.sequences[0].tolist() for one in alone] == out.sequences.tolist()
    passes = [one.num_forward_passes for one in alone]
    assert passes == [int((row >= 0).sum()) for row in out.order] and len(set(passes)) > 2
    assert out.num_forward_passes == max(passes)


@pytest.mark.parametrize(
    "order", ["random", "left_to_right", "right_to_left", "confidence", "entropy"]
)
def test_the_end_is_the_same_however_many_at_a_time(model, order):
    """Of a model that predicts the same everywhere, nothing but the random numbers matters."""
    constant = ARDMForMaskedLM(model.config).eval()
    settings = {"order": order, "eos_token_id": EOS, "seed": 1}
    one = constant.generate(masks(10, 12), **settings)
    assert len((one != PAD).sum(1).unique()) > 3
    for more in ({"tokens_per_step": 3}, {"steps": 2}, {"block_length": 5}, {"threshold": 0.3}):
        assert torch.equal(constant.generate(masks(10, 12), **settings, **more), one), more


@pytest.mark.parametrize(
    "answer",
    [
        torch.zeros(3, dtype=torch.bool),
        torch.zeros(2, 1),
        torch.zeros(0),
        None,
        "yes",
        1.5,
        [False],
    ],
)
def test_a_criterion_answers_once_a_row(tiny_model, answer):
    def odd(input_ids, scores):
        return answer

    model = tiny_model(pad_token_id=2)
    with pytest.raises(ValueError, match=r"criterion odd answers .*expected bool \(2,\)"):
        model.generate(torch.full((2, 4), 3), stopping_criteria=[lambda ids, _: False, odd])


@pytest.mark.parametrize("answer", [True, torch.tensor(True), torch.tensor([True, True])])
def test_one_answer_may_be_for_all_rows(tiny_model, answer):
    model = tiny_model(pad_token_id=2, scale=0.1)
    ids = torch.full((2, 4), 3)
    out = model.generate(ids, stopping_criteria=[lambda ids, _: False, lambda ids, _: answer])
    assert (out[:, 1:] == 2).all()
