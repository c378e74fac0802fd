"""Interrupts: signals that end a run after a step, with a checkpoint, on all its processes alike.

Ctrl-C (SIGINT), SIGTERM of a scheduler or launcher, and SIGHUP of a terminal that closes. Any
process may get one; all must stop at the same step, so they agree now and then whether one did.
"""

import os
import signal
import threading
import time
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from accelerate import Accelerator

_HANGUP = getattr(signal, "SIGHUP", None)  # Windows has none
# agreeing makes GPUs wait: not at every short step; launchers kill some 30 s after the signal
_SECONDS_BETWEEN = 2.0
# torchrun passes on the Ctrl-C that its processes got from the terminal, too: not a second one
_SECONDS_OF_ONE = 1.0 if "TORCHELASTIC_RUN_ID" in os.environ else 0.0


class Interrupts:
    """Collects signals in place of dying of them; a second Ctrl-C, later, interrupts at once.

    A context manager. Outside the main thread it collects none.

    Args:
        accelerator: of the run, whose processes agree.
        step: the step that the run starts at.
    """

    def __init__(self, accelerator: "Accelerator", step: int):
        self.accelerator = accelerator
        self.received = False
        self._first_received = 0.0
        self._before: dict[int, Any] = {}
        self._asked_step = step
        self._asked_at = time.perf_counter()
        self._next_step = step + 1

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            numbers = [signal.SIGINT, signal.SIGTERM]
            if _HANGUP is not None and signal.getsignal(_HANGUP) != signal.SIG_IGN:
                numbers.append(_HANGUP)  # which nohup ignores
            for number in numbers:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self.received:
            self.received = True
            self._first_received = now
        elif number == signal.SIGINT and now - self._first_received > _SECONDS_OF_ONE:
            raise KeyboardInterrupt

    def agreed(self, step: int) -> bool:
        """Whether the run is to end after this step; to be called on all processes.

        Args:
            step: steps that the run has taken.

        Returns:
            The same on every process. Up to 2 seconds of steps after a process got a signal.
        """
        if self.accelerator.num_processes == 1:
            return self.received
        if step < self._next_step:
            return False
        now = time.perf_counter()
        seconds = (now - self._asked_at) / max(1, step - self._asked_step)
        told = torch.tensor([float(self.received), seconds], device=self.accelerator.device)
        raised, total = self.accelerator.reduce(told, reduction="sum").tolist()
        seconds = total / self.accelerator.num_processes  # by which all choose the same step
        self._asked_step = step
        self._asked_at = now
        self._next_step = step + max(1, int(_SECONDS_BETWEEN / max(seconds, 1e-6)))
        return raised > 0
