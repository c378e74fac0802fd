"""Trainer's calls: who asks a collator for a batch, and what for.

A collator of `transformers.Trainer` is given examples and is told nothing else. Yet the masks of an
evaluation must be the same each time, those of two epochs must not, and those of two processes
neither; after a resume they must be what they would have been. So the callers are looked at: some
frame on the stack is a Trainer's, that of the process a data loader's worker was forked from too.
"""

import os
import sys
from types import FrameType
from typing import NamedTuple

import torch

_EVALUATION = "evaluation_loop"  # Trainer's, of `evaluate` and `predict`


class TrainerCall(NamedTuple):
    """What a Trainer wants a batch for."""

    evaluating: bool  # for `evaluate` or `predict`
    has_own_loss: bool  # Trainer makes the loss of logits and labels: label smoothing and the like
    seed: int  # of the run
    epoch: int


def trainer_call() -> TrainerCall | None:
    """The call of a Trainer that the caller of this function is part of; None if there is none."""
    module = sys.modules.get("transformers.trainer")
    if module is None:  # nobody has asked for a Trainer yet
        return None
    frame: FrameType | None = sys._getframe(1)
    trainer = None
    evaluating = False
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, module.Trainer):
            trainer = trainer or owner
            evaluating = evaluating or frame.f_code.co_name == _EVALUATION
        frame = frame.f_back
    if trainer is None:
        return None
    own_loss = trainer.label_smoother is not None or trainer.compute_loss_func is not None
    epoch = int(trainer.state.epoch or 0)  # within the k-th epoch it lies in [k, k + 1)
    return TrainerCall(evaluating, own_loss, trainer.args.seed, epoch)


def rank_and_size() -> tuple[int, int]:
    """Which of how many processes this is; in a data loader's worker, which process it serves."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
