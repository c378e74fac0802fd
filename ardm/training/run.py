"""Run: the resumable state of a training run, and one method for each thing that happens to it."""

import itertools
import json
import logging
import math
import sys
import time
from collections.abc import Callable, Iterator, Sized
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.contrib.logging import logging_redirect_tqdm

from .averaging import WeightAverage
from .checkpoints import CheckpointFolder, find_fault
from .config import TrainingConfig, learning_rate_factor
from .files import check_writable
from .stream import Batch, sample_loader

logger = logging.getLogger("ardm.training.loop")
# Tied weights are saved once and loaded into both: nothing to warn of at every checkpoint.
logging.getLogger("accelerate.utils.other").addFilter(
    lambda record: "Removed shared tensor" not in record.getMessage()
)
_AVERAGE = "average.safetensors"
_WHOLE_GRADIENTS = (
    "NO",
    "MULTI_CPU",
    "MULTI_GPU",
)  # Accelerate's kinds of runs where no gradient is sharded
_MAX_SKIPPED_STEPS = 20  # in a row: beyond that the run has diverged


LossFn = Callable[[nn.Module, Batch], Tensor | dict[str, Tensor]]


class Run:
    """The resumable state of a run, and one method for each thing that happens to it."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer | None,
        train_dataset: Any,
        config: TrainingConfig,
        accelerator: Any,
    ):
        self.config = config
        self.accelerator = accelerator
        self.step = 0
        self.history: list[dict[str, float]] = []
        self.sums: dict[str, Any] = {}  # tensors, or numbers from a checkpoint
        self.num_summed = 0
        self.num_skipped = 0
        self.num_skipped_in_a_row = 0
        # of the run's earlier calls; of this one
        self.seconds_before = 0.0
        self.began = time.perf_counter()
        self.global_batch_size = (
            config.per_device_train_batch_size
            * config.gradient_accumulation_steps
            * accelerator.num_processes
        )
        # `backward` divides by it; Accelerate keeps one per Python process, perhaps an earlier
        # run's or the launcher's
        accelerator.gradient_accumulation_steps = config.gradient_accumulation_steps
        accelerator.step = 0
        self.folder = CheckpointFolder(config.output_dir)
        num_bytes = sum(param.numel() * 4 for param in model.parameters())
        # 3 checkpoints (2 kept, 1 being written) of weights, average and 2 moments, less what a
        # resumed run has already
        check_writable(config.output_dir, max(0, 3 * 4 * num_bytes - self.folder.num_bytes()))
        if accelerator.is_main_process:
            self.folder.lock()
        self.identity = {
            "seed": config.seed,
            "global_batch_size": self.global_batch_size,
            "num_examples": len(train_dataset) if isinstance(train_dataset, Sized) else None,
            "num_parameters": num_bytes // 4,
            "averages_weights": config.ema_decay > 0,
        }
        torch.manual_seed(
            config.seed + accelerator.process_index
        )  # dropout; kept in the checkpoint
        if optimizer is None:
            optimizer = torch.optim.AdamW(
                model.parameters(), lr=config.learning_rate, betas=(0.9, 0.95), fused=True
            )
        self.identity["optimizer"] = type(optimizer).__name__
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        if config.compile:
            model.compile()
        self.model, self.optimizer = accelerator.prepare(model, optimizer)
        self.params = [param for param in self.model.parameters() if param.requires_grad]
        self.average = WeightAverage(self.params, config.ema_decay)
        if config.report_to != "none":
            accelerator.init_trackers("ardm", config=asdict(config))

    # --------------------------------------------------------------------------------------- a step
    def batches(self, dataset: Any, collate_fn: Callable) -> Iterator[list[Batch]]:
        """The micro-batches of each remaining step."""
        loader = sample_loader(
            dataset,
            collate_fn,
            batch_size=self.config.per_device_train_batch_size,
            first_sample=self.step * self.global_batch_size,
            seed=self.config.seed,
            process_index=self.accelerator.process_index,
            num_processes=self.accelerator.num_processes,
            num_workers=self.config.dataloader_num_workers,
            pin_memory=self.accelerator.device.type == "cuda",
        )
        stream = iter(loader)
        device = self.accelerator.device
        while self.step < self.config.max_train_steps:
            progress = self.step / self.config.max_train_steps
            yield [
                Batch(
                    _to_device(values, device), numbers.to(device), self.global_batch_size, progress
                )
                for values, numbers in itertools.islice(
                    stream, self.config.gradient_accumulation_steps
                )
            ]

    def take_step(self, loss_fn: LossFn, micro_batches: list[Batch]) -> None:
        if not self.model.training:  # walking all modules is noticed in a short step
            self.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * learning_rate_factor(self.step, self.config)
        for batch in micro_batches:
            with self.accelerator.accumulate(
                self.model
            ):  # gradients are exchanged after the last one only
                with self.accelerator.autocast():
                    result = loss_fn(self.model, batch)
                values = result if isinstance(result, dict) else {"loss": result}
                self.accelerator.backward(values["loss"])
            for name, value in values.items():
                self.sums[name] = self.sums.get(name, 0.0) + value.detach()
            self.num_summed += 1
        assert self.accelerator.sync_gradients, (
            "out of step with Accelerate's count of micro-batches"
        )
        if self._gradients_are_finite():
            self.optimizer.step()
            self.average.update(self.step)
        for param in self.params:  # what zero_grad does, without half a millisecond of wrappers
            param.grad = None
        self.step += 1

    def _gradients_are_finite(self) -> bool:
        norm = self._clip_gradients()
        finite = norm is None or math.isfinite(norm)
        scaled = (
            self.accelerator.scaler is not None
        )  # fp16: the scaler skips the step and lowers its scale
        self.num_skipped += not finite
        self.num_skipped_in_a_row = 0 if finite else self.num_skipped_in_a_row + 1
        if not finite and not scaled:
            logger.warning("step %d: the gradient is not finite; the step is skipped.", self.step)
        if self.num_skipped_in_a_row > _MAX_SKIPPED_STEPS:
            raise RuntimeError(
                f"the gradient was not finite for {self.num_skipped_in_a_row} steps in a row, up to"
                f" step {self.step}; lower the learning rate. The last good checkpoint is in"
                f" {self.folder.root}."
            )
        return finite or scaled

    def _clip_gradients(self) -> Tensor | None:
        """Scales gradients down to `max_grad_norm` where they are larger; gives their norm."""
        limit = self.config.max_grad_norm or math.inf
        if self.accelerator.distributed_type.value not in _WHOLE_GRADIENTS:
            return self.accelerator.clip_grad_norm_(self.params, limit)
        self.accelerator.unscale_gradients()
        norm = torch.nn.utils.get_total_norm(
            [param.grad for param in self.params if param.grad is not None]
        )
        if norm > limit:  # else it would multiply all of them by 1
            torch.nn.utils.clip_grads_with_norm_(self.params, limit, norm)
        return norm

    # ---------------------------------------------------------------------------- figures and state
    def log_if_due(self, last: bool) -> None:
        if not last and self.step % self.config.logging_steps:
            return
        names = sorted(self.sums)
        means = (
            torch.stack([self.sums[name].float().to(self.accelerator.device) for name in names])
            / self.num_summed
        )
        means = self.accelerator.reduce(means, reduction="mean").tolist()
        skipped = {"skipped_steps": self.num_skipped} if self.num_skipped else {}
        rate = {"learning_rate": self.optimizer.param_groups[0]["lr"]}
        self._record(dict(zip(names, means, strict=True)) | rate | skipped)
        self.sums = {}
        self.num_summed = 0

    def evaluate(self, eval_fn: Callable[[nn.Module], dict[str, float]]) -> None:
        with self.average.in_place():
            model = self.accelerator.unwrap_model(self.model)
            model.eval()
            self._record(
                {name: float(value) for name, value in eval_fn(model).items()}, always_shown=True
            )

    def _record(self, figures: dict[str, float], always_shown: bool = False) -> None:
        if self.history and self.history[-1]["step"] == self.step:
            self.history[-1].update(figures)
        else:
            self.history.append({"step": self.step, **figures})
        if self.config.report_to != "none":
            self.accelerator.log(figures, step=self.step)
        if self.accelerator.is_main_process and (always_shown or not sys.stderr.isatty()):
            shown = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
            with logging_redirect_tqdm():  # above the progress bar, where there is one
                logger.info("step %d/%d  %s", self.step, self.config.max_train_steps, shown)

    def save(self) -> None:
        """Writes a checkpoint. A full disk costs this checkpoint, not the run: the one before it
        stays.
        """
        sums = self._sums_of_all_processes()
        failed = agreed(self.accelerator, not self._succeeds(lambda: self._write(sums)))
        if self.accelerator.is_main_process and (
            failed or not self._succeeds(lambda: self.folder.seal(self.step))
        ):
            self.folder.discard_unfinished()
        self.accelerator.wait_for_everyone()

    def _succeeds(self, write: Callable[[], None]) -> bool:
        from safetensors import SafetensorError

        try:
            write()
        except (
            OSError,
            RuntimeError,
            SafetensorError,
        ) as error:  # the last two are torch's and safetensors' own
            logger.warning("checkpoint of step %d could not be written: %s", self.step, error)
            return False
        return True

    def _write(self, sums: list[Any]) -> None:
        main = self.accelerator.is_main_process
        path = self.folder.writing_path(self.step)
        path.mkdir(parents=True, exist_ok=True)
        self.accelerator.save_state(str(path), safe_serialization=True)
        if main:
            self.average.save(path / _AVERAGE)
            state = {
                "step": self.step,
                "identity": self.identity,
                "history": self.history,
                "sums": sums,
            }
            counted = {"seconds": self.seconds(), "skipped_steps": self.num_skipped}
            (path / "run.json").write_text(json.dumps(state | counted))

    def _sums_of_all_processes(self) -> list[Any]:
        """What the next log entry has so far: [values, number of micro-batches] of each process."""
        from accelerate.utils import gather_object

        return gather_object(
            [[{name: float(value) for name, value in self.sums.items()}, self.num_summed]]
        )

    def resume(self) -> None:
        """Continues from a checkpoint if there is one that belongs to this run."""
        path = self._checkpoint_to_resume()
        state: dict[str, Any] = (
            json.loads((path / "run.json").read_text()) if path is not None else {"step": 0}
        )
        if path is not None:
            self._check_identity(path, state["identity"])
            if state["step"] > self.config.max_train_steps:
                raise ValueError(
                    f"{path} is beyond max_train_steps={self.config.max_train_steps}; give at least"
                    f" {state['step']}, another output_dir, or resume_from_checkpoint='none' to"
                    " start afresh."
                )
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            self.folder.discard_unfinished()
            aside = self.folder.set_aside(state["step"])
            if aside is not None:
                logger.warning(
                    "starting at step %d; checkpoints of later steps moved to %s",
                    state["step"],
                    aside,
                )
        if path is None:
            return
        groups = self.optimizer.param_groups
        options = [
            {key: v for key, v in group.items() if key not in ("params", "lr")} for group in groups
        ]
        self.accelerator.load_state(str(path))
        self.accelerator.step = (
            0  # counts micro-batches; a checkpoint is written between steps, whatever their split
        )
        for group, given in zip(self.optimizer.param_groups, options, strict=True):
            group.update(given)  # a learning rate that was changed since holds from here on
        self.average.load(path / _AVERAGE)
        self.step = state["step"]
        self.history = state["history"]
        self.seconds_before = state["seconds"]
        self.num_skipped = state.get("skipped_steps", 0)
        if len(state["sums"]) == self.accelerator.num_processes:
            self.sums, self.num_summed = state["sums"][self.accelerator.process_index]
        logger.info("resumed from %s", path)

    def _check_identity(self, path: Path, identity: dict[str, Any]) -> None:
        differing = {
            key: (old, self.identity.get(key))
            for key, old in identity.items()
            if old != self.identity.get(key)
        }
        if differing:
            changes = ", ".join(
                f"{key} was {old} and is {new}" for key, (old, new) in differing.items()
            )
            raise ValueError(
                f"{path} belongs to another run: {changes}. Give the old values, another"
                " output_dir, or resume_from_checkpoint='none' to start afresh."
            )

    def _checkpoint_to_resume(self) -> Path | None:
        asked = self.config.resume_from_checkpoint
        if asked == "none":
            return None
        if asked == "latest":
            return self.folder.newest()
        fault = find_fault(asked)
        if fault is not None:
            raise ValueError(f"resume_from_checkpoint={asked!r} is no good checkpoint: {fault}.")
        return Path(asked)

    def seconds(self) -> float:
        """Wall-clock of the whole run so far, without what a killed call did after its last
        checkpoint.
        """
        return self.seconds_before + time.perf_counter() - self.began

    def finish(self) -> None:
        self.average.put_in_place()
        self.model.eval()
        # else the model would go on computing in the training's reduced precision
        self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)

    def close(self) -> None:
        """Ends the trackers, and lets the accelerator forget the model: it would join the next
        run's checkpoints.
        """
        if self.config.report_to != "none":
            for tracker in (
                self.accelerator.trackers
            ):  # not `end_training`, which ends the process group as well
                tracker.finish()
        self.accelerator.free_memory()
        self.folder.unlock()


def _to_device(values: dict[str, Any], device: torch.device) -> dict[str, Any]:
    return {
        name: v.to(device, non_blocking=True) if isinstance(v, Tensor) else v
        for name, v in values.items()
    }


def agreed(accelerator: Any, flag: bool) -> bool:
    """Whether any process raised the flag: all must stop, or skip, at the same step."""
    if accelerator.num_processes == 1:
        return flag
    return bool(
        accelerator.reduce(torch.tensor(float(flag), device=accelerator.device), reduction="sum")
        > 0
    )
