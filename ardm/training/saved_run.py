"""SavedRun: a run as its checkpoints hold it, how it gets there and how it comes back.

    *.safetensors     the [`Snapshot`]: weights, average, optimiser, random numbers
    run.json          the [`RunState`], and the run's identity

A run that comes back goes on with the same bits. A write that fails costs one checkpoint, and some
in a row end the run: the last good one stays.
"""

import json
import logging
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .checkpoints import CheckpointFolder, find_fault
from .identity import check_same_run
from .processes import agreed
from .snapshot import Snapshot
from .state import Part, RunState

if TYPE_CHECKING:
    from accelerate import Accelerator

logger = logging.getLogger(__name__)
_STATE = "run.json"
_MAX_FAILURES = 3  # in a row


class SavedRun:
    """The checkpoints of one run; all methods are to be called on all processes.

    Args:
        folder: where they are.
        identity: of the run, see [`run_identity`].
        snapshot: writes and reads its tensors.
        accelerator: tells which process this is.
    """

    def __init__(
        self,
        folder: CheckpointFolder,
        identity: Mapping[str, Any],
        snapshot: Snapshot,
        accelerator: "Accelerator",
    ):
        self.folder = folder
        self.identity = identity
        self.snapshot = snapshot
        self.accelerator = accelerator
        self.num_failures = 0  # since the last checkpoint that could be written

    # --------------------------------------------------------------------------------- to disk
    def save(self, state: RunState, seconds: float, last: bool = False) -> bool:
        """Writes a checkpoint, or warns that it could not be written.

        Args:
            state: of the run on this process.
            seconds: wall-clock of the run so far.
            last: whether the run is over, and its model may be saved all the same.

        Returns:
            Whether it was written; the same on every process.

        Raises:
            RuntimeError: if too many in a row could not be written, before the last.
        """
        from accelerate.utils import gather_object

        step = state.step
        parts = gather_object([state.part()])
        failure = self._failure(lambda: self._write(state, parts, seconds))
        failed = agreed(self.accelerator, failure is not None)
        if not failed and self.accelerator.is_main_process:
            failure = self._failure(lambda: self.folder.seal(step))
        if agreed(self.accelerator, failure is not None):
            self._give_up(step, failure, last)
            return False
        self.num_failures = 0
        return True

    def _write(self, state: RunState, parts: list[Part], seconds: float) -> None:
        states = self.snapshot.take()  # before anything that may fail on one process alone
        path = self.folder.writing_path(state.step)
        path.mkdir(parents=True, exist_ok=True)
        self.snapshot.write(states, path)
        if self.accelerator.is_main_process:
            content = state.to_dict(self.identity, parts, seconds)
            (path / _STATE).write_text(json.dumps(content), encoding="utf-8")

    def _failure(self, write: Callable[[], None]) -> Exception | None:
        from safetensors import SafetensorError

        try:
            write()
        except (OSError, SafetensorError) as error:
            return error
        return None

    def _give_up(self, step: int, failure: Exception | None, last: bool) -> None:
        """This checkpoint; after some in a row, the run."""
        if self.accelerator.is_main_process:
            self.folder.discard_unfinished()
        self.num_failures += 1
        why = failure or "another process could not write its part"
        logger.warning("checkpoint of step %d could not be written: %s", step, why)
        if self.num_failures >= _MAX_FAILURES and not last:
            raise RuntimeError(
                f"{self.num_failures} checkpoints in a row could not be written, the last at step"
                f" {step}: {why}. Make room; {self.way_on(step)}."
            )

    def way_on(self, step: int) -> str:
        """What the same command would do after this step, in words."""
        last = self.folder.last_step()
        if last is None:
            return "there is no checkpoint, so the same command starts afresh"
        return f"the same command resumes {'there' if last == step else f'at step {last}'}"

    # ------------------------------------------------------------------------------- from disk
    def resume(self, asked: str, max_step: int) -> RunState | None:
        """Goes back to a checkpoint, if there is one; leaves none of later steps in its place.

        Args:
            asked: "latest", "none", or a checkpoint's folder.
            max_step: the last step of the run.

        Returns:
            The state of the run on this process; None for a run that begins.

        Raises:
            ValueError: if it is another run's, no good one, beyond the last step, or holds what
                cannot be read without executing code. Nothing was changed then.
        """
        path = self._path(asked)
        state = None if path is None else self._load(path, max_step)
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            self._make_way(0 if state is None else state.step)
        return state

    def _path(self, asked: str) -> Path | None:
        if asked == "none":
            return None
        if asked == "latest":
            with warnings.catch_warnings():
                if not self.accelerator.is_main_process:  # which says what is damaged
                    warnings.simplefilter("ignore")
                return self.folder.newest()
        fault = find_fault(asked)
        if fault is not None:
            raise ValueError(f"resume_from_checkpoint={asked!r} is no good checkpoint: {fault}.")
        return Path(asked)

    def _load(self, path: Path, max_step: int) -> RunState:
        accelerator = self.accelerator
        try:
            saved = json.loads((path / _STATE).read_text(encoding="utf-8"))
            identity = {**saved["identity"]}
            process = accelerator.process_index
            state = RunState.from_dict(saved, process, accelerator.num_processes)
            num_processes = len(saved["sums"])
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise ValueError(f"{path / _STATE} is damaged: {error!r}.") from error
        check_same_run(identity, self.identity, path)
        if state.step > max_step:
            raise ValueError(
                f"{path} is beyond max_train_steps={max_step}; give at least {state.step},"
                " another output_dir, or resume_from_checkpoint='none' to start afresh."
            )
        self.snapshot.read(path, num_processes)
        logger.info("resumed from %s", path)
        return state

    def _make_way(self, first_step: int) -> None:
        """Leaves nothing that would pass for a checkpoint of the steps to come."""
        self.folder.discard_unfinished()
        aside = self.folder.set_aside(first_step)
        if aside is not None:
            logger.warning(
                "starting at step %d; checkpoints of later steps moved to %s", first_step, aside
            )
