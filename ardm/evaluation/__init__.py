"""What a run reports of a text model: the bound on held-out windows, and what fewer steps cost.

Beside it what a training needs: the flags that say what to train, and what they make.
"""

from .assembly import new_model, run_identity, tokenizer_fingerprint
from .bound import BoundEvaluation, HeldOutWindows, write_samples
from .facts import run_facts, tracked_samples, tracked_settings
from .step_costs import cost_figure, costs_of_text, saved_costs, step_budgets
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
    "cost_figure",
    "costs_of_text",
    "describe_plan",
    "new_model",
    "plot_quality_against_steps",
    "plot_step_losses",
    "run_facts",
    "run_identity",
    "save_step_losses",
    "saved_costs",
    "step_budgets",
    "table",
    "tokenizer_fingerprint",
    "tracked_samples",
    "tracked_settings",
    "write_samples",
]
