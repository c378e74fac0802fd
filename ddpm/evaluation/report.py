"""What a run shows of its model: a grid of samples, the same noise by every sampler and number of
steps, a table of FID.
"""

import argparse
import logging
from collections.abc import Iterable
from typing import Any

from ..data.images import ImageDataset, data_name
from ..denoisers import Denoiser
from ..diffusion import GaussianDiffusion
from ..drawing import balanced_labels, draw_images
from ..hub.cards import SampleQuality, run_flags
from ..hub.pictures import comparison_grid, image_grid
from .arguments import MODEL_FLAGS
from .evaluation import SAMPLERS, SampleEvaluation

logger = logging.getLogger(__name__)


def card_facts(
    args: argparse.Namespace, model: Any, diffusion: GaussianDiffusion, data: ImageDataset
) -> dict[str, Any]:
    """What a card says of a model before anything is measured.

    Args:
        args: parsed flags of the training.
        model: a `PreTrainedModel`.
        diffusion: of the model.
        data: what it was trained on.

    Returns:
        Fields of `CardFigures`.
    """
    # a saved model has its own network and diffusion, whatever the flags say
    unused = MODEL_FLAGS if getattr(args, "model_name_or_path", None) else ()
    return {
        "model_name": args.hub_model_id,
        "num_parameters": model.num_parameters(),
        "image_size": data.image_size,
        "num_channels": data.num_channels,
        "training_data": data_name(args),
        "class_names": data.class_names,
        "diffusion": {
            name: getattr(diffusion, name)
            for name in ("num_timesteps", "prediction", "variance", "loss", "min_snr_gamma")
        },
        "hyperparameters": {
            name: value for name, value in run_flags(args).items() if name not in unused
        },
        "seed": args.seed,
    }


def draw_pictures(
    model: Denoiser,
    diffusion: GaussianDiffusion,
    image_shape: tuple[int, int, int],
    num_classes: int | None,
    *,
    steps: Iterable[int] = (10, 25, 50, 250),
    seed: int = 0,
) -> dict[str, Any]:
    """Draws samples, and the same grid at several numbers of steps by each sampler.

    Args:
        model: of the diffusion.
        diffusion: of the model.
        image_shape: (C, H, W).
        num_classes: labels go through all of them in turn; None = no labels.
        steps: numbers of steps; those beyond the diffusion's are left out.
        seed: of the noise, the same in every grid.

    Returns:
        By file name: "samples.png", 40 of them by all steps of the model's own process, and
            "steps.png".
    """
    num_columns = min(num_classes or 8, 10)

    def grid(num_images: int, **options: Any) -> Any:
        labels = balanced_labels(num_images, num_classes)
        ((_, images),) = draw_images(
            model,
            diffusion,
            num_images,
            image_shape,
            seed=seed,
            labels=labels,
            batch_size=num_images,
            **options,
        )
        return images

    allowed = [count for count in steps if count <= diffusion.num_timesteps] or [
        diffusion.num_timesteps
    ]
    rows = {
        sampler: {f"{count} steps": grid(20, sampler=sampler, steps=count) for count in allowed}
        for sampler, (_, variance) in SAMPLERS.items()
        if variance is None
    }
    samples = image_grid(
        grid(4 * num_columns, steps=min(250, diffusion.num_timesteps)), num_columns
    )
    return {
        "samples.png": samples,
        "steps.png": comparison_grid(rows, "The same noise, by sampler and steps"),
    }


def measure_quality(
    evaluation: SampleEvaluation,
    model: Denoiser,
    diffusion: GaussianDiffusion,
    steps: Iterable[int | str],
) -> list[SampleQuality]:
    """FID and its kin for all samplers and numbers of steps; to be called on all processes.

    Args:
        evaluation: of samples.
        model: of the diffusion.
        diffusion: of the model.
        steps: numbers of steps, or respacings.

    Returns:
        A row of the card's table for each.
    """
    rows = []
    for sampler in SAMPLERS:
        for count in steps:
            quality = evaluation(model, diffusion, sampler, count)
            rows.append(
                SampleQuality(
                    sampler=sampler,
                    steps=count,
                    fid=quality.fid,
                    kid=quality.kid,
                    precision=quality.precision,
                    recall=quality.recall,
                )
            )
            logger.info(
                "%-18s %5s steps  FID %.3f  KID %.5f", sampler, count, quality.fid, quality.kid
            )
    return rows
