"""Settings become objects: a diffusion, a network that fits the images, a loss, an evaluation."""

import logging
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from transformers import PreTrainedConfig

from ardm.training import check_integer, fingerprint, weights_fingerprint

from ..data import ImageDataset
from ..diffusion import GaussianDiffusion
from ..models.configuration_unet import UNetConfig
from ..models.presets import PRESETS
from ..models.unet import UNet
from ..objective import Condition, DiffusionObjective
from ..schedules import SCHEDULES
from ..timesteps import LossSecondMomentTimesteps
from .image_sets import Images
from .levels import levels_for
from .sample_quality import SampleEvaluation, extractor_of

logger = logging.getLogger(__name__)


def new_diffusion(schedule: str, num_timesteps: int, **settings: Any) -> GaussianDiffusion:
    """A diffusion by the name of its schedule.

    Args:
        schedule: a name in `SCHEDULES`.
        num_timesteps: T.
        **settings: of [`GaussianDiffusion`].

    Returns:
        The diffusion.
    """
    return GaussianDiffusion(SCHEDULES[schedule](num_timesteps), **settings)


def new_network(
    image_size: int,
    num_channels: int,
    num_classes: int | None,
    *,
    learn_sigma: bool,
    null_class: bool = False,
    seed: int,
    preset: str | None = None,
    channel_mult: Sequence[float] | None = None,
    attention_resolutions: Sequence[int] | None = None,
    low_resolution: int | None = None,
    noise_augmentation: bool = False,
    max_noise_level: int | None = None,
    **sizes: Any,
) -> UNet:
    """A fresh network for some images.

    Args:
        image_size: pixels a side.
        num_channels: of the images.
        num_classes: of the labels; None without.
        learn_sigma: whether its output has a variance.
        null_class: whether it knows images without class, too, for classifier-free guidance.
        seed: of the weights.
        preset: a released network, whose sizes are taken in place of all that follow.
        channel_mult: as for [`levels_for`].
        attention_resolutions: as for [`levels_for`].
        low_resolution: of the small images that an upsampler is given; None = it is none.
        noise_augmentation: whether it is told how noisy they are.
        max_noise_level: how noisy they are at most.
        **sizes: other fields of [`UNetConfig`].

    Returns:
        The network.

    Raises:
        ValueError: if the sizes do not fit together, or the images or the small ones do not fit the
            preset, or there is a null class and no other.
    """
    if null_class and num_classes is None:
        raise ValueError(
            "labels are to be dropped (label_dropout), and there are none; expected images with"
            " classes, or label_dropout 0."
        )
    data: dict[str, Any] = {"in_channels": num_channels, "num_classes": num_classes}
    data |= {"learn_sigma": learn_sigma, "null_class": null_class}
    data |= {"noise_augmentation": noise_augmentation, "max_noise_level": max_noise_level}
    if preset is None:
        data["low_resolution"] = low_resolution
        levels = levels_for(image_size, channel_mult, attention_resolutions)
        config = UNetConfig(image_size=image_size, **levels, **sizes, **data)
    elif low_resolution == PRESETS["ddpm_unet"].get(preset, {}).get("low_resolution"):
        config = UNetConfig.preset(preset, **data)
    else:
        given = UNetConfig.preset(preset).low_resolution
        raise ValueError(
            f"preset {preset!r} has the low_resolution {given}, and {low_resolution} is asked for;"
            " expected the same (None draws images, others enlarge them)."
        )
    if config.image_size != image_size:
        raise ValueError(
            f"preset {preset!r} is for images of {config.image_size} pixels;"
            f" these have {image_size}."
        )
    torch.manual_seed(seed)
    return UNet(config)


def new_objective(
    diffusion: GaussianDiffusion,
    config: UNetConfig,
    *,
    timestep_sampler: str,
    seed: int,
    random_flip: bool,
    label_dropout: float = 0.0,
    condition: Condition | None = None,
) -> DiffusionObjective:
    """A training loss; where timesteps are resampled, its state belongs into checkpoints.

    Args:
        diffusion: of the model.
        config: of the model.
        timestep_sampler: "uniform" or "loss_second_moment".
        seed: of noise and timesteps.
        random_flip: mirror each image with probability 1/2.
        label_dropout: share of the labels that become the null class.
        condition: as for [`DiffusionObjective`].

    Returns:
        A [`DiffusionObjective`].

    Raises:
        ValueError: if labels are to be dropped and the network has no null class.
    """
    if label_dropout and not config.null_class:
        raise ValueError(
            f"label_dropout is {label_dropout}, and the network has no null class, which a dropped"
            " label becomes; expected 0, or a model that was trained with label_dropout."
        )
    resampled = timestep_sampler == "loss_second_moment"
    timesteps = LossSecondMomentTimesteps(diffusion.num_timesteps) if resampled else None
    return DiffusionObjective(
        diffusion,
        seed,
        timesteps,
        random_flip=random_flip,
        label_dropout=label_dropout,
        null_label=config.num_classes if config.null_class else None,
        condition=condition,
    )


def check_same_form(config: UNetConfig, data: ImageDataset, name: str) -> None:
    """Makes sure that a saved model's images are like those of some data.

    Args:
        config: of the network.
        data: the images.
        name: of the model, for messages.

    Raises:
        ValueError: if size or channels differ.
    """
    wanted = (config.image_size, config.in_channels)
    if (data.image_size, data.num_channels) != wanted:
        raise ValueError(
            f"{name} makes images of {wanted[0]} pixels and {wanted[1]} channel(s), and these have"
            f" {data.image_size} and {data.num_channels}: give image_size {wanted[0]} and channels"
            f" {wanted[1]}, or take another model."
        )


def check_fits(
    model: UNet,
    data: ImageDataset,
    class_names: Sequence[str] | None,
    name: str,
    *,
    upsampler: bool = False,
) -> None:
    """Makes sure that a saved model can go on learning from some images.

    Args:
        model: the network.
        data: the images.
        class_names: of the model's labels; None = it has none, or they have no names.
        name: of the model, for messages.
        upsampler: whether it shall be one.

    Raises:
        ValueError: if size, channels or classes differ, or it is an upsampler and shall be none, or
            the other way round.
    """
    config = model.config
    if (config.low_resolution is not None) != upsampler:
        tells = ("train_ddpm.py", "draws") if upsampler else ("train_upsampler.py", "enlarges")
        raise ValueError(f"{name} {tells[1]} images; expected {tells[0]} for it, or another model.")
    check_same_form(config, data, name)
    ours = data.class_names
    if config.num_classes is None and ours is not None:
        raise ValueError(
            f"{name} knows no classes, and the data has {len(ours)}; leave the labels out, with"
            " class_conditional = False (--no-class_conditional)."
        )
    same = class_names is None or ours is None or list(class_names) == ours
    if config.num_classes != (None if ours is None else len(ours)) or not same:
        known = config.num_classes if class_names is None else list(class_names)
        raise ValueError(
            f"{name} has the classes {known}, and the data {ours}; expected the same, or train a"
            " fresh model."
        )


def run_identity(
    data: ImageDataset, model: UNet, objective: DiffusionObjective, *, fresh: bool
) -> dict[str, Any]:
    """What decides the result of a training, beside its `TrainingConfig` and optimiser.

    Args:
        data: what is trained on.
        model: the network, before it is trained.
        objective: what is minimised.
        fresh: whether the seed alone made the weights; else they are told by their content.

    Returns:
        The value of `identity` for `ardm.training.train`.
    """
    sizes = model.config.to_dict()
    common = PreTrainedConfig().to_dict()
    diffusion = objective.diffusion
    chosen = ("prediction", "variance", "loss", "min_snr_gamma", "rescale_timesteps")
    return {
        "data": data.fingerprint(),
        "model": {name: sizes[name] for name in sorted(sizes.keys() - common.keys())},
        "diffusion": {name: getattr(diffusion, name) for name in ("num_timesteps", *chosen)}
        | {"betas": fingerprint([diffusion.betas.numpy().tobytes()])},
        "objective": {
            "seed": objective.seed,
            "timesteps": type(objective.timesteps).__name__,
            "random_flip": objective.random_flip,
            "label_dropout": objective.label_dropout,
            "condition": None if objective.condition is None else repr(objective.condition),
        },
        "initial_weights": "fresh" if fresh else weights_fingerprint(model),
    }


def new_sample_evaluation(
    train: Images,
    held_out: Images | None,
    diffusion: GaussianDiffusion,
    *,
    num_images: int,
    steps: Iterable[int | str],
    inception_weights: str | None = None,
    data_name: str = "images",
    seed: int = 0,
) -> SampleEvaluation | None:
    """What will score samples of a model, made before it is trained: mistakes show at once.

    Args:
        train: the real images.
        held_out: as for [`extractor_of`].
        diffusion: of the model.
        num_images: samples of each evaluation; 0 = no evaluation.
        steps: numbers of steps, or respacings, that will be asked for.
        inception_weights: file of the features; None = those of [`extractor_of`].
        data_name: of the images.
        seed: of the samples.

    Returns:
        The evaluation; None if there is none, or neither weights nor labels.

    Raises:
        ValueError: if a number or the file of weights is wrong.
    """
    if check_integer("num_images", num_images, 0) == 0:
        return None
    for count in steps:
        diffusion.respace(count)
    extractor = inception_weights or extractor_of(train, held_out, data_name)
    if extractor is None:
        logger.info(
            "no FID will be measured: the data has no classes to learn features from; give"
            " --inception_weights, or --num_quality_images 0"
        )
        return None
    return SampleEvaluation(train, extractor, num_images, seed=seed)
