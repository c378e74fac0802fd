"""A tiny training run as a command: to be launched on several processes, killed, and run again."""

import argparse
import dataclasses
import hashlib
import json
import logging
import time
from pathlib import Path

import torch
from accelerate import PartialState
from torch import nn
from torch.utils.data import IterableDataset

from ardm.training import TrainingConfig, muon_adamw, train
from ardm.training.launchers import end_with_launcher
from ardm.training.launching import start_processes
from ardm.training.saved_run import SavedRun

CLASSES = 7
LENGTH = 6
NUM_EXAMPLES = 20


class Net(nn.Module):
    """An embedding, one hidden matrix, dropout, a norm and a tied head: tells a class."""

    def __init__(self, dropout: float = 0.0, seed: int = 0):
        super().__init__()
        torch.manual_seed(seed)
        self.embedding = nn.Embedding(CLASSES, 8)
        self.hidden = nn.Linear(8, 8)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, CLASSES, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, ids):
        x = self.embedding(ids)
        x = x + self.dropout(self.hidden(x).relu())
        return self.head(self.norm(x.mean(1)))


class Stream(IterableDataset):
    """The examples in their own order, without a length."""

    def __init__(self, examples):
        self.examples = examples

    def __iter__(self):
        yield from self.examples


def make_examples(num: int = NUM_EXAMPLES):
    """Sequences whose most frequent class is to be told; no two are equal."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(CLASSES, (num, LENGTH), generator=generator)
    return [
        {"ids": row, "target": row.mode().values, "index": torch.tensor(i)}
        for i, row in enumerate(ids)
    ]


def loss_fn(model, batch):
    """Cross-entropy, weighted by noise that the examples' numbers alone decide."""
    weights = 1 + (batch.example_numbers * 0.37).sin() / 2
    nats = nn.functional.cross_entropy(model(batch["ids"]), batch["target"], reduction="none")
    return {"loss": (nats * weights).mean(), "nats": nats.mean()}


def weights_hash(model) -> str:
    """A hash of all bits of a module's weights."""
    digest = hashlib.sha256()
    for tensor in model.state_dict().values():
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def eval_fn(model):
    """Mean cross-entropy over the examples."""
    examples = make_examples()
    ids = torch.stack([example["ids"] for example in examples])
    target = torch.stack([example["target"] for example in examples])
    with torch.no_grad():
        return {"eval_nats": nn.functional.cross_entropy(model(ids), target).item()}


def main() -> None:
    """Trains, and writes the history, the weights and their hash."""
    args = parse_arguments()
    logging.basicConfig(level=logging.WARNING)
    if args.save_seconds:
        slow_down_saving(args.save_seconds)

    def slow_loss_fn(model, batch):
        args.result.with_suffix(".began").touch()
        time.sleep(args.step_seconds)
        return loss_fn(model, batch)

    model = Net(args.dropout)
    muon = args.optimizer == "muon"
    optimizer = muon_adamw(model, 1e-2, muon_learning_rate=2e-2) if muon else None
    settings = {"max_train_steps": 12, "learning_rate": 1e-2, "mixed_precision": "no"}
    result = train(
        model,
        slow_loss_fn,
        make_examples(),
        config=TrainingConfig(**settings | args.config),
        optimizer=optimizer,
        eval_fn=eval_fn,
    )
    report = dataclasses.asdict(result)
    report["hash"] = weights_hash(model)
    report["weights"] = {name: tensor.tolist() for name, tensor in model.state_dict().items()}
    report["num_processes"] = PartialState().num_processes
    partial = args.result.with_suffix(f".{time.time_ns()}")
    partial.write_text(json.dumps(report))
    partial.replace(args.result)


def parse_arguments() -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--result", type=Path, required=True)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--optimizer", choices=["adamw", "muon"], default="adamw")
    parser.add_argument("--step_seconds", type=float, default=0.0, help="sleep in each step")
    parser.add_argument("--save_seconds", type=float, default=0.0, help="sleep in each save")
    parser.add_argument("--config", type=json.loads, default={}, help="TrainingConfig's fields")
    return parser.parse_args()


def slow_down_saving(seconds: float) -> None:
    """So that a kill finds a checkpoint half-written: rests between the files and the seal."""
    write = SavedRun._write

    def slow_write(self, *args):
        write(self, *args)
        time.sleep(seconds)

    SavedRun._write = slow_write


if __name__ == "__main__":
    start_processes()
    end_with_launcher()
    main()
