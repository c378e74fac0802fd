"""The loss and what it is divided by count the same things, with any collator and any split."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F
from transformers import DataCollatorForLanguageModeling

from ardm import ARDMConfig, ARDMForMaskedLM, RandomRatioCollator, random_ratio_mask
from ardm.data.tokenization import build_tokenizer

from .trainers import SIZES, trainer_of

MASK, PAD = 3, 4


@pytest.fixture
def model(tiny_model):
    return tiny_model(vocab_size=5, mask_token_id=MASK, pad_token_id=PAD)


def plain_labels(rows, length, share=0.4):
    """Masked ids and labels, -100 where not masked, of rows that end in padding."""
    ids = torch.randint(0, 3, (rows, length))
    real = torch.arange(length) < torch.randint(1, length + 1, (rows, 1))
    hidden = (torch.rand(rows, length) < share) & real
    hidden[0, 0] = True
    return ids.masked_fill(hidden, MASK), real, ids.where(hidden, -100)


@torch.no_grad()
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("parts", [1, 2, 4, 8])
def test_plain_labels_count_alike_however_they_are_split(model, seed, parts):
    torch.manual_seed(seed)
    ids, real, labels = plain_labels(8, 6)
    count = (labels != -100).sum()
    logits = model(ids, real).logits
    pooled = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum") / count
    micro = [part.chunk(parts) for part in (ids, real, labels)]
    losses = [
        model(*inputs, labels=target, num_items_in_batch=count).loss
        for *inputs, target in zip(*micro, strict=True)
    ]
    # accumulation adds up; processes each scale by their number, and are averaged
    torch.testing.assert_close(sum(losses), pooled)
    torch.testing.assert_close((torch.stack(losses) * parts).mean(), pooled)


@torch.no_grad()
@pytest.mark.parametrize("parts", [1, 2, 4])
def test_our_collators_batches_give_the_bound_however_they_are_split(model, parts):
    rows = [torch.randint(0, 3, (n,)).tolist() for n in (3, 6, 1, 8, 5, 2, 7, 4)]
    batch = RandomRatioCollator(MASK, PAD)([{"input_ids": row} for row in rows])
    count = (batch["labels"] != -100).sum()
    whole = model(**batch).loss
    assert torch.equal(model(**batch, num_items_in_batch=count).loss, whole)
    total = 0.0
    for rows_of_part in torch.arange(8).chunk(parts):
        part = {name: value[rows_of_part] for name, value in batch.items()}
        total = total + model(**part, num_items_in_batch=count).loss
    torch.testing.assert_close(total, whole)


@pytest.mark.parametrize("weights", ["none", "given"])
@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_a_uniform_network_has_the_loss_of_its_vocabulary(share, weights):
    """Whatever is counted: a weighted mean of one number is that number."""
    config = ARDMConfig(vocab_size=32, mask_token_id=31, pad_token_id=30, **SIZES)
    model = ARDMForMaskedLM(config).eval()
    ids, real, labels = plain_labels(6, 20, share)
    ids = ids.where(ids != MASK, 31)
    given = {"num_maskable": real.sum(1)} if weights == "given" else {}
    for total in (None, int((labels != -100).sum()), (labels != -100).sum()):
        if weights == "given" and not (labels != -100).any(1).all():
            continue  # rows that weigh something have labels
        loss = model(ids, real, labels=labels, num_items_in_batch=total, **given).loss
        assert abs(float(loss.detach()) - math.log(30)) < 1e-5


def test_rows_without_labels_do_not_count(model):
    ids, real, labels = plain_labels(4, 6)
    nothing = torch.full_like(labels, -100)
    twice = [torch.cat(pair) for pair in ((ids, ids), (real, real), (labels, nothing))]
    loss = model(ids, real, labels=labels).loss
    torch.testing.assert_close(model(*twice[:2], labels=twice[2]).loss, loss)


def test_the_loss_without_a_count_is_the_bounds_mean(model):
    ids = torch.randint(0, 3, (5, 7))
    masked, labels = random_ratio_mask(ids, MASK)
    out = model(masked, labels=labels)
    log_probs = out.logits.log_softmax(-1)
    rows = [
        -log_probs[b][hidden := masked[b] == MASK].gather(1, ids[b][hidden, None]).mean()
        for b in range(5)
    ]
    torch.testing.assert_close(out.loss, torch.stack(rows).mean())


# ---------------------------------------------------------------------------------- under a Trainer
def masked_lm_trainer(folder, own, accumulation, rows=16):
    """A fresh, uniform network on texts of several lengths; its first loss is known."""
    tokenizer = build_tokenizer("char", "abcdef")
    ids = {"mask_token_id": tokenizer.mask_token_id, "pad_token_id": tokenizer.pad_token_id}
    config = ARDMConfig(vocab_size=len(tokenizer), max_position_embeddings=32, **ids, **SIZES)
    collator = RandomRatioCollator(*ids.values())
    if not own:
        collator = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.3)
    texts = ["abc" * (1 + number % 5) for number in range(rows)]
    data = [{"input_ids": tokenizer(text)["input_ids"]} for text in texts]
    settings = {"gradient_accumulation_steps": accumulation, "max_steps": 1}
    settings["per_device_eval_batch_size"] = 2  # no row twice on two processes
    trainer = trainer_of(ARDMForMaskedLM(config), folder, collator, data, **settings)
    return trainer, math.log(len(tokenizer) - 2)


@pytest.mark.parametrize("accumulation", [1, 2, 4])
@pytest.mark.parametrize("own", [True, False])
def test_the_first_loss_is_that_of_the_vocabulary(tmp_path, own, accumulation):
    trainer, expected = masked_lm_trainer(tmp_path, own, accumulation)
    assert abs(trainer.evaluate()["eval_loss"] - expected) < 1e-4
    assert abs(trainer.train().training_loss - expected) < 1e-4


@pytest.mark.slow  # two processes
def test_two_processes_have_the_loss_of_one(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    command += ["--standalone", "-m", "tests.ardm.test_training_losses", str(tmp_path)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, cwd=root)
    assert done.returncode == 0, done.stderr[-3000:]
    for own in (True, False):
        ranks = [json.loads((tmp_path / f"{own}-{rank}.json").read_text()) for rank in (0, 1)]
        for rank in ranks:
            assert abs(rank["train"] - rank["expected"]) < 1e-4
            assert abs(rank["eval"] - rank["expected"]) < 1e-4


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for own in (True, False):
        trainer, expected = masked_lm_trainer(folder, own, 2)
        found = {"expected": expected, "eval": trainer.evaluate()["eval_loss"]}
        found["train"] = trainer.train().training_loss
        (folder / f"{own}-{trainer.args.process_index}.json").write_text(json.dumps(found))
