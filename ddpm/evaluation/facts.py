"""What is told of a run beside its figures: to its card, and to trackers while it goes on."""

import argparse
import time
from collections.abc import Sequence
from typing import Any

from ardm.training import TrainingResult
from ardm.training.card_parts import machine
from ardm.training.hub_arguments import hub_facts
from ardm.training.local_paths import command, hyperparameters

from ..data import ImageDataset
from ..models.pretrained_unet import UNetPreTrainedModel
from .arguments import data_name, run_flags
from .sample_quality import SampleEvaluation


def run_facts(
    args: argparse.Namespace, data: ImageDataset, result: TrainingResult
) -> dict[str, Any]:
    """What a card says of how a diffusion model was trained.

    Args:
        args: all flags of the recipe.
        data: the training images.
        result: of the training.

    Returns:
        Fields of `ddpm.hub.CardFigures`.
    """
    return training_facts(args, data, result) | {"label_dropout": args.label_dropout}


def training_facts(
    args: argparse.Namespace, data: ImageDataset, result: TrainingResult
) -> dict[str, Any]:
    """What a card says of how any model of images was trained.

    Args:
        args: all flags of the recipe.
        data: the training images.
        result: of the training.

    Returns:
        Fields of all figures of cards.
    """
    return {
        **hub_facts(args),
        "training_data": data_name(args),
        "num_images": len(data),
        "hyperparameters": hyperparameters(run_flags(args))
        | {"mixed_precision": result.mixed_precision},
        "command": command(args.command_words),
        "seed": args.seed,
        "machine": machine(),
        "date": time.strftime("%Y-%m-%d"),
        "wall_clock_seconds": result.seconds,
    }


def sweep_facts(
    evaluation: SampleEvaluation, how: str, command_words: Sequence[str]
) -> dict[str, Any]:
    """What a page says of the figures of many samplings.

    Args:
        evaluation: of each.
        how: the images were drawn, in words.
        command_words: of the recipe's parser.

    Returns:
        Value by name.
    """
    return {
        "Samples": f"{evaluation.num_images:,} behind each figure, {how}",
        "Features and accuracy": evaluation.quality.extractor.name,
        "Seed": evaluation.seed,
        "Command": f"`{command(command_words)}`",
        "Machine": machine(),
        "Date": time.strftime("%Y-%m-%d"),
    }


def tracked_settings(
    args: argparse.Namespace, data: ImageDataset, model: UNetPreTrainedModel
) -> dict[str, Any]:
    """What trackers are told of a run: its data, its network and the flags that it followed.

    Args:
        args: all flags of the recipe.
        data: the training images.
        model: the network.

    Returns:
        Value by name, without this machine's folders.
    """
    facts = {
        "training_data": data_name(args),
        "num_images": len(data),
        "image_size": data.image_size,
        "num_channels": data.num_channels,
        "num_classes": data.num_classes,
        "num_parameters": model.num_parameters(),
    }
    return hyperparameters(run_flags(args)) | facts
