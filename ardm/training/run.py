"""Run: a training run on this machine, and one method for each thing that happens to it.

    resume, then step by step: take_step, log_if_due, evaluate, save; at the end: finish, close

What it must know to go on later is a [`RunState`]; beside it stand the model, the optimiser, the
weights' average, the gradients and the checkpoints.
"""

import itertools
import logging
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.contrib.logging import logging_redirect_tqdm

from .averaging import WeightAverage
from .checkpoints import CheckpointFolder
from .config import TrainingConfig, learning_rate_factor
from .files import check_writable
from .gradients import Gradients
from .identity import num_parameters, run_identity
from .progress import pace
from .saved_run import SavedRun
from .sharding import PlainModel, is_sharded
from .snapshot import Snapshot
from .state import RunState
from .stream import Batch, Collate, TrainDataset, example_loader
from .trackers import SamplesFn, Throughput, Trackers

if TYPE_CHECKING:
    from accelerate import Accelerator

logger = logging.getLogger(__name__)

# of the model as Accelerate prepared it, and of the model itself, whatever their classes
LossFn: TypeAlias = Callable[[Any, Batch], Tensor | dict[str, Tensor]]
EvalFn: TypeAlias = Callable[[Any], Mapping[str, float]]


class Run:
    """A training run.

    Args:
        model: on any device.
        optimizer: over its parameters; None = AdamW.
        train_dataset: examples.
        config: how to train.
        accelerator: where.
        identity: what else decides the result.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer | None,
        train_dataset: TrainDataset,
        config: TrainingConfig,
        accelerator: "Accelerator",
        identity: Mapping[str, Any] | None = None,
    ):
        self.config = config
        self.accelerator = accelerator
        self.train_dataset = train_dataset
        self.state = RunState()
        self.begin()
        self.package = type(model).__module__.split(".")[0]
        self.trackers = Trackers(config.report_to)
        self.throughput = Throughput({}, self.global_batch_size)
        # `backward` divides by it; Accelerate keeps one per Python process, perhaps an earlier
        # run's or the launcher's
        accelerator.gradient_accumulation_steps = config.gradient_accumulation_steps
        accelerator.step = 0
        self.folder = self._open_folder(num_parameters(model, trained=True))
        seed = config.seed + accelerator.process_index  # of dropout; kept in checkpoints
        torch.manual_seed(seed)
        random.seed(seed)  # of a data set's own transforms
        np.random.seed(seed % 2**32)
        if optimizer is None:
            trained = [param for param in model.parameters() if param.requires_grad]
            rate = config.learning_rate
            optimizer = torch.optim.AdamW(trained, lr=rate, betas=(0.9, 0.95), fused=True)
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        full_identity = run_identity(config, train_dataset, model, optimizer, accelerator, identity)
        self.plain = PlainModel(model) if is_sharded(accelerator) else None
        self.model, self.optimizer = self._prepare(model, optimizer)
        params = [param for param in self.model.parameters() if param.requires_grad]
        self.average = WeightAverage(params, config.ema_decay)
        self.gradients = Gradients(params, accelerator, config.max_grad_norm, self.folder.root)
        snapshot = Snapshot(model, self.optimizer, self.average, accelerator)
        self.saved = SavedRun(self.folder, full_identity, snapshot, accelerator)

    def _open_folder(self, num_values: int) -> CheckpointFolder:
        folder = CheckpointFolder(self.config.output_dir)
        # 3 checkpoints (2 kept, 1 being written) of weights, average and 2 moments in float32,
        # less what a resumed run has already
        num_bytes = 3 * 4 * 4 * num_values - folder.num_bytes()
        check_writable(self.config.output_dir)
        check_writable(folder.root, max(0, num_bytes))
        return folder

    def _prepare(
        self, model: nn.Module, optimizer: torch.optim.Optimizer
    ) -> tuple[nn.Module, torch.optim.Optimizer]:
        if self.config.compile:
            model.compile()
        return self.accelerator.prepare(model, optimizer)

    @property
    def global_batch_size(self) -> int:
        """Examples of one optimiser step over all processes."""
        at_once = self.config.per_device_train_batch_size * self.accelerator.num_processes
        return at_once * self.config.gradient_accumulation_steps

    @property
    def step(self) -> int:
        """Optimiser steps taken."""
        return self.state.step

    def begin(self) -> None:
        """Starts the clock of this call."""
        self.began = time.perf_counter()
        self._first_step = self.step

    def seconds(self) -> float:
        """Wall-clock of the run, without what a killed call did after its last checkpoint."""
        return self.state.seconds + time.perf_counter() - self.began

    def open_trackers(
        self, settings: Mapping[str, Any], units_per_example: Mapping[str, float]
    ) -> None:
        """Begins to tell the trackers, or goes on telling them; after [`Run.resume`].

        Args:
            settings: of the whole recipe.
            units_per_example: what is counted.
        """
        config = self.config
        self.throughput = Throughput(units_per_example, self.global_batch_size)
        self.throughput.begin(self.step)
        if self.accelerator.is_main_process:
            self.trackers.open(
                Path(config.output_dir),
                config.tracker_project_name or self.package,
                config.run_name,
                self.step,
                asdict(config) | dict(settings),
            )

    # ----------------------------------------------------------------------------------- a step
    def batches(self, collate_fn: Collate) -> Iterator[list[Batch]]:
        """The micro-batches of each remaining step."""
        config = self.config
        device = self.accelerator.device
        loader = example_loader(
            self.train_dataset,
            collate_fn,
            batch_size=config.per_device_train_batch_size,
            first_example=self.step * self.global_batch_size,
            seed=config.seed,
            process_index=self.accelerator.process_index,
            num_processes=self.accelerator.num_processes,
            num_workers=config.dataloader_num_workers,
            pin_memory=device.type == "cuda",
        )
        stream = iter(loader)
        size = self.global_batch_size
        while self.step < config.max_train_steps:
            progress = self.step / config.max_train_steps
            yield [
                Batch(_to_device(values, device), numbers.to(device), size, progress)
                for values, numbers in itertools.islice(stream, config.gradient_accumulation_steps)
            ]

    def take_step(self, loss_fn: LossFn, micro_batches: list[Batch]) -> None:
        """One optimiser step, which changes nothing if its gradient is not finite."""
        if not self.model.training:  # walking all modules is noticed in a short step
            self.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * learning_rate_factor(self.step, self.config)
        for batch in micro_batches:
            # gradients are exchanged after the last one only
            with self.accelerator.accumulate(self.model):
                self.state.add(self._backward(loss_fn, batch))
        assert self.accelerator.sync_gradients, "out of step with Accelerate's micro-batches"
        finite = self.gradients.clip(self.step)
        self.state.skipped_steps += not finite
        # in fp16 the scaler skips the step itself, and lowers its scale
        if finite or self.accelerator.scaler is not None:
            self.optimizer.step()
            self.average.update(self.step)
        self.gradients.clear()
        self.state.step += 1

    def _backward(self, loss_fn: LossFn, batch: Batch) -> dict[str, Tensor]:
        with self.accelerator.autocast():
            result = loss_fn(self.model, batch)
        values = result if isinstance(result, dict) else {"loss": result}
        self.accelerator.backward(values["loss"])
        return values

    # ---------------------------------------------------------------------------------- figures
    def log_if_due(self, last: bool) -> None:
        """Logs the means since the last entry, at each `logging_steps` and after the last step."""
        if not last and self.step % self.config.logging_steps:
            return
        state = self.state
        names = sorted(state.sums)
        device = self.accelerator.device
        sums = torch.stack([state.sums[name].float().to(device) for name in names])
        means = self.accelerator.reduce(sums / state.num_summed, reduction="mean").tolist()
        figures = dict(zip(names, means, strict=True))
        figures["learning_rate"] = self.optimizer.param_groups[0]["lr"]
        if state.skipped_steps:
            figures["skipped_steps"] = state.skipped_steps
        beside = {"gradient_norm": self.gradients.norm, **self.throughput.figures(self.step)}
        self._record(figures, beside)
        state.forget_sums()

    def evaluate(self, eval_fn: EvalFn, samples_fn: SamplesFn | None = None) -> None:
        """Logs the figures of the averaged weights, and shows the trackers what they write."""
        with self.average.in_place(), self._whole_model() as model:
            model.eval()
            figures = {name: float(value) for name, value in eval_fn(model).items()}
            self._record(figures, {}, always_shown=True)
            if samples_fn is not None and self.trackers.names:
                devices = [self.accelerator.device] if torch.cuda.is_available() else []
                with torch.random.fork_rng(devices):  # the run goes on with the same bits
                    self.trackers.show(samples_fn(model), self.step)
        self.throughput.begin(self.step)

    def _whole_model(self) -> AbstractContextManager[nn.Module]:
        """The model as evaluations call it, each process on its own."""
        model = self.accelerator.unwrap_model(self.model)
        return nullcontext(model) if self.plain is None else self.plain.filled(model)

    def _record(
        self, figures: dict[str, float], beside: dict[str, float], always_shown: bool = False
    ) -> None:
        """Logs figures of the history, and some beside it that depend on the clock."""
        self.state.record(figures)
        figures = figures | beside
        self.trackers.show(figures, self.step)
        self.accelerator.log(figures, step=self.step)  # to those of a caller's own accelerator
        if self.accelerator.is_main_process and (always_shown or not sys.stderr.isatty()):
            shown = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
            total, first = self.config.max_train_steps, self._first_step
            speed = pace(self.step - first, total - first, time.perf_counter() - self.began)
            with logging_redirect_tqdm():  # above the progress bar, where there is one
                logger.info("step %d/%d  %s  %s", self.step, total, speed, shown)

    # -------------------------------------------------------------------------- start and ending
    def resume(self) -> None:
        """Goes on from a checkpoint if there is one that belongs to this run."""
        config = self.config
        if self.accelerator.is_main_process:
            self.folder.lock()
        state = self.saved.resume(config.resume_from_checkpoint, config.max_train_steps)
        self.state = state or self.state

    def save(self) -> bool:
        """Writes a checkpoint; False, with a warning, if it could not be written."""
        last = self.step == self.config.max_train_steps
        written = self.saved.save(self.state, self.seconds(), last)
        self.throughput.begin(self.step)
        return written

    def finish(self) -> None:
        """Leaves the model with its averaged weights, ready for use."""
        self.average.put_in_place()
        self.model.eval()
        # else the model would go on computing in the training's reduced precision
        model = self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        if self.plain is not None:
            self.plain.put_in_place_of(model)

    def close(self) -> None:
        """Ends the trackers, and frees the folder and the accelerator for the next run."""
        self.trackers.close()
        # not `end_training`, which ends the process group as well
        for tracker in self.accelerator.trackers:
            tracker.finish()
        self.accelerator.free_memory()  # else the model would join the next run's checkpoints
        self.folder.unlock()


def _to_device(values: dict[str, Any], device: torch.device) -> dict[str, Any]:
    return {
        name: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value
        for name, value in values.items()
    }
