"""train: one Accelerate loop for every model of the project; it knows no model, text or image.

A run is a stream of examples numbered 0, 1, 2, ...: example k is item k mod N of epoch k div N in
that epoch's own permutation, and step s takes the examples s * G .. (s + 1) * G - 1, G = per-device
batch * accumulation * processes. Everything random is a function of (seed, k): so one process or
many see the same data and masks, and resuming means to start at another k. All resumable state is
one folder (`saved_run.py`); the same command again resumes.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sized
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import nn
from torch.utils.data import default_collate
from tqdm.auto import tqdm

from .config import TrainingConfig
from .precision import choose_precision
from .processes import agreed, progress_bar
from .run import EvalFn, LossFn, Run
from .stream import Collate, TrainDataset

if TYPE_CHECKING:
    from accelerate import Accelerator

Model = TypeVar("Model", bound=nn.Module)


@dataclass
class TrainingResult:
    """What a run leaves behind; the model itself holds the averaged weights.

    Args:
        history: log entries: step, learning_rate, the loss function's values, evaluations.
        num_steps: optimiser steps, resumed ones included.
        seconds: wall-clock seconds of the run, resumed parts included.
        examples_per_second: of this call, over all processes.
        resumed_from: step that this call started at.
        skipped_steps: steps of the run whose gradient was not finite, and which changed nothing.
    """

    history: list[dict[str, float]] = field(default_factory=list)
    num_steps: int = 0
    seconds: float = 0.0
    examples_per_second: float = 0.0
    resumed_from: int = 0
    skipped_steps: int = 0


def train(
    model: Model,
    loss_fn: LossFn,
    train_dataset: TrainDataset,
    *,
    config: TrainingConfig,
    eval_fn: Callable[[Model], Mapping[str, float]] | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    collate_fn: Collate = default_collate,
    accelerator: "Accelerator | None" = None,
) -> TrainingResult:
    """Trains a model in place and leaves it with its averaged weights.

    Args:
        model: any module.
        loss_fn: (model, batch) -> loss, or a dict with "loss" and further scalars to log. `batch`
            is a [`Batch`]: take randomness from its `example_numbers` alone, and runs are the same
            on any number of processes.
        train_dataset: a map-style data set, or an iterable one (shuffling is then its own
            business).
        config: see [`TrainingConfig`].
        eval_fn: model -> figures to log; called with the averaged weights on every process.
        optimizer: over the model's parameters; None = AdamW.
        collate_fn: examples -> dict of tensors.
        accelerator: for those who need one of their own; None = one made here.

    Returns:
        [`TrainingResult`].

    Raises:
        ValueError: before training, if the data set is empty, the output folder is not writable,
            the disk is full, or the checkpoint belongs to another run.
        RuntimeError: if the gradient is not finite for many steps in a row; the last checkpoint is
            good.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, once a checkpoint is written.
    """
    if isinstance(train_dataset, Sized) and len(train_dataset) == 0:
        raise ValueError("train_dataset is empty; expected at least one example.")
    accelerator = accelerator or make_accelerator(config)
    with closing(Run(model, optimizer, train_dataset, config, accelerator)) as run:
        run.resume()
        first_step = run.step
        run.begin()
        with _stop_signals() as received, _progress_bar(run) as bar:
            _take_all_steps(run, loss_fn, collate_fn, eval_fn, received, bar)
        this_call = time.perf_counter() - run.began
        # a finished run takes no time again
        total = run.seconds() if run.step > first_step else run.state.seconds
        run.finish()
        return TrainingResult(
            history=run.state.history,
            num_steps=run.step,
            seconds=total,
            examples_per_second=(run.step - first_step) * run.global_batch_size / this_call,
            resumed_from=first_step,
            skipped_steps=run.state.skipped_steps,
        )


def _take_all_steps(
    run: Run,
    loss_fn: LossFn,
    collate_fn: Collate,
    eval_fn: EvalFn | None,
    received: list[int],
    bar: tqdm,
) -> None:
    config = run.config
    for micro_batches in run.batches(collate_fn):
        run.take_step(loss_fn, micro_batches)
        _advance(bar, run.state.history)
        last = run.step == config.max_train_steps
        run.log_if_due(last)
        if eval_fn is not None and (last or _is_due(run.step, config.eval_steps)):
            run.evaluate(eval_fn)
        stop = _is_to_stop(run, last, bool(received))
        if last or stop or _is_due(run.step, config.checkpointing_steps):
            run.save()
        if stop and not last:
            raise KeyboardInterrupt(f"at step {run.step}; the same command resumes there.")


def _is_due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _is_to_stop(run: Run, last: bool, received: bool) -> bool:
    """Whether any process got a signal. Agreeing makes GPUs wait: not at every step."""
    if run.accelerator.num_processes == 1:
        return received
    due = last or _is_due(run.step, run.config.logging_steps)
    return due and agreed(run.accelerator, received)


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collects Ctrl-C and SIGTERM in place of dying of them; a second Ctrl-C interrupts at once."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _progress_bar(run: Run) -> tqdm:
    """A bar on the main process of a terminal; elsewhere the log lines tell."""
    return progress_bar(
        what="training",
        total=run.config.max_train_steps,
        initial=run.step,
        shown=None if run.accelerator.is_main_process else False,
        leave=True,
    )


def _advance(bar: tqdm, history: list[dict[str, float]]) -> None:
    bar.update()
    if history:
        shown = {name: f"{v:.3f}" for name, v in history[-1].items() if name.startswith("loss")}
        bar.set_postfix(shown, refresh=False)


def make_accelerator(config: TrainingConfig) -> "Accelerator":
    """An `accelerate.Accelerator` with the precision that the hardware is good at.

    Args:
        config: precision, accumulation and tracker.

    Returns:
        The accelerator.

    Raises:
        ValueError: if the tracker is not installed.
    """
    from accelerate import Accelerator

    # `accelerate launch` always sets the variable; its "no" is a default, not a choice
    launched = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    asked = config.mixed_precision or (launched if launched != "no" else None)
    accelerator = Accelerator(
        mixed_precision=choose_precision(asked),
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        # random numbers are drawn in float64, which MPS does not have
        cpu=torch.backends.mps.is_available(),
        log_with=None if config.report_to == "none" else config.report_to,
        project_dir=config.output_dir,
    )
    if config.report_to != "none" and not accelerator.log_with:
        raise ValueError(
            f"report_to is {config.report_to!r}, which is not installed:"
            f" pip install {config.report_to}."
        )
    return accelerator
