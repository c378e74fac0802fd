"""Trainer's calls: who asks a collator for a batch, and what for.

The masks of an evaluation must be the same each time, those of two epochs must not, and those of
two processes neither; after a resume they must be what they would have been. A collator of
`transformers.Trainer` is told none of it: it is given examples and nothing else. So the callers are
looked at, up to the method of a Trainer that wants the batch. In a data loader's worker that was
forked, the stack still holds what called it when it was forked; to one that is started anew, what
is said here is sent along. What else could tell does not:

- a callback of Trainer's is told of epochs, but users must pass it on, and no worker hears of it;
- `set_epoch` reaches data sets and samplers, never a collator;
- `TrainerState.epoch` is of the last step: without a length of the data it lags behind;
- torch's base seed of a worker differs by epoch, but is another one after a resume, and persistent
  workers keep their first;
- a count of calls is a worker's own, and begins at zero after a resume.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import count
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch.utils.data import get_worker_info

_EVALUATIONS = ("evaluation_loop", "evaluate", "predict")
_TRAININGS = ("_inner_training_loop", "train")


class TrainerCall(NamedTuple):
    """What a Trainer wants a batch for."""

    evaluating: bool  # for `evaluate` or `predict`
    has_own_loss: bool  # Trainer makes the loss of logits and labels: label smoothing and the like
    seed: int  # of the run
    epoch: int  # 0 in an evaluation
    rank: int  # of the process that the batch is for
    size: int  # how many processes there are
    dispatched: bool  # process 0 makes the batches of all, one after another or all in one


def trainer_call(sent: TrainerCall | None = None) -> TrainerCall | None:
    """The call of a Trainer that the caller of this function is part of; None if there is none.

    Args:
        sent: what this function said where a data loader's worker was started, which sees no
            Trainer; used there alone.

    Returns:
        Of Trainers that call one another, what the innermost wants.

    Raises:
        ValueError: if Trainer resumes in an epoch that was trained already.
    """
    call = _call_on_stack()
    if call is None and get_worker_info() is not None:
        call = sent
    if call is None:
        return None
    epochs, batch = _progress_of_loader()
    rank = batch % call.size if call.dispatched else call.rank
    return call._replace(epoch=call.epoch + epochs, rank=rank)


def rank_and_size() -> tuple[int, int]:
    """Which of how many processes this is; in a data loader's worker, which process it serves."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def _call_on_stack() -> TrainerCall | None:
    """The innermost; if this is a worker, as it was when the worker was forked."""
    module = sys.modules.get("transformers.trainer")
    if module is None:  # nobody has asked for a Trainer yet
        return None
    dispatched = False
    for frame in _callers("__iter__", *_EVALUATIONS, *_TRAININGS):
        owner = frame.f_locals.get("self")
        if isinstance(owner, sys.modules["accelerate.data_loader"].DataLoaderDispatcher):
            dispatched = True
        if isinstance(owner, module.Trainer):
            evaluating = frame.f_code.co_name in _EVALUATIONS
            own_loss = owner.label_smoother is not None or owner.compute_loss_func is not None
            epoch = 0 if evaluating else _epoch(owner, frame.f_locals)
            seed = owner.args.seed
            return TrainerCall(evaluating, own_loss, seed, epoch, *rank_and_size(), dispatched)
    return None


def _epoch(trainer: Any, values: Mapping[str, Any]) -> int:
    """Trainer's own number, which a data set without a length has too."""
    reached = trainer.state.epoch or 0.0
    epoch = int(values.get("epoch", reached))
    if reached > epoch + 1:  # only a checkpoint can have got further than this epoch's end
        raise ValueError(
            f"Trainer resumes in epoch {epoch}, as its count of batches says, but the checkpoint is"
            f" of epoch {reached:.2f}: masks of the epochs between would come again. Expected a"
            " data set with a __len__, and the global batch and data of the checkpoint; or train"
            " its weights in a new run with another seed."
        )
    return epoch


def _progress_of_loader() -> tuple[int, int]:
    """How many epochs this worker has done before this one, and the number of its batch in it."""
    for frame in _callers("_worker_loop", "_next_data"):
        values = frame.f_locals
        if "fetcher" in values:
            return _epochs_before(values["fetcher"]), values["idx"]
        return 0, values["self"]._num_yielded
    return 0, 0


_epochs = count()


@lru_cache(maxsize=1)  # the last one is kept, so that the next one has another identity
def _epochs_before(fetcher: object) -> int:
    """A worker gets a new fetcher in each epoch, and is told nothing else about epochs."""
    return next(_epochs)


def _callers(*names: str) -> Iterator[FrameType]:
    """The calls of functions of these names, the innermost first."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name in names:
            yield frame
        frame = frame.f_back
