"""SavedRun: a run as its checkpoints hold it, how it gets there and how it comes back.

    model.safetensors, ...    what Accelerate keeps: weights, optimiser, random numbers
    average.safetensors       the weights' moving average
    run.json                  the [`RunState`], and the [`RunIdentity`]

A run that comes back goes on with the same bits. A write that fails costs one checkpoint, not the
run: the one before it stays.
"""

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .averaging import WeightAverage
from .checkpoints import CheckpointFolder, find_fault
from .processes import agreed
from .state import Part, RunIdentity, RunState

if TYPE_CHECKING:
    from accelerate import Accelerator

logger = logging.getLogger(__name__)
# Tied weights are saved once and loaded into both: nothing to warn of at every checkpoint.
logging.getLogger("accelerate.utils.other").addFilter(
    lambda record: "Removed shared tensor" not in record.getMessage()
)
_STATE = "run.json"
_AVERAGE = "average.safetensors"


class SavedRun:
    """The checkpoints of one run; all methods are to be called on all processes.

    Args:
        folder: where they are.
        identity: of the run.
        accelerator: which prepared the model and the optimiser.
        average: of the weights.
    """

    def __init__(
        self,
        folder: CheckpointFolder,
        identity: RunIdentity,
        accelerator: "Accelerator",
        average: WeightAverage,
    ):
        self.folder = folder
        self.identity = identity
        self.accelerator = accelerator
        self.average = average

    def save(self, state: RunState, seconds: float) -> None:
        """Writes one, or warns that it could not be written.

        Args:
            state: of the run on this process.
            seconds: wall-clock of the run so far.
        """
        from accelerate.utils import gather_object

        step = state.step
        parts = gather_object([state.part()])
        written = self._succeeds(step, lambda: self._write(state, parts, seconds))
        failed = agreed(self.accelerator, not written)
        if self.accelerator.is_main_process and (
            failed or not self._succeeds(step, lambda: self.folder.seal(step))
        ):
            self.folder.discard_unfinished()
        self.accelerator.wait_for_everyone()

    def find(self, asked: str, max_step: int) -> tuple[Path, dict[str, Any]] | None:
        """The checkpoint to go on from, if there is one; leaves none of later steps in its place.

        Args:
            asked: "latest", "none", or a checkpoint's folder.
            max_step: the last step of the run.

        Returns:
            Its folder, and what its `run.json` says.

        Raises:
            ValueError: if it is another run's, no good one, or beyond the last step.
        """
        path = self._path(asked)
        saved = {"step": 0} if path is None else self._read(path, max_step)
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            self._make_way(saved["step"])
        return None if path is None else (path, saved)

    def load(
        self, path: Path, saved: Mapping[str, Any], optimizer: torch.optim.Optimizer
    ) -> RunState:
        """Goes back to a checkpoint.

        Args:
            path: its folder.
            saved: what its `run.json` says.
            optimizer: whose settings, such as a learning rate that was changed since, hold from
                here on.

        Returns:
            The state of the run on this process.
        """
        accelerator = self.accelerator
        options = [
            {name: value for name, value in group.items() if name not in ("params", "lr")}
            for group in optimizer.param_groups
        ]
        accelerator.load_state(str(path))
        # counts micro-batches; a checkpoint is written between steps, whatever their split
        accelerator.step = 0
        for group, given in zip(optimizer.param_groups, options, strict=True):
            group.update(given)
        self.average.load(path / _AVERAGE)
        logger.info("resumed from %s", path)
        return RunState.from_dict(saved, accelerator.process_index, accelerator.num_processes)

    def _write(self, state: RunState, parts: list[Part], seconds: float) -> None:
        path = self.folder.writing_path(state.step)
        path.mkdir(parents=True, exist_ok=True)
        self.accelerator.save_state(str(path), safe_serialization=True)
        if self.accelerator.is_main_process:
            self.average.save(path / _AVERAGE)
            content = state.to_dict(self.identity, parts, seconds)
            (path / _STATE).write_text(json.dumps(content))

    def _succeeds(self, step: int, write: Callable[[], None]) -> bool:
        from safetensors import SafetensorError

        try:
            write()
        except (OSError, RuntimeError, SafetensorError) as error:  # torch's own is a RuntimeError
            logger.warning("checkpoint of step %d could not be written: %s", step, error)
            return False
        return True

    def _path(self, asked: str) -> Path | None:
        if asked == "none":
            return None
        if asked == "latest":
            return self.folder.newest()
        fault = find_fault(asked)
        if fault is not None:
            raise ValueError(f"resume_from_checkpoint={asked!r} is no good checkpoint: {fault}.")
        return Path(asked)

    def _read(self, path: Path, max_step: int) -> dict[str, Any]:
        saved = json.loads((path / _STATE).read_text())
        self.identity.check(saved["identity"], path)
        if saved["step"] > max_step:
            raise ValueError(
                f"{path} is beyond max_train_steps={max_step}; give at least {saved['step']},"
                " another output_dir, or resume_from_checkpoint='none' to start afresh."
            )
        return saved

    def _make_way(self, first_step: int) -> None:
        """Leaves nothing that would pass for a checkpoint of the steps to come."""
        self.folder.discard_unfinished()
        aside = self.folder.set_aside(first_step)
        if aside is not None:
            logger.warning(
                "starting at step %d; checkpoints of later steps moved to %s", first_step, aside
            )
