"""train: one Accelerate loop for every model of the project; it knows no model, text or image.

A run is a stream of examples numbered 0, 1, 2, ...: example k is item k mod N of epoch k div N in
that epoch's own permutation, and step s takes the examples s * G .. (s + 1) * G - 1, G = per-device
batch * accumulation * processes. Everything random is a function of (seed, k): so one process or
many see the same data and masks, and resuming means to start at another k. All resumable state is
one folder (`saved_run.py`); the same command again resumes.
"""

import os
import sys
import time
from collections.abc import Callable, Mapping, Sized
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import nn
from torch.utils.data import default_collate
from tqdm.auto import tqdm

from .config import TrainingConfig
from .files import check_writable
from .interrupts import Interrupts
from .launchers import join_processes
from .launching import on_cpu, quieten, shard_as_launched
from .model_folders import check_not_replacing
from .precision import choose_precision
from .progress import progress_bar
from .run import EvalFn, LossFn, Run
from .stream import Collate, TrainDataset
from .trackers import SamplesFn, check_trackers

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
        mixed_precision: what it was trained in: "no", "bf16" or "fp16".
    """

    history: list[dict[str, float]] = field(default_factory=list)
    num_steps: int = 0
    seconds: float = 0.0
    examples_per_second: float = 0.0
    resumed_from: int = 0
    skipped_steps: int = 0
    mixed_precision: str = "no"


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
    identity: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    samples_fn: SamplesFn | None = None,
    units_per_example: Mapping[str, float] | None = None,
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
        identity: what else decides the result, by name: fingerprints of the data and the tokenizer,
            settings of the model and of the loss; mappings may be nested, of what JSON can hold.
            A checkpoint, or a finished run, of another identity is refused.
        settings: of the whole recipe, for the trackers: sizes, data, tokenizer, objective.
        samples_fn: model -> texts or pictures by name, for the trackers; called with the averaged
            weights at each evaluation, where there is a tracker.
        units_per_example: what trackers count beside steps, such as {"tokens": 128}; None = the
            examples themselves.

    Returns:
        [`TrainingResult`].

    Raises:
        ValueError: before training, if the data set is empty, the output folder is not writable,
            the disk is full, the checkpoint belongs to another run, or it holds what cannot be
            read without executing code.
        RuntimeError: if the gradient is not finite for many steps, or several checkpoints in a row
            cannot be written; the last checkpoint is good.
        KeyboardInterrupt: after Ctrl-C, SIGTERM or SIGHUP, once a checkpoint is written.
    """
    if isinstance(train_dataset, Sized) and len(train_dataset) == 0:
        raise ValueError("train_dataset is empty; expected at least one example.")
    accelerator = accelerator or make_accelerator(config)
    with closing(Run(model, optimizer, train_dataset, config, accelerator, identity)) as run:
        run.resume()
        first_step = run.step
        if first_step < config.max_train_steps:
            run.open_trackers(settings or {}, units_per_example or {"examples": 1})
        run.begin()
        with Interrupts(accelerator, first_step) as interrupts, _progress_bar(run) as bar:
            _take_all_steps(run, loss_fn, collate_fn, eval_fn, samples_fn, interrupts, bar)
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
            mixed_precision=accelerator.mixed_precision,
        )


def _take_all_steps(
    run: Run,
    loss_fn: LossFn,
    collate_fn: Collate,
    eval_fn: EvalFn | None,
    samples_fn: SamplesFn | None,
    interrupts: Interrupts,
    bar: tqdm,
) -> None:
    config = run.config
    for micro_batches in run.batches(collate_fn):
        run.take_step(loss_fn, micro_batches)
        _advance(bar, run.state.history)
        last = run.step == config.max_train_steps
        run.log_if_due(last)
        if eval_fn is not None and (last or _is_due(run.step, config.eval_steps)):
            run.evaluate(eval_fn, samples_fn)
        stop = interrupts.agreed(run.step)
        if last or stop or _is_due(run.step, config.checkpointing_steps):
            run.save()
        if stop and not last:
            raise KeyboardInterrupt(f"at step {run.step}; {run.saved.way_on(run.step)}.")


def _is_due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _progress_bar(run: Run) -> tqdm:
    """A bar on the main process of a terminal; elsewhere the log lines tell."""
    return progress_bar(
        what="training",
        total=run.config.max_train_steps,
        initial=run.step,
        shown=run.accelerator.is_main_process and sys.stderr.isatty(),
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
        config: precision, accumulation and trackers.

    Returns:
        The accelerator.

    Raises:
        ValueError: if a tracker is not installed, or this process is one of several and which
            one cannot be told.
    """
    from accelerate import Accelerator

    check_trackers(config.report_to)
    join_processes()
    shard_as_launched()
    # `accelerate launch` always sets the variable; its "no" is a default, not a choice
    launched = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    asked = config.mixed_precision or (launched if launched != "no" else None)
    return Accelerator(
        mixed_precision=choose_precision(asked),
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        cpu=on_cpu(),
        project_dir=config.output_dir,
    )


def begin(config: TrainingConfig) -> "Accelerator":
    """What a training recipe does before it looks for data: its folder, its processes, its log.

    Args:
        config: of the training.

    Returns:
        The accelerator, as of [`make_accelerator`].

    Raises:
        ValueError: if the folder holds a model that would be lost, or cannot be written, or
            [`make_accelerator`] cannot make one.
    """
    check_not_replacing(config.output_dir, config.resume_from_checkpoint)
    check_writable(config.output_dir)
    accelerator = make_accelerator(config)
    quieten(accelerator.is_main_process)
    return accelerator
