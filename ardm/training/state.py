"""RunState: all that a run must know to go on later, beside weights, optimiser and random numbers.

It is `run.json` of a checkpoint, with the identity that tells whose checkpoint it is. What
happens to a state is `run.py`'s business; here it only adds up, and goes to the file and back.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from torch import Tensor

from .integers import check_integer

Part: TypeAlias = list[Any]  # one process's [sums by name, number of micro-batches]


@dataclass
class RunState:
    """Where a run stands.

    Args:
        step: optimiser steps taken.
        history: log entries, each with its "step".
        sums: of what the loss function gave since the last entry, on this process: tensors, or
            numbers from a checkpoint.
        num_summed: micro-batches in `sums`.
        skipped_steps: steps whose gradient was not finite, and which changed nothing.
        seconds: wall-clock of the run's earlier calls.
    """

    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    sums: dict[str, Any] = field(default_factory=dict)
    num_summed: int = 0
    skipped_steps: int = 0
    seconds: float = 0.0

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Takes in what the loss function gave for a micro-batch."""
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value.detach()
        self.num_summed += 1

    def forget_sums(self) -> None:
        """Begins the next log entry."""
        self.sums = {}
        self.num_summed = 0

    def record(self, figures: Mapping[str, float]) -> None:
        """Adds figures to the history; those of one step make one entry."""
        if self.history and self.history[-1]["step"] == self.step:
            self.history[-1].update(figures)
        else:
            self.history.append({"step": self.step, **figures})

    def part(self) -> Part:
        """What this process alone knows of the next log entry."""
        return [{name: float(value) for name, value in self.sums.items()}, self.num_summed]

    def to_dict(
        self, identity: Mapping[str, Any], parts: list[Part], seconds: float
    ) -> dict[str, Any]:
        """The content of `run.json`.

        Args:
            identity: of the run.
            parts: [`RunState.part`] of each process.
            seconds: wall-clock of the run so far, this call's included.

        Returns:
            What JSON can hold.
        """
        return {
            "step": self.step,
            "identity": dict(identity),
            "history": self.history,
            "sums": parts,
            "seconds": seconds,
            "skipped_steps": self.skipped_steps,
        }

    @classmethod
    def from_dict(
        cls, saved: Mapping[str, Any], process_index: int, num_processes: int
    ) -> "RunState":
        """The state that [`RunState.to_dict`] wrote.

        Args:
            saved: content of `run.json`.
            process_index: this process.
            num_processes: of how many; on another number than before, the entry that was begun is
                of the steps from here on alone.

        Returns:
            The state of this process.

        Raises:
            ValueError: if the step is no number of steps, or the history no list.
        """
        if not isinstance(saved["history"], list):
            raise ValueError(f"history is a {type(saved['history']).__name__}; expected a list.")
        parts = saved["sums"]
        sums, num_summed = parts[process_index] if len(parts) == num_processes else ({}, 0)
        return cls(
            step=check_integer("step", saved["step"], 0),
            history=saved["history"],
            sums=sums,
            num_summed=num_summed,
            skipped_steps=saved.get("skipped_steps", 0),  # older checkpoints have none
            seconds=saved["seconds"],
        )
