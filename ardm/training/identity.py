"""The identity of a run: all that decides its result, compared name by name when it is resumed.

A run goes on from a checkpoint, or counts as finished, only as itself. What `train` knows it takes
by itself: the seed, the sizes, the optimiser, the schedule, the precision. What only the caller
knows (data, tokenizer, settings of the model and of the loss) the caller gives; a stream is known
by that description alone. What may change between two calls is in `MAY_CHANGE`.
"""

import json
import logging
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .config import TrainingConfig
from .files import fingerprint
from .stream import TrainDataset

if TYPE_CHECKING:
    from accelerate import Accelerator

logger = logging.getLogger(__name__)

# Every field of `TrainingConfig` is in one of these two, as a test makes sure.
DECIDES = (
    "seed",
    "learning_rate",
    "lr_scheduler_type",
    "warmup_ratio",
    "decay_ratio",
    "max_grad_norm",
    "ema_decay",
    "mixed_precision",  # as the hardware has it: None is what was chosen
)
MAY_CHANGE = (
    "output_dir",
    "max_train_steps",  # not below the checkpoint's step
    # as long as their product with the number of processes, the global batch, stays
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "compile",
    "logging_steps",
    "eval_steps",
    "checkpointing_steps",
    "resume_from_checkpoint",
    "report_to",
    "tracker_project_name",
    "run_name",
    "dataloader_num_workers",
)
# how an optimiser computes, and what changes from step to step
_NO_SETTINGS = ("params", "param_names", "lr", "foreach", "fused", "capturable", "differentiable")
_OLD_AVERAGE = "averages_weights"  # in older checkpoints, in place of "ema_decay"
_ABSENT = object()
_MOST_TOLD = 12  # differences in a message, which is to be read


def weights_fingerprint(model: nn.Module) -> str:
    """A digest of a network's weights, of any dtype.

    Args:
        model: the network.

    Returns:
        That of [`fingerprint`].
    """
    return _digest(model.state_dict().values())


def _digest(tensors: Iterable[Tensor]) -> str:
    weights = (tensor.detach().cpu().contiguous() for tensor in tensors)
    # numpy knows no bfloat16
    return fingerprint(tensor.flatten().view(torch.uint8).numpy().tobytes() for tensor in weights)


def run_identity(
    config: TrainingConfig,
    dataset: TrainDataset,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    accelerator: "Accelerator",
    given: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The identity of a run, as its checkpoints keep it.

    Args:
        config: how it trains.
        dataset: on what.
        model: before Accelerate prepared it.
        optimizer: likewise; its groups hold their `initial_lr`.
        accelerator: where.
        given: what else decides the result, by name; mappings may be nested.

    Returns:
        What JSON can hold.

    Raises:
        ValueError: if `given` holds what JSON cannot, or a name that is taken.
    """
    at_once = config.per_device_train_batch_size * accelerator.num_processes
    identity = {
        **{name: getattr(config, name) for name in DECIDES},
        "mixed_precision": accelerator.mixed_precision,
        "global_batch_size": at_once * config.gradient_accumulation_steps,
        "num_examples": len(dataset) if isinstance(dataset, Sized) else None,
        "network": type(model).__name__,
        "num_parameters": num_parameters(model),
        "optimizer": type(optimizer).__name__,
        "optimizer_settings": {
            f"group_{i}": _settings(group) for i, group in enumerate(optimizer.param_groups)
        },
    }
    frozen = [param for param in model.parameters() if not param.requires_grad]
    if frozen:  # which a checkpoint does not hold
        identity["frozen_weights"] = _digest(frozen)
    return identity | _plain(given or {}, taken=identity)


def num_parameters(model: nn.Module, trained: bool = False) -> int:
    """How many numbers a model has, frozen ones included unless only trained ones are asked for."""
    params = model.parameters()
    return sum(param.numel() for param in params if param.requires_grad or not trained)


def _settings(group: Mapping[str, Any]) -> dict[str, Any]:
    settings = {name: value for name, value in group.items() if name not in _NO_SETTINGS}
    settings["num_parameters"] = sum(param.numel() for param in group["params"])
    return json.loads(json.dumps(settings, default=_plain_value))  # as a file gives it back


def _plain_value(value: object) -> Any:
    return value.tolist() if isinstance(value, Tensor) else type(value).__name__


def _plain(given: Mapping[str, Any], taken: Mapping[str, Any]) -> dict[str, Any]:
    both = sorted(given.keys() & taken.keys())
    if both:
        raise ValueError(f"identity holds {both}, which `train` takes by itself; expected others.")
    try:
        return json.loads(json.dumps(dict(given)))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"identity is {given!r}; expected mappings, lists, texts and numbers: {error}."
        ) from error


def check_same_run(saved: Mapping[str, Any], mine: Mapping[str, Any], path: Path) -> None:
    """Makes sure that a checkpoint is this run's.

    Args:
        saved: the identity in the checkpoint; an older one holds fewer names, which are warned of.
        mine: this run's.
        path: the checkpoint, for the message.

    Raises:
        ValueError: if it is another run's, with what differs, the first twelve of it.
    """
    shared = [name for name in saved if name != _OLD_AVERAGE]
    if "network" in saved and saved["network"] != mine["network"]:
        shared = ["network"]  # of another kind: nothing else is the same, or need be told
    changes = [
        c for name in shared for c in _differences(name, saved[name], mine.get(name, _ABSENT))
    ]
    averages = mine["ema_decay"] > 0
    if saved.get(_OLD_AVERAGE, averages) != averages:
        changes.append(f"{_OLD_AVERAGE} was {not averages} and is {averages}")
    if changes:
        told = changes[:_MOST_TOLD]
        if len(changes) > len(told):
            told.append(f"and {len(changes) - len(told)} more")
        raise ValueError(
            f"{path} belongs to another run: {', '.join(told)}. Give the old values, another"
            " output_dir, or resume_from_checkpoint='none' to start afresh."
        )
    unknown = ", ".join(name for name in mine if name not in saved)
    if unknown:
        logger.warning("%s does not tell, and could not be compared: %s", path, unknown)


def _differences(name: str, old: Any, new: Any) -> Iterator[str]:
    """In words, one for each setting; those inside of mappings alone."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for inner in [*old, *(name for name in new if name not in old)]:
            yield from _differences(
                f"{name}.{inner}", old.get(inner, _ABSENT), new.get(inner, _ABSENT)
            )
    elif old is _ABSENT and not new:
        return  # a setting that an older version did not have, and that is off
    elif old != new and not (old != old and new != new):  # NaN is itself
        yield f"{name} was {_shown(old)} and is {_shown(new)}"


def _shown(value: Any) -> str:
    if value is _ABSENT:
        return "not given"
    return textwrap.shorten(str(value), 80)
