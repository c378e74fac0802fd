"""With our collator a Trainer evaluates, predicts, smooths and resumes as with any masked LM."""

import pytest
import torch
from torch.nn import functional as F

from ardm import RandomRatioCollator
from ardm.trainer_calls import rank_and_size, trainer_call

from .rows import MASK, PAD
from .trainers import EXAMPLES, ROWS, Recording, trainer_of


@pytest.fixture
def model(tiny_model):  # a new one for each test: it is trained
    return tiny_model(vocab_size=5, mask_token_id=MASK, pad_token_id=PAD)


def padded(rows):
    real = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    ids = torch.full_like(real, PAD)
    for row, tokens in enumerate(rows):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        real[row, : len(tokens)] = 1
    return ids, real


def aligned(model, predictions, labels):
    """The logits are those of the texts with what is labelled masked, and the labels are theirs."""
    ids, real = padded(ROWS)
    labels = torch.as_tensor(labels)
    hidden = labels != -100
    assert labels.shape == ids.shape and torch.equal(labels[hidden], ids[hidden])
    assert (hidden & (real == 1)).any(1).all() and not (hidden & (real == 0)).any()
    logits = model(ids.masked_fill(hidden, MASK), real).logits
    if predictions.ndim == 3:
        found = torch.as_tensor(predictions)[hidden].softmax(-1)
        torch.testing.assert_close(found, logits[hidden].softmax(-1), rtol=0, atol=1e-5)
    else:
        assert torch.equal(torch.as_tensor(predictions)[hidden], logits[hidden].argmax(-1))


# ----------------------------------------------------------------------- evaluate, predict, metrics
@torch.no_grad()
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("batch_size", [1, 3, 7])
def test_metrics_get_what_any_masked_model_gives(model, tmp_path, batch_size, smoothing):
    seen = []
    settings = {"per_device_eval_batch_size": batch_size, "label_smoothing_factor": smoothing}
    trainer = trainer_of(
        model, tmp_path, metrics=lambda pair: seen.append(pair) or {"ok": 1.0}, **settings
    )
    assert trainer.evaluate()["eval_ok"] == 1.0
    aligned(model, seen[0].predictions, seen[0].label_ids)
    out = trainer.predict(EXAMPLES)
    assert out.predictions.shape == (7, 6, 5) and out.label_ids.shape == (7, 6)
    aligned(model, out.predictions, out.label_ids)
    shorter = trainer_of(model, tmp_path, hook=lambda logits, labels: logits.argmax(-1), **settings)
    out = shorter.predict(EXAMPLES)
    aligned(model, out.predictions, out.label_ids)


def test_masks_of_an_evaluation_belong_to_the_sample(model, tmp_path):
    found = []
    for batch_size, seed in ((3, 1), (3, 2), (1, 3)):
        collator = Recording()
        settings = {"per_device_eval_batch_size": batch_size, "seed": seed}
        trainer = trainer_of(model, tmp_path, collator, **settings)
        torch.manual_seed(seed)
        losses = [trainer.evaluate()["eval_loss"] for _ in range(2)]
        assert losses[0] == losses[1]
        assert all(call.evaluating for call, _ in collator.batches)
        rows = [
            [token for token in row if token != PAD] for batch in collator.masks() for row in batch
        ]
        assert rows[:7] == rows[7:]
        found.append(rows[:7])
    assert found[0] == found[1] == found[2]
    trainer.train()
    again = trainer_of(model, tmp_path, per_device_eval_batch_size=1).evaluate()["eval_loss"]
    assert again == trainer.evaluate()["eval_loss"] != losses[0]


def test_equal_rows_of_an_evaluation_are_masked_evenly(model, tmp_path):
    collator = Recording()
    rows = [{"input_ids": [0, 1, 2, 0]}] * 40
    trainer_of(model, tmp_path, collator, rows, per_device_eval_batch_size=40).evaluate()
    ((_, batch),) = collator.batches
    counts = (batch["input_ids"] == MASK).sum(1).bincount(minlength=5)
    assert counts[0] == 0 and ((counts[1:] - 10).abs() <= 1).all()


def test_the_loss_of_an_evaluation_is_the_bounds_estimate(model, tmp_path):
    collator = Recording()
    trainer = trainer_of(model, tmp_path, collator, per_device_eval_batch_size=7)
    loss = trainer.evaluate()["eval_loss"]
    ((_, batch),) = collator.batches
    log_probs = model(batch["input_ids"], batch["attention_mask"]).logits.log_softmax(-1)
    total = 0.0
    for row, tokens in enumerate(ROWS):
        hidden = (batch["labels"][row] != -100).nonzero()[:, 0]
        terms = log_probs[row, hidden, batch["labels"][row, hidden]]
        total -= len(tokens) * float(terms.mean().detach())
    assert abs(loss - total / sum(map(len, ROWS))) < 1e-5


# ------------------------------------------------------------------------------ losses of Trainer's
@pytest.mark.parametrize("accumulation", [1, 2])
def test_smoothed_labels_train_with_a_finite_loss(model, tmp_path, accumulation):
    collator = Recording()
    start = {name: value.detach().clone() for name, value in model.named_parameters()}
    settings = {"label_smoothing_factor": 0.1, "gradient_accumulation_steps": accumulation}
    trainer = trainer_of(model, tmp_path, collator, max_steps=1, **settings)
    loss = trainer.train().training_loss
    total, count = 0.0, 0
    # what any masked model's loss would be, with the impossible ids at e^-20
    for _, batch in collator.batches[:accumulation]:
        with torch.no_grad():
            for parameter, value in zip(model.parameters(), start.values(), strict=True):
                parameter.copy_(value)
            hidden = batch["labels"] != -100
            assert torch.equal(hidden, batch["input_ids"] == MASK)
            logits = model(batch["input_ids"], batch["attention_mask"]).logits[hidden]
            nll = -logits.log_softmax(-1)
            nll[:, [MASK, PAD]] = 20.0
            total += float((0.9 * nll.gather(1, batch["labels"][hidden][:, None])[:, 0]).sum())
            total += float(0.1 * nll.mean(1).sum())
            count += int(hidden.sum())
    assert abs(loss - total / count) < 1e-4


def test_a_loss_of_the_callers_own_gets_all_logits_and_the_masked_labels(model, tmp_path):
    shapes = []

    def own(outputs, labels, num_items_in_batch):
        shapes.append((outputs.logits.shape[:2], labels.shape, int((labels != -100).sum())))
        loss = F.cross_entropy(outputs.logits.flatten(0, 1), labels.flatten(), reduction="sum")
        return loss / num_items_in_batch

    trainer = trainer_of(model, tmp_path, max_steps=2)
    trainer.compute_loss_func = own
    assert 0 < trainer.train().training_loss < 10
    assert all(logits == labels and count for logits, labels, count in shapes)


# ------------------------------------------------------------------------- epochs, resuming, ranks
@pytest.mark.parametrize("batch_size", [1, 2])
def test_epochs_differ_and_a_resumed_run_sees_the_same(tiny_model, tmp_path, batch_size):
    def run(folder, **changes):
        collator = Recording()
        settings = {"num_train_epochs": 3, "per_device_train_batch_size": batch_size, "seed": 5}
        settings |= {"save_strategy": "steps", "save_steps": 5, "lr_scheduler_type": "constant"}
        model = tiny_model(vocab_size=5, mask_token_id=MASK, pad_token_id=PAD, hidden_dropout=0.1)
        trainer = trainer_of(model, folder, collator, **settings)
        trainer.train(**changes)
        return collator, model

    whole, model = run(tmp_path / "whole")
    masks = whole.masks()
    steps = len(masks) // 3
    epochs = [masks[i * steps : (i + 1) * steps] for i in range(3)]
    if batch_size == 1:  # the same rows, differently masked
        assert len({str(sorted(epoch)) for epoch in epochs}) == 3
    assert [call.epoch for call, _ in whole.batches] == [i // steps for i in range(len(masks))]
    checkpoint = tmp_path / "whole" / "checkpoint-5"  # in the middle of an epoch
    rest, resumed = run(tmp_path / "rest", resume_from_checkpoint=str(checkpoint))
    assert rest.masks() == masks[5:]
    for ours, theirs in zip(model.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_ranks_draw_different_masks_stratified_over_all(monkeypatch):
    texts = [torch.randint(0, 3, (8,)).tolist() for _ in range(12)]
    for size in (1, 2, 3):
        monkeypatch.setenv("WORLD_SIZE", str(size))
        share = 12 // size
        for equal in (False, True):
            batches = []
            for rank in range(size):
                monkeypatch.setenv("RANK", str(rank))
                assert rank_and_size() == (rank, size)
                torch.manual_seed(42)  # as Trainer does on every rank
                part = texts[:share] if equal else texts[rank * share : (rank + 1) * share]
                batches.append(RandomRatioCollator(MASK)([{"input_ids": row} for row in part]))
            hidden = [batch["logits_positions"] for batch in batches]
            assert all(not torch.equal(hidden[0], other) for other in hidden[1:])
            counts = torch.cat(hidden).sum(1).sort().values
            # 12 strata, 8 counts: the i-th smallest lies in stratum i
            low = 1 + torch.arange(12) * 8 // 12
            high = 1 + ((torch.arange(12) + 1) * 8 - 1) // 12
            assert ((counts >= low) & (counts <= high)).all()


def test_the_same_seed_masks_other_texts_elsewhere():
    batches = []
    for _ in range(2):
        examples = [{"input_ids": torch.randint(0, 3, (16,)).tolist()} for _ in range(4)]
        torch.manual_seed(42)
        batches.append(RandomRatioCollator(MASK)(examples)["logits_positions"])
        torch.manual_seed(43)
    assert not torch.equal(*batches)


def test_nobody_asks_outside_of_a_trainer():
    assert trainer_call() is None
