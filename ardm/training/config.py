"""TrainingConfig: how to train, and the learning rate that follows from it."""

import argparse
import inspect
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, fields
from numbers import Real
from typing import Any

from .files import check_folder_name
from .integers import LARGEST, check_integer
from .trackers import tracker_names

# settings that are whole numbers, and the least that each may be
_COUNTS = {
    "max_train_steps": 1,
    "per_device_train_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "logging_steps": 1,
    "eval_steps": 0,
    "checkpointing_steps": 0,
    "seed": 0,
    "dataloader_num_workers": 0,
}
# numbers: whether each is in its range, and the range in words
_RANGES: dict[str, tuple[Callable[[float], bool], str]] = {
    "learning_rate": (lambda x: 0 <= x < math.inf, "a finite number of at least 0"),
    "max_grad_norm": (lambda x: x >= 0, "a number of at least 0"),
    "warmup_ratio": (lambda x: 0 <= x <= 1, "a number in [0, 1]"),
    "decay_ratio": (lambda x: 0 <= x <= 1, "a number in [0, 1]"),
    "ema_decay": (lambda x: 0 <= x < 1, "a number in [0, 1)"),
}
_PRECISIONS = (None, "no", "bf16", "fp16")
# the factor of the learning rate, from the share of the decay that is left
_DECAYS: dict[str, Callable[[float], float]] = {
    "linear": lambda left: left,
    "cosine": lambda left: 0.5 - 0.5 * math.cos(math.pi * left),
    "constant": lambda left: 1.0,
}


@dataclass
class TrainingConfig:
    """How to train.

    Args:
        output_dir: folder of the run; checkpoints go to its sub-folder `checkpoints`.
        max_train_steps: optimiser steps.
        per_device_train_batch_size: sequences (or images) of one process and accumulation step.
        gradient_accumulation_steps: backward passes of one optimiser step.
        learning_rate: peak learning rate of the default optimiser (AdamW).
        lr_scheduler_type: "linear" or "cosine" decay to 0, or "constant".
        warmup_ratio: share of the steps over which the learning rate rises from 0.
        decay_ratio: share of the steps, at the end, over which it decays.
        max_grad_norm: gradients are scaled down to this norm; 0 = no clipping.
        ema_decay: decay of the weights' moving average, warmed up as (1 + s) / (10 + s); 0 = none.
        mixed_precision: "no", "bf16", "fp16", or None = what the hardware is good at.
        compile: run the model through `torch.compile`.
        logging_steps: optimiser steps between log entries.
        eval_steps: optimiser steps between evaluations; 0 = only after the last.
        checkpointing_steps: optimiser steps between checkpoints; 0 = only after the last.
        resume_from_checkpoint: "latest" = the newest good checkpoint if there is one, a
            checkpoint's folder, or "none" = start afresh, each time; checkpoints that are there are
            moved to `checkpoints/replaced-N`.
        seed: key of everything random.
        report_to: trackers, one or several: "tensorboard", "trackio", "wandb", "all" that are
            installed, or "none".
        tracker_project_name: project of the trackers; None = the package of the model's class.
        run_name: name of the run in the trackers; None = the output folder's.
        dataloader_num_workers: worker processes for loading data.
    """

    output_dir: str
    max_train_steps: int
    per_device_train_batch_size: int = 8
    gradient_accumulation_steps: int = 1
    learning_rate: float = 1e-3
    lr_scheduler_type: str = "linear"
    warmup_ratio: float = 0.02
    decay_ratio: float = 1.0
    max_grad_norm: float = 1.0
    ema_decay: float = 0.99
    mixed_precision: str | None = None
    compile: bool = False
    logging_steps: int = 10
    eval_steps: int = 0
    checkpointing_steps: int = 200
    resume_from_checkpoint: str = "latest"
    seed: int = 0
    report_to: str | Sequence[str] = "none"
    tracker_project_name: str | None = None
    run_name: str | None = None
    dataloader_num_workers: int = 0

    def __post_init__(self) -> None:
        check_folder_name(self.output_dir)
        for name, minimum in _COUNTS.items():
            count = check_integer(name, getattr(self, name), minimum, LARGEST)
            setattr(self, name, count)  # of Python's own type, which JSON takes
        for name, (allowed, range_in_words) in _RANGES.items():
            number = _number(getattr(self, name))
            if not allowed(number):
                raise ValueError(f"{name} is {getattr(self, name)!r}; expected {range_in_words}.")
            setattr(self, name, number)
        if self.lr_scheduler_type not in _DECAYS:
            raise ValueError(
                f"lr_scheduler_type is {self.lr_scheduler_type!r};"
                f" expected one of {sorted(_DECAYS)}."
            )
        tracker_names(self.report_to)
        if self.mixed_precision not in _PRECISIONS:
            raise ValueError(
                f"mixed_precision is {self.mixed_precision!r};"
                " expected 'no', 'bf16', 'fp16' or None."
            )


def _number(value: object) -> float:
    """A number of any type as Python's; NaN, which is in no range, for what is none."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return math.nan
    try:
        return float(value)
    except OverflowError:  # an integer of hundreds of digits
        return math.nan


def learning_rate_factor(step: int, config: TrainingConfig) -> float:
    """Share of the peak learning rate that a step uses: warm-up, plateau, decay to 0.

    Args:
        step: optimiser step, 0..max_train_steps - 1.
        config: the schedule.

    Returns:
        A number in (0, 1].
    """
    total = config.max_train_steps
    warm_up = min(1.0, (step + 1) / max(1.0, config.warmup_ratio * total))
    left = (total - step) / max(1.0, config.decay_ratio * total)
    return warm_up * _DECAYS[config.lr_scheduler_type](min(1.0, left))


def add_training_arguments(parser: argparse.ArgumentParser, **defaults: Any) -> None:
    """Adds a flag for every field of [`TrainingConfig`], with its docstring as help.

    Args:
        parser: the recipe's parser.
        **defaults: values that differ from the dataclass's own.
    """
    group = parser.add_argument_group("training")
    for setting in fields(TrainingConfig):
        default = None if setting.default is MISSING else setting.default
        default = defaults.get(setting.name, default)
        options: dict[str, Any] = {
            "default": default,
            "help": f"{_described(setting.name)} (default: {default})",
        }
        if setting.name == "report_to":
            options["nargs"] = "+"
        if setting.type in (bool, "bool"):
            options["action"] = argparse.BooleanOptionalAction
        else:
            options["type"] = setting.type if isinstance(setting.type, type) else str
        group.add_argument(f"--{setting.name}", **options)


def _described(name: str) -> str:
    """What the docstring says of a setting, for argparse."""
    docstring = inspect.getdoc(TrainingConfig) or ""
    pattern = rf"^    {name}: (.*?)(?=\n    \w+: |\Z)"
    found = re.search(pattern, docstring, re.DOTALL | re.MULTILINE)
    return re.sub(r"\s+", " ", found[1] if found else "").replace("%", "%%")


def given_flags(
    parser: argparse.ArgumentParser, argv: Sequence[str] | None, names: Sequence[str]
) -> list[str]:
    """Which of some flags a command line holds, be it with their default values.

    Args:
        parser: of the recipe.
        argv: the words; None = those of this process.
        names: of the flags, without dashes.

    Returns:
        Those that are given, as words: "--seed".
    """
    unset = argparse.Namespace(**dict.fromkeys(names))
    given = vars(parser.parse_args(argv, unset))
    return [f"--{name}" for name in names if given[name] is not None]


def training_config(args: argparse.Namespace) -> TrainingConfig:
    """The configuration that the flags of [`add_training_arguments`] say.

    Args:
        args: parsed flags.

    Returns:
        A checked configuration.

    Raises:
        ValueError: if a value is out of range.
    """
    names = [setting.name for setting in fields(TrainingConfig)]
    return TrainingConfig(**{name: getattr(args, name) for name in names})
