"""What a run reports of a text model: the bound on held-out windows, and what fewer steps cost."""

from .bound import BoundEvaluation, HeldOutWindows, write_samples
from .step_report import (
    compare_plans,
    describe_plan,
    plot_quality_against_steps,
    plot_step_losses,
    save_step_losses,
    table,
)

__all__ = [
    "BoundEvaluation",
    "HeldOutWindows",
    "compare_plans",
    "describe_plan",
    "plot_quality_against_steps",
    "plot_step_losses",
    "save_step_losses",
    "table",
    "write_samples",
]
