"""train: one Accelerate loop for every model of the project. It knows no model, no text and no
image.

A run is a stream of samples numbered 0, 1, 2, ...: sample k is item k mod N of epoch k div N in
    that epoch's own
permutation, and step s takes the samples s * G .. (s + 1) * G - 1, G = per-device batch *
accumulation * processes. Everything random is a function of (seed, k): so one process or many see
the same data and masks, and resuming means to start at another k. All resumable state is one folder
(`checkpoints.py`); the same command again resumes.
"""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sized
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils.data import default_collate

from .config import TrainingConfig, add_training_arguments, training_config
from .precision import choose_precision
from .run import LossFn, Run, agreed
from .stream import Batch

__all__ = [
    "Batch",
    "TrainingConfig",
    "TrainingResult",
    "add_training_arguments",
    "make_accelerator",
    "quieten",
    "train",
    "training_config",
]


@dataclass
class TrainingResult:
    """What a run leaves behind; the model itself holds the averaged weights.

    Args:
        history: log entries: step, learning_rate, the loss function's values, evaluations.
        num_steps: optimiser steps, resumed ones included.
        seconds: wall-clock seconds of the run, resumed parts included.
        samples_per_second: of this call, over all processes.
        resumed_from: step that this call started at.
        skipped_steps: steps of the run whose gradient was not finite, and which changed nothing.
    """

    history: list[dict[str, float]] = field(default_factory=list)
    num_steps: int = 0
    seconds: float = 0.0
    samples_per_second: float = 0.0
    resumed_from: int = 0
    skipped_steps: int = 0


def train(
    model: nn.Module,
    loss_fn: LossFn,
    train_dataset: Any,
    *,
    config: TrainingConfig,
    eval_fn: Callable[[nn.Module], dict[str, float]] | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    collate_fn: Callable[[list[Any]], dict[str, Any]] = default_collate,
    accelerator: Any = None,
) -> TrainingResult:
    """Trains a model in place and leaves it with its averaged weights.

    Args:
        model: any module.
        loss_fn: (model, batch) -> loss, or a dict with "loss" and further scalars to log. `batch`
            is a [`Batch`]: take randomness from its `sample_numbers` alone, and runs are the same
            on any number of processes.
        train_dataset: a map-style data set, or an iterable one (shuffling is then its own
            business).
        config: see [`TrainingConfig`].
        eval_fn: model -> figures to log; called with the averaged weights on every process.
        optimizer: over the model's parameters; None = AdamW.
        collate_fn: examples -> dict of tensors.
        accelerator: an `accelerate.Accelerator`, for those who need one of their own; None = one
            made here.

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
        return _take_all_steps(run, loss_fn, run.batches(train_dataset, collate_fn), eval_fn)


def _take_all_steps(
    run: Run,
    loss_fn: LossFn,
    batches: Iterator[list[Batch]],
    eval_fn: Callable[[nn.Module], dict[str, float]] | None,
) -> TrainingResult:
    config = run.config
    with _stop_signals() as stopped, _progress_bar(run) as advance:
        first_step = run.step
        run.began = time.perf_counter()
        for micro_batches in batches:
            run.take_step(loss_fn, micro_batches)
            advance()
            last = run.step == config.max_train_steps
            run.log_if_due(last)
            if eval_fn is not None and (
                last or (config.eval_steps and run.step % config.eval_steps == 0)
            ):
                run.evaluate(eval_fn)
            due = (
                last or run.step % config.logging_steps == 0
            )  # agreeing makes GPUs wait: not at every step
            stop = (due or run.accelerator.num_processes == 1) and agreed(
                run.accelerator, bool(stopped)
            )
            if (
                last
                or stop
                or (config.checkpointing_steps and run.step % config.checkpointing_steps == 0)
            ):
                run.save()
            if stop and not last:
                raise KeyboardInterrupt(f"at step {run.step}; the same command resumes there.")
        seconds = run.seconds() - run.seconds_before
        total = (
            run.seconds() if run.step > first_step else run.seconds_before
        )  # a finished run takes no time again
    run.finish()
    rate = (run.step - first_step) * run.global_batch_size / seconds
    return TrainingResult(run.history, run.step, total, rate, first_step, run.num_skipped)


def make_accelerator(config: TrainingConfig) -> Any:
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
        cpu=torch.backends.mps.is_available(),  # random numbers are drawn in float64, which MPS does not have
        log_with=None if config.report_to == "none" else config.report_to,
        project_dir=config.output_dir,
    )
    if config.report_to != "none" and not accelerator.log_with:
        raise ValueError(
            f"report_to is {config.report_to!r}, which is not installed: pip install"
            f" {config.report_to}."
        )
    return accelerator


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collects Ctrl-C and SIGTERM instead of dying from them; a second Ctrl-C interrupts at once."""
    received: list[int] = []

    def note(number: int, frame: Any) -> None:
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


@contextmanager
def _progress_bar(run: Run) -> Iterator[Callable[[], None]]:
    """A bar on the main process of a terminal; elsewhere the log lines tell."""
    from tqdm.auto import tqdm

    hidden = not (run.accelerator.is_main_process and sys.stderr.isatty())
    with tqdm(
        total=run.config.max_train_steps, initial=run.step, unit="step", disable=hidden
    ) as bar:

        def advance() -> None:
            bar.update()
            if run.history:
                bar.set_postfix(
                    {k: f"{v:.3f}" for k, v in run.history[-1].items() if k.startswith("loss")},
                    refresh=False,
                )

        yield advance


def quieten(is_main_process: bool) -> None:
    """Sets logging up for a recipe: plain lines of the main process, without the libraries'
    chatter.

    Args:
        is_main_process: whether this process may speak.
    """
    from transformers.utils import logging as transformers_logging

    logging.basicConfig(
        format="%(message)s", level=logging.INFO if is_main_process else logging.ERROR, force=True
    )
    for name in ("accelerate", "datasets", "httpx", "httpcore", "filelock", "torch"):
        logging.getLogger(name).setLevel(logging.WARNING)
    transformers_logging.disable_progress_bar()
    if not sys.stderr.isatty():
        from datasets import disable_progress_bars

        disable_progress_bars()
