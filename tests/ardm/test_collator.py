"""transformers.Trainer minimises the bound with RandomRatioCollator, however batches are split."""

import math

import pytest
import torch
from transformers import Trainer, TrainingArguments

from ardm import ARDMConfig, ARDMForMaskedLM, RandomRatioCollator, collator, nelbo

MASK, PAD = 3, 4


def trainer(model, rows, collate, output_dir, **arguments):
    arguments = {
        "report_to": "none",
        "use_cpu": True,
        "save_strategy": "no",
        "disable_tqdm": True,
    } | arguments
    arguments |= {"output_dir": str(output_dir), "dataloader_pin_memory": False, "logging_steps": 1}
    data = [{"input_ids": row} for row in rows]
    return Trainer(
        model,
        TrainingArguments(**arguments),
        data_collator=collate,
        train_dataset=data,
        eval_dataset=data,
    )


def mask_every_other(
    input_ids, mask_token_id, *, attention_mask=None, prompt_mask=None, generator=None, stages=None
):
    """Masks that depend on a row alone, so that two ways to split a batch can be compared."""
    hidden = (torch.arange(input_ids.shape[1]) % 2 == 0) & attention_mask.bool()
    if prompt_mask is not None:
        hidden &= ~prompt_mask.bool()
    return input_ids.masked_fill(hidden, mask_token_id), input_ids.masked_fill(~hidden, -100)


def test_batch_is_what_the_bound_needs():
    collate = RandomRatioCollator(MASK, PAD)
    rows = [[0, 1, 2, 0, 1], [2, 2], [1], [0, 1, 2, 2]]
    for _ in range(20):
        batch = collate([{"input_ids": row} for row in rows])
        assert set(batch) == {
            "input_ids",
            "attention_mask",
            "labels",
            "logits_positions",
            "num_maskable",
        }
        assert batch["num_maskable"].tolist() == [5, 2, 1, 4]
        assert (batch["labels"] != -100).sum() == 12  # what Trainer counts as num_items_in_batch
        hidden = batch["logits_positions"]
        assert (batch["input_ids"][hidden] == MASK).all() and (hidden.sum(1) >= 1).all()
        for row, ids in enumerate(rows):
            assert batch["labels"][row].tolist() == ids + [-100] * (5 - len(ids))
            assert batch["attention_mask"][row].tolist() == [1] * len(ids) + [0] * (5 - len(ids))
            shown = batch["input_ids"][row].where(~hidden[row], batch["labels"][row])
            assert shown.tolist() == ids + [PAD] * (5 - len(ids))


def test_prompts_stay_known_and_outside_the_loss():
    collate = RandomRatioCollator(MASK, PAD)
    examples = [
        {"input_ids": [0, 1, 2], "prompt_mask": [1, 1, 0]},
        {
            "input_ids": torch.tensor([2, 1, 0, 0]),
            "prompt_mask": torch.tensor([True, False, False, False]),
        },
    ]
    batch = collate(examples)
    assert batch["num_maskable"].tolist() == [1, 3]
    assert batch["labels"].tolist() == [[-100, -100, 2, -100], [-100, 1, 0, 0]]
    assert not batch["logits_positions"][:, 0].any()


def test_generator_decides_the_masks():
    rows = [{"input_ids": list(range(3)) * 3}] * 8
    first, second = (
        RandomRatioCollator(MASK, generator=torch.Generator().manual_seed(1)) for _ in range(2)
    )
    draws = [first(rows)["input_ids"] for _ in range(2)]
    assert not torch.equal(*draws)
    assert all(torch.equal(draw, second(rows)["input_ids"]) for draw in draws)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="mask_token_id is None"):
        RandomRatioCollator(None)
    with pytest.raises(ValueError, match="pad_token_id is None"):
        RandomRatioCollator(MASK)([{"input_ids": [0]}, {"input_ids": [0, 1]}])
    with pytest.raises(ValueError, match="mask id 3"):
        RandomRatioCollator(MASK)([{"input_ids": [0, MASK]}])


def test_loss_estimates_the_exact_bound(tiny_model, enumeration):
    """Of ragged rows: the mean over tokens of each row's exact NELBO."""
    model = tiny_model(vocab_size=5, mask_token_id=MASK, pad_token_id=PAD)
    total = 0.0
    rows = [[0, 2, 1, 1], [2, 0]]
    for row in rows:
        exact = enumeration(model, len(row))
        total -= torch.stack(
            [exact.log_prob(order, sequences=torch.tensor([row])) for order in exact.orders]
        ).mean()
    batch = RandomRatioCollator(MASK, PAD)([{"input_ids": row} for row in rows * 6000])
    with torch.no_grad():
        loss = model(**batch).loss
    assert abs(float(loss) - float(total) / 6) < 0.01
    pooled = model(**{k: batch[k] for k in ("input_ids", "attention_mask")}).logits[
        batch["logits_positions"]
    ]
    pooled = torch.nn.functional.cross_entropy(pooled, batch["labels"][batch["logits_positions"]])
    assert abs(float(pooled.detach()) - float(total) / 6) > 0.02  # BERT's loss is another number


@pytest.mark.parametrize("ragged", [False, True])
def test_accumulation_gives_the_update_of_the_whole_batch(
    tiny_model, tmp_path, monkeypatch, ragged
):
    monkeypatch.setattr(collator, "random_ratio_mask", mask_every_other)
    torch.manual_seed(1)
    rows = [torch.randint(0, 3, (n,)).tolist() for n in ((7, 1, 3, 5) if ragged else (6, 6, 6, 6))]
    updates, losses = [], []
    for batch_size, steps in ((4, 1), (2, 2), (1, 4)):
        model = tiny_model(vocab_size=5, mask_token_id=MASK, pad_token_id=PAD)
        start = {name: p.detach().clone() for name, p in model.named_parameters()}
        run = trainer(
            model,
            rows,
            RandomRatioCollator(MASK, PAD),
            tmp_path,
            per_device_train_batch_size=batch_size,
            gradient_accumulation_steps=steps,
            max_steps=1,
            optim="sgd",
            learning_rate=0.1,
            max_grad_norm=0.0,
            lr_scheduler_type="constant",
        )
        losses.append(run.train().training_loss)
        updates.append({name: p.detach() - start[name] for name, p in model.named_parameters()})

    # the bound, written out
    model = tiny_model(vocab_size=5, mask_token_id=MASK, pad_token_id=PAD)
    total = 0.0
    for row in rows:
        ids = torch.tensor(row)
        hidden = torch.arange(len(row)) % 2 == 0
        log_probs = model(ids.masked_fill(hidden, MASK)[None]).logits[0].log_softmax(-1)
        total = total - len(row) * log_probs[hidden].gather(1, ids[hidden, None]).mean()
    loss = total / sum(map(len, rows))
    loss.backward()
    for update, value in zip(updates, losses, strict=True):
        assert abs(value - float(loss.detach())) < 1e-5
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(update[name], -0.1 * parameter.grad, rtol=1e-4, atol=2e-6)


@pytest.mark.slow
def test_trainer_learns_and_its_evaluation_is_the_bound(tmp_path):
    """A cycle of three symbols from a random phase: log 3 nats a window are left."""
    rows = [[(phase + i) % 3 for i in range(8)] for phase in range(3)] * 32
    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    model = ARDMForMaskedLM(
        ARDMConfig(vocab_size=4, mask_token_id=MASK, max_position_embeddings=8, **sizes)
    )
    run = trainer(
        model,
        rows,
        RandomRatioCollator(MASK),
        tmp_path,
        per_device_train_batch_size=16,
        per_device_eval_batch_size=32,
        max_steps=120,
        learning_rate=1e-2,
        lr_scheduler_type="constant",
        save_strategy="steps",
        save_steps=120,
    )
    run.train()
    losses = [entry["loss"] for entry in run.state.log_history if "loss" in entry]
    assert abs(losses[0] - math.log(3)) < 1e-3  # a fresh model is uniform
    assert sum(losses[-10:]) / 10 < 0.4
    model.eval()
    bound = nelbo(model, torch.tensor(rows), num_samples="all")
    evaluations = torch.tensor([run.evaluate()["eval_loss"] for _ in range(4)])
    assert math.log(3) - 0.01 < bound.nats.mean() < 8 * 0.4
    assert abs(float(evaluations.mean()) - float(bound.nats.mean()) / 8) < 0.05
    reloaded = ARDMForMaskedLM.from_pretrained(tmp_path / "checkpoint-120")
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), reloaded.parameters(), strict=True)
    )


def test_padding_that_rows_have_already_stays_outside():
    rows = [
        {"input_ids": [0, 1, 2, 4, 4], "attention_mask": [1, 1, 1, 0, 0]},
        {"input_ids": [0, 1, 2], "attention_mask": [1, 1, 1]},
    ]
    for seed in range(20):
        batch = RandomRatioCollator(3, 4, torch.Generator().manual_seed(seed))(rows)
        assert batch["attention_mask"].tolist() == [[1, 1, 1, 0, 0]] * 2
        assert batch["num_maskable"].tolist() == [3, 3]
        assert not batch["logits_positions"][:, 3:].any() and (batch["labels"][:, 3:] == -100).all()
