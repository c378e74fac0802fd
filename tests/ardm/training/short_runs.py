"""Short runs of the tiny network, and what is compared of them."""

import signal
from typing import NamedTuple

import torch

from ardm.training import TrainingConfig, TrainingResult, muon_adamw, train
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
    **settings,
):
    """A run of 12 steps with a checkpoint at each third, unless told otherwise."""
    defaults = {
        "max_train_steps": 12,
        "per_device_train_batch_size": 4,
        "checkpointing_steps": 3,
        "logging_steps": 2,
    }
    config = TrainingConfig(output_dir=str(folder), mixed_precision="no", **(defaults | settings))
    model = job.Net(dropout) if model is None else model
    optimizer = OPTIMIZERS[optimizer](model)
    result = train(
        model,
        loss_fn,
        job.make_examples() if data is None else data,
        config=config,
        optimizer=optimizer,
        eval_fn=eval_fn,
        accelerator=accelerator,
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
