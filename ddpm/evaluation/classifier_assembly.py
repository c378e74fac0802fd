"""Settings become a classifier: the process whose noise it sees, its network, what makes a run."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedConfig

from ardm.training import fingerprint
from ardm.training.local_paths import public

from ..classification import ClassificationObjective
from ..data import ImageDataset
from ..forward_process import ForwardProcess, rescaled_timesteps
from ..models.classifier import NoisyClassifier
from ..models.configuration_classifier import ClassifierConfig
from ..models.configuration_unet import UNetConfig
from ..schedules import SCHEDULES
from .assembly import check_same_form
from .levels import levels_for


def new_process(
    schedule: str, num_timesteps: int, rescale_timesteps: bool = False
) -> ForwardProcess:
    """A process q by the name of its schedule.

    Args:
        schedule: a name in `SCHEDULES`.
        num_timesteps: T.
        rescale_timesteps: whether a network is told t * 1000 / T.

    Returns:
        The process.
    """
    told = rescaled_timesteps(num_timesteps) if rescale_timesteps else None
    return ForwardProcess(SCHEDULES[schedule](num_timesteps), told=told)


def check_guides(
    config: UNetConfig, class_names: Sequence[str] | None, data: ImageDataset, name: str
) -> None:
    """Makes sure that a classifier of some images can guide a diffusion model.

    Args:
        config: of the diffusion's network.
        class_names: of its labels; None = it has none, or they have no names.
        data: the images.
        name: of the model, for messages.

    Raises:
        ValueError: if size, channels or classes differ. A model without classes may be guided to
            any.
    """
    check_same_form(config, data, name)
    ours = data.class_names
    if config.num_classes is None or ours is None:
        return
    known = config.num_classes if class_names is None else list(class_names)
    if known not in (len(ours), ours):
        raise ValueError(
            f"{name} has the classes {known}, and the data {ours}; expected the same, or a"
            " diffusion model without classes."
        )


def new_classifier(
    data: ImageDataset,
    process: ForwardProcess,
    *,
    noised: bool,
    seed: int,
    preset: str | None = None,
    channel_mult: Sequence[float] | None = None,
    attention_resolutions: Sequence[int] | None = None,
    **sizes: Any,
) -> NoisyClassifier:
    """A fresh classifier for some images.

    Args:
        data: the images, of two classes at least.
        process: whose noise it is to know.
        noised: whether it is trained on that noise; the configuration then keeps the betas.
        seed: of the weights.
        preset: a released network, whose sizes are taken in place of all that follow.
        channel_mult: as for `ddpm.evaluation.levels_for`.
        attention_resolutions: as for `ddpm.evaluation.levels_for`.
        **sizes: other fields of [`ClassifierConfig`].

    Returns:
        The classifier; its configuration names the classes.

    Raises:
        ValueError: if there are fewer than two classes, sizes do not fit together, or the images do
            not fit the preset.
    """
    names = data.class_names
    if names is None or len(names) < 2:
        raise ValueError(
            f"the data has {'no' if names is None else len(names)} classes; expected two or more to"
            " tell apart."
        )
    about: dict[str, Any] = {
        "in_channels": data.num_channels,
        "num_classes": len(names),
        "id2label": dict(enumerate(names)),
        "betas": process.betas.tolist() if noised else None,
        "rescale_timesteps": process.rescale_timesteps,
    }
    if preset is None:
        levels = levels_for(data.image_size, channel_mult, attention_resolutions)
        config = ClassifierConfig(image_size=data.image_size, **levels, **sizes, **about)
    else:
        config = ClassifierConfig.preset(preset, **about)
    if config.image_size != data.image_size:
        raise ValueError(
            f"preset {preset!r} is for images of {config.image_size} pixels;"
            f" these have {data.image_size}."
        )
    torch.manual_seed(seed)
    return NoisyClassifier(config)


def classifier_identity(
    data: ImageDataset,
    model: NoisyClassifier,
    objective: ClassificationObjective,
    diffusion_name: str | None = None,
) -> dict[str, Any]:
    """What decides the result of a training, beside its `TrainingConfig` and optimiser.

    Args:
        data: what is trained on.
        model: the network, before it is trained.
        objective: what is minimised.
        diffusion_name: the model that it is to guide, of which its card tells; None = none.

    Returns:
        The value of `identity` for `ardm.training.train`.
    """
    sizes = model.config.to_dict()
    told = sizes.keys() - PreTrainedConfig().to_dict().keys() - {"betas"}
    chosen = ("seed", "noised", "random_crop", "random_flip")
    return {
        "data": data.fingerprint(),
        "model": {name: sizes[name] for name in sorted(told)},
        "diffusion": {
            "name": public(diffusion_name),
            "betas": fingerprint([objective.process.betas.numpy().tobytes()]),
        },
        "objective": {name: getattr(objective, name) for name in chosen},
    }
