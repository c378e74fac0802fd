"""Run: a training run on this machine, and one method for each thing that happens to it.

    resume, then step by step: take_step, log_if_due, evaluate, save; at the end: finish, close

What it must know to go on later is a [`RunState`]; beside it stand the model, the optimiser, the
weights' average, the gradients and the checkpoints.
"""

import itertools
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sized
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor, nn
from tqdm.contrib.logging import logging_redirect_tqdm

from .averaging import WeightAverage
from .checkpoints import CheckpointFolder
from .config import TrainingConfig, learning_rate_factor
from .files import check_writable
from .gradients import Gradients
from .saved_run import SavedRun
from .state import RunIdentity, RunState
from .stream import Batch, Collate, TrainDataset, example_loader

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
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer | None,
        train_dataset: TrainDataset,
        config: TrainingConfig,
        accelerator: "Accelerator",
    ):
        self.config = config
        self.accelerator = accelerator
        self.train_dataset = train_dataset
        self.state = RunState()
        self.begin()
        # `backward` divides by it; Accelerate keeps one per Python process, perhaps an earlier
        # run's or the launcher's
        accelerator.gradient_accumulation_steps = config.gradient_accumulation_steps
        accelerator.step = 0
        self.folder = self._open_folder(_num_parameters(model))
        torch.manual_seed(config.seed + accelerator.process_index)  # dropout; kept in checkpoints
        if optimizer is None:
            optimizer = torch.optim.AdamW(
                model.parameters(), lr=config.learning_rate, betas=(0.9, 0.95), fused=True
            )
        identity = self._identity(model, optimizer)
        self.model, self.optimizer = self._prepare(model, optimizer)
        params = [param for param in self.model.parameters() if param.requires_grad]
        self.average = WeightAverage(params, config.ema_decay)
        self.gradients = Gradients(params, accelerator, config.max_grad_norm, self.folder.root)
        self.saved = SavedRun(self.folder, identity, accelerator, self.average)
        if config.report_to != "none":
            accelerator.init_trackers("ardm", config=asdict(config))

    def _open_folder(self, num_parameters: int) -> CheckpointFolder:
        folder = CheckpointFolder(self.config.output_dir)
        # 3 checkpoints (2 kept, 1 being written) of weights, average and 2 moments in float32,
        # less what a resumed run has already
        num_bytes = 3 * 4 * 4 * num_parameters - folder.num_bytes()
        check_writable(self.config.output_dir, max(0, num_bytes))
        if self.accelerator.is_main_process:
            folder.lock()
        return folder

    def _identity(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> RunIdentity:
        data = self.train_dataset
        return RunIdentity(
            seed=self.config.seed,
            global_batch_size=self.global_batch_size,
            num_examples=len(data) if isinstance(data, Sized) else None,
            num_parameters=_num_parameters(model),
            averages_weights=self.config.ema_decay > 0,
            optimizer=type(optimizer).__name__,
        )

    def _prepare(
        self, model: nn.Module, optimizer: torch.optim.Optimizer
    ) -> tuple[nn.Module, torch.optim.Optimizer]:
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
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

    def seconds(self) -> float:
        """Wall-clock of the run, without what a killed call did after its last checkpoint."""
        return self.state.seconds + time.perf_counter() - self.began

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
        self._record(figures)
        state.forget_sums()

    def evaluate(self, eval_fn: EvalFn) -> None:
        """Logs the figures of the averaged weights."""
        with self.average.in_place():
            model = self.accelerator.unwrap_model(self.model)
            model.eval()
            figures = {name: float(value) for name, value in eval_fn(model).items()}
            self._record(figures, always_shown=True)

    def _record(self, figures: dict[str, float], always_shown: bool = False) -> None:
        self.state.record(figures)
        if self.config.report_to != "none":
            self.accelerator.log(figures, step=self.step)
        if self.accelerator.is_main_process and (always_shown or not sys.stderr.isatty()):
            shown = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
            with logging_redirect_tqdm():  # above the progress bar, where there is one
                logger.info("step %d/%d  %s", self.step, self.config.max_train_steps, shown)

    # -------------------------------------------------------------------------- start and ending
    def resume(self) -> None:
        """Goes on from a checkpoint if there is one that belongs to this run."""
        found = self.saved.find(self.config.resume_from_checkpoint, self.config.max_train_steps)
        if found is not None:
            self.state = self.saved.load(*found, self.optimizer)

    def save(self) -> None:
        """Writes a checkpoint, or warns that it could not be written."""
        self.saved.save(self.state, self.seconds())

    def finish(self) -> None:
        """Leaves the model with its averaged weights, ready for use."""
        self.average.put_in_place()
        self.model.eval()
        # else the model would go on computing in the training's reduced precision
        self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)

    def close(self) -> None:
        """Ends the trackers, and frees the folder and the accelerator for the next run."""
        if self.config.report_to != "none":
            # not `end_training`, which ends the process group as well
            for tracker in self.accelerator.trackers:
                tracker.finish()
        self.accelerator.free_memory()  # else the model would join the next run's checkpoints
        self.folder.unlock()


def _num_parameters(model: nn.Module) -> int:
    return sum(param.numel() for param in model.parameters())


def _to_device(values: dict[str, Any], device: torch.device) -> dict[str, Any]:
    return {
        name: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value
        for name, value in values.items()
    }
