"""The bound's loss: what is checked of a call, its share of a whole, logits for other losses."""

from types import SimpleNamespace

import pytest
import torch

from ardm.bound_loss import LossInputs, rule_out
from ardm.stages import Stages

CONFIG = SimpleNamespace(vocab_size=6, mask_token_id=5, pad_token_id=4)
STAGES = Stages.plain(5, 6)
IDS = torch.tensor([[0, 5, 5, 1], [5, 2, 3, 0]])
LABELS = torch.tensor([[-100, 1, 2, -100], [3, -100, -100, -100]])


def logits():
    return torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(0))


def test_rows_weigh_as_many_as_they_have_maskable_tokens():
    nats = -logits().log_softmax(-1)
    rows = torch.stack([(nats[0, 1, 1] + nats[0, 2, 2]) / 2, nats[1, 0, 3]])
    asked = LossInputs(LABELS).checked(CONFIG, STAGES, IDS, None)
    torch.testing.assert_close(asked.loss(logits(), STAGES, IDS, None), rows.mean())
    real = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    torch.testing.assert_close(asked.loss(logits(), STAGES, IDS, real), (rows[0] * 2 + rows[1]) / 3)
    weighted = LossInputs(LABELS, num_maskable=torch.tensor([3, 1]))
    expected = (rows[0] * 3 + rows[1]) / 4
    torch.testing.assert_close(weighted.loss(logits(), STAGES, IDS, real), expected)


def test_parts_of_a_batch_add_up_to_the_whole():
    maskable = torch.tensor([4, 4])
    nats = [
        LossInputs(LABELS[[row]], num_maskable=maskable[[row]], num_items_in_batch=3).loss(
            logits()[[row]], STAGES, IDS[[row]], None
        )
        for row in range(2)
    ]
    whole = LossInputs(LABELS, num_maskable=maskable, num_items_in_batch=3)
    assert sum(nats) != whole.loss(logits(), STAGES, IDS, None)  # weights are of a part's rows
    labels = torch.tensor([[0, 1, 2, 3], [3, 2, 1, 0]])  # Trainer's: every maskable token
    hidden = IDS == 5
    parts = [
        LossInputs(labels[[row]], hidden[[row]], maskable[[row]], 8).loss(
            logits()[[row]][hidden[[row]]], STAGES, IDS[[row]], None
        )
        for row in range(2)
    ]
    both = LossInputs(labels, hidden, maskable, 8).loss(logits()[hidden], STAGES, IDS, None)
    torch.testing.assert_close(sum(parts), both)


def test_without_labels_there_is_no_loss_and_others_get_finite_logits():
    assert LossInputs().loss(logits(), STAGES, IDS, None) is None
    ruled = rule_out(logits(), CONFIG)
    assert (ruled[..., 4:] == -torch.inf).all() and ruled[..., :4].isfinite().all()
    assert LossInputs().returned_logits(ruled) is ruled
    shown = LossInputs(num_items_in_batch=3).returned_logits(ruled)
    assert shown.isfinite().all() and shown.softmax(-1)[..., 4:].max() < 1e-8
    assert LossInputs(LABELS, num_items_in_batch=3).returned_logits(ruled) is ruled


def test_what_does_not_fit_is_refused():
    for wrong in (LABELS[:, :3], LABELS.float(), LABELS.clamp(max=0) + 5):
        with pytest.raises(ValueError, match="labels"):
            LossInputs(wrong).checked(CONFIG, STAGES, IDS, None)
    with pytest.raises(ValueError, match="logits_positions"):
        LossInputs(LABELS, torch.zeros(2, 1, dtype=torch.long)).checked(CONFIG, STAGES, IDS, None)
    short = LossInputs(LABELS.int()).checked(CONFIG, STAGES, IDS, None)
    assert short.labels.dtype == torch.int64
