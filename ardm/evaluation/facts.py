"""What is told of a run beside its figures: to its card, and to trackers while it goes on."""

import argparse
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..training import TrainingResult
from ..training.card_parts import machine
from ..training.hub_arguments import hub_facts
from ..training.local_paths import command, hyperparameters, public
from .arguments import SIZES, run_flags
from .bound import HeldOutWindows, write_samples

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from ..modeling_ardm import ARDMForMaskedLM


def run_facts(
    args: argparse.Namespace, data: str, model: "ARDMForMaskedLM", result: TrainingResult
) -> dict[str, Any]:
    """What a card says of how a model was trained.

    Args:
        args: all flags of the recipe.
        data: what it was trained on, by name.
        model: as trained.
        result: of the training.

    Returns:
        Fields of `ardm.hub.CardFigures` and `ardm.hub.ImageCardFigures`.
    """
    return {
        **hub_facts(args),
        "num_parameters": model.num_parameters(),
        "training_data": data,
        "hyperparameters": _settings(args, model) | {"mixed_precision": result.mixed_precision},
        "seed": args.seed,
        "machine": machine(),
        "command": command(args.command_words),
        "date": time.strftime("%Y-%m-%d"),
        "wall_clock_seconds": result.seconds,
        "stages": describe_stages(model),
    }


def describe_stages(model: "ARDMForMaskedLM") -> str | None:
    """How a model reveals its values, in words; None if in one stage."""
    config = model.config
    if model.stages.num_stages == 1:
        return None
    how = "coarse values of a table"
    if config.branching_factor is not None:
        how = f"digits in base {config.branching_factor}"
    order = "one stage after the other" if config.stage_order == "stagewise" else "interleaved"
    return (
        f"in {config.num_stages} stages, {how}, {order} ({config.parametrization} parametrisation)"
    )


def tracked_settings(
    args: argparse.Namespace, data: str, model: "ARDMForMaskedLM"
) -> dict[str, Any]:
    """What trackers are told of a run: its data, its network and the flags that it followed.

    Args:
        args: all flags of the recipe.
        data: as for [`run_facts`].
        model: the network.

    Returns:
        Value by name, without this machine's folders.
    """
    facts = {
        "training_data": data,
        "vocab_size": model.config.vocab_size,
        "num_parameters": model.num_parameters(),
    }
    return _settings(args, model) | facts


def tracked_samples(
    tokenizer: "PreTrainedTokenizerBase", windows: HeldOutWindows, seed: int
) -> Callable[[Any], dict[str, list[str] | str]]:
    """What trackers are shown at evaluations: texts, and a gap that was filled in.

    Args:
        tokenizer: the model's.
        windows: the one in their middle has the gap.
        seed: key of what is drawn.

    Returns:
        model -> texts by name.
    """

    def samples(model: Any) -> dict[str, list[str] | str]:
        passage = windows.input_ids[len(windows) // 2]
        texts, infilled = write_samples(model, tokenizer, passage, seed=seed)
        return {"samples": texts, "infilled": infilled}

    return samples


def _settings(args: argparse.Namespace, model: "ARDMForMaskedLM") -> dict[str, Any]:
    """The flags that the training followed, with sizes as the model has them."""
    config = model.config
    known = [name for name in SIZES if name in args and hasattr(config, name)]  # an adopted one's
    sizes = {name: getattr(config, name) for name in known}
    begun = {"initial_weights": public(args.model_name_or_path)} if args.model_name_or_path else {}
    return hyperparameters(run_flags(args)) | sizes | begun
