"""Short runs of the tiny network, and what is compared of them."""

import signal
from pathlib import Path
from typing import NamedTuple

import torch

from ardm.training import TrainingConfig, TrainingResult, make_accelerator, muon_adamw, train
from ardm.training.checkpoints import CheckpointFolder

from . import training_job as job

OPTIMIZERS = {
    "adamw": lambda model: torch.optim.AdamW(model.parameters(), lr=1e-2, fused=True),
    "muon": lambda model: muon_adamw(model, 1e-2, muon_learning_rate=2e-2),
}


class Outcome(NamedTuple):
    """What a run leaves."""

    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    result: TrainingResult
    folder: CheckpointFolder


def fit(
    folder,
    *,
    dropout=0.0,
    optimizer="adamw",
    data=None,
    loss_fn=job.loss_fn,
    eval_fn=None,
    model=None,
    accelerator=None,
    identity=None,
    **settings,
):
    """A run of 12 steps with a checkpoint at each third, unless told otherwise."""
    defaults = {
        "max_train_steps": 12,
        "per_device_train_batch_size": 4,
        "checkpointing_steps": 3,
        "logging_steps": 2,
    }
    defaults["mixed_precision"] = "no"
    config = TrainingConfig(output_dir=str(folder), **(defaults | settings))
    model = job.Net(dropout) if model is None else model
    if isinstance(optimizer, str):
        optimizer = OPTIMIZERS[optimizer](model)
    result = train(
        model,
        loss_fn,
        job.make_examples() if data is None else data,
        config=config,
        optimizer=optimizer,
        eval_fn=eval_fn,
        accelerator=accelerator,
        identity=identity,
    )
    return Outcome(model, optimizer, result, CheckpointFolder(folder))


def stop_at(step, number=signal.SIGTERM):
    """A loss function during whose given step the process gets a signal."""
    calls = []

    def loss_fn(model, batch):
        calls.append(1)
        if len(calls) == step:
            signal.raise_signal(number)
        return job.loss_fn(model, batch)

    return loss_fn


def weights(model):
    """A copy of the parameters."""
    return [param.detach().clone() for param in model.parameters()]


def equal(left, right):
    """Bit for bit, whatever is nested in what."""
    if isinstance(left, torch.Tensor):
        return torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(equal(left[key], right[key]) for key in left)
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(equal, left, right))
    return left == right


def assert_same(left: Outcome, right: Outcome):
    """The same history, weights and state of the optimiser."""
    assert left.result.history == right.result.history
    assert equal(left.model.state_dict(), right.model.state_dict())
    assert equal(left.optimizer.state_dict(), right.optimizer.state_dict())


# --------------------------------------------------- what else a checkpoint may hold, and may not
class History:
    """What a run is told to checkpoint: it takes part in the training."""

    def __init__(self):
        self.seen = torch.zeros(0, dtype=torch.int64)
        self.num_calls = 0

    def __call__(self, model, batch):
        self.num_calls += 1
        self.seen = torch.cat((self.seen, batch.example_numbers))
        values = job.loss_fn(model, batch)
        return values | {"loss": values["loss"] * (1 + 0.1 * self.num_calls)}

    def state_dict(self):
        return {"seen": self.seen, "num_calls": self.num_calls}

    def load_state_dict(self, state):
        self.seen = state["seen"]
        self.num_calls = state["num_calls"]


def run_with_history(folder, history=None, **settings):
    """A run with dropout that checkpoints its history."""
    history = History() if history is None else history
    accelerator = make_accelerator(TrainingConfig(str(folder), 1, mixed_precision="no"))
    accelerator.register_for_checkpointing(history)
    outcome = fit(
        folder, dropout=0.5, loss_fn=history, accelerator=accelerator, max_train_steps=6, **settings
    )
    return outcome, history


def seal_again(folder, step):
    """Makes a changed checkpoint whole again, as somebody who may write there would."""
    folder.path(step).rename(folder.writing_path(step))
    folder.seal(step)


class Payload:
    """A pickle that makes a file when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (Path(self.path),)
